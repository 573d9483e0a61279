"""Chunks: recipients with their data as they wait in the ledger, up to 200 in one compressed text."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from mailqueue.errors import InvalidMessage, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CHUNK_OCTETS",
    "CHUNK_RECIPIENTS",
    "ChunkBuilder",
    "Waiting",
    "decode_chunk",
    "encode_chunk",
    "encode_recipient",
    "is_again",
]

#: What one chunk holds at most: recipients, and octets of JSON. The more there are, the better they compress; a feeder
#: has one of them in hand.
CHUNK_RECIPIENTS: Final = 200
CHUNK_OCTETS: Final = 64 * 1024
_MOST_OCTETS: Final = 4 * 1024 * 1024  # that are read back: a store that has been tampered with fills no memory
#: The first byte of a chunk that has recipients who were in another before: it is for feeding alone.
_AGAIN: Final = b"+"
_ONCE: Final = b"="

#: A recipient who waits: the address, and the data as JSON.
Waiting: TypeAlias = tuple[str, msgspec.Raw]

_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(list[Waiting])


def encode_recipient(address: str, data: Any) -> bytes:
    """A recipient as JSON; raises InvalidMessage for data that JSON cannot carry, and for too much of it."""
    try:
        octets = _encode((address, data))
    except (TypeError, ValueError, RecursionError) as trouble:
        raise InvalidMessage(f"its data cannot be written as JSON: {trouble}") from None
    if len(octets) > CHUNK_OCTETS:
        raise InvalidMessage(
            f"its data has {len(octets)} octets, and {CHUNK_OCTETS} is the limit: what all have in common belongs in "
            "the template"
        )
    return octets


def encode_chunk(recipients: Iterable[bytes], *, again: bool = False) -> bytes:
    """A chunk of recipients, each as ``encode_recipient`` has them."""
    return (_AGAIN if again else _ONCE) + zlib.compress(b"[" + b",".join(recipients) + b"]", level=6)


def decode_chunk(content: bytes) -> list[Waiting]:
    """The recipients of a chunk: address and data, which is JSON still. Raises WireError for what is no chunk."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(content[1:], _MOST_OCTETS)
        if not stream.eof:
            raise WireError("no chunk: cut off, or too large")
        return _decoder.decode(text)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        raise WireError(f"no chunk: {trouble}") from trouble


def is_again(content: bytes) -> bool:
    """Whether the recipients of this chunk were in another one before, and have failed then."""
    return content[:1] == _AGAIN


class ChunkBuilder:
    """Collects recipients until a chunk is full; nobody twice in one."""

    def __init__(self) -> None:
        self._recipients: dict[str, bytes] = {}  # by digest
        self._octets = 0

    def __len__(self) -> int:
        return len(self._recipients)

    def __contains__(self, digest: object) -> bool:
        return digest in self._recipients

    def has_room(self, recipient: bytes) -> bool:
        """Whether ``recipient`` may go in."""
        return not self._recipients or (
            len(self._recipients) < CHUNK_RECIPIENTS and self._octets + len(recipient) <= CHUNK_OCTETS
        )

    def add(self, digest: str, recipient: bytes) -> None:
        """Take a recipient in, who is not there yet."""
        self._recipients[digest] = recipient
        self._octets += len(recipient)

    def drop(self, digests: Sequence[str]) -> None:
        """Leave these out again."""
        for digest in digests:
            self._octets -= len(self._recipients.pop(digest, b""))

    @property
    def digests(self) -> list[str]:
        """Of those who are in."""
        return list(self._recipients)

    def encode(self, *, again: bool = False) -> bytes:
        """The chunk as the ledger keeps it."""
        return encode_chunk(self._recipients.values(), again=again)
