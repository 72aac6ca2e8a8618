"""What a till asks most: validate and redeem, and what they answer."""

import re
from datetime import timedelta

import flask
import pytest

from domain import clock
from domain.validation import Step
from models import IdempotencyRecord, Merchant, TimelineEntry, Voucher
from tests import till as tills
from tests.till import Counter, Sell


@pytest.mark.req("S2-11", "S2-18")
def test_a_good_voucher_validates_with_every_member_of_the_contract(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    voucher, code = sell(merchant, expires_at=clock.now() + timedelta(days=30))
    answer = till.validate(code)
    assert answer.status_code == 200
    assert set(answer.json) == {"valid", "error", "message", "display", "checks", "voucher", "calculation"}
    assert (answer.json["valid"], answer.json["error"]) == (True, None)
    assert answer.json["checks"] == [{"step": str(step), "result": "pass"} for step in Step]
    assert (answer.json["voucher"]["id"], answer.json["voucher"]["status"]) == (voucher.public_id, "active")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer.json["voucher"]["expires_at"])
    assert answer.json["calculation"] == {
        "requested_amount_minor": 3000,
        "applicable_amount_minor": 3000,
        "remaining_voucher_balance_minor": 2000,
        "remaining_order_amount_minor": 0,
        "covers_full_amount": True,
    }
    assert answer.json["display"]["en"] == "Covers €30.00. €20.00 stays on the voucher."
    assert answer.json["display"]["de"] == "Deckt 30,00\u00a0€. Danach bleiben 20,00\u00a0€ auf dem Gutschein."


def test_validating_books_nothing(till: Counter, merchant: Merchant, sell: Sell) -> None:
    voucher, code = sell(merchant)
    for _ in range(3):
        till.validate(code)
    assert (Voucher.get_by_id(voucher.id).version, IdempotencyRecord.select().count()) == (1, 0)


@pytest.mark.req("S2-06", "S2-18")
def test_a_redemption_answers_with_every_member_of_the_contract(till: Counter, merchant: Merchant, sell: Sell) -> None:
    voucher, code = sell(merchant)
    answer = till.redeem(code, 3000, reference="R-1")
    assert answer.status_code == 201
    assert set(answer.json) == {"transaction", "voucher", "calculation", "display"}
    booked = answer.json["transaction"]
    assert (booked["type"], booked["amount_minor"], booked["balance_after_minor"]) == ("redeem", -3000, 2000)
    assert (booked["voucher_id"], booked["reference"]) == (voucher.public_id, "R-1")
    assert (booked["terminal"], booked["location"]) == ("T1", "Bar")  # the key's own, when the body names none
    assert (answer.json["voucher"]["balance_minor"], answer.json["voucher"]["initial_balance_minor"]) == (2000, 5000)
    assert Voucher.get_by_id(voucher.id).balance_minor == 2000


def test_the_till_may_name_another_place_than_its_key(till: Counter, merchant: Merchant, sell: Sell) -> None:
    booked = till.redeem(sell(merchant)[1], terminal="T9", location="Garden").json["transaction"]
    assert (booked["terminal"], booked["location"]) == ("T9", "Garden")


@pytest.mark.req("S1-05", "S1-34")
def test_a_redemption_is_told_in_the_timeline(till: Counter, merchant: Merchant, sell: Sell) -> None:

    voucher, code = sell(merchant)
    till.redeem(code, 3000, reference="R-1")
    (told,) = TimelineEntry.select().where(TimelineEntry.voucher == voucher)
    assert (told.kind, told.actor) == ("voucher_redeemed", "key:Till 1")
    assert told.facts == {
        "amount_minor": 3000, "balance_after_minor": 2000, "reference": "R-1", "terminal": "T1", "location": "Bar",
    }  # fmt: skip


@pytest.mark.req("S2-19", "S2-20", "F50")
def test_a_bill_above_the_balance_takes_all_and_says_what_is_still_to_pay(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    _, code = sell(merchant, 5000)
    offered = till.validate(code, 6200).json
    assert offered["display"]["en"] == "Covers €50.00 of €62.00. The guest pays €12.00."
    answer = till.redeem(code, 6200).json
    assert answer["calculation"] == offered["calculation"]
    assert answer["calculation"]["remaining_order_amount_minor"] == 1200
    assert answer["voucher"]["status"] == "depleted"


@pytest.mark.req("F50")
def test_an_exact_redemption_beyond_the_balance_is_refused_with_what_is_there(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    voucher, code = sell(merchant, 5000)
    answer = till.redeem(code, 5001, mode="exact")
    assert (answer.status_code, answer.json["code"], answer.json["available_minor"]) == (
        409,
        "insufficient_balance",
        5000,
    )
    assert "€50.00" in answer.json["display"]["en"]
    assert Voucher.get_by_id(voucher.id).balance_minor == 5000
    assert till.redeem(code, 5000, mode="exact").status_code == 201


@pytest.mark.req("S2-03")
@pytest.mark.parametrize(("currency", "words"), [("JPY", "¥5,000"), ("KWD", "KWD\u00a05.000"), ("EUR", "€50.00")])
def test_currencies_with_no_and_three_decimals_are_told_right(
    till: Counter, merchant: Merchant, sell: Sell, currency: str, words: str
) -> None:
    _, code = sell(merchant, 5000, currency=currency)
    answer = till.validate(code, 9000, currency=currency)
    assert words in answer.json["display"]["en"]


def test_the_code_is_read_in_any_form_and_from_the_printed_address(
    till: Counter, merchant: Merchant, sell: Sell, app: flask.Flask
) -> None:
    voucher, code = sell(merchant)
    with app.app_context():
        token = app.extensions["outside"].vault.voucher_link(voucher.public_id)
    forms = [code, code.lower(), code.replace("-", ""), f"  {code} ", code.replace("-", " "), code.replace("0", "O")]
    forms += [token, f"https://shop.example/v/{token}"]
    assert [form for form in forms if till.validate(form).json["valid"] is not True] == []


def test_a_voucher_is_redeemed_by_its_id_too(till: Counter, merchant: Merchant, sell: Sell) -> None:
    voucher, _ = sell(merchant)
    body = {"amount_minor": 100, "currency": "EUR"}
    answer = till.post(f"/api/v1/vouchers/{voucher.public_id}/redeem", body, key="by-id")
    assert (answer.status_code, answer.json["voucher"]["balance_minor"]) == (201, 4900)
    for unknown in ("vch_" + "0" * 32, "vch_1", "vch_", "vch_%00", "vch_'--", "vch_" + "\u0660" * 32):
        refused = till.post(f"/api/v1/vouchers/{unknown}/redeem", body, key=f"by-id-{unknown.encode().hex()}")
        assert tills.refusal(refused) == (404, "voucher_not_found"), unknown
    for nowhere in ("1", "%00", "validate", "hld_" + "0" * 32):
        refused = till.post(f"/api/v1/vouchers/{nowhere}/redeem", body, key=nowhere)
        assert tills.refusal(refused) == (404, "not_found"), nowhere
