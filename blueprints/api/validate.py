"""`POST /vouchers/validate`: would this voucher pay? Advice for the till; only a redemption binds."""

import flask

from blueprints.api import keys, schemas, shapes, wording
from domain import clock, refusals, validation
from domain.api_keys import Scope
from effects import voucher as vouchers
from models import ApiKey, Voucher

_WHOLE = "The voucher covers the whole amount."
_PART = "The voucher covers a part of the amount; the rest is still to pay."


@keys.needs(Scope.POS_VALIDATE, Scope.MARKETING_READ)
def validate_voucher() -> flask.Response:
    """The seven checks, explained; 200 for every well-formed request."""
    wanted, key = schemas.read(schemas.Validation), keys.current()
    voucher = find(key, wanted.code)
    verdict = validation.check(
        voucher,
        amount_minor=wanted.amount_minor,
        currency=wanted.currency,
        customer_id=wanted.customer_id,
        at=clock.now(),
    )
    return flask.Response(shapes.text(_shape(verdict, voucher, key)), content_type="application/json")


def find(key: ApiKey, code: str) -> Voucher | None:
    """The voucher that `key` may see behind a code: its merchant's, and of its own mode."""
    voucher = vouchers.find_by_code(key.merchant, code)
    if voucher is None or voucher.is_test != key.is_test:
        keys.note_unknown_code()
        return None
    return voucher


def _shape(verdict: validation.Verdict, voucher: Voucher | None, key: ApiKey) -> dict[str, object]:
    return {
        "valid": verdict.is_valid,
        "error": verdict.refusal.code if verdict.refusal else None,
        "message": _message(verdict),
        "display": _display(verdict, voucher, key),
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


def _display(verdict: validation.Verdict, voucher: Voucher | None, key: ApiKey) -> dict[str, str]:
    if verdict.calculation is not None and voucher is not None:
        return wording.of_calculation(verdict.calculation, currency=voucher.currency)
    refusal = verdict.refusal or refusals.VoucherNotFound()
    return wording.of_refusal(refusal, voucher=voucher, merchant=key.merchant)
