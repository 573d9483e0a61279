"""Times and durations as operators read them."""

from __future__ import annotations

import time

__all__ = ["clock", "span"]


def clock(seconds: float) -> str:
    """A moment (s since the epoch) in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def span(seconds: float) -> str:
    """A duration in its two largest units: ``4 h 30 min``."""
    left = round(seconds)
    if left < 1:
        return f"{seconds:g} s"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
