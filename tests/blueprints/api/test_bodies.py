"""What is read: JSON so clean that nothing in it surprises the code behind it, and fields by their schema."""

import json

import pytest

from blueprints.api import bodies, schemas
from domain import money
from models import IdempotencyRecord, Merchant, Voucher
from tests.till import GOOD, REDEEM, VALIDATE, Counter, Sell

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
