"""What a relay offers in its reply to EHLO, and the commands that open a transaction accordingly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import smtplib

    from mailqueue.smtp.session import Mail

__all__ = ["Offer", "beyond_ascii"]


@dataclass(frozen=True, slots=True)
class Offer:
    """The extensions that concern transactions, as one relay has them."""

    size: int | None = None  # RFC 1870; octets, 0 for no fixed limit, None if it is not offered
    eight_bit: bool = False  # RFC 6152, 8BITMIME
    utf8: bool = False  # RFC 6531, SMTPUTF8
    pipelining: bool = False  # RFC 2920
    chunking: bool = False  # RFC 3030, BDAT

    @classmethod
    def of(cls, connection: smtplib.SMTP) -> Self:
        """What the relay at the other end of ``connection`` has said to EHLO."""
        offers = connection.has_extn
        limit = connection.esmtp_features.get("size", "").split(" ")[0]
        return cls(
            size=(int(limit) if limit.isdecimal() and len(limit) <= 20 else 0) if offers("size") else None,
            eight_bit=offers("8bitmime"),
            utf8=offers("smtputf8"),
            pipelining=offers("pipelining"),
            chunking=offers("chunking"),
        )

    def mail(self, mail: Mail, *, international: bool) -> str:
        """The MAIL command; ``international`` for addresses beyond ASCII."""
        parameters = ""
        if self.size is not None:
            parameters += f" SIZE={len(mail.content)}"
        if self.eight_bit and not mail.content.isascii():
            parameters += " BODY=8BITMIME"
        if international:
            parameters += " SMTPUTF8"
        return f"mail FROM:<{mail.sender}>{parameters}"

    def takes(self, octets: int) -> bool:
        """Whether a message of so many octets is below the announced limit."""
        return not self.size or octets <= self.size


def beyond_ascii(mail: Mail) -> bool:
    """Whether an address is not ASCII."""
    return not (mail.sender.isascii() and all(map(str.isascii, mail.recipients)))
