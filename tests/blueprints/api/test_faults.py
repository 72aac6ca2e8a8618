"""A voucher that must not pay: validate and redeem name the same fault, and of two the first."""

import itertools
import re
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

import database
from blueprints.api import problems
from domain import clock
from domain import vouchers as rules
from domain.validation import Step
from models import Merchant, Voucher
from tests import cast as casting
from tests import till as tills
from tests.till import Counter, Sell

FAULTS: dict[str, tuple[dict[str, object], str, str]] = {
    "pending": ({"status": "pending"}, "voucher_inactive", "Not active yet."),
    "suspended": ({"status": "suspended"}, "voucher_inactive", "Blocked. Do not redeem, call the owner."),
    "cancelled": ({"status": "cancelled"}, "voucher_inactive", "Cancelled. Do not redeem."),
    "early": ({"valid_from": "tomorrow"}, "voucher_not_started", "Valid from "),
    "late": ({"expires_at": "yesterday"}, "voucher_expired", "Expired on "),
    "held": ({"held_minor": 5000}, "voucher_depleted", "€50.00 is reserved for another bill."),
    "foreign": ({"currency": "CHF"}, "currency_mismatch", "This voucher is in CHF."),
    "personal": (
        {"is_transferable": False, "customer_id": "anna"},
        "voucher_not_transferable",
        "For one customer only.",
    ),
}


@pytest.mark.req("S2-12", "S2-13", "S2-14", "S2-15", "S2-16", "S2-17", "F52")
@pytest.mark.parametrize("fault", FAULTS)
def test_validate_and_redeem_name_the_same_fault(till: Counter, merchant: Merchant, sell: Sell, fault: str) -> None:
    columns, code_of_fault, words = FAULTS[fault]
    moments = {"tomorrow": clock.now() + timedelta(days=1), "yesterday": clock.now() - timedelta(days=1)}
    voucher, code = sell(merchant, **{name: moments.get(str(value), value) for name, value in columns.items()})
    told = till.validate(code)
    assert (told.status_code, told.json["valid"], told.json["error"]) == (200, False, code_of_fault)
    assert (told.json["calculation"], told.json["voucher"]["id"]) == (None, voucher.public_id)
    assert told.json["display"]["en"].startswith(words)
    refused = till.redeem(code)
    assert (refused.status_code, refused.json["code"]) == (problems.KINDS[code_of_fault].status, code_of_fault)
    assert refused.json["display"] == told.json["display"]
    assert refused.json["detail"] == told.json["message"]
    assert Voucher.get_by_id(voucher.id).version == 1


def test_a_used_up_voucher_says_when(till: Counter, merchant: Merchant, sell: Sell) -> None:
    _, code = sell(merchant)
    till.redeem(code, 5000)
    told = till.validate(code).json
    assert (told["error"], told["voucher"]["status"]) == ("voucher_depleted", "depleted")
    assert re.fullmatch(r"Used up on \d{1,2} \w{3} \d{4} at \d\d:\d\d\.", told["display"]["en"])
    assert re.fullmatch(r"Aufgebraucht am \d\d\.\d\d\.\d{4} um \d\d:\d\d\.", told["display"]["de"])


@pytest.mark.req("T2")
def test_an_unknown_code_another_merchants_and_another_modes_look_the_same(
    till: Counter, merchant: Merchant, other_merchant: Merchant, sell: Sell
) -> None:
    strangers = ["7KQ4-M2XD-9PVT-3HAF", sell(other_merchant)[1], sell(merchant, is_test=False)[1], "x", "💶" * 50]
    told = [till.validate(code).json for code in strangers]
    assert all(answer == told[0] for answer in told)
    assert (told[0]["error"], told[0]["voucher"]) == ("voucher_not_found", None)
    refused = [till.redeem(code).json | {"request_id": ""} for code in strangers]
    assert all(answer == refused[0] for answer in refused)
    assert (refused[0]["status"], refused[0]["code"]) == (404, "voucher_not_found")


@pytest.mark.req("T2")
def test_another_merchants_voucher_is_not_found_by_id_either(
    till: Counter, merchant: Merchant, other_merchant: Merchant, sell: Sell
) -> None:
    for voucher in (sell(other_merchant)[0], sell(merchant, is_test=False)[0]):
        path = f"/api/v1/vouchers/{voucher.public_id}/redeem"
        answer = till.post(path, {"amount_minor": 1, "currency": "EUR"}, key=voucher.public_id)
        assert (answer.status_code, answer.json["code"]) == (404, "voucher_not_found")
        assert Voucher.get_by_id(voucher.id).version == 1


def test_a_live_key_sees_live_vouchers_only(client: FlaskClient, merchant: Merchant, sell: Sell) -> None:
    live = tills.opened(client, merchant, is_test=False)
    assert live.validate(sell(merchant, is_test=False)[1]).json["valid"] is True
    assert live.validate(sell(merchant, is_test=True)[1]).json["error"] == "voucher_not_found"


# --- two faults at once ------------------------------------------------------------------------------------------


STEPS: dict[str, str] = {
    "lookup": "voucher_not_found",
    "status": "voucher_inactive",
    "expiry": "voucher_expired",
    "balance": "voucher_depleted",
    "currency": "currency_mismatch",
    "ownership": "voucher_not_transferable",
    "coverage": "insufficient_balance",
}


def _with_faults(owner: Merchant, stranger: Merchant, faults: set[str]) -> str:
    """The code of a voucher of 50.00 with these faults; the bill is of 30.00 or 60.00, in euros, for nobody."""
    seller = stranger if "lookup" in faults else owner
    voucher, code = casting.issue(seller, currency="CHF" if "currency" in faults else "EUR")
    if "balance" in faults:
        casting.hold(voucher, 5000)
    changes: dict[str, Any] = {}
    if "expiry" in faults:
        changes |= {"expires_at": clock.now() - timedelta(seconds=1)}
    if "ownership" in faults:
        changes |= {"is_transferable": False, "customer_id": "anna"}
    with database.transaction():
        rules.change(voucher.id, rules.Change(frozenset(changes), **changes), actor="test")
    if "status" in faults:
        casting.set_status(voucher, "suspended")
    return code


@pytest.mark.req("S2-11", "S2-12", "S2-13", "S2-14", "S2-15", "S2-16", "S2-17")
def test_of_two_faults_the_first_in_the_promised_order_is_told(
    till: Counter, merchant: Merchant, other_merchant: Merchant
) -> None:
    assert [str(step) for step in Step] == list(STEPS)
    for first, second in itertools.combinations(STEPS, 2):
        code = _with_faults(merchant, other_merchant, {first, second})
        # Of an empty voucher nothing is covered; else a bill above the balance is short.
        bill = {"amount_minor": 6000 if "coverage" in (first, second) else 3000, "mode": "exact"}
        before = tills.books()
        for answer in (till.redeem(code, **bill), till.hold(code, **bill)):
            assert answer.json["code"] == STEPS[first], (first, second)
        told = till.validate(code, bill["amount_minor"]).json
        results = {check["step"]: check["result"] for check in told["checks"]}
        assert told["error"] == STEPS[first]
        steps = list(STEPS)
        place = steps.index(first)
        assert [results[step] for step in steps] == ["pass"] * place + ["fail"] + ["skipped"] * (6 - place)
        assert tills.books() == before


@pytest.mark.req("S2-17")
def test_a_bill_above_the_balance_alone_is_short_for_exact_and_paid_in_part_else(
    till: Counter, merchant: Merchant, other_merchant: Merchant
) -> None:
    code = _with_faults(merchant, other_merchant, set())
    assert till.redeem(code, 6000, mode="exact").json["code"] == STEPS["coverage"]
    assert till.hold(code, 6000, mode="exact").json["code"] == STEPS["coverage"]
    assert till.validate(code, 6000).json["error"] is None
    assert till.redeem(code, 6000).json["calculation"]["remaining_order_amount_minor"] == 1000
