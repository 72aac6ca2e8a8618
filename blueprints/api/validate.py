"""`POST /vouchers/validate`: would this voucher pay? Advice for the till; only a redemption or a hold binds."""

import flask

from blueprints.api import keys, lookup, schemas, shapes, wording
from domain import clock, refusals, validation
from models import Voucher

_WHOLE = "The voucher covers the whole amount."
_PART = "The voucher covers a part of the amount; the rest is still to pay."


def validate() -> flask.Response:
    """The seven checks, explained; 200 for every well-formed request."""
    wanted = schemas.read(schemas.Validation)
    voucher = lookup.by_code(wanted.code)
    verdict = validation.check(
        voucher,
        amount_minor=wanted.amount_minor,
        currency=wanted.currency,
        customer_id=wanted.customer_id,
        at=clock.now(),
    )
    return shapes.answer(_shape(verdict, voucher))


def _shape(verdict: validation.Verdict, voucher: Voucher | None) -> dict[str, object]:
    return {
        "valid": verdict.is_valid,
        "error": verdict.refusal.code if verdict.refusal else None,
        "message": _message(verdict),
        "display": _display(verdict, voucher),
        "checks": shapes.checks(verdict),
        "voucher": shapes.voucher(voucher, initial_balance_minor=shapes.origin(voucher).initial_balance_minor)
        if voucher
        else None,
        "calculation": shapes.calculation(verdict.calculation) if verdict.calculation else None,
    }


def _message(verdict: validation.Verdict) -> str:
    if verdict.refusal is not None:
        return verdict.refusal.detail
    return _WHOLE if verdict.calculation and verdict.calculation.covers_full_amount else _PART


def _display(verdict: validation.Verdict, voucher: Voucher | None) -> dict[str, str]:
    if verdict.calculation is not None and voucher is not None:
        return wording.of_calculation("covers", verdict.calculation, currency=voucher.currency)
    refusal = verdict.refusal or refusals.VoucherNotFound()
    return wording.of_refusal(refusal, voucher=voucher, merchant=keys.current().merchant)
