"""A process dies at the k-th line of our own that it executes between Stripe's event and the mail: nothing is lost.

Every run kills at some lines. `KILL_LINES=distinct` takes every line once, where it is met first, `KILL_LINES=all`
every k there is; `KILL_AT=123` repeats one.
"""

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.faults import promises
from tests.faults.fault import Fault, Kind
from tests.faults.theatre import Theatre

HOW_MANY, AT = os.environ.get("KILL_LINES", "some"), int(os.environ.get("KILL_AT", "0"))
SOME = 30
# Fresh databases from time to time, so that the thousandth kill is as quick as the first.
KILLS_PER_THEATRE = 300
SALES = {"plain": ("",), "gift": ("maria@example.com",)}
Theatres = Callable[..., AbstractContextManager[Theatre]]


@pytest.mark.req("F5", "F19", "F31", "G1", "G2")
@pytest.mark.timeout(240 if HOW_MANY == "some" else 6 * 3600)
@pytest.mark.parametrize("sale", SALES)
def test_a_process_that_dies_at_any_line_loses_and_doubles_nothing(
    theatres: Theatres, engine: str, sale: str, chance: random.Random
) -> None:
    failures: list[str] = []
    pending: list[int] | None = None
    killed, met, began = 0, 0, time.monotonic()
    while pending is None or pending:
        with theatres(units=SALES[sale]) as theatre:
            if pending is None:
                passed = theatre.points(Fault(Kind.LINE))
                pending = _chosen(passed, chance)
                print(f"{engine}, {sale}: {len(passed)} events at {len(set(passed))} lines, {len(pending)} kills")
            block, pending = pending[:KILLS_PER_THEATRE], pending[KILLS_PER_THEATRE:]
            for at in block:
                met += 1
                try:
                    killed += theatre.survive(Fault(Kind.LINE, at), by=_by(at)).how == "killed"
                except AssertionError as error:
                    failures.append(f"KILL_AT={at} -k '{engine} and {sale}': {error}")
                    print(failures[-1], flush=True)
            if not failures:
                promises.assert_books()
        print(f"{killed} kills, {(time.monotonic() - began) / met:.2f} s each", flush=True)
    assert not failures, "\n".join(failures[:20])
    # A line more or less is nothing: a renderer's answer may come in two pieces.
    assert killed >= met * 0.98


def _chosen(passed: list[str], chance: random.Random) -> list[int]:
    if AT:
        return [AT]
    if HOW_MANY == "all":
        # Shuffled, so that a long run that is stopped early has been everywhere.
        return chance.sample(range(1, len(passed) + 1), len(passed))
    first = sorted({where: at for at, where in reversed(list(enumerate(passed, start=1)))}.values())
    if HOW_MANY == "distinct":
        return first
    width = len(first) / SOME
    return [first[int((number + chance.random()) * width)] for number in range(SOME)]


def _by(at: int) -> str:
    """Stripe repeats an event that was not answered, and the reconciler asks by itself: either has to be enough."""
    return "webhook" if at % 2 else "reconciler"
