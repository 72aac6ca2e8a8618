"""One money operation over HTTP: the caller's Idempotency-Key, run once, answered or replayed."""

import json
import re
from collections.abc import Callable, Mapping

import flask

from blueprints.api import keys, problems, schemas, shapes, wording
from domain import idempotency, refusals, timeline
from domain.entries import Till
from domain.idempotency import Answer
from effects.outside import here
from models import Voucher

HEADER = "Idempotency-Key"
REPLAY_HEADER = "Idempotent-Replayed"
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_NO_OUTCOMES: Mapping[str, str] = {}


def idempotency_key() -> str:
    """The key that the caller sent, as it is stored; raises Problem 400 naming the header."""
    key = flask.request.headers.get(HEADER, "").strip(" ")
    if _KEY.fullmatch(key) is None:
        detail = f"Send the header {HEADER} with 1 to 255 printable ASCII characters, fresh for each new operation."
        raise problems.Problem("malformed_request", detail)
    return scoped(key)


def scoped(key: str) -> str:
    """An idempotency key of the caller's world, test or live, as it is stored."""
    return idempotency.scoped(key, is_test=keys.current().is_test)


def once(
    body: schemas.Request,
    *,
    key: str,
    voucher: Voucher | None,
    book: Callable[[], dict[str, object]],
    reveal: Callable[[str], str] = str,
    outcomes: Mapping[str, str] = _NO_OUTCOMES,
) -> flask.Response:
    """The answer of `book`, or the one that the first call with this key got.

    A Refusal of `book` is an answer too, with the sentence for the till about `voucher`; `outcomes` names
    the sentence of a code where it is another than usual. `reveal` adds to an answer what must not be stored in it.
    Raises IdempotencyConflict, AlreadyReversed and RequestInProgress.
    """

    def work() -> Answer:
        try:
            return Answer(201, shapes.text(book()))
        except refusals.Refusal as refusal:
            return _refused(refusal, voucher, outcome=outcomes.get(refusal.code, ""))

    answer = idempotency.once(
        keys.current().merchant, key=key, route=_route(), fingerprints=_fingerprints(body), work=work
    )
    is_booked = answer.status < 400
    response = flask.Response(
        reveal(answer.body) if is_booked else answer.body,
        status=answer.status,
        content_type="application/json" if is_booked else problems.MEDIA_TYPE,
    )
    if answer.is_replay:
        response.headers[REPLAY_HEADER] = "true"
    return response


def tell(kind: str, voucher: Voucher, origin: shapes.Origin, **facts: object) -> None:
    """Write into the timeline what the caller's key did to a voucher."""
    timeline.record(keys.current().merchant, kind, voucher=voucher, order=origin.order, actor=actor(), **facts)


def actor() -> str:
    """Who books: the caller's key, by its name."""
    return f"key:{keys.current().name}"


def till(wanted: schemas.RedemptionById | schemas.Capture) -> Till:
    """What the call says of its till, and for place and terminal else what the key says."""
    caller = keys.current()
    return Till(
        reference=wanted.reference,
        location=wanted.location or caller.location,
        terminal=wanted.terminal or caller.terminal,
        description=wanted.description,
    )


def _refused(refusal: refusals.Refusal, voucher: Voucher | None, *, outcome: str) -> Answer:
    # The balance may have moved since the look-up; the sentence must speak of what the lock saw.
    fresh = Voucher.get_by_id(voucher.id) if voucher is not None else None
    display = wording.of_refusal(refusal, voucher=fresh, merchant=keys.current().merchant, outcome=outcome)
    problem = problems.of_refusal(refusal, display=display)
    return Answer(problem.status, problem.body())


def _route() -> str:
    return f"{flask.request.method} {flask.request.url_rule}"


def _fingerprints(body: schemas.Request) -> tuple[str, ...]:
    # Only what was sent: a field that a later version adds must not turn an old key's replay into a conflict.
    sent = json.dumps(body.model_dump(mode="json", exclude_unset=True), sort_keys=True, separators=(",", ":"))
    return here().vault.fingerprints(f"{flask.request.method} {flask.request.path}\n{sent}")
