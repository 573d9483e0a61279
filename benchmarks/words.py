"""How figures are written in the tables; "-" stands for what was not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Figure

__all__ = ["kilobytes", "mebibytes", "megabytes", "ms_of", "multiple", "per_second", "table", "us", "us_of"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers, so to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def per_second(found: Figure | None) -> str:
    """Messages a second."""
    return "-" if found is None else f"{found}/s"


def multiple(value: float | None) -> str:
    """How many times as much."""
    return "-" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.0f}x"


def us(found: Figure | None) -> str:
    """A time, in microseconds."""
    return "-" if found is None else us_of(found.median)


def us_of(seconds: float | None) -> str:
    """Seconds, in microseconds."""
    return "-" if seconds is None else f"{digits(seconds * 1e6)} us"


def ms_of(seconds: float | None) -> str:
    """Seconds, in milliseconds."""
    return "-" if seconds is None else f"{digits(seconds * 1e3)} ms"


def kilobytes(found: Figure | None) -> str:
    """A size, in thousands of octets."""
    return "-" if found is None else f"{found.median / 1000:.1f} KB"


def megabytes(found: Figure | None) -> str:
    """The size of 100 messages, in millions of octets."""
    return "-" if found is None else f"{found.median * 100 / 1e6:.1f} MB"


def mebibytes(found: Figure | None) -> str:
    """A size, in units of 2**20 octets."""
    return "-" if found is None else f"{found.median / 1024**2:.1f} MiB"
