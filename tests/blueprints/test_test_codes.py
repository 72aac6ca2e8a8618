"""Test codes: each one provokes its state, in test mode alone, and is a real voucher from then on."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest
from werkzeug.test import TestResponse

from blueprints.api import provocations
from domain import api_keys, audit, clock, codes, ledger
from domain.api_keys import Scope
from effects import test_codes
from effects import voucher as vouchers
from effects.test_codes import Kind
from models import Entry, Merchant, Step, TimelineEntry, Voucher
from tests.browser import Browser

Call = Callable[..., TestResponse]
EVERYTHING = tuple(Scope)


def caller(
    client: Browser, merchant: Merchant, *, is_test: bool = True, scopes: tuple[Scope, ...] = EVERYTHING
) -> Call:
    """Calls with a fresh key of `merchant`: method and path, body, Idempotency-Key."""
    _, text = api_keys.create(merchant, name="Till", scopes=scopes, is_test=is_test)

    def call(line: str, body: object = None, key: str | None = None) -> TestResponse:
        method, path = line.split()
        headers = {"Authorization": f"Bearer {text}"} | ({"Idempotency-Key": key} if key else {})
        return client.open(f"/api/v1{path}", method=method, json=body, headers=headers)

    return call


@pytest.fixture
def call(client: Browser, merchant: Merchant) -> Call:
    """A test key of Café Alba that may do everything."""
    return caller(client, merchant)


def bill(code: str, amount_minor: int = 1200, **more: object) -> dict[str, object]:
    return {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | more


VERDICTS = [
    ("TEST-VALID-5000", None, 5000),
    ("TEST-PART-5000", None, 2500),
    ("TEST-PART-5001", None, 2501),
    ("TEST-SLOW-5000", None, 5000),
    ("TEST-USEDUP-5000", "voucher_depleted", 0),
    ("TEST-EXPIRED-5000", "voucher_expired", 5000),
    ("TEST-NOTYET-5000", "voucher_not_started", 5000),
    ("TEST-BLOCKED-5000", "voucher_inactive", 5000),
    ("TEST-PENDING-5000", "voucher_inactive", 5000),
    ("TEST-CANCELLED-5000", "voucher_inactive", 5000),
    ("TEST-FOREIGN-5000", "currency_mismatch", 5000),
    ("TEST-PERSONAL-5000", "voucher_not_transferable", 5000),
]


@pytest.fixture
def short_sleep(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(provocations, "SLOW_SECONDS", 0.4)
    return 0.4


@pytest.mark.parametrize(("code", "error", "balance_minor"), VERDICTS)
def test_each_code_provokes_its_state_at_validate_and_at_redeem(
    call: Call, short_sleep: float, code: str, error: str | None, balance_minor: int
) -> None:
    verdict = call("POST /vouchers/validate", bill(code)).json
    assert (verdict["error"], verdict["valid"]) == (error, error is None)
    assert verdict["voucher"]["balance_minor"] == balance_minor
    redeemed = call("POST /vouchers/redeem", bill(code), "op-1")
    assert redeemed.status_code == (201 if error is None else 422)
    assert redeemed.json.get("code") == error
    assert audit.is_clean(audit.run())


def test_every_kind_has_a_meaning_and_is_provoked_by_a_test() -> None:
    assert set(test_codes.MEANINGS) == set(Kind)
    assert {code.split("-")[1] for code, _, _ in VERDICTS} | {"ERROR"} == set(Kind)


def test_the_first_use_makes_one_voucher_and_later_uses_find_it(call: Call, merchant: Merchant) -> None:
    for text in ("TEST-VALID-5000", "  test-valid-5000 ", "Test Valid 5000", "TEST–VALID–5000"):
        assert call("POST /vouchers/lookup", {"code": text}).json["balance_minor"] == 5000
    (made,) = Voucher.select()
    assert (made.is_test, made.unit_id, made.merchant_id) == (True, None, merchant.id)
    assert made.metadata == {"test_code": "TEST-VALID-5000"}
    assert vouchers.find_by_code(merchant, "test-valid-5000") == made
    assert vouchers.find_by_code(merchant, "TESTVALID5000") == made
    assert [entry.kind for entry in TimelineEntry.select().where(TimelineEntry.voucher == made)] == ["voucher_created"]


def test_an_ending_of_ones_own_makes_a_fresh_voucher(call: Call) -> None:
    first, monday, again = (
        call("POST /vouchers/lookup", {"code": code}).json["id"]
        for code in ("TEST-VALID-5000", "TEST-VALID-5000-monday", "TEST-VALID-5000-MONDAY")
    )
    assert first != monday == again


def test_everything_that_a_voucher_can_do_a_test_voucher_can(call: Call) -> None:
    code = "TEST-VALID-5000-all"
    redeemed = call("POST /vouchers/redeem", bill(code), "op-1")
    replayed = call("POST /vouchers/redeem", bill(code), "op-1")
    assert (redeemed.data, replayed.headers["Idempotent-Replayed"]) == (replayed.data, "true")
    assert call("GET /redemptions?idempotency_key=op-1").json["outcome"] == "booked"
    assert call("POST /redemptions/reverse", {"idempotency_key": "op-1"}).json["outcome"] == "reversed"
    held = call("POST /vouchers/hold", bill(code, 2000), "op-2").json["hold"]["id"]
    assert call("POST /vouchers/lookup", {"code": code}).json["available_minor"] == 3000
    assert call(f"POST /holds/{held}/capture", {"amount_minor": 1500}, "op-3").status_code == 201
    assert call("POST /vouchers/lookup", {"code": code}).json["available_minor"] == 3500
    assert audit.is_clean(audit.run())


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_a_live_key_finds_no_test_code_and_makes_none(
    client: Browser, merchant: Merchant, call: Call, kind: Kind
) -> None:
    live = caller(client, merchant, is_test=False)
    code = f"TEST-{kind}-5000"
    assert live("POST /vouchers/lookup", {"code": code}).status_code == 404
    assert live("POST /vouchers/validate", bill(code)).json["error"] == "voucher_not_found"
    assert live("POST /vouchers/redeem", bill(code), "live-1").status_code == 404
    assert Voucher.select().count() == 0
    test_codes.prepare(api_keys.create(merchant, name="T", scopes=EVERYTHING, is_test=True)[0], code)
    assert live("POST /vouchers/lookup", {"code": code}).status_code == 404
    assert live("POST /vouchers/hold", bill(code), "live-2").status_code == 404


def test_two_merchants_have_their_own_test_vouchers(
    client: Browser, merchant: Merchant, other_merchant: Merchant, call: Call
) -> None:
    stranger = caller(client, other_merchant)
    ids = {each("POST /vouchers/lookup", {"code": "TEST-VALID-5000"}).json["id"] for each in (call, stranger)}
    assert len(ids) == 2


def test_a_tills_key_that_can_mint_nothing_may_use_them(client: Browser, merchant: Merchant) -> None:
    till = caller(client, merchant, scopes=(Scope.POS_VALIDATE, Scope.POS_REDEEM))
    assert till("POST /vouchers/redeem", bill("TEST-VALID-5000"), "op-1").status_code == 201


def test_test_vouchers_are_in_no_live_figure_and_in_no_mail(call: Call, merchant: Merchant, smtp: object) -> None:
    for code, _, _ in VERDICTS[4:]:
        call("POST /vouchers/lookup", {"code": code})
    assert ledger.liability_at(merchant, clock.now(), is_test=False) == {}
    assert Voucher.select().where(~Voucher.is_test).count() == 0
    assert Step.select().count() == 0


def test_a_merchant_in_francs_gets_a_foreign_voucher_in_euros(call: Call, merchant: Merchant) -> None:
    Merchant.update(currency="CHF").where(Merchant.id == merchant.id).execute()
    assert call("POST /vouchers/lookup", {"code": "TEST-VALID-5000"}).json["currency"] == "CHF"
    assert call("POST /vouchers/lookup", {"code": "TEST-FOREIGN-5000"}).json["currency"] == "EUR"


def test_a_personal_voucher_pays_for_its_customer(call: Call) -> None:
    answer = call("POST /vouchers/redeem", bill("TEST-PERSONAL-5000", customer_id="someone-else"), "op-1")
    assert answer.status_code == 201


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "field_code"),
    [
        ("TEST-VALID-0", "not_a_code"),
        ("TEST-VALID-05", "not_a_code"),
        ("TEST-VALID", "not_a_code"),
        ("TEST-", "not_a_code"),
        ("TEST-VALID-x", "not_a_code"),
        ("TEST-VALID-５０−", "not_a_code"),
        ("TEST-EXPIERD-5000", "not_a_code"),
        ("TEST-VALID-1000001", "too_large"),
        ("TEST-VALID-" + "9" * 150, "too_large"),
        ("TEST-PART-1", "too_small"),
        ("TEST-VALID-5-" + "a" * 21, "too_long"),
        ("TEST-VALID-5-a_b", "not_a_code"),
        ("TEST-VALID-5-a-b", "not_a_code"),
        ("TEST-VALID-5-ä", "not_a_code"),
        ("TEST-VALID-5-\U0001f600", "not_a_code"),
    ],
)
def test_a_test_code_that_cannot_be_is_refused_with_a_sentence(call: Call, code: str, field_code: str) -> None:
    for path, key in (("lookup", None), ("validate", None), ("redeem", "op-1"), ("hold", "op-2")):
        body = {"code": code} if path == "lookup" else bill(code)
        answer = call(f"POST /vouchers/{path}", body, key)
        assert answer.status_code == 422
        (problem,) = answer.json["errors"]
        assert (problem["field"], problem["code"]) == ("code", field_code)
        assert len(problem["message"]) > 30
    assert Voucher.select().count() == 0


@pytest.mark.parametrize("code", ["TEST-VALID-1", "TEST-VALID-1000000", "TEST-PART-2", "TEST-VALID-5-" + "z" * 20])
def test_the_bounds_themselves_are_allowed(call: Call, code: str) -> None:
    assert call("POST /vouchers/lookup", {"code": code}).status_code == 200


def test_more_test_codes_than_a_merchant_needs_are_refused_and_old_ones_still_work(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_codes, "MOST_IN_A_DAY", 3)
    for number in range(1, 4):
        assert call("POST /vouchers/lookup", {"code": f"TEST-USEDUP-{number}"}).status_code == 200
    refused = call("POST /vouchers/redeem", bill("TEST-VALID-4"), "op-1")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "code")
    assert "24 hours" in refused.json["errors"][0]["message"]
    assert call("POST /vouchers/lookup", {"code": "TEST-USEDUP-3"}).status_code == 200
    assert Voucher.select().count() == 3


def test_two_codes_that_read_the_same_without_dashes_are_told_apart(call: Call) -> None:
    assert call("POST /vouchers/lookup", {"code": "TEST-VALID-5000-1"}).json["balance_minor"] == 5000
    refused = call("POST /vouchers/lookup", {"code": "TEST-VALID-50001"})
    assert (refused.status_code, refused.json["errors"][0]["code"]) == (422, "invalid")
    assert call("POST /vouchers/lookup", {"code": "test-valid-5000-l"}).json["balance_minor"] == 5000


@pytest.mark.parametrize(
    "code", ["TEST-VALID-5000", "test valid 5000", "TESTVALID5000", "testva1id5000x", "TEST-anything"]
)
def test_a_test_code_is_given_to_no_voucher(call: Call, code: str) -> None:
    body = {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 100, "code": code}
    answer = call("POST /vouchers", body, "op-1")
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (422, "reserved")


def test_a_code_that_only_begins_like_one_may_be_given(call: Call) -> None:
    body = {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 100, "code": "TESTKITCHEN2026"}
    assert call("POST /vouchers", body, "op-1").status_code == 201
    assert call("POST /vouchers/lookup", {"code": "testkitchen2026"}).json["balance_minor"] == 100
    assert not test_codes.is_reserved(codes.generate())


# --- many at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.PART, Kind.BLOCKED])
def test_twelve_first_uses_at_once_make_one_voucher(app: flask.Flask, merchant: Merchant, kind: Kind) -> None:
    _, text = api_keys.create(merchant, name="Till", scopes=EVERYTHING, is_test=True)
    together = threading.Barrier(12)

    def look_up() -> tuple[int, str]:
        client = app.test_client()
        together.wait(timeout=20)
        answer = client.post(
            "/api/v1/vouchers/lookup", json={"code": f"TEST-{kind}-5000"}, headers={"Authorization": f"Bearer {text}"}
        )
        return answer.status_code, answer.json["id"]

    with ThreadPoolExecutor(12) as pool:
        answers = {future.result(timeout=60) for future in [pool.submit(look_up) for _ in range(12)]}
    assert len(answers) == 1
    assert Voucher.select().count() == 1
    assert Entry.select().count() == (2 if kind == Kind.PART else 1)
    assert audit.is_clean(audit.run())


# --- answers that come late, or not at all --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["redeem", "hold"])
def test_the_error_code_books_and_loses_its_first_answer(call: Call, path: str) -> None:
    code = "TEST-ERROR-5000"
    lost = call(f"POST /vouchers/{path}", bill(code), "op-1")
    assert (lost.status_code, lost.json["code"]) == (503, "temporarily_unavailable")
    assert int(lost.headers["Retry-After"]) >= 1
    assert "TEST-ERROR" in lost.json["detail"]
    assert "same Idempotency-Key" in lost.json["detail"]
    heard = call(f"POST /vouchers/{path}", bill(code), "op-1")
    assert (heard.status_code, heard.headers["Idempotent-Replayed"]) == (201, "true")
    assert heard.json["voucher"]["available_minor"] == 3800
    assert Voucher.get().available_minor == 3800
    assert lost.headers["X-Request-Id"]
    assert lost.headers["Cache-Control"] == "no-store"


def test_a_fresh_key_after_a_lost_answer_books_twice_as_a_careless_till_deserves(call: Call) -> None:
    call("POST /vouchers/redeem", bill("TEST-ERROR-5000"), "op-1")
    call("POST /vouchers/redeem", bill("TEST-ERROR-5000"), "op-2")
    assert Voucher.get().balance_minor == 5000 - 2 * 1200


def test_the_error_code_says_what_happened_to_whoever_asks(call: Call) -> None:
    call("POST /vouchers/redeem", bill("TEST-ERROR-5000"), "op-1")
    assert call("GET /redemptions?idempotency_key=op-1").json["outcome"] == "booked"
    assert call("POST /redemptions/reverse", {"idempotency_key": "op-1"}).json["outcome"] == "reversed"


def test_a_refusal_of_the_error_code_is_heard(call: Call) -> None:
    short = call("POST /vouchers/redeem", bill("TEST-ERROR-500", mode="exact"), "op-1")
    assert (short.status_code, short.json["code"]) == (409, "insufficient_balance")


@pytest.mark.parametrize("path", ["validate", "lookup"])
def test_reading_the_error_code_always_answers_that_it_is_unavailable(call: Call, path: str) -> None:
    body = bill("TEST-ERROR-5000") if path == "validate" else {"code": "TEST-ERROR-5000"}
    for _ in range(2):
        answer = call(f"POST /vouchers/{path}", body)
        assert (answer.status_code, answer.json["code"]) == (503, "temporarily_unavailable")
        assert answer.headers["Retry-After"]


def test_the_slow_code_books_at_once_and_answers_after_five_seconds(app: flask.Flask, call: Call) -> None:
    assert provocations.SLOW_SECONDS == 5
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, "POST /vouchers/redeem", bill("TEST-SLOW-5000"), "op-1")
        while Entry.select().count() < 2:
            assert time.monotonic() - began < 4, "it is booked long before it is answered"
            time.sleep(0.05)
        assert answer.result(timeout=20).status_code == 201
    assert 5 <= time.monotonic() - began < 9
    began = time.monotonic()
    assert call("POST /vouchers/redeem", bill("TEST-SLOW-5000"), "op-1").headers["Idempotent-Replayed"] == "true"
    assert time.monotonic() - began < 3, "whoever repeats has waited enough"


def test_a_third_sleeper_is_answered_at_once(
    app: flask.Flask, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provocations, "SLOW_SECONDS", 3.0)
    _, text = api_keys.create(merchant, name="Till", scopes=EVERYTHING, is_test=True)

    def look_up() -> float:
        client, began = app.test_client(), time.monotonic()
        headers = {"Authorization": f"Bearer {text}"}
        assert client.post("/api/v1/vouchers/lookup", json={"code": "TEST-SLOW-9"}, headers=headers).status_code == 200
        return time.monotonic() - began

    with ThreadPoolExecutor(5) as pool:
        waits = sorted(future.result(timeout=30) for future in [pool.submit(look_up) for _ in range(5)])
    assert [wait >= 3 for wait in waits] == [False] * 3 + [True] * 2
    assert provocations._beds._value == provocations.SLEEPERS


@pytest.mark.parametrize("first", ["TEST-VALID-5000", "TEST-VA1ID-5000"])
def test_a_kind_is_read_as_forgivingly_as_a_code(call: Call, first: str) -> None:
    for spelling in (first, "TEST-VALID-5000", "TEST-VA1ID-5000", "test-vaiid-5ooo".replace("o", "0")):
        answer = call("POST /vouchers/validate", bill(spelling))
        assert (answer.status_code, answer.json["valid"]) == (200, True), spelling
    assert Voucher.select().count() == 1
