"""What a check is, and how it says what it expected and what came."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from conformance.desk import Answer, Desk

PROBLEM = "application/problem+json"
PROBLEM_MEMBERS = ("type", "title", "status", "code", "detail", "request_id", "errors")


class Power(StrEnum):
    """What the key has to be able to do for a check; found out by asking the server."""

    VALIDATE = "validate"
    REDEEM = "redeem"
    READ = "read"
    WRITE = "write"
    # A key that may not do everything: only with such a one a missing scope can be seen.
    NARROW = "narrow"


@dataclass(frozen=True)
class Check:
    """One promise of the contract; `run` raises Mismatch when it is not kept."""

    name: str
    promise: str
    run: Callable[[Desk], None]
    needs: tuple[Power, ...] = (Power.VALIDATE,)


class Mismatch(Exception):
    """A promise that was not kept."""

    def __init__(self, expected: str, came: str, request_id: str = "") -> None:
        super().__init__(f"expected {expected}, came {came}")
        self.expected, self.came, self.request_id = expected, came, request_id


def require(answer: Answer, status: int, /, **facts: object) -> Answer:
    """The answer has this status and these members (`voucher__balance_minor=…` is `voucher.balance_minor`)."""
    if answer.status != status:
        raise Mismatch(f"{answer.call}: {status}", str(answer), answer.request_id)
    for name, expected in facts.items():
        path = name.replace("__", ".")
        came = answer.at(path)
        # JSON knows true from 1, and a balance of 5000.0 is no integer.
        if came != expected or type(came) is not type(expected):
            raise Mismatch(f"{answer.call}: {path} = {_text(expected)}", _text(came), answer.request_id)
    return answer


def require_problem(answer: Answer, status: int, code: str, *, field: str | None = None) -> Answer:
    """The answer is a problem of RFC 9457 with this code, and names the field."""
    if answer.status != status or answer.code != code:
        raise Mismatch(f"{answer.call}: {status} {code}", str(answer), answer.request_id)
    require_shape(answer)
    fields = [each.get("field") for each in _list(answer.at("errors")) if isinstance(each, dict)]
    require_that(field is None or field in fields, f"errors that name {field}", answer, came=_text(fields))
    return answer


def require_shape(answer: Answer) -> Answer:
    """The error answer is problem+json with every member."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    require_that(kind == PROBLEM, f"{answer.call}: {PROBLEM}", answer, came=f"{answer.status} {kind or 'no type'}")
    missing = [name for name in PROBLEM_MEMBERS if name not in (answer.json or {})]
    require_that(not missing, "every member of a problem", answer, came=f"no {', '.join(missing)}")
    return require(answer, answer.status, status=answer.status)


def require_that(holds: bool, expected: str, answer: Answer, *, came: str = "") -> None:
    """Whatever else the contract says."""
    if not holds:
        raise Mismatch(expected, came or str(answer), answer.request_id)


def require_available(desk: Desk, code: str, expected_minor: int, *, after: str) -> None:
    """The voucher behind `code` has this much left to spend."""
    answer = desk.call("POST /vouchers/lookup", {"code": code})
    came = answer.at("available_minor")
    require_that(
        came == expected_minor, f"{expected_minor} available after {after}", answer, came=f"{_text(came)} available"
    )


def require_same(first: Answer, second: Answer) -> None:
    """`second` repeats `first`, byte for byte, and says so."""
    is_same = (first.status, first.raw) == (second.status, second.raw)
    require_that(is_same, f"the first answer again ({first})", second, came=f"{second}, other content")
    require_that(second.is_replay, "Idempotent-Replayed: true", second, came="no such header")


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:120] if value is not None else "nothing"


def _list(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()
