"""From a message to the bytes that a relay receives."""

from __future__ import annotations

from email.message import Message, MIMEPart
from typing import Any, Final

from mailqueue.mail.mime import flatten
from mailqueue.mail.steps import APART_FROM_BYTES, OURS, keeps_steps
from mailqueue.mail.write import write

__all__ = ["fix", "fixed", "render"]

_PLAIN_WRITERS = (Message.as_bytes, MIMEPart.as_bytes)

#: The attribute of a message that keeps its bytes: none before they are made, if they are to be kept.
_FIXED: Final = "_fixed_octets"
#: Octets of the largest rendering that is kept. A larger one is so for a file, and that is kept in base64: to put it
#: together again costs little, and a batch of a hundred would hold its weight a hundred times.
_KEPT: Final = 256 * 1024


def render(message: Any) -> bytes:
    """``message`` as it goes over the wire: CRLF line ends (RFC 5321 section 2.3.8), no dot-stuffing.

    ``message`` is any object whose ``message()`` gives an ``email.message.Message``: ours, Django's, or that of
    somebody's subclass. Raises what ``message()`` raises for a message that must not be sent.
    """
    attributes = getattr(message, "__dict__", {})
    fixed: bytes | None = attributes.get(_FIXED)
    if fixed:
        return fixed
    octets = write(message) if keeps_steps(message, (OURS,), APART_FROM_BYTES) else None
    if octets is None:
        octets = _reference(message)
    if fixed is not None and len(octets) <= _KEPT:
        attributes[_FIXED] = octets
    return octets


def fix(message: Any, octets: bytes = b"") -> None:
    """Say that ``message`` will not change any more: its bytes are ``octets``, or are made once and kept with it.

    What is changed in it nevertheless need not show in its bytes.
    """
    vars(message)[_FIXED] = octets


def fixed(message: Any) -> bytes | None:
    """The bytes that are kept with ``message``: b"" if they are still to be made, None if none are to be kept."""
    octets: bytes | None = vars(message).get(_FIXED)
    return octets


def _reference(message: Any) -> bytes:
    """What every other way of making the bytes has to come to."""
    mime = message.message()
    if type(mime).as_bytes in _PLAIN_WRITERS:  # the standard library's own takes no line separator
        return flatten(mime, linesep="\r\n")
    written: bytes = mime.as_bytes(linesep="\r\n")
    return written
