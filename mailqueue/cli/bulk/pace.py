"""How fast something goes, and how long it still takes, from looks at how far it has come."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Pace"]

#: s that are looked back on: long enough to be calm, short enough to tell of a pause.
_MEMORY: Final = 15.0


class Pace:
    """A sliding mean. Times are s, of any clock that only goes forward."""

    def __init__(self, memory: float = _MEMORY) -> None:
        self._memory = memory
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, now: float, done: int) -> None:
        """At ``now``, ``done`` were done."""
        looks = self._looks
        if looks and (now < looks[-1][0] or done < looks[-1][1]):
            looks.clear()  # it has begun anew
        looks.append((now, done))
        while len(looks) > 2 and looks[1][0] <= now - self._memory:
            looks.popleft()

    @property
    def rate(self) -> float | None:
        """So many a second; None before that can be told."""
        if len(self._looks) < 2:
            return None
        (began, first), (now, last) = self._looks[0], self._looks[-1]
        return (last - first) / (now - began) if now > began else None

    def left(self, total: int) -> float | None:
        """S until ``total`` are done; None before that can be told."""
        rate = self.rate
        return (total - self._looks[-1][1]) / rate if rate else None
