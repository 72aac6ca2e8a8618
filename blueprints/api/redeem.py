"""`POST /vouchers/redeem` and `POST /vouchers/{id}/redeem`: take money from a voucher, exactly once."""

import flask

from blueprints.api import lookup, operations, schemas, shapes, wording
from domain import ledger, redemptions
from models import Voucher


def redeem_by_code() -> flask.Response:
    """Redeem the voucher behind a typed or scanned code."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.Redemption)
    return _redeem(wanted, voucher=lookup.by_code(wanted.code), key=key)


def redeem_by_id(voucher_id: str) -> flask.Response:
    """Redeem the voucher with this id."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.RedemptionById)
    return _redeem(wanted, voucher=lookup.by_id(voucher_id), key=key)


def _redeem(wanted: schemas.RedemptionById, *, voucher: Voucher | None, key: str) -> flask.Response:
    # Read before the transaction, for nothing in it ever changes: the lock is held for the booking alone.
    origin = shapes.origin(voucher) if voucher is not None else shapes.NO_ORIGIN

    def book() -> dict[str, object]:
        booked = ledger.redeem(
            voucher.id if voucher is not None else None,
            amount_minor=wanted.amount_minor,
            currency=wanted.currency,
            operation_key=redemptions.operation_key(key),
            actor=operations.actor(),
            customer_id=wanted.customer_id,
            is_exact=wanted.mode == "exact",
            till=operations.till(wanted),
        )
        _tell(booked, origin)
        return _shape(booked, origin)

    return operations.once(wanted, key=key, voucher=voucher, book=book)


def _tell(booked: ledger.Redemption, origin: shapes.Origin) -> None:
    entry = booked.entry
    operations.tell(
        "voucher_redeemed",
        booked.voucher,
        origin,
        amount_minor=-entry.amount_minor,
        balance_after_minor=entry.balance_after_minor,
        reference=entry.reference,
        terminal=entry.terminal,
        location=entry.location,
    )


def _shape(booked: ledger.Redemption, origin: shapes.Origin) -> dict[str, object]:
    return {
        "transaction": shapes.transaction(booked.entry, voucher_id=booked.voucher.public_id),
        "voucher": shapes.voucher(booked.voucher, initial_balance_minor=origin.initial_balance_minor),
        "calculation": shapes.calculation(booked.calculation),
        "display": wording.of_calculation("redeemed", booked.calculation, currency=booked.voucher.currency),
    }
