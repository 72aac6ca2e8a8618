"""What the kit prints: one line for each grade, and under a ✗ what was expected and what came."""

from collections.abc import Iterable

from conformance.grading import Grade
from conformance.watch import Result

SIGNS = {"pass": "✓", "fail": "✗", "skip": "–"}
_NAME_WIDTH = 20


def lines_of(grade: Grade) -> list[str]:
    """One check on paper."""
    lines = [f"{SIGNS[grade.result]} {grade.name:<{_NAME_WIDTH}} {grade.promise}"]
    if grade.result == "skip":
        lines[0] += f" – skipped: {grade.came}"
    if grade.result == "fail":
        request = f"   (request {grade.request_id})" if grade.request_id else ""
        lines += [f"    expected  {grade.expected}", f"    came      {grade.came}{request}"]
    return lines


def lines_of_result(result: Result) -> list[str]:
    """One scenario on paper, with the calls that prove a ✗."""
    sign = SIGNS[result.result]
    return [f"{sign} {result.name:<{_NAME_WIDTH}} {result.reason}", *(f"    {call}" for call in result.proof)]


def total(grades: Iterable[Grade | Result]) -> str:
    """The last line."""
    results = [grade.result for grade in grades]
    return ", ".join(f"{results.count(result)} {sign}" for result, sign in SIGNS.items())
