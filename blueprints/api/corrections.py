"""`POST /vouchers/{id}/refund` and `/adjust`: give back what a redemption took, or correct a balance with a reason."""

import flask

from blueprints.api import lookup, operations, schemas, shapes
from domain import ledger
from domain.states import EntryKind
from models import Entry, Voucher


def refund(voucher_id: str) -> flask.Response:
    """Give back a part of a redemption, or all of it."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.Refund)
    voucher = lookup.by_id_or_404(voucher_id)
    origin, redemption = shapes.origin(voucher), _redemption(voucher, wanted.transaction_id)

    def book() -> dict[str, object]:
        booked = ledger.refund(
            redemption,
            amount_minor=wanted.amount_minor,
            operation_key=f"refund:{key}",
            actor=operations.actor(),
            reason=wanted.reason or "",
        )
        return _shape(booked, origin)

    return operations.once(wanted, key=key, voucher=voucher, book=book)


def adjust(voucher_id: str) -> flask.Response:
    """Raise or lower a balance; the reason is kept with the entry."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.Adjustment)
    voucher = lookup.by_id_or_404(voucher_id)
    origin = shapes.origin(voucher)

    def book() -> dict[str, object]:
        booked = ledger.adjust(
            voucher.id,
            amount_minor=wanted.amount_minor,
            reason=wanted.reason,
            operation_key=f"adjust:{key}",
            actor=operations.actor(),
        )
        return _shape(booked, origin)

    return operations.once(wanted, key=key, voucher=voucher, book=book)


def _redemption(voucher: Voucher, public_id: str) -> Entry:
    found: Entry | None = voucher.entries.where(Entry.public_id == public_id, Entry.kind == EntryKind.REDEEM).first()
    if found is None:
        raise schemas.refuse("transaction_id", "not_a_redemption")
    return found


def _shape(booked: ledger.Booked, origin: shapes.Origin) -> dict[str, object]:
    return {
        "transaction": shapes.transaction(booked.entry, voucher_id=booked.voucher.public_id),
        "voucher": shapes.voucher(booked.voucher, initial_balance_minor=origin.initial_balance_minor),
    }
