"""Grade a server: find out what the key may do, run every check that it allows, and say what came."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import requests

from conformance import bills, doors, holds, office, retries
from conformance.contract import Check, Mismatch, Power
from conformance.desk import Answer, Desk

CHECKS: tuple[Check, ...] = (*doors.CHECKS, *bills.CHECKS, *retries.CHECKS, *holds.CHECKS, *office.CHECKS)
_LACKS = {
    Power.VALIDATE: "the key may not validate (pos:validate or marketing:read)",
    Power.REDEEM: "the key may not redeem (pos:redeem or marketing:write)",
    Power.READ: "the key may not read vouchers (marketing:read)",
    Power.WRITE: "the key may not change vouchers (marketing:write)",
    Power.NARROW: "the key may do everything; run once more with a till's key",
}
# A call that each power allows, and that books nothing whatever the answer is.
_PROBES = {
    Power.VALIDATE: "POST /vouchers/validate",
    Power.REDEEM: "POST /vouchers/redeem",
    Power.READ: "GET /vouchers/vch_0",
    Power.WRITE: "POST /vouchers",
}


class CannotRun(Exception):
    """The server cannot be graded; the message says why and what to do."""


@dataclass(frozen=True)
class Grade:
    """One check's result: `pass`, `fail` or `skip`."""

    name: str
    promise: str
    result: str
    expected: str = ""
    came: str = ""
    request_id: str = ""


def grade(desk: Desk, checks: Sequence[Check] = CHECKS) -> Iterator[Grade]:
    """The grades one by one, as they are found. Raises CannotRun before the first one."""
    powers = _powers(desk)
    if Power.VALIDATE in powers:
        _learn_currency(desk)
    for check in checks:
        lacking = [power for power in check.needs if power not in powers]
        if lacking:
            yield Grade(check.name, check.promise, "skip", came=_LACKS[lacking[0]])
        else:
            yield _run(check, desk)


def report(grades: Sequence[Grade]) -> dict[str, object]:
    """All grades as plain JSON."""
    counts = {result: sum(grade.result == result for grade in grades) for result in ("pass", "fail", "skip")}
    return {"conforms": counts["fail"] == 0, "counts": counts, "checks": [asdict(grade) for grade in grades]}


def _run(check: Check, desk: Desk) -> Grade:
    try:
        check.run(desk)
    except Mismatch as mismatch:
        facts = mismatch.expected, mismatch.came, mismatch.request_id
        return Grade(check.name, check.promise, "fail", *facts)
    except requests.RequestException as error:
        return Grade(check.name, check.promise, "fail", "an answer", f"none ({error})"[:200])
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        # Another server's JSON may have any shape.
        return Grade(check.name, check.promise, "fail", "members as documented", f"others ({error})"[:200])
    return Grade(check.name, check.promise, "pass")


def _powers(desk: Desk) -> set[Power]:
    powers = {power for power, line in _PROBES.items() if _is_allowed(_ask(desk, line))}
    if not powers & {Power.VALIDATE, Power.REDEEM}:
        raise CannotRun("the key may neither validate nor redeem; give it pos:validate and pos:redeem")
    return powers if len(powers) == len(_PROBES) else powers | {Power.NARROW}


def _ask(desk: Desk, line: str) -> Answer:
    try:
        return desk.call(line, {} if line.startswith("POST") else None)
    except requests.RequestException as error:
        raise CannotRun(f"nobody answers there ({type(error).__name__}); is the server running?") from error


def _is_allowed(answer: Answer) -> bool:
    if answer.status == 401:
        raise CannotRun("the server does not know this key; was it revoked, or is it another server's?")
    if 300 <= answer.status < 400:
        raise CannotRun(f"the server sends us on to {answer.headers.get('Location', 'nowhere')}; use that address")
    if answer.status in (404, 405) and answer.code is None:
        raise CannotRun(f"{answer.call} answers {answer.status}: there is no Vouchers API at this address")
    return answer.status != 403


def _learn_currency(desk: Desk) -> None:
    currency = desk.call("POST /vouchers/lookup", {"code": "TEST-VALID-5000"}).at("currency")
    if not isinstance(currency, str):
        raise CannotRun("the server does not know the test code TEST-VALID-5000; it has to, for a test key")
    desk.currency, desk.other_currency = currency, "CHF" if currency != "CHF" else "EUR"
