"""A message that was rendered in the caller, because its own class says what its bytes and recipients are."""

from __future__ import annotations

import email
from email.message import Message
from typing import TYPE_CHECKING, Any

from mailqueue.mail.message import EmailMessage
from mailqueue.mail.render import fix

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.policy import Policy

__all__ = ["RenderedMIME", "RenderedMessage"]


class RenderedMIME(Message):
    """A parsed message that is written as the very bytes it was parsed from."""

    octets: bytes | None = None  # None in its parts

    def as_bytes(self, unixfrom: bool = False, policy: Policy[Any] | None = None, linesep: str = "\n") -> bytes:
        """The bytes as they were rendered, with ``linesep`` at the end of each line."""
        if self.octets is None:
            return super().as_bytes(unixfrom, policy)
        return self.octets if linesep == "\r\n" else self.octets.replace(b"\r\n", linesep.encode("ascii"))

    def as_string(
        self, unixfrom: bool = False, maxheaderlen: int = 0, policy: Policy[Any] | None = None, linesep: str = "\n"
    ) -> str:
        """The same as text; octets beyond ASCII are surrogate escapes."""
        if self.octets is None:
            return super().as_string(unixfrom, maxheaderlen, policy)
        return self.as_bytes(linesep=linesep).decode("ascii", "surrogateescape")

    __bytes__ = as_bytes
    __str__ = as_string


class RenderedMessage(EmailMessage):
    """A message whose bytes (``octets``, lines ending in CRLF) and recipients are given, not made.

    Its addresses, subject and headers tell what the original said; changing them changes nothing.
    """

    def __init__(self, octets: bytes, recipients: Iterable[str], **fields: Any) -> None:
        super().__init__(**fields)
        self.octets = octets
        self._recipients = list(recipients)
        fix(self, octets)

    def message(self) -> Any:
        """Return the message as a MIME object that is written as the given bytes."""
        parsed = email.message_from_bytes(self.octets, _class=RenderedMIME)
        parsed.octets = self.octets
        return parsed

    def recipients(self) -> list[str]:
        """Return the given recipients."""
        return list(self._recipients)
