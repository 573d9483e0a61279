"""How many messages to have unanswered at one relay: as many as keep it busy, and no more.

Each of them may become a copy if the connection is lost, so the window follows what the relay answers in the time that
a message and its reply take, rather than some number that is always enough.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OCTETS", "Window"]

#: Octets of content unanswered at most, and the largest message that goes in company.
OCTETS = 1024 * 1024

_MOST = 128  # messages; with 20 ms to the relay and back that is 5,000/s, above what it takes to make them
_LEAST = 2  # one on its way while another is being answered
_FIRST = 2
_GROUP = 16  # messages that are worth a call of on_begin by themselves
_AHEAD = 0.002  # s of the relay's answers that are asked for at once: 500 calls of on_begin a second at most
_WEIGHT = 0.5  # of the newest measurement


class Window:
    """The size in messages, from the round trip, the rate of answers, and the time that it takes to write more.

    ``limit`` is the user's: never more than that.
    """

    def __init__(self, limit: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._trip: float | None = None  # s; None as long as it does not count
        self._turn = 0.0  # s from the reading of replies to the writing of what they make room for
        self._rate: float | None = None  # messages answered in a second
        self._grown = _FIRST  # what was tried so far: it doubles with each round
        self._heard_at = self._counted_at = clock()
        self._count = 0
        self._heard = False  # since something was written

    @property
    def size(self) -> int:
        """Messages unanswered at most."""
        wanted = _MOST if self.limit is None else self.limit
        wanted = min(wanted, self._grown)
        if self._rate is not None:
            # Twice what is answered meanwhile: it is refilled when it is half empty.
            wanted = min(wanted, round(2 * self._rate * ((self._trip or 0.0) + self._turn + _AHEAD)))
        return max(wanted, min(_LEAST, self.limit or _LEAST))

    @property
    def group(self) -> int:
        """Messages to begin and write together.

        A part of the window if the way is longer than it takes to make them: else nothing would be on it meanwhile.
        """
        size = self.size
        far = self._trip is not None and self._trip > self._turn
        return max(size // 4, _GROUP) if far else size

    def begins(self) -> None:
        """The stream begins, or goes on after a rest: what passed before is no measure."""
        self._heard_at = self._counted_at = self._clock()
        self._count = 0

    def connected(self) -> None:
        """On another connection, to another host perhaps, or one that offers something else."""
        self._trip = None

    def trip(self, seconds: float) -> None:
        """A command and its reply took so long; the shortest on a connection is the way there and back."""
        self._trip = seconds if self._trip is None else min(seconds, self._trip)

    def heard(self, messages: int) -> None:
        """Replies were read, and so many messages answered."""
        self._heard_at = self._clock()
        self._heard = True
        self._count += messages
        self._grown = min(self._grown + messages, max(_MOST, self.limit or 0))

    def written(self) -> None:
        """What there was room for is being written now."""
        now = self._clock()
        if self._heard:
            self._heard = False
            self._turn += _WEIGHT * (now - self._heard_at - self._turn)
        seconds = now - self._counted_at
        if not self._count:
            self._counted_at = now
        elif seconds >= (self._trip or 0.0):  # answers come in bursts: what counts is how many come in a round trip
            self._measured(self._count / max(seconds, 1e-6))
            self._count, self._counted_at = 0, now

    def _measured(self, rate: float) -> None:
        # More is believed at once, or the window would not double with each round.
        if self._rate is None or rate > self._rate:
            self._rate = rate
        else:
            self._rate += _WEIGHT * (rate - self._rate)

    def shrink(self) -> None:
        """Answers were lost: begin as with a stranger."""
        self._grown = _FIRST
        self._rate = self._trip = None
