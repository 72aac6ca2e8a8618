"""The JSON shapes of the API: vouchers, transactions, holds, sums. Amounts in minor units, moments in ISO 8601 UTC."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime

import flask
import peewee

from database import Prepared, slot
from domain import clock, validation
from models import Entry, Hold, Order, Unit, Voucher


@dataclasses.dataclass(frozen=True)
class Origin:
    """What never changes about a voucher: its first balance, and the order that it was bought in."""

    initial_balance_minor: int
    order: Order | None


NO_ORIGIN = Origin(0, None)
_ORIGIN = Prepared(
    lambda: (
        Entry.select(Entry.amount_minor, Unit.order_id)
        .join(Voucher)
        .join(Unit, peewee.JOIN.LEFT_OUTER)
        .where(Entry.voucher == slot("voucher_id"), Entry.seq == 1)
        .tuples()
    )
)


def origin(voucher: Voucher) -> Origin:
    """Read a voucher's origin, in one query; of the order only the id is loaded."""
    row = _ORIGIN.first(voucher_id=voucher.id)
    if row is None:
        return NO_ORIGIN
    initial_minor, order_id = row
    return Origin(initial_minor, Order(id=order_id) if order_id is not None else None)


def initial_balances(vouchers: Sequence[Voucher]) -> dict[int, int]:
    """Row id → first balance, for a page of vouchers in one query."""
    rows = Entry.select(Entry.voucher_id, Entry.amount_minor).where(
        Entry.voucher.in_([each.id for each in vouchers]), Entry.seq == 1
    )
    return dict(rows.tuples())


def voucher(shown: Voucher, *, initial_balance_minor: int) -> dict[str, object]:
    """A voucher as a till sees it, without its code: only the last four characters are ever shown."""
    return {
        "id": shown.public_id,
        "code_last4": shown.code_last4,
        "type": shown.type,
        "status": str(shown.shown_status(clock.now())),
        "balance_minor": shown.balance_minor,
        "available_minor": shown.available_minor,
        "initial_balance_minor": initial_balance_minor,
        "currency": shown.currency,
        "valid_from": moment(shown.valid_from),
        "expires_at": moment(shown.expires_at),
        "is_transferable": shown.is_transferable,
    }


def whole_voucher(shown: Voucher, *, initial_balance_minor: int) -> dict[str, object]:
    """A voucher as the office sees it: with its owner, its notes and its birth."""
    return voucher(shown, initial_balance_minor=initial_balance_minor) | {
        "customer_id": shown.customer_id,
        "metadata": shown.metadata,
        "created_at": moment(shown.created_at),
    }


def transaction(entry: Entry, *, voucher_id: str) -> dict[str, object]:
    """One change of a balance; what was taken is negative. `voucher_id` is the public one."""
    return {
        "id": entry.public_id,
        "voucher_id": voucher_id,
        "type": str(entry.kind),
        "amount_minor": entry.amount_minor,
        "balance_after_minor": entry.balance_after_minor,
        "currency": entry.currency,
        "reference": entry.reference,
        "location": entry.location,
        "terminal": entry.terminal,
        "created_at": moment(entry.created_at),
    }


def whole_transaction(entry: Entry) -> dict[str, object]:
    """One change of a balance as the office sees it: who, why, and its place in the chain. Needs `voucher` loaded."""
    redemption = entry.redemption
    return transaction(entry, voucher_id=entry.voucher.public_id) | {
        "redemption_id": redemption.public_id if redemption is not None else None,
        "actor": entry.actor,
        "reason": entry.reason or None,
        "description": entry.description,
        "seq": entry.seq,
        "hash": entry.hash,
    }


def hold(shown: Hold, *, voucher: Voucher, entry: Entry | None = None) -> dict[str, object]:
    """Money set aside, and the redemption that it became."""
    return {
        "id": shown.public_id,
        "voucher_id": voucher.public_id,
        "state": str(shown.shown_state(clock.now())),
        "amount_minor": shown.amount_minor,
        "currency": voucher.currency,
        "reference": shown.reference,
        "location": shown.location,
        "terminal": shown.terminal,
        "created_at": moment(shown.created_at),
        "expires_at": moment(shown.expires_at),
        "ended_at": moment(shown.ended_at),
        "transaction_id": entry.public_id if entry is not None else None,
    }


def calculation(sums: validation.Calculation) -> dict[str, object]:
    """What the redemption takes, what it leaves, and what is still to pay."""
    return dataclasses.asdict(sums)


def checks(verdict: validation.Verdict) -> list[dict[str, str]]:
    """The seven checks in their order."""
    return [{"step": str(step), "result": result} for step, result in verdict.results.items()]


def moment(at: datetime | None) -> str | None:
    """`2026-11-22T08:05:00.123Z`, or None."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at is not None else None


def text(members: dict[str, object]) -> str:
    """A body as JSON text."""
    return json.dumps(members, ensure_ascii=False)


def answer(members: dict[str, object]) -> flask.Response:
    """A body as the answer 200."""
    return flask.Response(text(members), content_type="application/json")
