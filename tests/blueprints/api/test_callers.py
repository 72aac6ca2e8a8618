"""Who may call: keys, scopes, modes and limits."""

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain import api_keys, clock
from domain.api_keys import Scope
from models import ApiKey, Entry, IdempotencyRecord, Merchant, Voucher
from tests import till as tills
from tests.till import GOOD, REDEEM, VALIDATE, Counter, Scene, Sell


def _redemptions() -> int:
    return int(Entry.select().where(Entry.kind == "redeem").count())


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
        tills.assert_contract(answer)
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
    counter, (_, code) = tills.opened(client, merchant, scopes), sell(merchant)
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
    assert _redemptions() == int(may_redeem)


def test_the_use_of_a_key_is_remembered(till: Counter, merchant: Merchant, sell: Sell) -> None:
    _, code = sell(merchant)
    till.validate(code)
    first = ApiKey.get_by_id(till.key.id).last_used_at
    till.redeem(code)
    assert first is not None and ApiKey.get_by_id(till.key.id).last_used_at == first
    clock.move(timedelta(seconds=61))
    till.validate(code)
    assert ApiKey.get_by_id(till.key.id).last_used_at > first


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


@pytest.mark.req("S2-09", "T7")
@pytest.mark.parametrize("scope", Scope)
def test_each_scope_opens_the_calls_that_list_it_and_no_other(
    client: FlaskClient, merchant: Merchant, scope: Scope
) -> None:
    counter = tills.opened(client, merchant, (scope,))
    for call in tills.CALLS.values():
        answer = counter.call(call.name)
        if scope in call.scopes:
            assert answer.status_code != 403, call.name
            continue
        assert tills.refusal(answer) == (403, "insufficient_scope"), call.name
        assert answer.json["needed_scopes"] == [str(each) for each in call.scopes]
        assert all(each in answer.json["detail"] for each in call.scopes)
        assert " ".join(call.scopes) in answer.headers["WWW-Authenticate"]
    assert Voucher.select().count() == 0


@pytest.mark.req("S2-09", "T7")
def test_a_till_can_never_mint_correct_give_back_or_list(till: Counter, merchant: Merchant, sell: Sell) -> None:
    voucher, code = sell(merchant)
    transaction = till.redeem(code, 1000).json["transaction"]
    before = tills.books()
    tries = [
        till.create(),
        till.adjust(voucher, 1),
        till.refund(transaction, 1),
        till.change(voucher, status="cancelled"),
    ]
    tries += [till.read(voucher), till.call("list_vouchers"), till.call("list_transactions")]
    tries.append(till.call("list_voucher_transactions", voucher_id=voucher.public_id))
    assert {tills.refusal(answer) for answer in tries} == {(403, "insufficient_scope")}
    assert tills.books() == before


# The seed's own words: list, get, lookup, validate need read; create, update, redeem, refund need write.
READS = {"list_vouchers", "read_voucher", "lookup", "validate", "list_transactions", "list_voucher_transactions"}
WRITES = {"create_voucher", "change_voucher", "redeem", "redeem_by_id", "refund", "adjust", "hold", "capture"}


@pytest.mark.req("S2-09")
def test_reading_and_writing_are_two_scopes() -> None:
    for names, scope, other in (
        (READS, Scope.MARKETING_READ, Scope.MARKETING_WRITE),
        (WRITES, Scope.MARKETING_WRITE, Scope.MARKETING_READ),
    ):
        for name in names:
            assert scope in tills.CALLS[name].scopes and other not in tills.CALLS[name].scopes, name


@pytest.mark.req("T6")
def test_another_merchants_and_another_modes_things_are_not_found_by_any_call(
    client: FlaskClient, scene: Scene, other_merchant: Merchant, merchant: Merchant
) -> None:
    everything = (*tills.TILL, *tills.OFFICE)
    hold = scene.till.hold(scene.code, 100).json["hold"]
    booked = scene.till.redeem(scene.code, 100).json["transaction"]
    strangers = [
        tills.opened(client, other_merchant, everything),
        tills.opened(client, merchant, everything, is_test=False),
    ]
    before = tills.books()
    ids = {"voucher_id": scene.voucher.public_id, "hold_id": hold["id"]}
    bodies: dict[str, dict[str, object]] = {
        "redeem_by_id": {"amount_minor": 1, "currency": "EUR"},
        "extend": {"ttl_seconds": 60},
        "refund": {"amount_minor": 1, "transaction_id": booked["id"]},
        "adjust": {"amount_minor": 1, "reason": "x"},
    }
    for stranger in strangers:
        for call in tills.CALLS.values():
            if "{" not in call.path:
                continue
            code = "hold_not_found" if "hold_id" in call.path else "voucher_not_found"
            answer = stranger.call(call.name, bodies.get(call.name, {}), **ids)
            assert tills.refusal(answer) == (404, code), call.name
            nobody = stranger.call(call.name, bodies.get(call.name, {}))
            assert answer.json | {"request_id": ""} == nobody.json | {"request_id": ""}
        for name in ("list_vouchers", "list_transactions"):
            assert stranger.call(name).json == {"data": [], "next_cursor": None}
        for name in ("redeem", "hold"):
            answer = stranger.call(name, {"code": scene.code, "amount_minor": 1, "currency": "EUR"})
            assert tills.refusal(answer) == (404, "voucher_not_found")
        assert tills.refusal(stranger.call("lookup", {"code": scene.code})) == (404, "voucher_not_found")
        assert stranger.validate(scene.code).json["error"] == "voucher_not_found"
    assert tills.books() == before


def test_what_a_call_leaves_out_the_key_says(client: FlaskClient, scene: Scene, merchant: Merchant) -> None:
    assert IdempotencyRecord.select().count() == 0
    bare = tills.opened(client, merchant, name="Bare")
    bare.key.update(terminal=None, location=None).execute()
    transaction = bare.redeem(scene.code, 1).json["transaction"]
    assert (transaction["terminal"], transaction["location"], transaction["reference"]) == (None, None, None)


@pytest.mark.req("T1", "T32")
def test_a_guesser_gets_no_fresh_count_at_the_next_address(till: Counter, fresh_limits: None) -> None:
    bill = {"code": "0000-0000-0000-0000", "amount_minor": 1, "currency": "EUR"}
    asks = (("lookup", {"code": bill["code"]}), ("validate", bill), ("redeem", bill), ("hold", bill))
    answers = [till.call(*asks[n % 4]).status_code for n in range(201)]
    assert 429 not in answers[:200] and answers[200] == 429
    # What names no code can be no guess: a bill that was booked can still be asked for and taken back.
    assert till.story("any").status_code == 200


@pytest.mark.req("T1", "T32")
def test_a_neighbours_wrong_keys_never_stop_a_till(
    client: FlaskClient, till: Counter, merchant: Merchant, sell: Sell, fresh_limits: None
) -> None:
    _, code = sell(merchant)
    wrong = {"Authorization": f"Bearer gv_test_{'0' * 12}_{'a' * 43}"}
    paths = (VALIDATE, REDEEM)
    answers = [client.post(paths[n % 2], json={}, headers=wrong).status_code for n in range(61)]
    assert (set(answers[:60]), answers[60]) == ({401}, 429)
    assert till.validate(code).status_code == 200
