"""The claim check: what of a message travels in its envelope, and what is stored once under its content hash.

A part over 32 KB leaves the envelope as a reference; the ledger keeps it for as long as a message uses it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import msgspec

from mailqueue.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["INLINE_LIMIT", "Blob", "Content", "Luggage", "Octets", "restore"]

#: Octets; a larger part becomes a blob. Below it the round trip for a blob costs more than carrying the part.
INLINE_LIMIT: Final = 32 * 1024
#: Octets of parts in one envelope, after which parts over 1 KB become blobs too: it bounds what a task carries.
_INLINE_TOTAL: Final = 256 * 1024
_SMALL: Final = 1024


class Octets(msgspec.Struct, frozen=True, tag_field="is", tag="octets"):
    """Bytes that travel in the envelope (base64 in JSON)."""

    data: bytes


class Blob(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="is", tag="blob"):
    """A part that is stored under the hex SHA-256 of its ``size`` octets; ``text`` if it was a str."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0)]
    text: bool = False


#: Where a part's content is: text or octets in place, or elsewhere.
Content: TypeAlias = str | Octets | Blob


class Luggage:
    """Takes the parts of one message and says for each how it travels; ``blobs`` are those to be stored."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.size = 0  # octets of all parts taken, wherever they travel
        self._inline = 0

    def check_in(self, content: str | bytes) -> Content:
        """Return what stands for ``content`` in the envelope.

        Raises:
            UnicodeEncodeError: for text that has no UTF-8 form (lone surrogates).
        """
        octets = content.encode() if isinstance(content, str) else content
        size = len(octets)
        self.size += size
        if size <= _SMALL or (size <= INLINE_LIMIT and self._inline + size <= _INLINE_TOTAL):
            self._inline += size
            return content if isinstance(content, str) else Octets(content)
        key = hashlib.sha256(octets).hexdigest()
        self.blobs[key] = octets
        return Blob(key, size, isinstance(content, str))


def restore(content: Content, blobs: Mapping[str, bytes]) -> str | bytes:
    """Return what was checked in; raises WireError if its blob is lacking or is no text where text went in."""
    if isinstance(content, str):
        return content
    if isinstance(content, Octets):
        return content.data
    try:
        octets = blobs[content.sha256]
    except KeyError:
        raise WireError(f"the blob {content.sha256} of {content.size} octets is lacking") from None
    if not content.text:
        return octets
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise WireError(f"the blob {content.sha256} is no text") from None
