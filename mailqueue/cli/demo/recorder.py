"""The queue backend, noting what went through it: how the demo learns the ids behind send_mail() and its kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mailqueue.mail.backends import queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["EmailBackend"]


class EmailBackend(queue.EmailBackend):
    """As any project may extend a backend: EMAIL_BACKEND names this class."""

    #: What was sent since it was last emptied, in order; each has its receipt.
    seen: ClassVar[list[Any]] = []  # of the class, for the helpers make a new backend for each call

    def send_messages(self, email_messages: Iterable[Any] | None) -> int:
        """Enqueue them, and note each as it passes."""
        return super().send_messages(self._noting(email_messages or ()))

    def _noting(self, messages: Iterable[Any]) -> Iterator[Any]:
        for message in messages:
            self.seen.append(message)
            yield message
