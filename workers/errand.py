"""An errand: what a batch has for one relay, shared by the connections that work at it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.batch import Attempt
    from workers.evidence import Tally

__all__ = ["Errand"]


class Errand:
    """The attempts that wait for a connection. Safe across threads: a deque's operations are atomic.

    Args:
        relay: Alias of the relay; "" for the default one.
        attempts: In the order in which they are to be sent.
        tally: What the relay has done so far.
        must_stop: Whether nothing further is to be begun.
    """

    def __init__(self, relay: str, attempts: Iterable[Attempt], tally: Tally, must_stop: Callable[[], bool]) -> None:
        self.relay = relay
        self.tally = tally
        self.must_stop = must_stop
        self._waiting = deque(attempts)

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> Attempt | None:
        """The next attempt, if there is one: it is the caller's to see to its end, or to put it back."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def take_all(self) -> list[Attempt]:
        """All that wait."""
        taken = []
        while (attempt := self.take()) is not None:
            taken.append(attempt)
        return taken

    def put_back(self, attempts: Iterable[Attempt]) -> None:
        """These were not sent: they are next, in this order."""
        self._waiting.extendleft(reversed([*attempts]))

    def put_last(self, attempt: Attempt) -> None:
        """This one was not sent, and lets the others go first."""
        self._waiting.append(attempt)
