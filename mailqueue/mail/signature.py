"""DKIM signatures (RFC 6376) on the bytes of a message, for relays that do not sign by themselves.

Headers are signed relaxed and bodies simple: relays refold the former, and leave the latter alone. Parsing and
canonical forms are dkimpy's, which is imported when the first signer is made.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mailqueue.conf.signingkey import SigningKey, load_key
from mailqueue.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mailqueue.conf.consent import Signing

__all__ = ["Signer"]

#: What is signed of what a message has: what RFC 6376 section 5.4.1 names, what RFC 8058 section 4 demands, and what
#: says that it is bulk mail.
_SIGNED: Final = (
    "from", "sender", "reply-to", "subject", "date", "message-id", "to", "cc", "mime-version", "content-type",
    "content-transfer-encoding", "in-reply-to", "references", "list-id", "list-unsubscribe", "list-unsubscribe-post",
    "list-help", "list-archive", "feedback-id", "auto-submitted", "precedence",
)  # fmt: skip
#: Signed once more than they are there, so that nobody adds another one.
_SEALED: Final = frozenset({"from", "list-unsubscribe", "list-unsubscribe-post"})
_LINE: Final = 72
_FIELD: Final = "DKIM-Signature"


class _Maker(NamedTuple):
    signing: Signing
    key: SigningKey


class Signer:
    """Signs messages for one relay, with one key or several: each signature stands by itself.

    Args:
        signings: Domain, selector and key of each signature.
        clock: Seconds since the epoch, for the time of signing.

    Raises:
        ImproperlyConfigured: A key cannot be used, or dkimpy is not installed.
    """

    def __init__(self, signings: Sequence[Signing], clock: Callable[[], float] = time.time) -> None:
        try:
            import dkim  # noqa: PLC0415 - see the module
            from dkim.canonicalization import Relaxed, Simple  # noqa: PLC0415

            self._makers = [_Maker(signing, load_key(signing)) for signing in signings]
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(f"DKIM needs {error.name}; pip install 'mailqueue[bulk]'") from None
        except ValueError as error:
            raise ImproperlyConfigured(f"DKIM: {error}") from None
        self._dkim: Any = dkim
        self._relaxed: Any = Relaxed
        self._simple: Any = Simple
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Signer for {', '.join(f'{each.signing.selector}._domainkey.{each.signing.domain}' for each in self._makers)}>"

    def sign(self, octets: bytes) -> bytes:
        """``octets``, a message with CRLF at the ends of lines, with its signatures before it.

        Raises ValueError for what is no message: a field that is none, no From.
        """
        head, blank, body = octets.partition(b"\r\n\r\n")
        try:
            fields, _ = self._dkim.rfc822_parse(head + b"\r\n")
        except self._dkim.DKIMException as error:
            raise ValueError(f"it cannot be signed: {type(error).__name__}") from None
        digest = hashlib.sha256(self._simple.canonicalize_body(body if blank else b"")).digest()
        present = [name.lower().decode("ascii") for name, _ in fields]
        if "from" not in present:
            raise ValueError("it cannot be signed: it has no From")
        relaxed = self._relaxed.canonicalize_headers(fields)
        return b"".join([*(self._field(each, present, relaxed, digest) for each in self._makers), octets])

    def _field(self, maker: _Maker, present: Sequence[str], relaxed: Any, digest: bytes) -> bytes:
        """One field DKIM-Signature, its line end with it."""
        signing, key = maker
        wanted = dict.fromkeys((*_SIGNED, *signing.headers))
        names = [name for name in wanted for _ in range(_times(name, present))]
        value = _folded(
            (
                "v=1;",
                f"a={key.algorithm};",
                "c=relaxed/simple;",
                f"d={signing.domain};",
                f"s={signing.selector};",
                f"t={int(self._clock())};",
                "h=",
                *(f"{name}:" for name in names[:-1]),
                f"{names[-1]};",
                f"bh={base64.b64encode(digest).decode()};",
                "b=",
            )
        )
        selected = self._dkim.select_headers(relaxed, [name.encode() for name in names])
        own = self._relaxed.canonicalize_headers([(_FIELD.encode(), value.encode())])[0]
        signed = b"".join([*(b"%b:%b" % field for field in selected), b"%b:%b" % (own[0], own[1].rstrip())])
        signature = base64.b64encode(key.sign(signed)).decode()
        lines = textwrap.wrap(signature, _LINE, break_on_hyphens=False)
        return "\r\n ".join([f"{_FIELD}:{value}", *lines, ""])[:-1].encode()


def _times(name: str, present: Sequence[str]) -> int:
    """How often a field is signed."""
    there = present.count(name)
    return there + (there > 0 and name in _SEALED)


def _folded(words: Iterable[str]) -> str:
    """``words`` in lines of some 72 characters."""
    lines, line = [], ""
    for word in words:
        if line and len(line) + 1 + len(word) > _LINE:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line])
