"""A digest of what a reader sees of a message: subject, texts and attachments, whatever way they were encoded.

Two messages have the same digest if a reader could not tell them apart. Dates, message ids, boundaries and transfer
encodings are left out. Made to be quick, for servers that look at every message of many: it reads the MIME that mail
programs write (RFC 2045 to 2047), not all that a hostile one can.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from email.header import decode_header, make_header
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["likeness", "likeness_of"]

_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_BOUNDARY: Final = re.compile(rb'boundary="?([^";]+)', re.IGNORECASE)
_LARGE: Final = 16 * 1024  # octets from which an encoded part is kept, to be known again
#: The last encoded part of each kind and length, and the hash of what it decodes to.
_KNOWN: Final[dict[tuple[str, bytes, int], tuple[bytes, bytes]]] = {}


def likeness(subject: str, parts: Iterable[tuple[str, bytes]]) -> str:
    """The digest of a message with this subject and these parts (media type, content as a reader gets it), in order."""
    return _digest(subject, ((kind, _mark(kind, content)) for kind, content in parts))


def likeness_of(content: bytes) -> str:
    """The digest of a message as it went over the wire; of one that cannot be read, one that no other message has."""
    try:
        headers, body = _split(content)
        return _digest(_subject(headers.get(b"subject", b"")), _leaves(headers, body))
    except (ValueError, IndexError, LookupError):  # binascii.Error is a ValueError
        return "unreadable " + _hash(content).hex()[:16]


def _mark(kind: str, content: bytes) -> bytes:
    return _large_mark(kind, content) if len(content) >= _LARGE else _hash(_lines(kind, content))


@lru_cache(maxsize=16)  # the attachment that all have
def _large_mark(kind: str, content: bytes) -> bytes:
    return _hash(_lines(kind, content))


def _digest(subject: str, parts: Iterable[tuple[str, bytes]]) -> str:
    whole = hashlib.sha256(subject.encode())
    for kind, mark in parts:
        whole.update(b"\0" + kind.encode() + b"\0" + mark)
    return whole.hexdigest()[:24]


def _split(content: bytes) -> tuple[dict[bytes, bytes], bytes]:
    if content.startswith(b"\r\n"):  # a part without headers (RFC 2046, 5.1)
        return {}, content[2:]
    head, _, body = content.partition(b"\r\n\r\n")
    lines = _FOLD.sub(b" ", head).split(b"\r\n")
    return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}, body


def _leaves(headers: dict[bytes, bytes], body: bytes) -> Iterator[tuple[str, bytes]]:
    kind = headers.get(b"content-type", b"text/plain")
    name = kind.partition(b";")[0].strip().lower().decode("ascii")
    if not name.startswith("multipart/"):
        yield name, _part(name, headers.get(b"content-transfer-encoding", b"7bit").lower(), body)
        return
    found = _BOUNDARY.search(kind)
    if found is None:
        raise ValueError("a multipart without a boundary")
    for piece in (b"\r\n" + body).split(b"\r\n--" + found[1])[1:]:
        if piece.startswith(b"--"):
            return
        yield from _leaves(*_split(piece[2:]))  # without the end of the boundary's line
    raise ValueError("a multipart without its end")


def _part(kind: str, encoding: bytes, body: bytes) -> bytes:
    if len(body) < _LARGE:
        return _hash(_lines(kind, _decoded(encoding, body)))
    key = kind, encoding, len(body)
    known = _KNOWN.get(key)
    if known is None or known[0] != body:  # an attachment that all have is decoded and hashed once
        if len(_KNOWN) >= 100:
            _KNOWN.clear()
        known = _KNOWN[key] = (body, _hash(_lines(kind, _decoded(encoding, body))))
    return known[1]


def _decoded(encoding: bytes, body: bytes) -> bytes:
    if encoding == b"base64":
        return binascii.a2b_base64(body)
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(body)
    return body


def _lines(kind: str, content: bytes) -> bytes:
    """Of a text, the lines: their ends are the transport's, and so is one at the very end."""
    return content.replace(b"\r\n", b"\n").rstrip(b"\n") if kind.startswith("text/") else content


@lru_cache(maxsize=1024)
def _subject(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return str(make_header(decode_header(text))) if "=?" in text else text


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
