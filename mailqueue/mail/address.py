"""Mailboxes: reading one from text, and writing it for a header or for the envelope (RFC 5322 section 3.4).

Reading is strict: what is not one whole mailbox is refused with a ValueError that begins with "Invalid address".
"""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from email import _header_value_parser
from email.charset import Charset
from email.errors import HeaderParseError
from email.header import Header
from email.headerregistry import Address
from email.utils import formataddr, getaddresses
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mailqueue.mail.utils import punycode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "PLAIN_NAME",
    "Encoding",
    "Mailbox",
    "envelope_address",
    "parse_address_list",
    "parse_mailbox",
    "sanitize_address",
]

#: The charset of a message: its name, or a Charset for those who choose how it is encoded. None: DEFAULT_CHARSET.
Encoding: TypeAlias = str | Charset | None

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9-]{1,63}"
# Nearly every address there is: reading it in full would give it back unchanged, 50 us later.
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
_PLAIN_ADDRESS: Final = re.compile(_ADDRESS, re.ASCII)
_WORD = r"[^\W_][\w.'-]*"
#: A pattern: a display name that the parser surely takes, words or a quoted string, in letters of any script.
PLAIN_NAME: Final = rf"""(?:{_WORD}(?: {_WORD})*|"[\w .,'&/+-]*")"""
# For the envelope, which leaves the name out.
_AFTER_A_NAME: Final = re.compile(rf"{PLAIN_NAME} <({_ADDRESS})>")

# Pythons that got the fix of CVE-2023-27043 refuse whole lists by a rule of their own. Here each element must be one
# mailbox, whatever the Python, so elements are read leniently.
_LENIENT: Final[dict[str, Any]] = {"strict": False} if "strict" in inspect.signature(getaddresses).parameters else {}

# A comma between mailboxes, or what may hold one that separates nothing.
_LIST_TOKEN: Final = re.compile(
    r"""
      "(?:[^"\\]|\\.)*"     # quoted string
    | \((?:[^()\\]|\\.)*\)  # comment, not nested
    | (?P<comma>,)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name, possibly empty, and an address in its two parts. ``domain`` is empty for a local user."""

    display_name: str
    local_part: str
    domain: str

    def addr_spec(self, encoding: Encoding) -> str:
        """The address alone in ASCII: the domain as IDNA, a local part beyond ASCII as an RFC 2047 word.

        The latter is Django's way up to 5.2. Raises ValueError if a part cannot be written so.
        """
        local_part = self.local_part
        if not local_part.isascii():
            local_part = Header(local_part, encoding).encode()
        try:
            domain = punycode(self.domain)
        except UnicodeError as error:
            raise ValueError(f'Invalid address "{self.local_part}@{self.domain}": {error}') from error
        return Address(username=local_part, domain=domain).addr_spec

    def formatted(self, encoding: Encoding) -> str:
        """The mailbox as a header shows it: the name quoted or encoded as it needs, the address in angle brackets."""
        charset = None if self.display_name.isascii() else encoding
        return formataddr((Header(self.display_name, charset).encode(), self.addr_spec(encoding)))


def parse_mailbox(address: object) -> Mailbox:
    """The mailbox that ``address`` stands for: text (lazy or not), UTF-8 bytes, or a pair of name and addr-spec.

    Raises ValueError for everything that is not exactly one mailbox, and for line breaks in any part of it.
    """
    mailbox = _from_pair(*address) if isinstance(address, tuple) else _from_text(_text(address))
    if any(character in part for part in _parts(mailbox) for character in "\r\n"):
        raise ValueError("Invalid address; address parts cannot contain newlines.")
    return mailbox


def sanitize_address(addr: object, encoding: Encoding) -> str:
    """``addr``, text or a pair of name and address, as it may stand in a header: ASCII, one mailbox, no line breaks.

    Raises ValueError ("Invalid address ..."). Django's ``django.core.mail.message.sanitize_address``.
    """
    if isinstance(addr, str) and _PLAIN_ADDRESS.fullmatch(addr):
        return addr
    return parse_mailbox(addr).formatted(encoding)


def envelope_address(addr: object, encoding: Encoding = None) -> str:
    """The bare addr-spec of ``addr`` for MAIL FROM or RCPT TO, without its display name. Raises as above."""
    if isinstance(addr, str):
        if _PLAIN_ADDRESS.fullmatch(addr):
            return addr
        if named := _AFTER_A_NAME.fullmatch(addr):
            return named[1]
    return parse_mailbox(addr).addr_spec(encoding)


def parse_address_list(value: str) -> Iterator[Mailbox]:
    """The mailboxes in the address list ``value``; a comma inside a quoted name separates nothing.

    Raises ValueError, when it gets there, if an element is not one mailbox or has no domain.
    """
    for element in _elements(value):
        pairs = getaddresses([element], **_LENIENT)
        if len(pairs) != 1:
            raise ValueError(f'Invalid address "{element}"')
        yield parse_mailbox(pairs[0])


def _parts(mailbox: Mailbox) -> tuple[str, str, str]:
    return mailbox.display_name, mailbox.local_part, mailbox.domain


def _text(address: object) -> str:
    return address.decode() if isinstance(address, bytes) else str(address)


def _from_pair(name: Any, address: Any) -> Mailbox:
    name, address = str(name), str(address)
    if "@" not in address:
        raise ValueError(f'Invalid address "{address}"')
    local_part, _, domain = address.rpartition("@")
    return Mailbox(name, local_part, domain)


@functools.lru_cache(maxsize=256)  # the senders come again and again
def _from_text(text: str) -> Mailbox:
    try:
        token, rest = _header_value_parser.get_mailbox(text)
        mailbox = Mailbox(token.display_name or "", token.local_part, token.domain or "")
    except (HeaderParseError, ValueError, AttributeError, IndexError, TypeError) as error:
        # The last three are faults of the parser: on ". <to@x>", a lone quote, " . <to@x>"; Python 3.12.1 on "to@".
        raise ValueError(f'Invalid address "{text}"') from error
    if token.local_part is None:  # "<>"
        raise ValueError(f'Invalid address "{text}"')
    if rest:
        raise ValueError(f'Invalid address; only {token} could be parsed from "{text}"')
    return mailbox


def _elements(value: str) -> list[str]:
    """What stands between the commas of an address list."""
    elements, start = [], 0
    for token in _LIST_TOKEN.finditer(value):
        if token["comma"]:
            elements.append(value[start : token.start()])
            start = token.end()
    elements.append(value[start:])
    return [element.strip(" \t").removesuffix(";") for element in elements]  # ";" ends a group (RFC 5322 section 3.4)
