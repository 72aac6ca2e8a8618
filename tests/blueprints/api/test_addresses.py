"""Addresses, methods, and answers when something is wrong on our side."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

import database
from domain import clock
from models import IdempotencyRecord, Merchant, Voucher
from tests import till as tills
from tests.till import GOOD, REDEEM, VALIDATE, Counter, Sell


@pytest.mark.req("T42")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_post_is_taken_whatever_an_override_says(client: FlaskClient, till: Counter, method: str) -> None:
    headers = {"Authorization": f"Bearer {till.text}", "X-HTTP-Method-Override": "POST"}
    answer = client.open(REDEEM, method=method, json=GOOD, headers=headers)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.mimetype == "application/problem+json"
    if method != "HEAD":
        assert answer.json["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1", "/api/v1/", "/api/v2/vouchers/redeem", "/api/v1/vouchers/redeem/", "/api/x"]
)
def test_an_address_that_does_not_exist_answers_as_a_problem_too(client: FlaskClient, path: str) -> None:
    for answer in (client.get(path), client.post(path, json={})):
        tills.assert_contract(answer)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_the_request_id_is_ours_and_the_same_in_header_and_body(till: Counter) -> None:
    answer = till.post(VALIDATE, {}, headers={"X-Request-Id": "evil\u00ff"})
    assert answer.headers["X-Request-Id"] == answer.json["request_id"] != "evil\u00ff"
    assert till.post(VALIDATE, {}).json["request_id"] != answer.json["request_id"]


def test_a_database_that_cannot_be_reached_is_told_as_a_matter_of_seconds(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    _, code = sell(merchant)
    good = database.db.obj
    database.connect("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")
    try:
        answer = till.client.post(
            REDEEM,
            json={"code": code, "amount_minor": 1, "currency": "EUR"},
            headers={"Authorization": f"Bearer {till.text}", "Idempotency-Key": "k"},
        )
    finally:
        database.db.initialize(good)
    tills.assert_contract(answer)
    assert (answer.status_code, answer.json["code"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert till.redeem(code, 1, key="k").status_code == 201


def test_our_own_mistake_gives_an_id_and_no_detail(till: Counter, merchant: Merchant, sell: Sell) -> None:
    voucher, code = sell(merchant)
    Merchant.update(time_zone="Nowhere/Land").where(Merchant.id == merchant.id).execute()
    Voucher.update(expires_at=clock.now() - timedelta(days=1)).where(Voucher.id == voucher.id).execute()
    answer = till.redeem(code, key="k")
    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert "Nowhere" not in answer.get_data(as_text=True)
    assert IdempotencyRecord.select().count() == 0
