"""A link that is long: passes bytes both ways, each half a round-trip time late, in order.

    python -m benchmarks.delay --to 127.0.0.1:2525 --rtt 20

It delays what is on its way, not who sends it: a hundred commands written together arrive together, half a round trip
later, so only waiting for answers costs time. Opening a connection takes what TCP's handshake would take. It has no
bandwidth limit and loses nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import socket
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

from benchmarks.helper import HOST, Helper, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DelayProxy"]


class DelayProxy(Helper):
    """The link in a process of its own, as a context manager: connect to ``port`` instead of ``target``.

    Args:
        target: The port on the loopback that it leads to.
        rtt: Round-trip time to add, in seconds.
    """

    def __init__(self, target: int, rtt: float) -> None:
        super().__init__("benchmarks.delay", [f"--to={HOST}:{target}", f"--rtt={rtt * 1000}"])
        self.rtt = rtt

    def measured(self, tries: int = 20) -> float:
        """The median time (s) that a command to the SMTP server behind it takes to be answered."""
        times = []
        with socket.create_connection((self.host, self.port), 10) as link:
            link.recv(1000)
            for _ in range(tries):
                began = time.perf_counter()
                link.sendall(b"NOOP\r\n")
                link.recv(1000)
                times.append(time.perf_counter() - began)
            link.sendall(b"QUIT\r\n")
        return statistics.median(times)


class _End(asyncio.Protocol):
    """One end of a connection; what it reads comes out of its other end ``delay`` s later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._way: deque[tuple[float, bytes]] = deque()  # due time and bytes; empty bytes: the end
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._way.append((self._loop.time() + self._delay, data))
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self.data_received(b"")

    def join(self, other: _End) -> None:
        """Lead to ``other`` from now on; what came before it was there is on its way."""
        self.other = other
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and self._way and self.other is not None:
            self._timer = self._loop.call_at(self._way[0][0], self._pass_on)

    def _pass_on(self) -> None:
        self._timer = None
        assert self.other is not None
        way, target, now = self._way, self.other.transport, self._loop.time()
        due = []
        while way and way[0][0] <= now:
            due.append(way.popleft()[1])
        if target is not None and not target.is_closing():
            if pieces := [piece for piece in due if piece]:
                target.write(b"".join(pieces))
            if b"" in due:
                target.close()
        self._set_timer()


class _NearEnd(_End):
    """The end that the client sees. The far one is opened when TCP's handshake would have reached the server."""

    def __init__(self, target: tuple[str, int], delay: float) -> None:
        super().__init__(delay)
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # SYN, SYN-ACK and ACK: three ways before the server's application learns of the connection.
        self._loop.call_later(3 * self._delay, lambda: self._loop.create_task(self._open()))

    async def _open(self) -> None:
        far = _End(self._delay)
        far.other = self
        try:
            await self._loop.create_connection(lambda: far, *self._target)
        except OSError:
            assert self.transport is not None
            self.transport.abort()
        else:
            self.join(far)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--rtt", required=True, type=float, metavar="MS")
    given = parser.parse_args(arguments)
    host, _, port = given.to.rpartition(":")
    # epoll waits for whole milliseconds, select() for microseconds: a link of 1 ms needs the latter.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve(lambda: _NearEnd((host, int(port)), given.rtt / 2000), lambda _: None))


if __name__ == "__main__":
    main()
