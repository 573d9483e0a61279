"""From a message to the bytes that a relay receives."""

from __future__ import annotations

from email.message import Message, MIMEPart
from typing import Any

from mailqueue.mail.mime import flatten

__all__ = ["render"]

_PLAIN_WRITERS = (Message.as_bytes, MIMEPart.as_bytes)


def render(message: Any) -> bytes:
    """``message`` as it goes over the wire: CRLF line ends (RFC 5321 section 2.3.8), no dot-stuffing.

    ``message`` is any object whose ``message()`` gives an ``email.message.Message``: ours, Django's, or that of
    somebody's subclass. Raises what ``message()`` raises for a message that must not be sent.
    """
    mime = message.message()
    if type(mime).as_bytes in _PLAIN_WRITERS:  # the standard library's own takes no line separator
        return flatten(mime, linesep="\r\n")
    written: bytes = mime.as_bytes(linesep="\r\n")
    return written
