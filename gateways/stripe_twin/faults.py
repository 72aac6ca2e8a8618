"""What can be made to go wrong on purpose. Chance is drawn from a seed, so the same run comes out the same again."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """A switch of the twin; the value that it is switched to is given behind the dash."""

    LOSE_EVENTS = "lose_events"  # True – events are recorded and never sent
    DUPLICATE_EVENTS = "duplicate_events"  # int – each event is sent so often
    LATE_EVENTS = "late_events"  # seconds – events are held back so long
    REORDER_EVENTS = "reorder_events"  # int – so many events at a time leave in another order
    SLOW = "slow"  # seconds – the answer comes so much after the work was done
    ERROR_BEFORE_WORK = "error_before_work"  # True or a status from 500 – nothing was done, no key remembers it
    ERROR_AFTER_WORK = "error_after_work"  # True – 500 although the work was done; its key remembers the 500
    CUT = (
        "cut"  # "unanswered" (or True) or "halfway" – a POST's connection ends after the work, before or in its answer
    )
    RATE_LIMIT = "rate_limit"  # True or seconds – 429, with Retry-After
    CLOCK = "clock"  # seconds – Stripe's clock (`Date` of its answers) is so far ahead of ours
    DOWN = "down"  # True – 503; `Twin` also stops listening
    MISMATCH = "mismatch"  # dict – fields of sessions that are answered with other values
    NEXT_REFUND = "next_refund"  # "pending", "failed" or "refused" – what becomes of the next refund made by the API


@dataclass(frozen=True)
class Draw:
    """A fault that strikes: its value, and how many times (from 0) it was asked for since it was switched on."""

    value: Any
    place: int
    seed: int

    def shuffled_rank(self, size: int) -> tuple[int, int]:
        """(block, rank): the block of `size` events that this one belongs to, and its new place in there."""
        block, place = divmod(self.place, size)
        order = _dice(f"{self.seed}:order:{block}").sample(range(size), size)
        return block, order[place]


def strikes(fault: Fault, *, ratio: float, seed: int, place: int) -> bool:
    """Whether a fault that is on for this share of cases (0 to 1) hits the case at this place."""
    return ratio >= 1 or _dice(f"{seed}:{fault}:{place}").random() < ratio


def _dice(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 — chance that can be repeated, no secret
