"""From several runs to a figure: the median, how far they lie apart, and the ratio of two."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Figure", "digits", "figure", "ratio"]


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of ``runs`` values, and the least and the greatest of them."""

    median: float
    low: float
    high: float
    runs: int

    @property
    def spread(self) -> float:
        """The distance of the least and the greatest, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0

    def __str__(self) -> str:
        return digits(self.median) + (f" ± {self.spread * 50:.0f} %" if self.runs > 1 else "")


def figure(values: Iterable[float | None]) -> Figure | None:
    """The figure of those values that there are; None if there are none."""
    known = sorted(value for value in values if value is not None)
    return Figure(statistics.median(known), known[0], known[-1], len(known)) if known else None


def ratio(ours: Figure | None, theirs: Figure | None) -> float | None:
    """How many times theirs ours is; None where one is lacking."""
    return ours.median / theirs.median if ours and theirs and theirs.median else None


def digits(value: float) -> str:
    """``value`` with three digits that count, and commas between thousands."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
