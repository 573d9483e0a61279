"""What the connections of one delivery have shown: whether it is the relay that loses them, or a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailqueue.smtp.classify import Stage

if TYPE_CHECKING:
    from mailqueue.errors import RelayTrouble
    from workers.batch import Attempt

__all__ = ["Evidence"]

BROKEN_LIMIT = 2  # connections that break within the content of one message, before that is what breaks them
LOST_LIMIT = 2  # answers lost in a row: each may become a copy, so a relay that loses them is left alone
SILENT_LIMIT = 2  # messages at which the relay falls silent, one after the other: each may cost minutes


@dataclass(slots=True)
class Evidence:
    """The evidence on one relay.

    A message is to blame if connections are lost over it, first thing, while the relay serves the others; or if they
    break within its content, without a word. Whatever else is lost is the relay's fault, and costs the message nothing.
    """

    answers: int = 0  # messages that the relay has answered for, in whole or in part
    _lost: int = 0  # answers lost since the last one that was not
    _silent: int = 0  # fresh connections on which it said nothing in time, likewise
    _try_another: bool = False
    _over: str | None = None  # the message that all trouble so far was over, "" if it was not one alone

    def connecting(self) -> None:
        """Another connection is about to be used."""
        self._try_another = False

    def answered(self) -> None:
        """The relay has answered for a message."""
        self.answers += 1
        self._lost = self._silent = 0

    def answer_lost(self) -> None:
        """The last byte of a message may be out, and its answer is lost."""
        self._lost += 1

    def trouble(self, over: Attempt | None) -> None:
        """There was trouble on a connection: over a message, or not even that."""
        message_id = over.id if over else ""
        self._over = message_id if self._over in (None, message_id) else ""

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
        if not trouble.reconnect:
            self._silent += 1
            self._try_another = others and self._silent < SILENT_LIMIT
        since, attempt.lost_at = attempt.lost_at, self.answers
        return since is not None and since < self.answers

    def worth_another(self, trouble: RelayTrouble) -> bool:
        """Whether to try another connection within seconds."""
        if self._lost:
            return trouble.reconnect and self._lost < LOST_LIMIT
        return trouble.reconnect or self._try_another

    @property
    def over(self) -> str:
        """The id of the only message that all trouble was over; "" if there is none."""
        return self._over or ""
