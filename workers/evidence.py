"""What the connections of one delivery have shown: whether it is the relay that loses them, or a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailqueue.smtp.classify import Stage

if TYPE_CHECKING:
    from mailqueue.errors import RelayTrouble
    from workers.batch import Attempt

__all__ = ["Evidence", "Tally"]

BROKEN_LIMIT = 2  # connections that break within the content of one message, before that is what breaks them
LOST_LIMIT = 2  # connections in a row that lost answers: each may become a copy, so such a relay is left alone
SILENT_LIMIT = 2  # messages at which the relay falls silent, one after the other: each may cost minutes


@dataclass(slots=True)
class Tally:
    """What one relay has done, over all the connections of a delivery."""

    answers: int = 0  # messages that it has answered for, in whole or in part
    lost: int = 0  # connections on which it lost answers, since the last answer that was not lost
    silent: int = 0  # fresh connections on which it said nothing in time, likewise
    over: str | None = None  # the message that all trouble since was over, "" if it was not one alone


class Evidence:
    """The evidence of one connection after the other; those of one relay share the ``tally``.

    A message is to blame if connections are lost over it, first thing, while the relay serves the others; or if they
    break within its content, without a word. Whatever else is lost is the relay's fault, and costs the message nothing.
    """

    __slots__ = ("_tally", "_try_another")

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally or Tally()
        self._try_another = False

    def connecting(self) -> None:
        """Another connection is about to be used."""
        self._try_another = False

    def answered(self) -> None:
        """The relay has answered for a message."""
        tally = self._tally
        tally.answers += 1
        tally.lost = tally.silent = 0
        tally.over = None

    def answer_lost(self) -> None:
        """A connection was lost, or is of no more use, that the last bytes of messages may have gone out over."""
        self._tally.lost += 1

    def trouble(self, over: Attempt | None) -> None:
        """There was trouble on a connection: over a message, or not even that, or over several."""
        message_id = over.id if over else ""
        self._tally.over = message_id if self._tally.over in (None, message_id) else ""

    def unsent(self, attempt: Attempt, trouble: RelayTrouble, *, first: bool, others: bool) -> bool:
        """A connection was lost over a message before its last byte; returns whether the message is to blame.

        ``first``: it was the first one on that connection. ``others`` are waiting.
        """
        if trouble.stage == Stage.CONTENT and trouble.code is None:
            attempt.broken += 1
            self._try_another = True
            return attempt.broken >= BROKEN_LIMIT
        if not first:
            return False  # it may be that the relay takes only so many messages a connection
        tally = self._tally
        if not trouble.reconnect:
            tally.silent += 1
            self._try_another = others and tally.silent < SILENT_LIMIT
        since, attempt.lost_at = attempt.lost_at, tally.answers
        return since is not None and since < tally.answers

    def worth_another(self, trouble: RelayTrouble) -> bool:
        """Whether to try another connection within seconds."""
        if self._tally.lost:
            return trouble.reconnect and self._tally.lost < LOST_LIMIT
        return trouble.reconnect or self._try_another
