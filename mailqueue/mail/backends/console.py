"""The backend for development: writes messages to a stream instead of sending them."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from mailqueue.mail.backends.base import BaseEmailBackend

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SEPARATOR", "EmailBackend"]

#: What ends each message.
SEPARATOR = "-" * 79


class EmailBackend(BaseEmailBackend):
    """Writes each message to ``stream``, by default what ``sys.stdout`` is when the backend is made."""

    takes_iterators = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.stream: Any = kwargs.pop("stream", sys.stdout)
        self._lock = threading.RLock()
        super().__init__(*args, **kwargs)

    def write_message(self, message: Any) -> None:
        """Write one message and the line that ends it."""
        mime = message.message()
        charset = mime.get_charset()
        text = mime.as_bytes().decode(charset.get_output_charset() if charset else "utf-8", "backslashreplace")
        self.stream.write(f"{text}\n{SEPARATOR}\n")

    def send_messages(self, email_messages: Iterable[Any]) -> int:
        """Write the messages, no other batch among them; how many were written."""
        count = 0
        with self._lock:
            try:
                opened = None
                try:
                    for message in email_messages:
                        if opened is None:  # not before there is something to write
                            opened = bool(self.open())
                        self.write_message(message)
                        self.stream.flush()
                        count += 1
                finally:
                    if opened:
                        self.close()
            except Exception:
                if not self.fail_silently:
                    raise
        return count
