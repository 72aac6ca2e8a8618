"""`POST /vouchers/hold` and `/holds/{id}/…`: set money aside while a guest sits, and take what the bill came to."""

import re
from datetime import timedelta

import flask

from blueprints.api import keys, lookup, operations, schemas, shapes, wording
from database import transaction
from domain import holds, redemptions, refusals
from models import Entry, Hold, Voucher

_PUBLIC_ID = re.compile(r"hld_[0-9a-f]{32}", re.ASCII)


def place() -> flask.Response:
    """Hold an amount of the voucher behind a code."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.HoldPlacement)
    voucher = lookup.by_code(wanted.code)
    origin = shapes.origin(voucher) if voucher is not None else shapes.NO_ORIGIN

    def book() -> dict[str, object]:
        placed = holds.place(
            voucher.id if voucher is not None else None,
            amount_minor=wanted.amount_minor,
            currency=wanted.currency,
            operation_key=f"hold:{key}",
            actor=operations.actor(),
            life=timedelta(seconds=wanted.ttl_seconds),
            customer_id=wanted.customer_id,
            is_exact=wanted.mode == "exact",
            till=operations.till(wanted),
        )
        operations.tell(
            "hold_placed",
            placed.voucher,
            origin,
            amount_minor=placed.hold.amount_minor,
            expires_at=placed.hold.expires_at.isoformat(),
        )
        return {
            "hold": shapes.hold(placed.hold, voucher=placed.voucher),
            "voucher": shapes.voucher(placed.voucher, initial_balance_minor=origin.initial_balance_minor),
            "calculation": shapes.calculation(placed.calculation),
            "display": wording.of_calculation("held", placed.calculation, currency=placed.voucher.currency),
        }

    return operations.once(wanted, key=key, voucher=voucher, book=book)


def read(hold_id: str) -> flask.Response:
    """One hold as it stands now."""
    return shapes.answer({"hold": _shape(_find(hold_id))})


def capture(hold_id: str) -> flask.Response:
    """Take what was held, or a part of it; the rest is free again."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.Capture)
    hold = _find(hold_id)
    origin = shapes.origin(hold.voucher)

    def book() -> dict[str, object]:
        captured = holds.capture(
            hold,
            amount_minor=wanted.amount_minor,
            operation_key=redemptions.operation_key(key),
            actor=operations.actor(),
            till=operations.till(wanted),
        )
        entry, voucher = captured.entry, captured.voucher
        operations.tell(
            "hold_captured",
            voucher,
            origin,
            amount_minor=-entry.amount_minor,
            balance_after_minor=entry.balance_after_minor,
        )
        return {
            "transaction": shapes.transaction(entry, voucher_id=voucher.public_id),
            "hold": shapes.hold(captured.hold, voucher=voucher, entry=entry),
            "voucher": shapes.voucher(voucher, initial_balance_minor=origin.initial_balance_minor),
            "display": wording.of_outcome(
                "captured",
                currency=voucher.currency,
                amount=-entry.amount_minor,
                remaining=voucher.available_minor,
            ),
        }

    too_small = {"insufficient_balance": "hold_too_small"}
    return operations.once(wanted, key=key, voucher=hold.voucher, book=book, outcomes=too_small)


def release(hold_id: str) -> flask.Response:
    """Free what was held; to release once more changes nothing."""
    schemas.read(schemas.Release)
    hold = _find(hold_id)
    with transaction():
        released = holds.release(hold, actor=operations.actor())
    return shapes.answer({"hold": _shape(released)})


def extend(hold_id: str) -> flask.Response:
    """Let a hold live longer, counted from now."""
    wanted = schemas.read(schemas.Extension)
    hold = _find(hold_id)
    with transaction():
        extended = holds.extend(hold, life=timedelta(seconds=wanted.ttl_seconds))
    return shapes.answer({"hold": _shape(extended)})


def _find(hold_id: str) -> Hold:
    caller = keys.current()
    if _PUBLIC_ID.fullmatch(hold_id) is None:
        raise refusals.HoldNotFound("No hold of this merchant has this id.")
    return holds.find(caller.merchant, hold_id, is_test=caller.is_test)


def _shape(hold: Hold) -> dict[str, object]:
    entry = Entry.get_or_none(Entry.hold == hold)
    return shapes.hold(hold, voucher=Voucher.get_by_id(hold.voucher_id), entry=entry)
