"""The kinds of settings that bulk mail needs for consent: a page of yours, keys, codes of refusals, DKIM signatures."""

# ruff: noqa: D102 - what each method does is told once, by Kind

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from mailqueue.conf.kinds import Kind, Structured, Text
from mailqueue.conf.nearest import nearest
from mailqueue.conf.secret import Secret

__all__ = ["HARD_REFUSALS", "Codes", "Keys", "MailAddress", "Signature", "Signing", "WebAddress"]

#: Refusals that say of an address that it will never take mail, whoever sends it (RFC 3463, RFC 7505): no such mailbox,
#: no such domain, no address at all, moved and gone, a domain that takes no mail, mailbox disabled. The codes of three
#: digits are for the same without an enhanced code (RFC 5321 section 4.2.3).
HARD_REFUSALS: Final = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "550", "551", "553")

#: 128 bits take 22 characters of base64, 32 of hexadecimal digits.
_KEY_CHARACTERS: Final = 22
_MAKE_ONE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CODE: Final = re.compile(r"5\d\d|5\.\d{1,3}\.\d{1,3}", re.ASCII)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)
_DOMAIN: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_FIELD: Final = re.compile(r"[!-9;-~]+", re.ASCII)  # RFC 5322 section 2.2


class WebAddress(Kind):
    """The https URL of a page of yours, as the world sees it. On this host alone it may be http."""

    def take(self, value: Any) -> str:
        text = str(value).strip()
        try:
            parts = urlsplit(text)
            host = parts.hostname or ""
        except ValueError:
            host, parts = "", urlsplit("")
        if not host or not text.isascii() or not text.isprintable() or set(text) & set(' <>",'):
            raise ValueError(f"{text[:60]!r} is no URL of a page; give one such as https://example.com/unsubscribe")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL):
            raise ValueError("it does not begin with https://, which RFC 8058 asks for; http is for localhost alone")
        if parts.query or parts.fragment:
            raise ValueError("it has a ? or #, but tokens are added to its end; leave them out")
        return text.rstrip("/")


class MailAddress(Text):
    """The bare address of a mailbox of yours."""

    def take(self, value: Any) -> str:
        text = super().take(value).strip()
        if not _ADDRESS.fullmatch(text):
            raise ValueError(f"{text[:60]!r} is no address; give one such as leave@example.com, without a name")
        return text


class _Words(Structured):
    """A list of words: JSON or comma-separated in the environment."""

    shared = True  # a tuple

    def parse(self, text: str) -> Any:
        return super().parse(text if text.lstrip().startswith("[") else json.dumps(text.split(",")))


class Keys(_Words):
    """Secrets, the newest first. No error shows any of them."""

    def take(self, value: Any) -> tuple[Secret, ...]:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)) or not all(isinstance(key, str) for key in listed) or not listed:
            raise ValueError(f"it must be a list of keys, the newest first; make one by {_MAKE_ONE}")
        keys = tuple(Secret(key.strip()) for key in listed)
        for place, key in enumerate(keys, 1):
            if len(key) < _KEY_CHARACTERS:
                raise ValueError(
                    f"key {place} has {len(key)} characters, and could be guessed; {_KEY_CHARACTERS} are the least: {_MAKE_ONE}"
                )
        return keys


class Codes(_Words):
    """Codes of refusals, a list; ``hard`` stands for HARD_REFUSALS, ``off`` for none."""

    def take(self, value: Any) -> tuple[str, ...]:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)):
            raise ValueError('it must be hard, off, or a list of codes such as ["hard", "5.4.1"]')  # noqa: TRY004 - told as one problem
        codes: dict[str, None] = {}
        for each in listed:
            code = str(each).strip().lower()
            if code == "off" and len(listed) == 1:
                return ()
            if code != "hard" and not _CODE.fullmatch(code):
                raise ValueError(f"{code[:20]!r} is no code of a permanent refusal; use hard, off, 5.1.1 or 550")
            codes.update(dict.fromkeys(HARD_REFUSALS if code == "hard" else (code,)))
        return tuple(codes)


@dataclass(frozen=True, slots=True)
class Signing:
    """How a relay's mail is signed (RFC 6376): ``key`` or the file that holds it, and fields signed besides the usual."""

    domain: str
    selector: str
    key: str = field(default="", repr=False)
    key_file: str = ""
    headers: tuple[str, ...] = ()


class Signature(Kind):
    """The option ``dkim`` of a relay: domain, selector, and key or key_file; or a list of such, for a signature each."""

    _NAMES = ("domain", "selector", "key", "key_file", "headers")

    def take(self, value: Any) -> tuple[Signing, ...]:
        listed = value if isinstance(value, (list, tuple)) else [value]
        if not listed:
            raise ValueError("it is an empty list; leave it out for no signature")
        return tuple(each if isinstance(each, Signing) else self._signing(each) for each in listed)

    def _signing(self, value: Any) -> Signing:
        if not isinstance(value, Mapping):
            raise ValueError('it must be like {"domain": "example.com", "selector": "mail", "key_file": "/path"}')  # noqa: TRY004 - told as one problem
        for name in value:
            if name not in self._NAMES:
                raise ValueError(f"it has no {name!r}{nearest(str(name), self._NAMES)}")
        key, file = value.get("key") or "", value.get("key_file") or ""
        if bool(key) == bool(file):
            raise ValueError("it needs a key: either key_file, the path of its file, or key, its text")
        if not isinstance(key, str) or not isinstance(file, (str, os.PathLike)):
            raise ValueError("key and key_file are texts; put them in quotes")  # noqa: TRY004 - told as one problem
        return Signing(
            self._name(value, "domain"),
            self._name(value, "selector"),
            Secret(key),
            os.fspath(file),
            tuple(self._fields(value.get("headers") or ())),
        )

    def _name(self, value: Mapping[str, Any], name: str) -> str:
        text = str(value.get(name) or "").strip().lower()
        if not text.isascii():
            text = text.encode("idna").decode("ascii")
        if not _DOMAIN.fullmatch(text):
            raise ValueError(
                f"its {name} {text[:60]!r} is none; the public key is published at SELECTOR._domainkey.DOMAIN"
            )
        return text

    def _fields(self, names: Any) -> Iterable[str]:
        if not isinstance(names, (list, tuple)):
            raise ValueError('its headers must be a list of names, such as ["X-Campaign"]')  # noqa: TRY004 - told as one problem
        for name in names:
            if not isinstance(name, str) or not _FIELD.fullmatch(name):
                raise ValueError(f"{str(name)[:60]!r} is no name of a header field")
            yield name.lower()
