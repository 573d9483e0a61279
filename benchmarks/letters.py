"""The mail that every system sends: 2 KB of text and HTML each, no two alike, and how to know one again.

Only the standard library: it is imported in the environments of the peers as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from email import message_from_bytes, policy
from functools import cache
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["SENDER", "Letter", "address", "digest", "expected", "letter", "letters", "missing", "pdf"]

SENDER = "Shop <orders@shop.example>"
_PROSE = (
    "your order has left our house and will be with you on the day that you chose; the parcel goes to the address "
    "below unless you tell us of another one before noon"
)
_TEXT = 800  # octets; with the HTML, 2 KB
_HTML = 1250


@dataclass(frozen=True, slots=True)
class Letter:
    """One message's own parts."""

    number: int
    subject: str
    text: str
    html: str
    plain: str  # 2 KB of text alone, for send_mass_mail, which has no HTML
    recipient: str


@cache
def _prose() -> tuple[str, str]:
    """The same text and HTML for all, but for a name and a number."""
    draw = Random(13)  # any seed: it must be the same words each time
    words: list[str] = []
    while sum(map(len, words)) + len(words) < _TEXT - 80:
        words.append(draw.choice(_PROSE.split()))
    lines = [" ".join(words[start : start + 11]) for start in range(0, len(words), 11)]
    text = "\n".join(lines)
    cells = "".join(f'<tr><td style="padding:4px">{line}</td></tr>\n' for line in lines)
    return text, cells[: cells.rindex("<tr>", 0, _HTML)]


def letter(number: int) -> Letter:
    """The message of that number."""
    text, cells = _prose()
    hello = f"Dear customer {number},"
    return Letter(
        number,
        f"Your order {number} is on its way",
        f"{hello}\n\n{text}\n\nYours, the shop (order {number})\n",
        f"<html><body><p>{hello}</p>\n<table>\n{cells}</table>\n<p>Order {number}</p></body></html>\n",
        f"{hello}\n\n{text}\n\n{text[:_HTML]}\n\n{text[: _HTML - len(text)]}\n\nYours, the shop (order {number})\n",
        address(number),
    )


def letters(count: int, first: int = 0) -> Iterator[Letter]:
    """The messages numbered from ``first`` on, made as they are asked for."""
    return (letter(number) for number in range(first, first + count))


def address(number: int) -> str:
    """The recipient of the message of that number."""
    return f"user{number}@example.com"


def pdf(size: int = 1024 * 1024) -> bytes:
    """A file of ``size`` octets that does not compress, the same each time."""
    return b"%PDF-1.7\n" + Random(1).randbytes(size - 9)


def expected(item: Letter, *, plain: bool = False) -> str:
    """What ``digest`` says of the message as it should arrive: with HTML, or plain."""
    bodies = [item.plain] if plain else [item.text, "text/html", item.html]
    return _hash([item.subject, SENDER, item.recipient, "text/plain", *bodies])


def digest(content: bytes) -> str:
    """A hash of what a reader sees of a message: not of its dates, boundaries, Message-ID and encodings."""
    message = message_from_bytes(content, policy=policy.default)
    seen = [str(message[name]) for name in ("Subject", "From", "To")]
    for part in message.walk():
        if not part.is_multipart():
            body = part.get_content()
            seen += [part.get_content_type(), body if isinstance(body, str) else hashlib.sha256(body).hexdigest()]
    return _hash(seen)


def missing(recipients: Iterable[str], count: int, first: int = 0) -> str:
    """What is wrong with who got mail, in words: "" if each of the messages arrived, once."""
    seen = list(recipients)
    wanted = {address(number) for number in range(first, first + count)}
    lost, alien, again = wanted.difference(seen), set(seen) - wanted, len(seen) - len(set(seen))
    return ", ".join(f"{len(found)} {word}" for found, word in ((lost, "lost"), (alien, "not ours")) if found) + (
        f"{', ' if lost or alien else ''}{again} sent twice" if again else ""
    )


def _hash(seen: list[str]) -> str:
    # A system may end a body with one line end more or less, as it may write lines with CRLF.
    plain = "\0".join("\n".join(text.splitlines()).strip() for text in seen)
    return hashlib.sha256(plain.encode()).hexdigest()[:32]
