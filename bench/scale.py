"""How long and how much: the whole measurement, or a quick look."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Rounds are taken in turn with their baselines; the median of the rounds is printed."""

    rounds: int
    seconds: float
    baseline_seconds: float
    warm_seconds: float
    events: int
    prints: int
    single_sales: int
    orders_at_once: int


WHOLE = Scale(
    rounds=3,
    seconds=3.0,
    baseline_seconds=2.0,
    warm_seconds=2.0,
    events=300,
    prints=40,
    single_sales=30,
    orders_at_once=100,
)
QUICK = Scale(
    rounds=1,
    seconds=1.5,
    baseline_seconds=1.0,
    warm_seconds=1.0,
    events=60,
    prints=10,
    single_sales=5,
    orders_at_once=10,
)
