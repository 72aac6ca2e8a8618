"""One request and one answer for each call, and one problem for each code: what the documentation shows.

Tests hold every example against its schema. The cast is a café's till: a voucher of 50.00 EUR and a bill of 30.00.
"""

from typing import Any

from blueprints.api import problems, schemas, wording
from domain.validation import Step

CODE = "7KQ4-M2XD-9PVT-3HAF"
KEY = "bill-4711-7f3d2c"
VOUCHER_ID = "vch_5f0c1d2e3a4b5c6d7e8f90a1b2c3d4e5"
HOLD_ID = "hld_0a1b2c3d4e5f60718293a4b5c6d7e8f9"
REDEMPTION_ID = "txn_3d9a0b1c2d3e4f5061728394a5b6c7d8"
_NEXT_ID = "txn_b7c8d9e0f1a2b3c4d5e6f708192a3b4c"
_NOW, _LATER = "2026-11-22T18:05:00.000Z", "2026-11-22T18:20:00.000Z"
_BILL = {"code": CODE, "amount_minor": 3000, "currency": "EUR"}
_TILL = {"reference": "4711", "location": "Terrasse", "terminal": "Bar"}


def _voucher(balance_minor: int = 5000, held_minor: int = 0) -> dict[str, Any]:
    return {
        "id": VOUCHER_ID,
        "code_last4": "3HAF",
        "type": "gift_card",
        "status": "active" if balance_minor else "depleted",
        "balance_minor": balance_minor,
        "available_minor": balance_minor - held_minor,
        "initial_balance_minor": 5000,
        "currency": "EUR",
        "valid_from": None,
        "expires_at": "2056-11-22T22:59:59.999Z",
        "is_transferable": True,
    }


def _whole_voucher() -> dict[str, Any]:
    return _voucher() | {"customer_id": None, "metadata": {"campaign": "spring"}, "created_at": _NOW}


def _transaction(kind: str, amount_minor: int, after_minor: int, *, of: str = REDEMPTION_ID) -> dict[str, Any]:
    booked = {"id": of, "voucher_id": VOUCHER_ID, "type": kind, "amount_minor": amount_minor}
    return booked | {"balance_after_minor": after_minor, "currency": "EUR"} | _TILL | {"created_at": _NOW}


def _whole_transaction() -> dict[str, Any]:
    why = {"redemption_id": None, "actor": "key:Bar", "reason": None, "description": None}
    return _transaction("redeem", -3000, 2000) | why | {"seq": 2, "hash": "9c4d" * 16}


def _hold(state: str = "active", *, ends_at: str | None = None, entry: str | None = None) -> dict[str, Any]:
    held = {"id": HOLD_ID, "voucher_id": VOUCHER_ID, "state": state, "amount_minor": 3000, "currency": "EUR"}
    times = {"created_at": _NOW, "expires_at": _LATER, "ended_at": ends_at, "transaction_id": entry}
    return held | _TILL | times


_CALCULATION = {
    "requested_amount_minor": 3000,
    "applicable_amount_minor": 3000,
    "remaining_voucher_balance_minor": 2000,
    "remaining_order_amount_minor": 0,
    "covers_full_amount": True,
}
_SUMS = {"applicable": "30,00 €", "remaining": "20,00 €", "amount": "30,00 €"}
_SUMS_EN = {"applicable": "€30.00", "remaining": "€20.00", "amount": "€30.00"}


def _display(outcome: str) -> dict[str, str]:
    sentences = wording.SENTENCES[outcome]
    return {"de": sentences["de"].format(**_SUMS), "en": sentences["en"].format(**_SUMS_EN)}


def _redeemed() -> dict[str, Any]:
    sums = {"calculation": _CALCULATION, "display": _display("redeemed")}
    return {"transaction": _transaction("redeem", -3000, 2000), "voucher": _voucher(2000)} | sums


_BOUGHT = {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 5000}
_REASON = "Counted twice at the fair"

# Name of the call → what is sent: the body, or for a GET the query.
REQUESTS: dict[str, dict[str, Any]] = {
    "lookup": {"code": CODE},
    "validate": _BILL,
    "redeem": _BILL | _TILL,
    "redeem_by_id": {"amount_minor": 3000, "currency": "EUR"} | _TILL,
    "story": {"idempotency_key": KEY},
    "reverse": {"idempotency_key": KEY, "reason": "The bill was cancelled"},
    "hold": _BILL | _TILL | {"ttl_seconds": 900},
    "capture": {"amount_minor": 2400},
    "release": {},
    "extend": {"ttl_seconds": 1800},
    "list_vouchers": {"status": "active", "limit": "50"},
    "create_voucher": _BOUGHT | {"metadata": {"campaign": "spring"}},
    "change_voucher": {"status": "suspended", "reason": "Reported as lost"},
    "refund": {"amount_minor": 1000, "transaction_id": REDEMPTION_ID, "reason": "One dish came back"},
    "adjust": {"amount_minor": -500, "reason": _REASON},
    "list_voucher_transactions": {"type": "redeem"},
    "list_transactions": {"created_after": "2026-11-01T00:00:00Z"},
}

# Name of the call → what is answered when all is well.
ANSWERS: dict[str, dict[str, Any]] = {
    "lookup": _voucher(),
    "validate": {
        "valid": True,
        "error": None,
        "message": "The voucher covers the whole amount.",
        "display": _display("covers"),
        "checks": [{"step": str(step), "result": "pass"} for step in Step],
        "voucher": _voucher(),
        "calculation": _CALCULATION,
    },
    "redeem": _redeemed(),
    "redeem_by_id": _redeemed(),
    "story": {
        "outcome": "booked",
        "idempotency_key": KEY,
        "transaction": _transaction("redeem", -3000, 2000),
        "reversal": None,
        "answer": {"status": 201, "body": _redeemed()},
    },
    "reverse": {
        "outcome": "reversed",
        "transaction": _transaction("reverse", 3000, 5000, of=_NEXT_ID),
        "redemption": _transaction("redeem", -3000, 2000),
        "voucher": _voucher(),
        "display": _display("reversed"),
    },
    "hold": {
        "hold": _hold(),
        "voucher": _voucher(held_minor=3000),
        "calculation": _CALCULATION,
        "display": _display("held"),
    },
    "read_hold": {"hold": _hold()},
    "capture": {
        "transaction": _transaction("redeem", -3000, 2000),
        "hold": _hold("captured", ends_at=_NOW, entry=REDEMPTION_ID),
        "voucher": _voucher(2000),
        "display": _display("captured"),
    },
    "release": {"hold": _hold("released", ends_at=_NOW)},
    "extend": {"hold": _hold()},
    "list_vouchers": {"data": [_whole_voucher()], "next_cursor": None},
    "create_voucher": _whole_voucher() | {"code": CODE},
    "read_voucher": _whole_voucher(),
    "change_voucher": _whole_voucher() | {"status": "suspended"},
    "refund": {"transaction": _transaction("refund", 1000, 3000, of=_NEXT_ID), "voucher": _voucher(3000)},
    "adjust": {"transaction": _transaction("adjust", -500, 4500, of=_NEXT_ID), "voucher": _voucher(4500)},
    "list_voucher_transactions": {"data": [_whole_transaction()], "next_cursor": None},
    "list_transactions": {"data": [_whole_transaction()], "next_cursor": None},
}

# What some codes carry beside the members that all have.
FURTHER: dict[str, dict[str, Any]] = {
    "insufficient_scope": {"needed_scopes": ["pos:redeem", "marketing:write"]},
    "insufficient_balance": {"available_minor": 2000},
    "hold_expired": {"expired_at": "2026-11-22T19:15:00+00:00"},
    "hold_closed": {"state": "released"},
    "transition_not_allowed": {"voucher_status": "suspended", "allowed": ["active", "cancelled"]},
    "voucher_inactive": {"voucher_status": "suspended"},
    "voucher_not_started": {"valid_from": "2026-12-01T00:00:00+00:00"},
    "voucher_expired": {"expires_at": "2025-12-31T22:59:59+00:00"},
    "voucher_depleted": {"available_minor": 0},
    "currency_mismatch": {"currency": "USD"},
    "refund_exceeds_redemption": {"refundable_minor": 1500},
}


def problem(code: str) -> dict[str, Any]:
    """A problem as a caller gets it, without the sentence for the till."""
    kind = problems.KINDS[code]
    wrong = [{"field": "amount_minor", "code": "required", "message": schemas.FIELD_CODES["required"]}]
    return FURTHER.get(code, {}) | {
        "type": problems.TYPE_BASE + code,
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "detail": kind.advice,
        "request_id": "5b0c7c1f9d2e4a63",
        "errors": wrong if code == "validation_failed" else [],
    }
