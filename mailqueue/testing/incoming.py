"""What a client sends, read off a socket: lines, octets, and what has arrived but was not asked for yet."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["Incoming"]

_BLOCK = 65536


class Incoming:
    """The receiving side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def readline(self) -> bytes:
        """The next line with its end; what is left of it when the client has hung up."""
        seen = 0
        while (end := self._buffer.find(b"\n", seen) + 1) == 0:
            seen = len(self._buffer)
            if not self._fill():
                break
        return self._cut(end or len(self._buffer))

    def read(self, count: int) -> bytes:
        """``count`` octets; fewer when the client has hung up."""
        while len(self._buffer) < count and self._fill():
            pass
        return self._cut(count)

    def lose(self) -> int:
        """Forget what has arrived and was not read; says how many octets."""
        while select.select([self._sock], [], [], 0)[0] and self._fill():
            pass
        return len(self._cut(len(self._buffer)))

    def _fill(self) -> bool:
        octets = self._sock.recv(_BLOCK)
        self._buffer += octets
        return bool(octets)

    def _cut(self, count: int) -> bytes:
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets
