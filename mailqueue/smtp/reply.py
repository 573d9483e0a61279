"""The SMTP reply as a value (RFC 5321 section 4.2, enhanced status codes of RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Reply", "reply_text"]

# RFC 3463 section 2: class "." subject "." detail
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    r"""One reply of a relay: its code (220 to 599) and its text, lines joined by ``\n``, without the codes.

    -1 is the code of what was no reply.
    """

    code: int
    text: str = ""

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (``5.1.1``) that the text begins with, if it does (RFC 2034 section 4)."""
        match = _ENHANCED.match(self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


def reply_text(octets: bytes | str) -> str:
    """A relay's words as text that can be stored and shown: UTF-8, and no control characters but line ends."""
    text = octets if isinstance(octets, str) else octets.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
