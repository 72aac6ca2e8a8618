"""Who may call, and what a request has to look like."""

import contextlib

import requests

from conformance.contract import Check, Mismatch, Power, require, require_problem, require_shape, require_that
from conformance.desk import Desk, new_key

LOOKUP, REDEEM, HOLD = "POST /vouchers/lookup", "POST /vouchers/redeem", "POST /vouchers/hold"
# (what it is, body): each of them has to be answered with 4xx, on every call that takes a body.
GARBAGE: tuple[tuple[str, bytes], ...] = (
    ("an empty body", b""),
    ("half an object", b'{"code": "TEST'),
    ("a list", b"[]"),
    ("null", b"null"),
    ("a text", b'"code"'),
    ("NaN", b'{"code": NaN}'),
    ("a number that is too long", b'{"code": "X", "amount_minor": ' + b"9" * 5000 + b', "currency": "EUR"}'),
    ("one key twice", b'{"code": "A", "code": "B"}'),
    ("10,000 brackets", b"[" * 10_000),
    ("bytes that are no UTF-8", b'{"code": "\xff\xfe"}'),
    ("a NUL character", b'{"code": "A\\u0000"}'),
    ("half a surrogate pair", b'{"code": "\\ud800"}'),
    ("a code of 5,000 characters", b'{"code": "' + b"A" * 5_000 + b'"}'),
    ("an object for a code", b'{"code": {"$ne": null}}'),
)
STRANGE_CODES = (
    "🎁🎁🎁",
    "' OR 1=1 --",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "ﷺ" * 40,
    "%00%0a",
    "é" * 200,
)
WRONG_AMOUNTS: tuple[object, ...] = (0, -1, 12.5, "1200", True, None, 10**30, [1200])


def _without_key(desk: Desk) -> None:
    for scheme in ("", "Basic eA==", "Bearer"):
        answer = desk.call(LOOKUP, {"code": "X"}, headers={"Authorization": scheme})
        require_problem(answer, 401, "invalid_api_key")
        challenge = answer.headers.get("WWW-Authenticate", "")
        require_that(challenge.startswith("Bearer"), "WWW-Authenticate: Bearer", answer, came=challenge or "no header")


def _with_wrong_key(desk: Desk) -> None:
    for text in ("gv_test_000000000000_" + "A" * 43, "gv_test_", "wrong"):
        answer = desk.call(REDEEM, {}, key=new_key(), headers={"Authorization": f"Bearer {text}"})
        require_problem(answer, 401, "invalid_api_key")


def _without_scope(desk: Desk) -> None:
    for line in ("POST /vouchers", "GET /vouchers", REDEEM):
        answer = desk.call(line, {} if line.startswith("POST") else None, key=new_key())
        if answer.status == 403:
            require_problem(answer, 403, "insufficient_scope")
            names_scope = any(scope in str(answer.at("detail")) for scope in ("marketing:", "pos:"))
            require_that(names_scope, "a detail that names the scope", answer, came=str(answer.at("detail")))
            return
    raise Mismatch("403 insufficient_scope", "no call was refused")


def _garbage(desk: Desk) -> None:
    for name, raw in GARBAGE:
        for line in (LOOKUP, "POST /vouchers/validate", REDEEM, HOLD, "POST /redemptions/reverse"):
            answer = desk.call(line, raw=raw, key=new_key())
            if answer.status == 403:
                continue
            require_that(400 <= answer.status < 500, f"{line} with {name}: 4xx", answer)
            require_shape(answer)


def _too_large(desk: Desk) -> None:
    raw = b'{"code": "' + b"A" * 100_000 + b'"}'
    # A server may hang up before it has read all of it, and then its answer can get lost.
    with contextlib.suppress(requests.ConnectionError):
        require_problem(desk.call(LOOKUP, raw=raw, headers={"Connection": "close"}), 413, "body_too_large")
    require(desk.validate("X"), 200)


def _strange_text(desk: Desk) -> None:
    for code in STRANGE_CODES:
        require(desk.validate(code), 200, error="voucher_not_found")


def _media_type(desk: Desk) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = desk.call(LOOKUP, {"code": "X"}, headers={"Content-Type": kind})
        require_problem(answer, 415, "unsupported_media_type")


def _unknown_field(desk: Desk) -> None:
    answer = desk.validate("X", amout_minor=1200)
    require_problem(answer, 422, "validation_failed", field="amout_minor")


def _amounts(desk: Desk) -> None:
    for amount in WRONG_AMOUNTS:
        answer = desk.call("POST /vouchers/validate", desk.bill("X", 1) | {"amount_minor": amount})
        if answer.status == 400:  # a number beyond every integer may be called unreadable
            continue
        require_problem(answer, 422, "validation_failed", field="amount_minor")


def _currency(desk: Desk) -> None:
    for currency in ("eur", "EURO", "", "€", "XYZ"):
        answer = desk.validate("X", currency=currency)
        require_problem(answer, 422, "validation_failed", field="currency")


def _without_idempotency_key(desk: Desk) -> None:
    code = desk.fresh("VALID")
    for headers in ({}, {"Idempotency-Key": "k" * 256}):
        answer = desk.call(REDEEM, desk.bill(code, 1200), headers=headers)
        require_problem(answer, 400, "malformed_request")
    require(desk.validate(code), 200, voucher__balance_minor=5000)


def _addresses(desk: Desk) -> None:
    require_problem(desk.call("GET /nothing-here"), 404, "not_found")
    answer = require_problem(desk.call("DELETE /vouchers/redeem"), 405, "method_not_allowed")
    require_that("POST" in answer.headers.get("Allow", ""), "Allow: POST", answer, came=answer.headers.get("Allow", ""))
    require_shape(desk.call("GET /holds/hld_'%2500"))


def _request_ids(desk: Desk) -> None:
    answers = [desk.validate("X"), desk.validate("X"), desk.call("POST /vouchers/validate", {})]
    for answer in answers:
        require_that(bool(answer.headers.get("X-Request-Id")), "a header X-Request-Id", answer, came="none")
        stored = answer.headers.get("Cache-Control", "")
        require_that("no-store" in stored, "Cache-Control: no-store", answer, came=stored or "none")
    has_three = len({each.request_id for each in answers}) == len(answers)
    require_that(has_three, "another id for each request", answers[-1], came="one id twice")
    require(answers[-1], 422, request_id=answers[-1].headers["X-Request-Id"])


def _openapi(desk: Desk) -> None:
    answer = require(desk.call("GET /openapi.json", headers={"Authorization": ""}), 200)
    version = str(answer.at("openapi"))
    require_that(version.startswith("3.1"), "OpenAPI 3.1", answer, came=version)
    paths = answer.at("paths") or {}
    for path in ("/vouchers/validate", "/vouchers/redeem", "/redemptions/reverse", "/vouchers/hold"):
        require_that(any(each.endswith(path) for each in paths), f"{path} in it", answer, came="not described")


CHECKS = (
    Check("no-key", "without a bearer key: 401 and a challenge", _without_key),
    Check("wrong-key", "with a key that nobody has: 401", _with_wrong_key),
    Check("scope", "a call beyond the key's scopes: 403 that names the scope", _without_scope, (Power.NARROW,)),
    Check("garbage", "bodies that are no request: 4xx as problem+json, never 5xx", _garbage),
    Check("too-large", "a body of 100 kB: 413, or the line is cut", _too_large),
    Check("strange-text", "strange codes are codes that nobody has", _strange_text),
    Check("media-type", "a body that is not JSON: 415", _media_type),
    Check("unknown-field", "a field that the call does not have: 422 that names it", _unknown_field),
    Check("amounts", "amounts are positive integers in minor units, nothing else", _amounts),
    Check("currency-code", "a currency is three capitals of ISO 4217", _currency),
    Check(
        "key-required", "a redemption without Idempotency-Key: 400, nothing booked", _without_idempotency_key,
        (Power.VALIDATE, Power.REDEEM),
    ),
    Check("addresses", "unknown address 404, wrong method 405 with Allow", _addresses),
    Check("request-id", "every answer has its own X-Request-Id and is stored nowhere", _request_ids),
    Check("openapi", "/openapi.json is there without a key and is OpenAPI 3.1", _openapi, ()),
)  # fmt: skip
