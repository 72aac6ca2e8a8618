"""The JSON API over HTTP: who may call, what is read, what is answered, and how it refuses."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import database
from blueprints.api import bodies, problems, schemas, wording
from domain import api_keys, clock, ledger, money, refusals
from domain.api_keys import Scope
from domain.validation import Step
from effects import voucher as vouchers
from models import ApiKey, Entry, IdempotencyRecord, Merchant, Voucher

VALIDATE, REDEEM = "/api/v1/vouchers/validate", "/api/v1/vouchers/redeem"
TILL = (Scope.POS_VALIDATE, Scope.POS_REDEEM)
VOUCHER_MEMBERS = {
    "id", "code_last4", "type", "status", "balance_minor", "available_minor", "initial_balance_minor", "currency",
    "valid_from", "expires_at", "is_transferable",
}  # fmt: skip
TRANSACTION_MEMBERS = {
    "id", "voucher_id", "type", "amount_minor", "balance_after_minor", "currency", "reference", "location", "terminal",
    "created_at",
}  # fmt: skip
CALCULATION_MEMBERS = {
    "requested_amount_minor", "applicable_amount_minor", "remaining_voucher_balance_minor",
    "remaining_order_amount_minor", "covers_full_amount",
}  # fmt: skip
PROBLEM_MEMBERS = {"type", "title", "status", "code", "detail", "request_id", "errors"}


@dataclass
class Counter:
    """A till at one merchant: its key, and calls with it."""

    client: FlaskClient
    key: ApiKey
    text: str
    operations: int = 0

    def post(
        self,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> TestResponse:
        sent = {"Authorization": f"Bearer {self.text}"} | ({"Idempotency-Key": key} if key else {}) | (headers or {})
        if "data" not in options:
            options["json"] = body
        response = self.client.post(path, headers=sent, **options)
        _assert_house_rules(response)
        return response

    def validate(self, code: str, amount_minor: object = 3000, **more: object) -> TestResponse:
        return self.post(VALIDATE, {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | more)

    def redeem(self, code: str, amount_minor: object = 3000, *, key: str | None = None, **more: object) -> TestResponse:
        self.operations += 1
        body = {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | more
        return self.post(REDEEM, body, key=key or f"op-{self.operations}")


def _assert_house_rules(response: TestResponse) -> None:
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    assert "Set-Cookie" not in response.headers
    if response.status_code >= 400:
        assert response.mimetype == "application/problem+json"
        assert set(response.json) >= PROBLEM_MEMBERS
        assert response.json["status"] == response.status_code
        assert response.json["code"] in problems.CODES
        assert response.json["type"] == f"/docs/api/errors#{response.json['code']}"
    else:
        assert response.mimetype == "application/json"


def _open(
    client: FlaskClient, merchant: Merchant, scopes: tuple[Scope, ...] = TILL, *, is_test: bool = True
) -> Counter:
    key, text = api_keys.create(merchant, name="Till 1", scopes=scopes, terminal="T1", location="Bar", is_test=is_test)
    return Counter(client, key, text)


@pytest.fixture
def till(client: FlaskClient, merchant: Merchant) -> Counter:
    """A till of Café Alba."""
    return _open(client, merchant)


@pytest.fixture
def sell(app: flask.Flask) -> Callable[..., tuple[Voucher, str]]:
    """Issue a voucher of 50.00 and give back the voucher and its code as printed; further columns by name."""

    def issue(
        merchant: Merchant, value_minor: int = 5000, *, is_test: bool = True, **columns: object
    ) -> tuple[Voucher, str]:
        currency = str(columns.pop("currency", "EUR"))
        with app.app_context():
            code = vouchers.mint(merchant)
            with database.transaction():
                voucher = ledger.issue(
                    merchant,
                    value_minor=value_minor,
                    currency=currency,
                    code=code,
                    operation_key=f"issue:{code.public_id}",
                    actor="shop",
                    is_test=is_test,
                )
            if columns:
                Voucher.update(**columns).where(Voucher.id == voucher.id).execute()
            return Voucher.get_by_id(voucher.id), vouchers.read_code(voucher)

    return issue


Sell = Callable[..., tuple[Voucher, str]]


def _entries() -> int:
    count: int = Entry.select().where(Entry.kind == "redeem").count()
    return count


# --- answers -----------------------------------------------------------------------------------------------------


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
    assert set(answer.json["voucher"]) == VOUCHER_MEMBERS
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
    assert set(answer.json) == {"transaction", "voucher", "calculation"}
    booked = answer.json["transaction"]
    assert set(booked) == TRANSACTION_MEMBERS
    assert (booked["type"], booked["amount_minor"], booked["balance_after_minor"]) == ("redeem", -3000, 2000)
    assert (booked["voucher_id"], booked["reference"]) == (voucher.public_id, "R-1")
    assert (booked["terminal"], booked["location"]) == ("T1", "Bar")  # the key's own, when the body names none
    assert set(answer.json["voucher"]) == VOUCHER_MEMBERS
    assert (answer.json["voucher"]["balance_minor"], answer.json["voucher"]["initial_balance_minor"]) == (2000, 5000)
    assert set(answer.json["calculation"]) == CALCULATION_MEMBERS
    assert Voucher.get_by_id(voucher.id).balance_minor == 2000


def test_the_till_may_name_another_place_than_its_key(till: Counter, merchant: Merchant, sell: Sell) -> None:
    booked = till.redeem(sell(merchant)[1], terminal="T9", location="Garden").json["transaction"]
    assert (booked["terminal"], booked["location"]) == ("T9", "Garden")


@pytest.mark.req("S1-05", "S1-34")
def test_a_redemption_is_told_in_the_timeline(till: Counter, merchant: Merchant, sell: Sell) -> None:
    from models import TimelineEntry

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
    for unknown in ("vch_" + "0" * 32, "1", "%00", "validate", "'--", "\u0660" * 36):
        refused = till.post(f"/api/v1/vouchers/{unknown}/redeem", body, key=f"by-id-{unknown.encode().hex()}")
        assert (refused.status_code, refused.json["code"]) == (404, "voucher_not_found")


# --- faults of the voucher ---------------------------------------------------------------------------------------

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
    live = _open(client, merchant, is_test=False)
    assert live.validate(sell(merchant, is_test=False)[1]).json["valid"] is True
    assert live.validate(sell(merchant, is_test=True)[1]).json["error"] == "voucher_not_found"


# --- idempotency -------------------------------------------------------------------------------------------------


@pytest.mark.req("F45")
def test_the_same_call_again_gets_the_same_bytes_and_books_nothing(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    voucher, code = sell(merchant)
    first, second = till.redeem(code, key="same"), till.redeem(code, key="same")
    assert (first.status_code, first.data, first.mimetype) == (second.status_code, second.data, second.mimetype)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (Voucher.get_by_id(voucher.id).balance_minor, _entries()) == (2000, 1)
    assert Entry.get(Entry.kind == "redeem").operation_key == "redeem:same"


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
    assert _entries() == 1


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
    assert _entries() == 0


@pytest.mark.req("F45")
def test_any_printable_key_of_up_to_255_characters_works(till: Counter, merchant: Merchant, sell: Sell) -> None:
    _, code = sell(merchant)
    for key in ("x" * 255, "!", "'; DROP TABLE entries;--", "{}%_\\"):
        assert till.redeem(code, 1, key=key).status_code == 201


# --- who may call ------------------------------------------------------------------------------------------------


@pytest.mark.req("T26")
@pytest.mark.parametrize("path", [VALIDATE, REDEEM, "/api/v1/vouchers/vch_0/redeem"])
def test_without_a_key_nothing_opens(client: FlaskClient, till: Counter, path: str) -> None:
    text = till.text
    tries: list[dict[str, Any]] = [
        {},
        {"query_string": {"api_key": text, "access_token": text, "key": text}},
        {"headers": {"Cookie": f"api_key={text}; Authorization=Bearer {text}; session={text}"}},
        {"headers": {"X-Api-Key": text}},
        {"headers": {"Authorization": text}},
        {"headers": {"Authorization": f"Basic {text}"}},
        {"headers": {"Authorization": f"Bearer {text}x"}},
        {"headers": {"Authorization": "Bearer"}},
        {"headers": {"Authorization": f"Bearer {text}, Bearer {text}"}},
        {"headers": {"Authorization": "Bearer gv_test_" + "0" * 12 + "_" + "A" * 43}},
        {"headers": {"Authorization": "Bearer \xff\xfe"}},
    ]
    for attempt in tries:
        answer = client.post(path, json={}, **attempt)
        _assert_house_rules(answer)
        assert (answer.status_code, answer.json["code"]) == (401, "invalid_api_key"), attempt
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert text not in answer.get_data(as_text=True)


@pytest.mark.req("T26")
def test_a_revoked_and_an_expired_key_are_refused_like_an_unknown_one(
    till: Counter, merchant: Merchant, sell: Sell
) -> None:
    _, code = sell(merchant)
    assert till.validate(code).status_code == 200
    ApiKey.update(expires_at=clock.now()).where(ApiKey.id == till.key.id).execute()
    expired = till.validate(code)
    api_keys.revoke(till.key)
    revoked = till.validate(code)
    assert (expired.status_code, revoked.status_code) == (401, 401)
    assert expired.json | {"request_id": ""} == revoked.json | {"request_id": ""}


@pytest.mark.req("S2-09")
@pytest.mark.parametrize(
    ("scopes", "may_validate", "may_redeem"),
    [
        ((Scope.POS_VALIDATE,), True, False),
        ((Scope.POS_REDEEM,), False, True),
        ((Scope.MARKETING_READ,), True, False),
        ((Scope.MARKETING_WRITE,), False, True),
    ],
)
def test_a_key_does_what_its_scopes_say(
    client: FlaskClient, merchant: Merchant, sell: Sell, scopes: tuple[Scope, ...], may_validate: bool, may_redeem: bool
) -> None:
    counter, (_, code) = _open(client, merchant, scopes), sell(merchant)
    for answer, is_allowed, names in (
        (counter.validate(code), may_validate, ("pos:validate", "marketing:read")),
        (counter.redeem(code), may_redeem, ("pos:redeem", "marketing:write")),
    ):
        if is_allowed:
            assert answer.status_code in (200, 201)
            continue
        assert (answer.status_code, answer.json["code"]) == (403, "insufficient_scope")
        assert all(name in answer.json["detail"] for name in names)
        assert answer.json["needed_scopes"] == list(names)
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert _entries() == int(may_redeem)


def test_the_use_of_a_key_is_remembered(till: Counter, merchant: Merchant, sell: Sell) -> None:
    _, code = sell(merchant)
    till.validate(code)
    first = ApiKey.get_by_id(till.key.id).last_used_at
    till.redeem(code)
    assert first is not None and ApiKey.get_by_id(till.key.id).last_used_at == first
    clock.move(timedelta(seconds=61))
    till.validate(code)
    assert ApiKey.get_by_id(till.key.id).last_used_at > first


@pytest.fixture
def fresh_limits() -> Iterator[None]:
    """Nobody has guessed before, and nobody after has."""
    from blueprints import limits

    limits.limiter.reset()
    yield
    limits.limiter.reset()


@pytest.mark.req("T1", "T32")
def test_a_till_that_works_is_never_slowed_down_but_one_that_guesses_codes_is(
    till: Counter, merchant: Merchant, sell: Sell, fresh_limits: None
) -> None:
    _, code = sell(merchant)
    assert {till.validate(code).status_code for _ in range(250)} == {200}
    # The same key in other letters of the scheme is the same guesser.
    schemes = ("Bearer", "bearer", "BEARER", "bEaReR")
    answers = [
        till.post(VALIDATE, GOOD, headers={"Authorization": f"{schemes[n % 4]} {till.text}"}) for n in range(201)
    ]
    assert {answer.status_code for answer in answers[:200]} == {200}
    assert (answers[200].status_code, answers[200].json["code"]) == (429, "rate_limited")
    assert int(answers[200].headers["Retry-After"]) >= 1


@pytest.mark.req("T1", "T26", "T32")
def test_whoever_tries_keys_is_slowed_down_whatever_keys_they_are(
    client: FlaskClient, merchant: Merchant, fresh_limits: None
) -> None:
    answers = [
        client.post(VALIDATE, json={}, headers={"Authorization": f"Bearer gv_test_{n:012x}_{'a' * 43}"})
        for n in range(61)
    ]
    assert {answer.status_code for answer in answers[:60]} == {401}
    assert answers[60].status_code == 429


# --- what is read ------------------------------------------------------------------------------------------------

GOOD: dict[str, object] = {"code": "7KQ4-M2XD-9PVT-3HAF", "amount_minor": 3000, "currency": "EUR"}

MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"code=1&amount_minor=50",
    "half": b'{"code": "x", ',
    "two objects": b"{}{}",
    "a list": b"[]",
    "a text": b'"code"',
    "null": b"null",
    "a number": b"5",
    "100 kB deep, cut": b"[" * 60_000,
    "deep objects": b'{"a":' * 8_000 + b"1" + b"}" * 8_000,
    "one level too deep": b'{"a":' * 21 + b"1" + b"}" * 21,
    "not a number": b'{"amount_minor": NaN}',
    "infinite": b'{"amount_minor": Infinity}',
    "minus infinite": b'{"amount_minor": -Infinity}',
    "too large a float": b'{"amount_minor": 1e400}',
    "5,000 digits": b'{"amount_minor": ' + b"9" * 5_000 + b"}",
    "a key twice": b'{"amount_minor": 1, "amount_minor": 5000}',
    "a key twice, disguised": b'{"code": "a", "\\u0063ode": "b"}',
    "half a surrogate": b'{"code": "\\ud800"}',
    "half a surrogate as a key": b'{"\\udfff": 1}',
    "NUL": b'{"code": "a\\u0000b"}',
    "a raw NUL": b'{"code": "a\x00b"}',
    "bytes that are no UTF-8": b'{"code": "\xff"}',
    "UTF-16": '{"code": "a"}'.encode("utf-16"),
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "a comment": b'{"code": "a" /* b */}',
    "single quotes": b"{'code': 'a'}",
    "other scripts' digits": '{"amount_minor": ٥٠}'.encode(),
    "a leading zero": b'{"amount_minor": 050}',
    "a plus": b'{"amount_minor": +50}',
    "an underscore": b'{"amount_minor": 5_0}',
}


@pytest.mark.req("T31", "T4", "M16")
@pytest.mark.parametrize("path", [VALIDATE, REDEEM])
def test_a_body_that_is_no_clean_json_object_is_malformed(till: Counter, path: str) -> None:
    for name, raw in MALFORMED.items():
        answer = till.post(path, data=raw, content_type="application/json", key="k")
        assert (name, answer.status_code, answer.json["code"]) == (name, 400, "malformed_request")


@pytest.mark.req("T31")
def test_twenty_levels_are_read_and_then_refused_as_unknown_fields(till: Counter) -> None:
    raw = b'{"a":' * 20 + b"1" + b"}" * 20
    answer = till.post(VALIDATE, data=raw, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")


@pytest.mark.req("T31")
def test_a_large_body_is_refused_by_its_size(till: Counter) -> None:
    room = bodies.SIZE_LIMIT - len(b'{"code":""}')
    fits = till.post(VALIDATE, data=b'{"code":"' + b"x" * room + b'"}', content_type="application/json")
    assert fits.status_code == 422
    over = till.post(VALIDATE, data=b'{"code":"' + b"x" * (room + 1) + b'"}', content_type="application/json")
    assert (over.status_code, over.json["code"]) == (413, "body_too_large")
    huge = till.post(VALIDATE, data=b"[" * 5_000_000, content_type="application/json")
    assert huge.status_code == 413


@pytest.mark.req("T31")
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_only_json_in_utf_8_is_taken(till: Counter, headers: dict[str, str]) -> None:
    answer = till.post(VALIDATE, data=json.dumps(GOOD).encode(), headers=headers)
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


def test_json_with_a_named_charset_is_taken(till: Counter) -> None:
    for kind in ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON;charset=UTF-8"):
        assert till.post(VALIDATE, data=json.dumps(GOOD).encode(), headers={"Content-Type": kind}).status_code == 200


FIELD_FAULTS: list[tuple[str, object, str]] = [
    *(
        ("amount_minor", value, "not_an_integer")
        for value in ("50", 50.0, 50.005, 1e2, True, False, None, [50], {"$gt": 0})
    ),
    *(("amount_minor", value, "not_an_integer") for value in ("٥٠", "５０", "50,00", "1e2", "")),
    *(("amount_minor", value, "too_small") for value in (0, -1, -50, -(2**63))),
    *(("amount_minor", value, "too_large") for value in (money.MAX_MINOR + 1, 2**63, 2**64, 10**400)),
    *(
        ("currency", value, "unknown_currency")
        for value in ("eur", "EU", "", "XXX", "€", "EURO", " EUR", "EUR\n", "ＥＵＲ")
    ),
    *(("currency", value, "not_text") for value in (978, None, ["EUR"], True)),
    ("code", "", "too_short"),
    ("code", "x" * 201, "too_long"),
    *(("code", value, "not_text") for value in (1234567890123456, None, ["x"], {"a": 1}, True)),
    *(("customer_id", value, "control_character") for value in ("a\nb", "\x1b[31m", "\x7f", "\x85")),
    ("customer_id", "x" * 256, "too_long"),
    ("customer_id", 7, "not_text"),
]


@pytest.mark.req("T4", "F50")
def test_each_value_that_cannot_be_is_refused_by_its_field(till: Counter) -> None:
    for field, value, code in FIELD_FAULTS:
        for path in (VALIDATE, REDEEM):
            answer = till.post(path, GOOD | {field: value}, key="k")
            assert (answer.status_code, answer.json["code"]) == (422, "validation_failed"), (field, value)
            assert [(e["field"], e["code"]) for e in answer.json["errors"]] == [(field, code)], (field, value)
            assert answer.json["errors"][0]["message"] == schemas.FIELD_CODES[code]
    assert IdempotencyRecord.select().count() == 0


@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "field", ["balance_minor", "status", "merchant_id", "id", "version", "is_admin", "is_test", "__proto__"]
)
def test_a_field_that_does_not_exist_is_refused_and_never_ignored(
    till: Counter, merchant: Merchant, sell: Sell, field: str
) -> None:
    voucher, code = sell(merchant)
    for answer in (till.validate(code, **{field: 1}), till.redeem(code, **{field: 1})):
        assert answer.status_code == 422
        assert [(e["field"], e["code"]) for e in answer.json["errors"]] == [(field, "unknown_field")]
    assert Voucher.get_by_id(voucher.id).version == 1


def test_every_missing_field_is_named_at_once(till: Counter) -> None:
    answer = till.post(REDEEM, {}, key="k")
    assert {(e["field"], e["code"]) for e in answer.json["errors"]} == {
        ("code", "required"), ("amount_minor", "required"), ("currency", "required"),
    }  # fmt: skip


def test_a_thousand_wrong_fields_get_a_short_answer(till: Counter) -> None:
    answer = till.post(VALIDATE, {f"f{number}" + "x" * 20: 1 for number in range(1000)})
    assert (answer.status_code, len(answer.json["errors"])) == (422, 20)


@pytest.mark.parametrize("mode", ["", "EXACT", "all", 1, None, True])
def test_the_mode_is_one_of_two(till: Counter, merchant: Merchant, sell: Sell, mode: object) -> None:
    answer = till.redeem(sell(merchant)[1], mode=mode)
    assert [(e["field"], e["code"]) for e in answer.json["errors"]] == [("mode", "not_allowed")]


@pytest.mark.req("T30")
@pytest.mark.parametrize(
    "code", ["' OR 1=1--", "%", "_" * 16, "\\", "a\nb\t", "\u202e", "<script>", "\U0010ffff", "../v/x"]
)
def test_a_strange_code_is_just_not_found(till: Counter, merchant: Merchant, sell: Sell, code: str) -> None:
    sell(merchant)
    assert till.validate(code).json["error"] == "voucher_not_found"
    assert till.redeem(code).status_code == 404


# --- addresses and methods ---------------------------------------------------------------------------------------


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
        _assert_house_rules(answer)
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
    _assert_house_rules(answer)
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


# --- the catalogues ----------------------------------------------------------------------------------------------


def test_every_refusal_of_a_voucher_has_a_kind_with_the_same_status_and_title() -> None:
    named = [refusals.VoucherNotFound, refusals.VoucherInactive, refusals.VoucherNotStarted, refusals.VoucherExpired]
    named += [refusals.VoucherDepleted, refusals.CurrencyMismatch, refusals.VoucherNotTransferable]
    named += [refusals.InsufficientBalance, refusals.IdempotencyConflict, refusals.RequestInProgress]
    for refusal in named:
        kind = problems.KINDS[refusal.code]
        assert (kind.status, kind.title) == (refusal.status, refusal.title)
    assert set(problems.VALIDATION_CODES) == {refusal.code for refusal in named[:7]}


def test_every_sentence_exists_in_both_languages_with_the_same_facts() -> None:
    for outcome, sentences in wording.SENTENCES.items():
        assert set(sentences) == {"de", "en"}, outcome
        assert wording.fields_of(sentences["de"]) == wording.fields_of(sentences["en"]), outcome


def test_every_field_code_that_can_come_has_a_sentence() -> None:
    assert set(schemas._CODE_OF_TYPE.values()) | {"invalid"} == set(schemas.FIELD_CODES)
