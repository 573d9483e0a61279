"""What the connections to one relay have shown of its habits, and what follows for the next ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mailqueue.smtp.classify import Stage
from mailqueue.smtp.window import Window

if TYPE_CHECKING:
    import smtplib

    from mailqueue.smtp.session import Session

__all__ = ["Habits"]

_BETWEEN = frozenset({Stage.MAIL, Stage.RSET})  # one message is answered, and nothing said of the next

logger = logging.getLogger(__name__)


class Habits:
    """Kept as long as the backend, so that a lesson costs its unknown messages once.

    A relay that breaks what it offers is met with plain commands; one that hangs up after so many messages is given
    no more at once.
    """

    def __init__(self) -> None:
        self.window = Window()
        self.kept = 0  # messages that it has answered for in company: it keeps what it offers
        self.accepts = b""  # with which words it accepts a message
        self.plain = False  # it offers PIPELINING, and loses commands or answers
        self.limit: int | None = None  # messages after which it took no more on that connection

    def left(self, session: Session) -> int | None:
        """How many more messages may go in company over this connection; None if nothing is known against it."""
        if self.limit is None:
            return None
        if session.served > self.limit:
            self.limit = None  # it has served more: that it did not was no habit
            return None
        return self.limit - session.served

    def give_up(self, why: str) -> None:
        """From here on the relay is met with plain commands."""
        if not self.plain:
            logger.warning("action=pipelining_given_up reason=%s", why)
        self.plain = True

    def surprised(self) -> None:
        """Commands and replies were out of step."""
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
        if served:
            self.limit = served
            logger.warning("action=message_limit_learned messages=%d", served)
