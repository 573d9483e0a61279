"""Files as base64 for the wire (RFC 2045 section 6.8), each encoded once, however many messages it is attached to."""

from __future__ import annotations

import struct
import threading
from binascii import b2a_base64
from collections import OrderedDict
from typing import Final

__all__ = ["EncodedFiles", "encode_lines", "encoded_files"]

_OCTETS: Final = 57  # of a file, which make a line of 76 characters, the most there may be
_CHARACTERS: Final = 76
_LINES: Final = 256
#: Takes the text of 256 lines apart. No loop does it as fast, and what is at work stays in the processor's cache: so
#: 1 MB takes less time than base64.b64encode, which makes one long line (0.9 ms and 1.1 ms).
_SPLIT: Final = struct.Struct(f"{_CHARACTERS}s" * _LINES).unpack


def encode_lines(content: bytes) -> tuple[bytes, ...]:
    """``content`` as base64 in lines that end in CRLF, a block of lines after the other."""
    octets = memoryview(content)
    full = len(octets) - len(octets) % (_OCTETS * _LINES)
    blocks = [
        _ended(*_SPLIT(b2a_base64(octets[start : start + _OCTETS * _LINES], newline=False)))
        for start in range(0, full, _OCTETS * _LINES)
    ]
    rest = b2a_base64(octets[full:], newline=False)
    blocks.append(_ended(*(rest[start : start + _CHARACTERS] for start in range(0, len(rest), _CHARACTERS))))
    return tuple(blocks)


def _ended(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b""))


class EncodedFiles:
    """Files with what they are in base64: those used last, ``limit`` octets at most of both together. Thread-safe."""

    #: Octets; encoding a smaller file takes less time than looking whether it is here.
    WORTH_KEEPING: Final = 4 * 1024

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        # The files themselves are the keys: their hash is computed once for each object, and the same object is
        # equal at a glance.
        self._held: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        self._size = 0

    def __getitem__(self, content: bytes) -> tuple[bytes, ...]:
        """What ``encode_lines`` makes of ``content``."""
        if len(content) < self.WORTH_KEEPING:
            return encode_lines(content)
        with self._lock:
            if (encoded := self._held.get(content)) is not None:
                self._held.move_to_end(content)
                return encoded
        encoded = encode_lines(content)
        self._keep(content, encoded)
        return encoded

    def _keep(self, content: bytes, encoded: tuple[bytes, ...]) -> None:
        size = _weight(content, encoded)
        if size > self._limit:
            return
        with self._lock:
            if content in self._held:  # another thread was faster
                return
            self._held[content] = encoded
            self._size += size
            while self._size > self._limit:
                self._size -= _weight(*self._held.popitem(last=False))


def _weight(content: bytes, encoded: tuple[bytes, ...]) -> int:
    return len(content) + sum(map(len, encoded))


#: Those of this process. The largest message that is accepted (25 MiB) has a file of 18 MiB in it: 43 with its base64.
encoded_files: Final = EncodedFiles(48 * 1024 * 1024)
