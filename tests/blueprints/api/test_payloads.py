"""Hostile values in every field of every call, made from the schemas: named by field and reason, or taken as a text."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from domain import audit
from models import Merchant
from tests import till as tills
from tests.till import CALLS, Counter, Sell

HUGE, LONG = 2**63, "x" * 2_000
# What is no whole number, and what a careless reader takes for one.
NO_NUMBERS = [
    "-50", "0.001", "50.005", "1e2", "1e400", "NaN", "Infinity", "50,00", "50", "", " 50", "+50", "0x32", "٥٠",
    "５０", "5_0", "' OR 1=1--", 0.001, 50.005, 1e2, 50.0, True, False, None, [50], [], {"$gt": 0}, {}, HUGE,
    -HUGE, 2**64, 10**400,
]  # fmt: skip
NO_TEXTS = [50, 0, -50, 50.005, True, False, [50], ["x"], [], {"$gt": 0}, {"$ne": None}, {}, HUGE, 10**400]
NO_LINES = ["a\nb", "a\r\nb", "\x1b[31m", "\x7f", "\x85", "a\tb", "\u2028", LONG]
# Texts that mean something elsewhere; here they are letters.
TEXTS = [
    "' OR 1=1--", "balance;drop", "%", "_____", "\\", "'; DROP TABLE entries;--", "${7*7}", "{{7*7}}", "%s%n",
    "../../etc", "<script>alert(1)</script>", "\u202e", "\ufeff", "💶", "ﷺ", "50,00", "null", "true", "-1",
    "javascript:alert(1)",
]  # fmt: skip
# No JSON at all, or no Unicode: the whole body is refused, before any field is looked at.
MALFORMED = [
    "NaN", "Infinity", "-Infinity", "1e400", "5_0", "050", "+50", "٥٠", '"50\\u0000"', '"\\ud800"', '"\\udfff\\ud800"',
    '"\x00"', "9" * 5_000, "[" * 30_000, '{"a":' * 25 + "1" + "}" * 25, "'x'", "undefined", "",
]  # fmt: skip
UNKNOWN = [
    "balance_minor",
    "held_minor",
    "merchant_id",
    "id",
    "version",
    "is_admin",
    "is_test",
    "__proto__",
    "",
    "$where",
]
BODIES = [call.name for call in CALLS.values() if call.takes is not None and call.method != "GET"]
QUERIES = [call.name for call in CALLS.values() if call.takes is not None and call.method == "GET"]


class Desk:
    """Somebody who may make every call, with a voucher, a hold and a redemption at hand."""

    def __init__(self, till: Counter, office: Counter, merchant: Merchant, sell: Sell) -> None:
        self.voucher, self.code = sell(merchant, 10**9)
        self.redemption = till.redeem(self.code, 1000, key="first").json["transaction"]
        self.hold = till.hold(self.code, 1000).json["hold"]
        self.ids = {"voucher_id": self.voucher.public_id, "hold_id": self.hold["id"]}
        self.text = {"till": till, "office": office}

    def caller(self, name: str) -> Counter:
        return self.text["till" if any(scope.startswith("pos:") for scope in CALLS[name].scopes) else "office"]

    def good(self, name: str) -> dict[str, Any]:
        """A body that would be taken."""
        money = {"amount_minor": 1, "currency": "EUR"}
        return {
            "lookup": {"code": self.code},
            "validate": money | {"code": self.code},
            "redeem": money | {"code": self.code},
            "redeem_by_id": money,
            "hold": money | {"code": self.code},
            "reverse": {"idempotency_key": "nobodys"},
            "story": {"idempotency_key": "nobodys"},
            "extend": {"ttl_seconds": 600},
            "create_voucher": {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 1},
            "refund": {"amount_minor": 1, "transaction_id": self.redemption["id"]},
            "adjust": {"amount_minor": 1, "reason": "Found"},
        }.get(name, {})


@pytest.fixture
def desk(till: Counter, office: Counter, merchant: Merchant, sell: Sell, fresh_limits: None) -> Desk:
    return Desk(till, office, merchant, sell)


def _fields(name: str) -> dict[str, dict[str, Any]]:
    """Field → its JSON schema, without null."""
    takes = CALLS[name].takes
    assert takes is not None
    found = {}
    for field, schema in takes.model_json_schema()["properties"].items():
        kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
        found[field] = kinds[0] | {"is_nullable": "anyOf" in schema}
    return found


def _wrong(field: str, schema: dict[str, Any]) -> Iterator[object]:
    """What this field must refuse, whatever the call."""
    kind, is_choice = schema["type"], "enum" in schema or "const" in schema or "format" in schema or field == "currency"
    if kind == "integer":
        yield from NO_NUMBERS if not schema["is_nullable"] else [each for each in NO_NUMBERS if each is not None]
        yield from (0,) if schema.get("minimum", -1) < 0 else (0, -50, -1)
    elif kind == "boolean":
        yield from ("true", "false", "", 0, 1, "yes", [True], {"$gt": 0}, 50.005, HUGE, *TEXTS)
    elif kind == "object":
        yield from (
            50,
            "x",
            True,
            [],
            ["x"],
            {"a": 1},
            {"a": None},
            {"a": {"b": "c"}},
            {"": "x"},
            {"a": LONG},
            {LONG: "a"},
        )
    else:
        yield from NO_TEXTS
        yield from TEXTS if is_choice else ()
        yield from NO_LINES if is_choice else ()
        yield from [] if field == "code" or is_choice else NO_LINES
        yield from (LONG,)
        yield from ("eur", "JP", "JPY ", "€") if field == "currency" else ()


@pytest.mark.req("T4", "T5", "T30", "T31")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BODIES)
def test_no_hostile_value_in_a_body_is_booked_or_breaks_anything(name: str, desk: Desk) -> None:
    caller, good = desk.caller(name), desk.good(name)
    before, keys = tills.books(), tills.answered()
    path = tills.BASE + CALLS[name].path.format(**desk.ids)
    for field, schema in _fields(name).items():
        for value in _wrong(field, schema):
            answer = caller.call(name, good | {field: value}, **desk.ids)
            assert tills.refusal(answer) == (422, "validation_failed"), (field, value)
            named = [error["field"] for error in answer.json["errors"]]
            assert all(each == field or each.startswith(f"{field}.") for each in named), (field, value, named)
            assert all(error["message"] and error["code"] for error in answer.json["errors"])
        for raw in MALFORMED:
            parts = [f"{json.dumps(each)}: {json.dumps(value)}" for each, value in good.items() if each != field]
            body = "{" + ", ".join([*parts, f'"{field}": {raw}']) + "}"
            answer = caller.open(
                CALLS[name].method, path, key="k", data=body.encode(), headers={"Content-Type": "application/json"}
            )
            assert tills.refusal(answer) == (400, "malformed_request"), (field, raw[:40])
        twice = json.dumps(good | {field: 1})[:-1] + f', "{field}": 2}}'
        answer = caller.open(
            CALLS[name].method, path, key="k", data=twice.encode(), headers={"Content-Type": "application/json"}
        )
        assert tills.refusal(answer) == (400, "malformed_request"), field
    for field in {*UNKNOWN, "status"} - _fields(name).keys():
        answer = caller.call(name, good | {field: 1}, **desk.ids)
        assert tills.errors_of(answer) == [(field, "unknown_field")]
    for body in ([], [good], "x", 5, True):
        answer = caller.open(CALLS[name].method, path, key="k", json=body)
        assert tills.refusal(answer) == (400, "malformed_request")
    assert (tills.books(), tills.answered()) == (before, keys)


@pytest.mark.req("T30", "T31")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BODIES)
def test_a_strange_text_in_a_body_is_a_text(name: str, desk: Desk) -> None:
    caller, good = desk.caller(name), desk.good(name)
    for field, schema in _fields(name).items():
        if schema["type"] != "string" or "enum" in schema or "format" in schema or field == "currency":
            continue
        for text in TEXTS:
            answer = caller.call(name, good | {field: text}, **desk.ids)
            assert answer.status_code < 500, (field, text)
            if answer.status_code == 422 and answer.json["errors"]:
                assert [error["field"] for error in answer.json["errors"]] == [field], (field, text)
            elif answer.status_code in (200, 201) and field in ("reference", "location", "terminal"):
                booked = answer.json.get("transaction") or answer.json["hold"]
                assert booked[field] == text
    assert audit.is_clean(audit.run())


@pytest.mark.req("T4", "T30", "T31")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUERIES)
def test_no_hostile_value_in_a_query_breaks_anything(name: str, desk: Desk) -> None:
    caller, good = desk.caller(name), desk.good(name)
    before = tills.books()
    texts = [*TEXTS, *NO_LINES, *(str(each) for each in NO_NUMBERS), "x" * 300]
    for field, schema in _fields(name).items():
        is_text = schema["type"] == "string" and not {"enum", "format"} & schema.keys() and field != "currency"
        for text in texts:
            answer = caller.call(name, query=good | {field: text}, **desk.ids)
            assert answer.status_code in (200, 422), (field, text)
            if answer.status_code == 422:
                assert {error["field"] for error in answer.json["errors"]} == {field}, (field, text)
            else:
                assert is_text or (field, text) in (("limit", "50"), ("has_balance", "true")), (field, text)
        for raw in ("%00", "a%00b", "%ED%A0%80", "%FF", "%C0%80", "%", "%ZZ"):
            query = "&".join([*(f"{each}={value}" for each, value in good.items() if each != field), f"{field}={raw}"])
            path = tills.BASE + CALLS[name].path.format(**desk.ids)
            answer = caller.open("GET", f"{path}?{query}")
            assert answer.status_code in (200, 400, 422), (field, raw)
            assert "00" not in raw or tills.refusal(answer) == (400, "malformed_request")
    for field in set(UNKNOWN) - _fields(name).keys():
        answer = caller.call(name, query=good | {field: "1"}, **desk.ids)
        assert tills.errors_of(answer) == [(field, "unknown_field")]
    assert tills.books() == before


@pytest.mark.req("T6", "T30", "T31")
@pytest.mark.parametrize("name", [call.name for call in CALLS.values() if "{" in call.path])
def test_a_strange_id_in_an_address_is_not_found(name: str, desk: Desk) -> None:
    caller, before = desk.caller(name), tills.books()
    prefix = "vch_" if "voucher_id" in CALLS[name].path else "hld_"
    code = "voucher_not_found" if prefix == "vch_" else "hold_not_found"
    tails = (
        "",
        "1",
        "0" * 32,
        "%00",
        "' OR 1=1--",
        "%25",
        "_" * 32,
        "٠" * 32,
        "F" * 32,
        "0" * 31,
        "0" * 33,
        "💶",
        "%FF",
    )
    for tail in tails:
        ids = dict.fromkeys(desk.ids, prefix + tail)
        answer = caller.call(name, desk.good(name), **ids)
        assert tills.refusal(answer) == (404, code), tail
    for text in ("1", "x", "..", "%2e%2e", "null", "vch", "0", "-1", "txn_" + "0" * 32):
        answer = caller.call(name, desk.good(name), **dict.fromkeys(desk.ids, text))
        assert answer.status_code in (404, 405), text
    assert tills.books() == before


@pytest.mark.req("T42")
@pytest.mark.parametrize("name", CALLS)
def test_only_the_method_of_the_contract_is_taken_whatever_an_override_says(name: str, desk: Desk) -> None:
    caller, before = desk.caller(name), tills.books()
    path = tills.BASE + CALLS[name].path.format(**desk.ids)
    offered = {call.method for call in CALLS.values() if call.path == CALLS[name].path}
    offered |= {"HEAD"} if "GET" in offered else set()
    overrides = dict.fromkeys(("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), CALLS[name].method)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"):
        if method in offered:
            continue
        query = {"_method": CALLS[name].method}
        answer = caller.open(method, path, json=desk.good(name), key="k", headers=overrides, query_string=query)
        assert answer.status_code == 405, method
        assert set(answer.headers["Allow"].split(", ")) == offered
        assert method == "HEAD" or answer.json["code"] == "method_not_allowed"
    assert tills.books() == before
