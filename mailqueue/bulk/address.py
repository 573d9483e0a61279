"""A recipient's address: in the one form by which two are the same, as a digest of that, and with a name beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from mailqueue.errors import RecipientError
from mailqueue.mail.address import PLAIN_NAME, envelope_address

__all__ = ["bare", "digest", "mailbox", "normalise"]

#: Octets that a local part, and a whole address, may have: RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.3 (a path without
#: its angle brackets).
_LOCAL_PART: Final = 64
_ADDRESS: Final = 254
#: Characters that are looked at, name and all: the parser takes minutes for 100,000 quotes, which a file may hold.
_LONGEST: Final = 1_000
_DIGEST: Final = 9  # octets: 12 characters of base64; two of a million addresses share one in 1 of 10**10 campaigns

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN: Final = rf"{_LABEL}(?:\.{_LABEL})*"
# Nearly all there are; what is written in other ways is read by the mail API.
_USUAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_DOMAIN}", re.ASCII)
_HOST: Final = re.compile(rf"{_DOMAIN}|\[[!-Z^-~]+\]", re.ASCII)  # the latter is an address literal (section 4.1.3)
_PLAIN_LOCAL_PART: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*", re.ASCII)

_NAMED: Final = re.compile(r"(?P<name>.*?)\s*<(?P<address>[^<>]*)>", re.DOTALL)
_PLAIN_NAME: Final = re.compile(PLAIN_NAME)
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPECIAL: Final = re.compile(r'(["\\])')


def bare(address: str) -> str:
    """``address`` without its display name, its domain in ASCII (IDNA); the case of its letters stays.

    Raises:
        RecipientError: for what is not one address with a domain, or one that no relay takes.
    """
    if len(address) > _LONGEST:
        raise _refusal(address, f"it has {len(address)} characters, and {_LONGEST} are the most, with a name")
    spec = address if _USUAL.fullmatch(address) else _read(address.strip())
    local_part, _, _ = spec.rpartition("@")
    if len(local_part) > _LOCAL_PART or len(spec) > _ADDRESS:
        raise RecipientError(
            f"{_shown(address)} is too long: an address has at most {_ADDRESS} characters, {_LOCAL_PART} before the @"
        )
    return spec


def normalise(address: str) -> str:
    """The form of ``address`` by which it is told from others: bare, in lower case. Raises RecipientError.

    By RFC 5321 section 2.4 a local part's case counts; no host of note makes two mailboxes of it, and whoever is listed
    in both spellings wants one message.
    """
    return bare(address).lower()


def digest(address: str) -> str:
    """What stands for ``address`` in ids: 12 characters of base64url (RFC 4648) of its SHA-256. Raises RecipientError."""
    octets = hashlib.sha256(normalise(address).encode("ascii")).digest()[:_DIGEST]
    return base64.urlsafe_b64encode(octets).decode("ascii")


def mailbox(text: str) -> tuple[str, str]:
    """A mailbox as a template makes it, ``NAME <ADDRESS>`` or the address alone: fit for a header, and its bare address.

    The name is quoted if it has to be: it comes out of data, where nobody knows of RFC 5322. Raises RecipientError.
    """
    found = _NAMED.fullmatch(text.strip())
    if found is None:
        spec = bare(text)
        return spec, spec
    name, spec = found["name"], bare(found["address"])
    if not name:
        return spec, spec
    if not (_PLAIN_NAME.fullmatch(name) or _QUOTED.fullmatch(name)):
        name = '"' + _SPECIAL.sub(r"\\\1", name) + '"'
    return f"{name} <{spec}>", spec


def _read(address: str) -> str:
    """The bare form of an address that is written in an unusual way."""
    try:
        spec = envelope_address(address)
    except ValueError as error:
        raise _refusal(address, _reason(error)) from None
    local_part, at, domain = spec.rpartition("@")
    if not (at and local_part and domain):
        raise _refusal(address, "it has no domain")
    if not spec.isprintable():
        raise _refusal(address, "it has control characters")
    if "=?" in local_part and "=?" not in address:  # the mail API encodes it as Django does, and no relay reads that
        raise _refusal(address, "relays take no letters beyond ASCII before the @ (RFC 6531)")
    if not _PLAIN_LOCAL_PART.fullmatch(local_part) and '"' not in address:
        raise _refusal(address, "what is before the @ has a blank or a stray dot")
    if not _HOST.fullmatch(domain):
        raise _refusal(address, f"{domain!r} is no domain")
    return spec


def _refusal(address: str, why: str) -> RecipientError:
    return RecipientError(f"{_shown(address)} is no address: {why}")


def _shown(address: str) -> str:
    return repr(address if len(address) <= 80 else f"{address[:77]}...")


def _reason(error: ValueError) -> str:
    text = str(error)
    return text if not text.startswith("Invalid address") else "it is not one mailbox"
