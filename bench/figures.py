"""Medians, percentiles, and the one line that a promise prints. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTHS = (32, 38, 58, 11)
HEADINGS = ("promise", "figure", "beside it, in the same run", "ratio", "target")


@dataclass(frozen=True)
class Line:
    """What is printed of one promise; `ratio` is figure / baseline where both count the same thing."""

    promise: str
    figure: str
    baseline: str
    ratio: str
    target: str

    def __str__(self) -> str:
        cells = (self.promise, self.figure, self.baseline, self.ratio)
        return "  ".join(
            [*(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)), self.target]
        ).strip()


def median(values: Sequence[float]) -> float:
    """The middle one; 0 for none."""
    return statistics.median(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0.99) of all do not exceed; 0 for none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def ratio(figures: Sequence[float], baselines: Sequence[float]) -> float:
    """The median of the ratios pair by pair, so that a machine that slows down slows both."""
    return median([figure / baseline for figure, baseline in zip(figures, baselines, strict=True) if baseline])


def per_second(rate: float) -> str:
    """`1,234/s`."""
    return f"{rate:,.0f}/s"


def percent(share: float) -> str:
    """`25 %`."""
    return f"{share:.0%}".replace("%", " %")
