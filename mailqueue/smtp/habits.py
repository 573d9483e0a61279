"""What the connections to one relay have shown of its habits, and what follows for the next ones."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from mailqueue.smtp.classify import Stage
from mailqueue.smtp.window import Window

if TYPE_CHECKING:
    import smtplib
    from collections.abc import Callable

    from mailqueue.smtp.session import Session

__all__ = ["Habits"]

_BETWEEN = frozenset({Stage.MAIL, Stage.RSET})  # one message is answered, and nothing said of the next

_WHILE = 3600.0  # s until a relay that has failed a test is tested again, which costs a connection and no message

logger = logging.getLogger(__name__)


class Habits:
    """Kept as long as the backend, so that a lesson costs its unknown messages once.

    A relay that breaks what it offers is met with plain commands; one that hangs up after so many messages is given
    no more at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._plain_until = -math.inf
        self.window = Window()
        self.kept = 0  # messages that it has answered for in company: it keeps what it offers
        self.accepts = b""  # with which words it accepts a message
        self.unchunked = False  # it offers CHUNKING, and is sent no chunks
        self.doubted = False  # it has not passed the last test: the next message goes by plain commands
        self.limit: int | None = None  # messages after which it took no more on that connection

    @property
    def plain(self) -> bool:
        """Whether it is met with plain commands: it offers PIPELINING, and loses commands or answers."""
        return self._clock() < self._plain_until

    def left(self, session: Session) -> int | None:
        """How many more messages may go in company over this connection; None if nothing is known against it."""
        if self.limit is None:
            return None
        if session.served > self.limit:
            self.limit = None  # it has served more: that it did not was no habit
            return None
        return self.limit - session.served

    def give_up(self, why: str, seconds: float = math.inf) -> None:
        """From here on the relay is met with plain commands, for so many ``seconds``."""
        if not self.plain:
            logger.warning("action=pipelining_given_up reason=%s", why)
        self._plain_until = max(self._plain_until, self._clock() + seconds)

    def tested(self, *, passed: bool | None) -> None:
        """It was sent two commands that came together, and has answered both or not; None if it was gone.

        One that has kept its word before may have been busy: it is given another test.
        """
        if passed is False and (self.doubted or not self.kept):
            self.give_up("it does not answer two commands that come together", _WHILE)
        self.doubted = not passed

    def surprised(self, *, chunking: bool) -> None:
        """Commands and replies were out of step.

        With ``chunking`` that may be all it cannot do: a server that does not read a chunk which it refuses takes it for
        commands (emersion/go-smtp, issue 315).
        """
        if chunking:
            self.unchunked = True
            logger.warning("action=chunking_given_up reason=commands and replies are out of step")
        else:
            self.give_up("commands and replies are out of step")

    def lost(self, error: smtplib.SMTPServerDisconnected, stage: Stage, *, served: int) -> None:
        """The connection was lost at ``stage`` without a word, ``served`` messages having been answered for."""
        self.window.shrink()
        if not self.kept:
            self.give_up("the connection was lost over the first messages that came together")
        elif stage in _BETWEEN and not isinstance(error.__cause__, TimeoutError):
            self.limited(served)

    def limited(self, served: int) -> None:
        """``served`` messages having been answered for, the next one on that connection was turned away."""
        if served and served != self.limit:
            self.limit = served
            logger.warning("action=message_limit_learned messages=%d", served)
