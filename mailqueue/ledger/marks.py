"""A lane's marks: how far its queue has been popped, so that lost tasks are found without guessing by age.

The in-memory twin of ``lua/marks.lua`` and of the tick's barriers. Times are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailqueue.ledger import rules

__all__ = ["LaneMarks"]

_SHIFT: Final = rules.milliseconds(rules.SHIFT)
_GAP_MAX: Final = rules.milliseconds(rules.BARRIER_GAP_MAX)


@dataclass(slots=True)
class LaneMarks:
    """Numbers given out (``counter``), the highest one popped (``mark``), and the two marks before that."""

    counter: int = 0
    mark: int = 0
    before: int = 0
    older: int = 0  # what is still queued at or below this was lost
    shifted: int = 0  # when the marks were shifted
    moved: int = 0  # since when the newest one stands while messages are queued
    barrier: int = 0  # before this no further barrier
    gap: int = _SHIFT

    def next_number(self) -> int:
        """A new number, for one more task of the lane."""
        self.counter += 1
        return self.counter

    def advance(self, now: int, popped: int = 0, *, restart: bool = False) -> bool:
        """Shift the marks if that is due, then raise the newest to ``popped``.

        ``restart`` begins the intervals anew instead: after an outage nobody knows what happened meanwhile. True if
        ``popped`` is a number that was never given out: the store has rolled back.
        """
        if restart or self.shifted == 0 or self.shifted > now:
            self.shifted = now
        elif now - self.shifted >= _SHIFT:
            self.shifted, self.older, self.before = now, self.before, self.mark
        if popped > self.mark:
            self.mark, self.moved, self.barrier, self.gap = popped, now, 0, _SHIFT
        elif restart or self.moved == 0 or self.moved > now:
            self.moved = now
        if popped > self.counter:
            self.counter = popped
            return True
        return False

    def wants_barrier(self, now: int, *, queued: bool) -> bool:
        """Whether an empty task is needed to find out how far the queue is popped.

        That is when the mark has stood for long although messages are ``queued``: they wait for a worker, or are lost.
        """
        if not queued:
            self.moved, self.barrier, self.gap = now, 0, _SHIFT
            return False
        if now - self.moved < _SHIFT or now < self.barrier <= now + _GAP_MAX:
            return False
        self.barrier, self.gap = now + self.gap, min(2 * self.gap, _GAP_MAX)
        return True
