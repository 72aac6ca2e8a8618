"""`GET /redemptions` and `POST /redemptions/reverse`: what happened to my call, and take it back by its own key."""

import json

import flask

from blueprints.api import keys, operations, schemas, shapes, wording
from domain import holds, redemptions
from domain.entries import Till
from domain.redemptions import Outcome, Story
from models import Entry, Voucher


def tell() -> flask.Response:
    """Booked, reversed, refused, blocked or never seen, with the answer that the call got."""
    wanted, caller = schemas.read_query(schemas.StoryQuery), keys.current()
    story = redemptions.tell(caller.merchant, key=operations.scoped(wanted.idempotency_key), is_test=caller.is_test)
    record = story.record
    has_answer = record is not None and bool(record.body)
    return shapes.answer(
        {
            "outcome": str(story.outcome),
            "idempotency_key": wanted.idempotency_key,
            "transaction": _transaction(story.redemption),
            "reversal": _transaction(story.reversal),
            "answer": {"status": record.status, "body": json.loads(record.body)} if has_answer else None,
        }
    )


def reverse() -> flask.Response:
    """Give a redemption back by its key; block a call that never came. Safe to repeat until it is heard."""
    wanted, caller = schemas.read(schemas.Reversal), keys.current()
    story = redemptions.reverse(
        caller.merchant,
        key=operations.scoped(wanted.idempotency_key),
        is_test=caller.is_test,
        actor=operations.actor(),
        reason=wanted.reason or "",
        till=Till(location=caller.location, terminal=caller.terminal),
    )
    response = shapes.answer(_shape(story))
    if not story.is_new:
        response.headers[operations.REPLAY_HEADER] = "true"
    return response


def _shape(story: Story) -> dict[str, object]:
    # A new reversal tells of the voucher as it left it; by now somebody else may have booked again.
    voucher = story.voucher
    if voucher is None and story.redemption is not None:
        voucher = holds.as_of_now(Voucher.get_by_id(story.redemption.voucher_id))
    amount_minor = story.reversal.amount_minor if story.reversal is not None else 0
    return {
        "outcome": str(story.outcome),
        "transaction": _transaction(story.reversal),
        "redemption": _transaction(story.redemption),
        "voucher": shapes.voucher(voucher, initial_balance_minor=shapes.origin(voucher).initial_balance_minor)
        if voucher is not None
        else None,
        "display": wording.of_outcome(
            "reversed" if story.outcome == Outcome.REVERSED else "nothing_to_reverse",
            currency=voucher.currency if voucher is not None else "",
            amount=amount_minor,
        ),
    }


def _transaction(entry: Entry | None) -> dict[str, object] | None:
    return shapes.transaction(entry, voucher_id=entry.voucher.public_id) if entry is not None else None
