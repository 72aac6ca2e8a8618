"""A process dies before or after any statement, BEGIN, COMMIT or ROLLBACK between Stripe's event and the mail.

Inside a transaction nothing happens between one statement and the next, so a run dies after each, and before and
after each BEGIN. `KILL_STATEMENTS=all` dies before each statement too; `KILL_AT=12` repeats one.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.faults import promises
from tests.faults.fault import Fault, Kind
from tests.faults.theatre import Theatre

AT, IS_WHOLE = int(os.environ.get("KILL_AT", "0")), os.environ.get("KILL_STATEMENTS") == "all"


@pytest.mark.req("F5", "F19", "F31", "G1")
@pytest.mark.timeout(600)
def test_a_process_that_dies_around_any_statement_loses_and_doubles_nothing(
    theatres: Callable[..., AbstractContextManager[Theatre]], engine: str
) -> None:
    killed = 0
    with theatres() as theatre:
        passed = theatre.points(Fault(Kind.STATEMENT))
        chosen = [AT] if AT else [at for at, where in enumerate(passed, start=1) if _is_chosen(where)]
        for at in chosen:
            # After the event was answered nobody repeats it; before, either has to be enough.
            ending = theatre.survive(Fault(Kind.STATEMENT, at), by="webhook" if at % 4 < 2 else "reconciler")
            assert ending.where == passed[at - 1], f"another statement than the first time: {ending}"
            killed += ending.how == "killed"
        promises.assert_books()
    print(f"{engine}: {killed} kills at {len(passed)} points")
    assert killed == len(chosen)


def _is_chosen(where: str) -> bool:
    return IS_WHOLE or where == "before begin" or where.startswith("after")
