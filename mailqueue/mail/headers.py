"""Header fields of a message: refusing what would inject others, and encoding what is not ASCII (RFC 2047)."""

from __future__ import annotations

import re
from email.header import Header
from typing import TYPE_CHECKING, Final

from mailqueue import conf
from mailqueue.errors import BadHeaderError
from mailqueue.mail.address import parse_address_list

if TYPE_CHECKING:
    from mailqueue.mail.address import Encoding

__all__ = ["ADDRESS_HEADERS", "forbid_multi_line_headers", "forbid_newlines", "is_line"]

#: Control characters, lone surrogates, and what else ends a line for Python.
_NO_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

#: Names, in lower case, of the fields that hold addresses (RFC 5322 sections 3.6.2, 3.6.3 and 3.6.6).
ADDRESS_HEADERS: Final = frozenset(
    f"{prefix}{name}" for prefix in ("", "resent-") for name in ("from", "sender", "to", "cc", "bcc")
) | {"reply-to"}


def is_line(text: str) -> bool:
    """Whether ``text`` is one line of nothing but characters: a field can surely have it for its value."""
    return text.isprintable() or not _NO_TEXT.search(text)


def forbid_newlines(name: str, val: object) -> str:
    """``val`` as text. Raises BadHeaderError if it, or the name of its field, has a line break in it."""
    text = str(val)  # lazy strings become what they stand for
    if "\n" in text or "\r" in text:
        raise BadHeaderError(f"Header values can't contain newlines (got {text!r} for header {name!r})")
    if "\n" in name or "\r" in name:
        raise BadHeaderError(f"Header names can't contain newlines (got {name!r})")
    return text


def forbid_multi_line_headers(name: str, val: object, encoding: Encoding) -> tuple[str, str]:
    """The field's name, and its value as it may stand in a message: on one line when given, ASCII when returned.

    ``encoding`` None stands for DEFAULT_CHARSET. Addresses are encoded one by one, everything else as free text;
    a long subject comes back folded. Raises BadHeaderError for a line break, ValueError for a bad address.
    """
    text = forbid_newlines(name, val)
    field = name.lower()
    if text.isascii():
        return name, Header(text).encode() if field == "subject" else text
    charset = encoding or conf.get("DEFAULT_CHARSET")
    if field in ADDRESS_HEADERS:
        return name, ", ".join(mailbox.formatted(charset) for mailbox in parse_address_list(text))
    return name, Header(text, charset).encode()
