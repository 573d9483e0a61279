"""The way out of a list: a signed token for each recipient, and the header fields and URL that carry it (RFC 8058).

A token says which address leaves which list. Its text is encrypted as well as signed: URLs stand in access logs, in
proxies and in forwarded mail, where no address should be read from them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from mailqueue import conf
from mailqueue.bulk.address import bare
from mailqueue.conf.consent import Keys
from mailqueue.errors import ImproperlyConfigured, InvalidToken
from mailqueue.ledger.suppressions import list_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Subscription", "Unsubscribe"]

_VERSION: Final = b"\x01"
#: Octets of the tag: 128 bits of HMAC-SHA256, which RFC 2104 section 5 allows to be cut to half.
_TAG: Final = 16
#: Characters of a token, at most: a list of 64, an address of 254, and what is added to them.
_LONGEST: Final = 480


class Subscription(NamedTuple):
    """What a token stands for: ``address``, bare, in the case in which it was written to, on ``list``."""

    list: str
    address: str


class _Key(NamedTuple):
    signing: bytes
    hiding: bytes

    @classmethod
    def of(cls, text: str) -> _Key:
        """One key does two things: each gets its own, so that none says anything of the other."""
        octets = text.encode()
        return cls(*(hashlib.sha256(use + octets).digest() for use in (b"mailqueue sign\0", b"mailqueue hide\0")))

    def tag(self, plain: bytes) -> bytes:
        return hmac.digest(self.signing, plain, "sha256")[:_TAG]

    def hide(self, plain: bytes, tag: bytes) -> bytes:
        """``plain`` so that only this key reads it, and the reverse: a stream that comes of the tag (as in RFC 5297)."""
        size = len(plain)
        stream = hashlib.shake_256(self.hiding + tag).digest(size)
        return (int.from_bytes(plain, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


class Unsubscribe:
    """Makes tokens with the first of ``keys``, and reads those of all of them: so keys are changed without a break.

    Args:
        url: Where the app of ``mailqueue.bulk.web`` is mounted, for the world to see: https.
        keys: Secrets of 22 characters or more, the newest first.
        mailto: An address that takes requests by mail, for what knows no https; the token is in their subject.

    Raises:
        ImproperlyConfigured: There is no key, or one that could be guessed.
    """

    def __init__(self, url: str, keys: Sequence[str], *, mailto: str = "") -> None:
        if not keys:
            raise ImproperlyConfigured("MAILQUEUE_UNSUBSCRIBE_KEYS has no key; set one of 22 characters or more")
        try:
            known = Keys().take(keys)
        except ValueError as error:
            raise ImproperlyConfigured(f"MAILQUEUE_UNSUBSCRIBE_KEYS: {error}") from None
        self._base = f"{url.rstrip('/')}/"
        self._keys = [_Key.of(key) for key in known]
        self._mailto = quote(mailto, safe="@.+-_")

    @classmethod
    def from_settings(cls) -> Unsubscribe:
        """As MAILQUEUE_UNSUBSCRIBE_URL and the others say; ImproperlyConfigured if they are not set."""
        url, keys = conf.get("MAILQUEUE_UNSUBSCRIBE_URL"), conf.get("MAILQUEUE_UNSUBSCRIBE_KEYS")
        if not url or not keys:
            lacking = "MAILQUEUE_UNSUBSCRIBE_KEYS" if url else "MAILQUEUE_UNSUBSCRIBE_URL"
            raise ImproperlyConfigured(
                f"{lacking} is not set, and bulk mail needs a way out of it; see docs/consent.md for the few lines"
            )
        return cls(url, keys, mailto=conf.get("MAILQUEUE_UNSUBSCRIBE_MAILTO") or "")

    def __repr__(self) -> str:
        return f"<Unsubscribe {self._base} with {len(self._keys)} keys>"

    def token(self, list: str, address: str) -> str:  # noqa: A002 - the field's name
        """The token by which ``address`` leaves ``list`` ("": all bulk mail). The same one each time.

        A name beside the address is left out: what is suppressed is what a message goes to.

        Raises:
            RecipientError: It is no address.
            InvalidMessage: A list cannot be called so.
        """
        plain = f"{list_of(list)}\0{bare(address)}".encode()
        key = self._keys[0]
        tag = key.tag(plain)
        octets = b"".join((_VERSION, tag, key.hide(plain, tag)))
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")

    def read(self, token: str) -> Subscription:
        """What ``token`` stands for. Raises InvalidToken."""
        text = token.strip().rstrip("=")
        if not 0 < len(text) <= _LONGEST:
            raise InvalidToken("it is empty" if not text else "it is too long")
        try:
            octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidToken("it has characters that no token has") from None
        if octets[:1] != _VERSION or len(octets) <= 1 + _TAG:
            raise InvalidToken("it is of no version that is known here")
        tag, hidden = octets[1 : 1 + _TAG], octets[1 + _TAG :]
        plain = b""
        for key in self._keys:  # all of them, however soon one fits
            candidate = key.hide(hidden, tag)
            if hmac.compare_digest(key.tag(candidate), tag):
                plain = candidate
        if not plain:
            raise InvalidToken("no key that is known here has made it")
        name, _, address = plain.decode().partition("\0")
        return Subscription(name, address)

    def url(self, list: str, address: str) -> str:  # noqa: A002 - the field's name
        """Where ``address`` leaves ``list``: a page that asks for a confirmation; to be offered in the text as well.

        Raises as ``token()``.
        """
        return self._base + self.token(list, address)

    def headers(self, list: str, address: str) -> dict[str, str]:  # noqa: A002 - the field's name
        """The fields by which mail clients offer that with one click (RFC 2369, RFC 8058). Raises as ``token()``."""
        token = self.token(list, address)
        way = f"<{self._base}{token}>"
        if self._mailto:
            way += f", <mailto:{self._mailto}?subject={token}>"
        return {"List-Unsubscribe": way, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
