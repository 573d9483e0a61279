"""A proxy whose TCP links can be frozen and dropped, one by one or all together. A process of its own.

What is frozen is kept and goes on its way afterwards, however late, like what a network resends.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial
from typing import Any

from tests.crashproof.servant import serve

_BLOCK = 65536


class Link:
    """One connection of a client, and ours to the server on its behalf."""

    def __init__(self, via: str) -> None:
        self.via = via
        self._gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._writers: list[asyncio.StreamWriter] = []
        for gate in self._gates.values():
            gate.set()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        """Carry octets both ways until either side has had enough."""
        self._writers.append(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.drop()  # nobody is there: as near to a refused connection as a proxy comes
            return
        self._writers.append(back)
        await asyncio.gather(self._carry(reader, back, "up"), self._carry(there, writer, "down"))
        for each in self._writers:
            each.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while octets := await reader.read(_BLOCK):
                await self._gates[way].wait()
                writer.write(octets)
                await writer.drain()
            await self._gates[way].wait()
            writer.write_eof()
        except (OSError, RuntimeError):  # RuntimeError: the other side was dropped meanwhile
            self.drop()

    def drop(self) -> None:
        """Cut it: both ends learn of it at once, what was under way is lost."""
        for gate in self._gates.values():
            gate.set()
        for writer in self._writers:
            with contextlib.suppress(OSError, AttributeError):
                writer.transport.abort()

    def freeze(self, way: str) -> None:
        """Let nothing through: ``up`` (to the server), ``down`` or ``both``."""
        for name, gate in self._gates.items():
            if way in (name, "both"):
                gate.clear()

    def thaw(self) -> None:
        """Let everything through again, what was kept first."""
        for gate in self._gates.values():
            gate.set()


class Proxy:
    """Listens once for each way (``via``): a name, and the port that it leads to."""

    def __init__(self) -> None:
        self.links: list[Link] = []

    async def open(self, via: str, port: int) -> int:
        """Listen for ``via``; returns the port of our own."""
        server = await asyncio.start_server(partial(self._serve, via, port), "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, via: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(via)
        self.links.append(link)
        try:
            await link.run(reader, writer, port)
        finally:
            self.links.remove(link)

    async def handle(self, do: str, via: str = "", which: float = 0.0, way: str = "both", seconds: float = 0.0) -> Any:
        """Drop or freeze the link of ``via`` at the fraction ``which`` of them all; negative: all. Says how many."""
        links = [link for link in self.links if via in ("", link.via)]
        if which >= 0 and links:
            links = [links[int(which * len(links))]]
        for link in links:
            if do == "drop":
                link.drop()
            elif do == "freeze":
                link.freeze(way)
                asyncio.get_running_loop().call_later(seconds, link.thaw)
            elif do == "thaw":
                link.thaw()
        return len(links)


async def main(*ways: str) -> None:
    """Proxy each ``name=port``."""
    proxy = Proxy()
    ports = {name: await proxy.open(name, int(port)) for name, port in (way.split("=") for way in ways)}
    await serve(ports, proxy.handle)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
