"""Before and after every side effect between Stripe's event and the mail a process dies, stumbles or hangs.

`FAILPOINTS=all` takes each BEGIN and COMMIT too, of which a run takes some.
"""

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.faults import promises
from tests.faults.fault import BREAKS, Action, Fault, Kind
from tests.faults.theatre import Theatre

IS_WHOLE = os.environ.get("FAILPOINTS") == "all"
CALLS = 3  # of each kind of effect that is made more often, at least
WHENS = ("before", "after")


@pytest.mark.req("F5", "F19", "F21", "F26", "F39", "G1")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("action", list(Action))
def test_a_fault_around_any_side_effect_loses_and_doubles_nothing(
    theatres: Callable[..., AbstractContextManager[Theatre]], engine: str, action: Action, chance: random.Random
) -> None:
    met = 0
    with theatres() as theatre:
        for effect in BREAKS:
            calls = len(theatre.points(Fault(Kind.EFFECT, effect=effect)))
            assert calls, f"a sale without {effect}"
            numbers = range(1, calls + 1)
            for at in numbers if IS_WHOLE else sorted(chance.sample(numbers, min(calls, CALLS))):
                for when in WHENS:
                    fault = Fault(Kind.EFFECT, at, effect, when, action)
                    ending = theatre.survive(fault, by="webhook" if at % 2 else "reconciler")
                    assert ending.where, f"{fault} was not met: {ending}"
                    met += 1
        promises.assert_books()
    print(f"{engine}: {met} faults ({action})")
