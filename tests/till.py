"""A till at the counter: a key of the API and calls with it. Every answer is held against the contract of its call."""

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from blueprints.api import answers, calls, problems
from domain import api_keys
from domain.api_keys import Scope
from models import TABLES, ApiKey, Entry, Hold, IdempotencyRecord, Merchant, TimelineEntry, Voucher

BASE = "/api/v1"
VALIDATE, REDEEM = f"{BASE}/vouchers/validate", f"{BASE}/vouchers/redeem"
TILL = (Scope.POS_VALIDATE, Scope.POS_REDEEM)
OFFICE = (Scope.MARKETING_READ, Scope.MARKETING_WRITE)
CALLS = {call.name: call for call in calls.CALLS}
PROBLEM_MEMBERS = {"type", "title", "status", "code", "detail", "request_id", "errors"}
GOOD: dict[str, object] = {"code": "7KQ4-M2XD-9PVT-3HAF", "amount_minor": 3000, "currency": "EUR"}  # of nobody
UNKNOWN_ID = {"voucher_id": "vch_" + "0" * 32, "hold_id": "hld_" + "0" * 32}
_numbers = itertools.count(1)

Sell = Callable[..., tuple[Voucher, str]]


@dataclasses.dataclass
class Counter:
    """A till at one merchant: its key, and calls with it."""

    client: FlaskClient
    key: ApiKey
    text: str

    def call(
        self,
        name: str,
        body: object = None,
        *,
        key: str | None = None,
        query: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        **ids: str,
    ) -> TestResponse:
        """One call of the contract by its name, with an Idempotency-Key of its own where it needs one."""
        call = CALLS[name]
        if call.needs_idempotency_key:
            key = key or f"op-{next(_numbers)}"
        options: dict[str, Any] = {"json": {} if body is None else body} if call.method != "GET" else {}
        path = BASE + call.path.format(**(UNKNOWN_ID | ids))
        return self.open(call.method, path, key=key, headers=headers, query_string=query, **options)

    def post(self, path: str, body: object = None, **options: Any) -> TestResponse:
        if "data" not in options:
            options["json"] = body
        return self.open("POST", path, **options)

    def open(
        self, method: str, path: str, *, key: str | None = None, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        """Any request with this till's key."""
        sent = {"Authorization": f"Bearer {self.text}"} | ({"Idempotency-Key": key} if key else {}) | (headers or {})
        response = self.client.open(path, method=method, headers=sent, **options)
        assert_contract(response)
        return response

    def validate(self, code: str, amount_minor: object = 3000, **more: object) -> TestResponse:
        return self.call("validate", {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | more)

    def redeem(self, code: str, amount_minor: object = 3000, *, key: str | None = None, **more: object) -> TestResponse:
        return self.call("redeem", {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | more, key=key)

    def hold(self, code: str, amount_minor: object = 3000, *, key: str | None = None, **more: object) -> TestResponse:
        return self.call("hold", {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | more, key=key)

    def capture(self, hold_id: str, *, key: str | None = None, **body: object) -> TestResponse:
        return self.call("capture", body, key=key, hold_id=hold_id)

    def refund(self, transaction: Any, amount_minor: object, *, key: str | None = None, **more: object) -> TestResponse:
        """Give back a part of a redemption, as `transaction` answered it."""
        body = {"amount_minor": amount_minor, "transaction_id": transaction["id"]} | more
        return self.call("refund", body, key=key, voucher_id=transaction["voucher_id"])

    def adjust(self, voucher: Voucher, amount_minor: object, *, key: str | None = None, **more: object) -> TestResponse:
        body = {"amount_minor": amount_minor, "reason": "Counted again"} | more
        return self.call("adjust", body, key=key, voucher_id=voucher.public_id)

    def reverse(self, key: str, **more: object) -> TestResponse:
        """Take back the redemption that was called with `key`."""
        return self.call("reverse", {"idempotency_key": key} | more)

    def story(self, key: str) -> TestResponse:
        return self.call("story", query={"idempotency_key": key})

    def create(self, *, key: str | None = None, **body: object) -> TestResponse:
        given = {"type": "gift_card", "currency": "EUR", "initial_balance_minor": 5000}
        return self.call("create_voucher", given | body, key=key)

    def read(self, voucher: Voucher) -> TestResponse:
        return self.call("read_voucher", voucher_id=voucher.public_id)

    def change(self, voucher: Voucher, **body: object) -> TestResponse:
        return self.call("change_voucher", body, voucher_id=voucher.public_id)


@dataclasses.dataclass
class Scene:
    """A till, an office and a voucher of 50.00."""

    till: Counter
    office: Counter
    voucher: Voucher
    code: str
    sell: Sell

    def of(self, name: str) -> Counter:
        """Who may make this call."""
        return self.till if Scope.POS_REDEEM in CALLS[name].scopes else self.office

    def last(self) -> Entry:
        """The newest entry of the voucher."""
        return self.voucher.entries.get()

    def told(self) -> list[str]:
        """What the timeline says of the voucher."""
        rows = TimelineEntry.select().where(TimelineEntry.voucher == self.voucher).order_by(TimelineEntry.id)
        return [row.kind for row in rows]


def opened(
    client: FlaskClient,
    merchant: Merchant,
    scopes: tuple[Scope, ...] = TILL,
    *,
    is_test: bool = True,
    name: str = "Till 1",
) -> Counter:
    """A till with a fresh key; its terminal is T1, its location Bar."""
    key, text = api_keys.create(merchant, name=name, scopes=scopes, terminal="T1", location="Bar", is_test=is_test)
    return Counter(client, key, text)


def assert_contract(response: TestResponse) -> None:
    """The rules of the house for every answer, and those of its call: its status, its members, its codes."""
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    assert "Set-Cookie" not in response.headers
    call = call_of(response.request.method, response.request.path)
    if response.status_code >= 400:
        _assert_problem(response, call)
        return
    assert response.mimetype == "application/json"
    assert call is not None, f"{response.request.method} {response.request.path} is no call of the contract"
    assert response.status_code == call.status
    call.gives.model_validate_json(response.data, strict=True)


def call_of(method: str, path: str) -> calls.Call | None:
    """The call that a request was for, or None."""
    for call in calls.CALLS:
        form = re.sub(r"\\\{(\w+)_id\\\}", r"\1_[^/]*", re.escape(BASE + call.path)).replace("voucher_", "vch_")
        if call.method == method and re.fullmatch(form.replace("hold_", "hld_"), path):
            return call
    return None


def errors_of(response: TestResponse) -> list[tuple[str, str]]:
    """(field, code) of what was refused."""
    return [(error["field"], error["code"]) for error in response.json["errors"]]


def refusal(response: TestResponse) -> tuple[int, str | None]:
    """Status and code of an error; of a success the code is None."""
    return response.status_code, response.json.get("code") if response.status_code >= 400 else None


def books() -> list[list[tuple[object, ...]]]:
    """Every row that money stands on, so that a test can say: nothing was booked."""
    return [list(table.select().order_by(table.id).tuples()) for table in (Voucher, Entry, Hold)]


def answered() -> int:
    """How many Idempotency-Keys have an answer."""
    return int(IdempotencyRecord.select().count())


def balance(voucher: Voucher) -> int:
    return int(Voucher.get_by_id(voucher.id).balance_minor)


def dump() -> str:
    """Every column of every row of every table as text; bytes as they are and as hex."""
    lines = []
    for table in TABLES:
        for row in table.select().dicts():
            lines += [f"{name}={_text(value)}" for name, value in row.items()]
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        raw = bytes(value)
        return raw.decode("latin-1") + raw.hex()
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)


def _assert_problem(response: TestResponse, call: calls.Call | None) -> None:
    assert response.mimetype == problems.MEDIA_TYPE
    if response.request.method == "HEAD":
        return
    answers.Problem.model_validate_json(response.data)
    code = response.json["code"]
    assert set(response.json) >= PROBLEM_MEMBERS
    assert (response.json["status"], problems.KINDS[code].status) == (response.status_code, response.status_code)
    assert response.json["title"] == problems.KINDS[code].title
    assert response.json["type"] == f"/docs/api/errors#{code}"
    assert response.json["request_id"] == response.headers["X-Request-Id"] or "Idempotent-Replayed" in response.headers
    assert call is None or code in call.codes, f"{call.name} may answer {code}, and the contract does not say so"
    if code in problems.RETRY_AFTER_SECONDS:
        assert int(response.headers["Retry-After"]) >= 1
