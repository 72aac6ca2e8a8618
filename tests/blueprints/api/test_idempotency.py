"""An Idempotency-Key is worth one answer, for ever."""

import pytest

from domain import idempotency
from domain.redemptions import operation_key
from models import Entry, Merchant, Voucher
from tests.till import REDEEM, Counter, Sell


def _redemptions() -> int:
    return int(Entry.select().where(Entry.kind == "redeem").count())


@pytest.mark.req("F45")
def test_the_same_call_again_gets_the_same_bytes_and_books_nothing(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    voucher, code = sell(merchant)
    first, second = till.redeem(code, key="same"), till.redeem(code, key="same")
    assert (first.status_code, first.data, first.mimetype) == (second.status_code, second.data, second.mimetype)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (Voucher.get_by_id(voucher.id).balance_minor, _redemptions()) == (2000, 1)
    assert Entry.get(Entry.kind == "redeem").operation_key == operation_key(idempotency.scoped("same", is_test=True))


@pytest.mark.req("F45")
def test_the_order_of_fields_is_no_difference_but_their_values_are(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    _, code = sell(merchant)
    till.redeem(code, 100, key="same")
    turned = {"currency": "EUR", "amount_minor": 100, "code": code}
    assert till.post(REDEEM, turned, key="same").headers["Idempotent-Replayed"] == "true"
    for changes in ({"amount_minor": 101}, {"mode": "exact"}, {"reference": "R"}, {"code": code + " "}):
        answer = till.post(REDEEM, turned | changes, key="same")
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_conflict")
    assert _redemptions() == 1


@pytest.mark.req("F45")
def test_a_refusal_is_replayed_even_when_the_voucher_would_pay_by_now(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    voucher, code = sell(merchant, status="suspended")
    first = till.redeem(code, key="same")
    Voucher.update(status="active").where(Voucher.id == voucher.id).execute()
    second = till.redeem(code, key="same")
    assert (second.status_code, second.data, second.mimetype) == (422, first.data, "application/problem+json")
    assert second.headers["Idempotent-Replayed"] == "true"
    assert till.redeem(code, key="fresh").status_code == 201


@pytest.mark.req("F45")
def test_a_key_of_one_route_does_not_open_another(till: Counter, merchant: Merchant, sell: Sell) -> None:
    voucher, code = sell(merchant)
    till.redeem(code, 100, key="same")
    path = f"/api/v1/vouchers/{voucher.public_id}/redeem"
    answer = till.post(path, {"amount_minor": 100, "currency": "EUR"}, key="same")
    assert answer.json["code"] == "idempotency_conflict"


@pytest.mark.req("F45")
def test_a_request_that_was_refused_before_its_booking_does_not_use_up_its_key(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    _, code = sell(merchant)
    assert till.redeem(code, "30", key="same").status_code == 422
    assert till.redeem(code, 30, key="same").status_code == 201


@pytest.mark.req("F45")
@pytest.mark.parametrize("bad", [None, "", " ", "x" * 256, "schlüssel", "a\tb", "\x7f"])
def test_a_missing_or_unreadable_idempotency_key_is_named(
    till: Counter, merchant: Merchant, sell: Sell, bad: str | None
) -> None:
    _, code = sell(merchant)
    headers = {} if bad is None else {"Idempotency-Key": bad}
    answer = till.post(REDEEM, {"code": code, "amount_minor": 1, "currency": "EUR"}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_request")
    assert "Idempotency-Key" in answer.json["detail"]
    assert _redemptions() == 0


@pytest.mark.req("F45")
def test_any_printable_key_of_up_to_255_characters_works(till: Counter, merchant: Merchant, sell: Sell) -> None:
    _, code = sell(merchant)
    for key in ("x" * 255, "!", "'; DROP TABLE entries;--", "{}%_\\"):
        assert till.redeem(code, 1, key=key).status_code == 201
