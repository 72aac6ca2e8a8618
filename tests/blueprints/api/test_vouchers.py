"""Types, statuses, transferability, money: what may become of a voucher, and what a refund or a correction may do."""

from datetime import timedelta
from typing import Any

import pytest

from domain import clock
from domain.states import VoucherType
from models import Merchant
from tests import till as tills
from tests.till import Counter, Scene


@pytest.mark.req("S2-02")
def test_each_of_the_five_types_can_be_made_and_no_other(office: Counter) -> None:
    assert list(VoucherType) == ["gift_card", "store_credit", "loyalty_reward", "compensation", "referral"]
    for each in VoucherType:
        assert office.create(type=str(each)).json["type"] == each
    for other in ("Gift_Card", "coupon", "", "gift_card "):
        assert tills.errors_of(office.create(type=other)) == [("type", "not_allowed")]


@pytest.mark.req("S2-01")
@pytest.mark.parametrize("method", ["DELETE", "PUT"])
def test_no_voucher_is_ever_deleted_or_replaced(office: Counter, scene: Scene, method: str) -> None:
    for path in ("/vouchers", f"/vouchers/{scene.voucher.public_id}", "/transactions"):
        assert office.open(method, tills.BASE + path, json={}).status_code == 405


@pytest.mark.req("S2-05")
def test_the_sum_of_a_vouchers_transactions_is_its_balance_after_every_booking(office: Counter, scene: Scene) -> None:
    till, code = scene.till, scene.code

    def assert_sum() -> None:
        data = office.call("list_voucher_transactions", voucher_id=scene.voucher.public_id).json["data"]
        shown = office.read(scene.voucher).json["balance_minor"]
        assert sum(each["amount_minor"] for each in data) == shown == data[0]["balance_after_minor"]

    first = till.redeem(code, 1000, key="one").json["transaction"]
    assert_sum()
    office.refund(first, 400)
    assert_sum()
    till.reverse("one")
    assert_sum()
    till.capture(till.hold(code, 700).json["hold"]["id"], amount_minor=300)
    assert_sum()
    office.adjust(scene.voucher, -900)
    assert_sum()
    till.redeem(code, 99999)
    assert_sum()
    office.adjust(scene.voucher, 1)
    assert_sum()


@pytest.mark.req("S2-06", "S2-07")
def test_a_refund_is_bound_to_its_redemption_and_never_more_than_it(
    scene: Scene, office: Counter, merchant: Merchant
) -> None:
    one = scene.till.redeem(scene.code, 1000).json["transaction"]
    scene.till.redeem(scene.code, 2000)
    above = office.refund(one, 1001)
    assert tills.refusal(above) == (422, "refund_exceeds_redemption")
    assert (above.json["refundable_minor"], above.json["display"]["en"]) == (
        1000,
        "At most €10.00 can go back to the voucher.",
    )
    assert office.refund(one, 600).status_code == 201
    assert office.refund(one, 401).json["refundable_minor"] == 400
    assert office.refund(one, 400).status_code == 201
    assert office.refund(one, 1).json["refundable_minor"] == 0
    assert tills.balance(scene.voucher) == 3000
    issue = {"id": scene.voucher.issue.public_id, "voucher_id": scene.voucher.public_id}
    elsewhere, code = scene.sell(merchant)
    foreign = scene.till.redeem(code, 500).json["transaction"] | {"voucher_id": scene.voucher.public_id}
    for nothing in (issue, foreign, one | {"id": "txn_" + "0" * 32}, one | {"id": "x"}, one | {"id": ""}):
        assert tills.errors_of(office.refund(nothing, 1)) == [("transaction_id", "not_a_redemption")], nothing


@pytest.mark.req("S2-07")
@pytest.mark.parametrize("status", ["cancelled", "suspended"])
def test_a_refund_is_owed_in_every_status_and_revives_none(scene: Scene, office: Counter, status: str) -> None:
    booked = scene.till.redeem(scene.code, 5000).json["transaction"]
    office.change(scene.voucher, status=status)
    answer = office.refund(booked, 5000)
    assert (answer.status_code, answer.json["voucher"]["status"]) == (201, status)
    assert scene.till.validate(scene.code).json["error"] == "voucher_inactive"


@pytest.mark.req("S2-08")
def test_an_adjustment_says_why_takes_no_held_money_and_ends_with_the_cancellation(
    scene: Scene, office: Counter
) -> None:
    assert tills.errors_of(office.adjust(scene.voucher, 0)) == [("amount_minor", "zero")]
    for empty in ("", "   "):
        assert tills.errors_of(office.adjust(scene.voucher, 1, reason=empty)) == [("reason", "required")]
    missing = office.call("adjust", {"amount_minor": 1}, voucher_id=scene.voucher.public_id)
    assert tills.errors_of(missing) == [("reason", "required")]
    scene.till.hold(scene.code, 4000)
    refused = office.adjust(scene.voucher, -1001)
    assert tills.refusal(refused) == (409, "insufficient_balance")
    assert refused.json["available_minor"] == 1000
    huge = office.adjust(scene.voucher, 10**15)
    assert tills.errors_of(huge) == [("amount_minor", "too_large")]
    office.change(scene.voucher, status="cancelled")
    assert tills.refusal(office.adjust(scene.voucher, 1)) == (422, "voucher_inactive")
    assert tills.balance(scene.voucher) == 5000


@pytest.mark.req("S2-10")
def test_all_six_statuses_are_shown_and_only_legal_moves_are_made(
    scene: Scene, office: Counter, merchant: Merchant
) -> None:
    shown = {"active": scene.voucher}
    for status in ("pending", "suspended", "cancelled"):
        shown[status], _ = scene.sell(merchant, status=status)
    shown["expired"], _ = scene.sell(merchant, expires_at=clock.now() - timedelta(days=1))
    shown["depleted"], code = scene.sell(merchant)
    scene.till.redeem(code, 5000)
    for status, voucher in shown.items():
        assert office.read(voucher).json["status"] == status
    refused = office.change(shown["cancelled"], status="active")
    assert tills.refusal(refused) == (409, "transition_not_allowed")
    assert (refused.json["status"], refused.json["allowed"]) == (409, [])
    for never in ("depleted", "expired", "", "ACTIVE", 1, True):
        assert tills.refusal(office.change(shown["active"], status=never)) == (422, "validation_failed")
    assert office.change(shown["pending"], status="active").json["status"] == "active"
    assert tills.refusal(office.change(shown["pending"], status="pending")) == (409, "transition_not_allowed")


@pytest.mark.req("S2-10")
def test_a_cancellation_frees_what_was_held_and_the_hold_pays_no_more(scene: Scene, office: Counter) -> None:
    hold = scene.till.hold(scene.code, 3000).json["hold"]
    answer = office.change(scene.voucher, status="cancelled").json
    assert (answer["balance_minor"], answer["available_minor"]) == (5000, 5000)
    refused = scene.till.capture(hold["id"])
    assert tills.refusal(refused) == (422, "voucher_inactive")
    assert refused.json["display"]["en"] == "Cancelled. Do not redeem."


def test_a_change_never_touches_the_balance_and_null_clears_owner_and_dates(scene: Scene, office: Counter) -> None:
    for field in ("balance_minor", "initial_balance_minor", "currency", "type", "code", "version", "held_minor"):
        assert tills.errors_of(office.change(scene.voucher, **{field: 1})) == [(field, "unknown_field")]
    ends = "2090-01-02T03:04:05.000Z"
    office.change(scene.voucher, customer_id="anna", valid_from="2020-01-01T00:00:00Z", expires_at=ends)
    cleared = office.change(scene.voucher, customer_id=None, valid_from=None, expires_at=None).json
    assert (cleared["customer_id"], cleared["valid_from"], cleared["expires_at"]) == (None, None, None)
    kept = office.change(scene.voucher, status=None, is_transferable=None, metadata=None).json
    assert kept == cleared
    for wrong in ({"valid_from": ends, "expires_at": ends}, {"valid_from": "2091-01-01T00:00:00Z", "expires_at": ends}):
        assert tills.errors_of(office.change(scene.voucher, **wrong)) == [("expires_at", "not_after_start")]


@pytest.mark.req("S2-04", "S2-16")
def test_a_voucher_that_is_not_transferable_pays_its_owner_alone(office: Counter, till: Counter) -> None:
    made = office.create(customer_id="anna", is_transferable=False).json
    assert made["is_transferable"] is False
    for customer in ("ben", "ANNA", "", None):
        assert till.validate(made["code"], customer_id=customer).json["error"] == "voucher_not_transferable"
        assert tills.refusal(till.redeem(made["code"], customer_id=customer))[1] == "voucher_not_transferable"
        assert tills.refusal(till.hold(made["code"], customer_id=customer))[1] == "voucher_not_transferable"
    assert till.redeem(made["code"], customer_id="anna").status_code == 201


@pytest.mark.req("S2-03")
@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD"])
def test_balance_and_currency_stand_in_every_answer(office: Counter, till: Counter, currency: str) -> None:
    made = office.create(currency=currency, initial_balance_minor=1005).json
    body = {"code": made["code"], "amount_minor": 5, "currency": currency}
    answers: list[Any] = [made, till.call("lookup", {"code": made["code"]}).json]
    answers += [till.call(name, body).json["voucher"] for name in ("validate", "redeem", "hold")]
    answers.append(office.call("list_vouchers").json["data"][0])
    assert [each["currency"] for each in answers] == [currency] * 6
    assert [each["balance_minor"] for each in answers] == [1005, 1005, 1005, 1000, 1000, 1000]


@pytest.mark.req("S2-20")
def test_what_remains_is_used_later_by_code_by_id_and_by_hold(scene: Scene) -> None:
    assert scene.till.redeem(scene.code, 1000).json["voucher"]["available_minor"] == 4000
    money = {"amount_minor": 1000, "currency": "EUR"}
    assert scene.till.call("redeem_by_id", money, voucher_id=scene.voucher.public_id).status_code == 201
    held = scene.till.hold(scene.code, 9000).json
    assert (held["hold"]["amount_minor"], held["calculation"]["remaining_order_amount_minor"]) == (3000, 6000)
    assert scene.till.validate(scene.code).json["error"] == "voucher_depleted"
    assert scene.till.capture(held["hold"]["id"], amount_minor=2000).json["voucher"]["available_minor"] == 1000
    assert scene.till.redeem(scene.code, 1000, mode="exact").json["voucher"]["status"] == "depleted"
