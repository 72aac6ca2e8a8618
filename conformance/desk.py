"""The server under test as a till's program sees it: a call, an answer, and nothing in between."""

import json
import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import requests

BASE = "/api/v1"
TEST_KEY = "gv_test_"
PATIENCE_SECONDS = 20.0
_ENDING = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Answer:
    """What came back for `call` (method and path)."""

    call: str
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @cached_property
    def json(self) -> Any:
        """The body as JSON, or None."""
        return read_json(self.raw)

    def at(self, path: str) -> Any:
        """The member at a dotted path, or None when there is no such thing."""
        return at(self.json, path)

    @property
    def code(self) -> str | None:
        """The problem's code, or None for an answer that is none."""
        return self.at("code") if self.status >= 400 else None

    @property
    def is_replay(self) -> bool:
        return self.headers.get("Idempotent-Replayed", "").lower() == "true"

    @property
    def request_id(self) -> str:
        return str(self.headers.get("X-Request-Id") or self.at("request_id") or "")

    def __str__(self) -> str:
        what = f" {self.code}" if self.code else ""
        return f"{self.status}{what}, {len(self.raw)} bytes{', replayed' if self.is_replay else ''}"


class Desk:
    """Calls with one key. Every voucher it uses is fresh, made by a test code with an ending of its own."""

    def __init__(self, url: str, key: str) -> None:
        """`url` is where the server is reached, without `/api/v1`; `key` has to be a test key: ValueError."""
        if not key.startswith(TEST_KEY):
            raise ValueError(
                f"the kit books vouchers: give it a test key ({TEST_KEY}…) in CONFORMANCE_KEY, never a live one"
            )
        self.currency = "EUR"
        self.other_currency = "CHF"
        self._base = url.rstrip("/") + BASE
        self._key = key
        self._session = requests.Session()

    def close(self) -> None:
        self._session.close()

    def call(
        self,
        line: str,
        body: object = None,
        *,
        key: str | None = None,
        raw: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`line` is method and path (`POST /vouchers/redeem`); `key` the Idempotency-Key; `raw` replaces the body.

        A header that is given as "" is left out. Raises requests.RequestException when nobody answers.
        """
        method, _, path = line.partition(" ")
        sent = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", "Accept": "*/*"}
        sent |= ({"Idempotency-Key": key} if key is not None else {}) | dict(headers or {})
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        answer = self._session.request(
            method,
            self._base + path,
            data=content,
            params=query,
            headers={name: text for name, text in sent.items() if text},
            auth=keep_authorization,
            timeout=PATIENCE_SECONDS,
            allow_redirects=False,
        )
        return Answer(line, answer.status_code, answer.headers, answer.content)

    def fresh(self, kind: str, value_minor: int = 5000) -> str:
        """A test code that nobody has used."""
        return f"TEST-{kind}-{value_minor}-{''.join(secrets.choice(_ENDING) for _ in range(12))}"

    def bill(self, code: str, amount_minor: int, **more: object) -> dict[str, object]:
        """The body of a validation, redemption or hold."""
        return {"code": code, "amount_minor": amount_minor, "currency": self.currency} | more

    def validate(self, code: str, amount_minor: int = 1200, **more: object) -> Answer:
        return self.call("POST /vouchers/validate", self.bill(code, amount_minor, **more))

    def redeem(self, code: str, amount_minor: int = 1200, *, key: str | None = None, **more: object) -> Answer:
        return self.call("POST /vouchers/redeem", self.bill(code, amount_minor, **more), key=key or new_key())

    def hold(self, code: str, amount_minor: int = 1200, *, key: str | None = None, **more: object) -> Answer:
        return self.call("POST /vouchers/hold", self.bill(code, amount_minor, **more), key=key or new_key())

    def reverse(self, key: str) -> Answer:
        return self.call("POST /redemptions/reverse", {"idempotency_key": key})

    def story(self, key: str) -> Answer:
        return self.call("GET /redemptions", query={"idempotency_key": key})

    def available_minor(self, code: str) -> int | None:
        """What a bill could take from a voucher now, in minor units."""
        found = self.call("POST /vouchers/lookup", {"code": code}).at("available_minor")
        return found if isinstance(found, int) else None


def read_json(raw: bytes) -> Any:
    """What the text says, or None when it is no JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def at(found: Any, path: str) -> Any:
    """The member of a JSON object at a dotted path, or None when there is no such thing."""
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def new_key() -> str:
    """A fresh Idempotency-Key."""
    return f"conformance-{secrets.token_hex(12)}"


def pause(seconds: float) -> None:
    """Let time pass on the server."""
    time.sleep(seconds)


def keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The `auth` of a request that brings its own key: a .netrc on this machine must not take its place."""
    return request
