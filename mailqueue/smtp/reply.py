"""The SMTP reply as a value (RFC 5321 section 4.2, enhanced status codes of RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Reply"]

# RFC 3463 section 2: class "." subject "." detail
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a relay: its code (220 to 599) and its text, lines joined by ``\\n``, without the codes."""

    code: int
    text: str = ""

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (``5.1.1``) that the text begins with, if it does (RFC 2034 section 4)."""
        match = _ENHANCED.match(self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()
