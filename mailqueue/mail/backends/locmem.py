"""The backend for tests: keeps messages in ``mailqueue.mail.outbox``."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mailqueue import mail
from mailqueue.mail.backends.base import BaseEmailBackend

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EmailBackend"]


class EmailBackend(BaseEmailBackend):
    """Appends a deep copy of each message to the outbox that all instances share, after building it once.

    What cannot be sent is thus refused as elsewhere. ``sent_using`` of the copy is the backend's alias.
    """

    takes_iterators = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _outbox()

    def send_messages(self, email_messages: Iterable[Any]) -> int:
        """Keep the messages; how many there were."""
        count = 0
        for message in email_messages:
            message.message()
            # A connection is no part of a message, and may hold what cannot be copied: a lock, a socket.
            connection = vars(message).get("connection")
            kept = copy.deepcopy(message, {id(connection): connection})
            kept.sent_using = self.alias
            _outbox().append(kept)
            count += 1
        return count


def _outbox() -> list[Any]:
    """The list by its name, as it is now: tests rebind and delete it."""
    if not hasattr(mail, "outbox"):
        mail.outbox = []
    return mail.outbox
