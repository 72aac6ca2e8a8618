"""`POST /vouchers/redeem` and `POST /vouchers/{id}/redeem`: take money from a voucher, exactly once."""

import re

import flask

from blueprints.api import keys, operations, problems, schemas, shapes, validate, wording
from domain import entries, ledger, refusals, timeline
from domain.api_keys import Scope
from domain.idempotency import Answer
from models import ApiKey, Voucher

_PUBLIC_ID = re.compile(r"vch_[0-9a-f]{32}")


@keys.needs(Scope.POS_REDEEM, Scope.MARKETING_WRITE)
def redeem_by_code() -> flask.Response:
    """Redeem the voucher behind a typed or scanned code."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.Redemption)
    return _redeem(wanted, voucher=validate.find(keys.current(), wanted.code), key=key)


@keys.needs(Scope.POS_REDEEM, Scope.MARKETING_WRITE)
def redeem_by_id(public_id: str) -> flask.Response:
    """Redeem the voucher with this id."""
    key = operations.idempotency_key()
    wanted = schemas.read(schemas.RedemptionById)
    return _redeem(wanted, voucher=_find_by_id(keys.current(), public_id), key=key)


def _redeem(wanted: schemas.RedemptionById, *, voucher: Voucher | None, key: str) -> flask.Response:
    # Read before the transaction, for nothing in it ever changes: the lock is held for the booking alone.
    origin = shapes.origin(voucher) if voucher is not None else shapes.NO_ORIGIN

    def work() -> Answer:
        try:
            booked = _book(wanted, voucher=voucher, key=key)
        except refusals.Refusal as refusal:
            return _refused(refusal, voucher)
        _tell(booked, origin)
        return Answer(201, shapes.text(_shape(booked, origin)))

    return operations.once(wanted, key=key, work=work)


def _book(wanted: schemas.RedemptionById, *, voucher: Voucher | None, key: str) -> ledger.Redemption:
    caller = keys.current()
    return ledger.redeem(
        voucher.id if voucher is not None else None,
        amount_minor=wanted.amount_minor,
        currency=wanted.currency,
        operation_key=f"redeem:{key}",
        actor=_actor(caller),
        customer_id=wanted.customer_id,
        is_exact=wanted.mode == "exact",
        till=entries.Till(
            reference=wanted.reference,
            location=wanted.location or caller.location,
            terminal=wanted.terminal or caller.terminal,
            description=wanted.description,
        ),
    )


def _tell(booked: ledger.Redemption, origin: shapes.Origin) -> None:
    caller, entry = keys.current(), booked.entry
    timeline.record(
        caller.merchant,
        "voucher_redeemed",
        voucher=booked.voucher,
        order=origin.order,
        actor=_actor(caller),
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
    }


def _refused(refusal: refusals.Refusal, voucher: Voucher | None) -> Answer:
    # The balance may have moved since the look-up; the sentence must speak of what the lock saw.
    fresh = Voucher.get_by_id(voucher.id) if voucher is not None else None
    display = wording.of_refusal(refusal, voucher=fresh, merchant=keys.current().merchant)
    problem = problems.of_refusal(refusal, display=display)
    return Answer(problem.status, problem.body())


def _find_by_id(key: ApiKey, public_id: str) -> Voucher | None:
    if _PUBLIC_ID.fullmatch(public_id) is None:
        return None
    found: Voucher | None = key.merchant.vouchers.where(
        Voucher.public_id == public_id, Voucher.is_test == key.is_test
    ).first()
    return found


def _actor(key: ApiKey) -> str:
    return f"key:{key.name}"
