"""The recording relay: an SMTP server that writes down what it accepts before it says so. A process of its own.

It misbehaves when it is told to: once for each time it is told, at the stage that the fault's name begins with.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crashproof.servant import serve

__all__ = ["MISBEHAVIOURS"]

#: What it can be told to do. Those called "kept" accept the message; "unkept" ones have read all of it and do not.
MISBEHAVIOURS = {
    "greeting-421": "421 4.3.2 not now",
    "mail-421": "421 4.3.2 closing",
    "mail-451": "451 4.3.0 not now",
    "rcpt-450": "450 4.2.1 not now",
    "rcpt-452": "452 4.5.3 too many recipients",  # only once one was accepted
    "data-451": "451 4.3.0 not now",
    "data-drop": "",
    "content-drop": "",  # when half of it was read
    "final-451": "451 4.3.0 not now",
    "final-421": "421 4.3.2 closing",
    "final-554": "554 5.7.1 not that",
    "final-drop-unkept": "",
    "final-drop-kept": "",
    "final-hang-kept": "",
    "final-slow-kept": "250 2.0.0 at last",
    "final-garbage-kept": "what was the question?",
}

_NUMBER = re.compile(rb"^X-Crashproof: (\d+)\r$", re.MULTILINE)
_DATUM = re.compile(rb"^Datum: (\w+)\r$", re.MULTILINE)  # what a campaign's message says to its recipient alone
_DATE = re.compile(rb"^Date: (.*)\r\n", re.MULTILINE)
_BOUNDARY = re.compile(rb"={15}\d+==")  # of MIME parts: each rendering draws its own, which no promise forbids
_LARGEST = 1 << 22
_HANG = 8.0  # s, longer than the clients' timeout
_SLOW = 3.0  # s at most, longer than their lease
_TRAPPED = 5.0  # s at most
_MOST = {"rcpt": 1, "final": 2}  # answers that a trap keeps back: the other copy is to come as far as the first
_BDAT = re.compile(r"(\d{1,9}) LAST")


@dataclass(slots=True)
class Transaction:
    """What MAIL and RCPT have said."""

    recipients: list[str] = field(default_factory=list)


class Trap:
    """Keeps back the answers at a stage until it is opened: those for a message, or for the first that comes."""

    def __init__(self, number: int | None, most: int) -> None:
        self.caught: list[int] = []
        self._number = number
        self._most = most
        self._open = asyncio.Event()

    async def hold(self, number: int) -> None:
        """Keep the answer for ``number`` back, if it is for this one."""
        if self._number not in (None, number) or len(self.caught) >= self._most or self._open.is_set():
            return
        self.caught.append(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._open.wait(), _TRAPPED)

    def open(self) -> None:
        """Let everybody go."""
        self._open.set()


class Relay:
    """Takes mail on any number of connections.

    Args:
        path: Of the record.
        seed: Of the delays.
        delay: The mean time that it takes over a message, in s.
        offers: Extensions, with spaces between: PIPELINING, CHUNKING.
        lag: s that each answer is on its way while others are made: what a window is for.
    """

    def __init__(self, path: str, seed: str, delay: float, offers: str = "", lag: float = 0.0) -> None:
        self.offers = offers.split()
        self.lag = lag
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._contents = Path(path).with_name("mails")
        self._contents.mkdir()
        self._random = random.Random(seed)
        self._delay = delay
        self._pending: dict[str, deque[str]] = {}
        self._played: Counter[str] = Counter()
        self._greylisted: set[str] = set()
        self._traps: dict[str, Trap] = {}

    async def handle(self, do: str, how: str = "", number: int | None = None) -> Any:
        """``misbehave`` some time, in the way ``how``; ``behave`` from now on. Says what it has done so far.

        ``trap`` at the stage ``how`` whoever comes with message ``number``, or comes first; ``open`` one trap, or all.
        ``caught`` says whose answers are kept back there, by the numbers of their messages.
        """
        if do == "caught":
            return self._traps[how].caught if how in self._traps else []
        if do == "trap":
            self._traps[how] = Trap(number, _MOST[how])
        elif do == "open":
            for stage in [how] if how else list(self._traps):
                self._traps.pop(stage).open()
        elif do == "misbehave":
            self._pending.setdefault(how.partition("-")[0], deque()).append(how)
        elif do == "behave":
            self._pending.clear()
            self._delay = 0.0
        return dict(self._played)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation."""
        try:
            await Conversation(self, reader, writer).run()
            await asyncio.sleep(self.lag)  # what was said last is still on its way
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def fault(self, stage: str) -> str:
        """The misbehaviour that is due at ``stage``, or ""."""
        pending = self._pending.get(stage)
        if not pending:
            return ""
        how = pending.popleft()
        self._played[how] += 1
        return how

    async def hold(self, stage: str, number: int) -> None:
        """Where there is a trap: keep the answer for message ``number`` back."""
        if stage in self._traps:
            await self._traps[stage].hold(number)

    def unplayed(self, how: str) -> None:
        """It did not fit here: some other time."""
        self._played[how] -= 1
        self._pending.setdefault(how.partition("-")[0], deque()).append(how)

    def write(self, kind: str, content: bytes, recipients: list[str]) -> None:
        """Write down a message that is kept, or refused for good."""
        number = number_in(content)
        date, datum = _DATE.search(content), _DATUM.search(content)
        digest = hashlib.sha256(_DATE.sub(b"", _BOUNDARY.sub(b"", content), 1)).hexdigest()[:16]
        (self._contents / f"{number}-{digest}.eml").write_bytes(content)
        facts = {"date": date[1].decode() if date else "", "datum": datum[1].decode() if datum else ""}
        self._write(what=kind, number=number, to=recipients, digest=digest, **facts)

    def write_refused(self, recipient: str) -> None:
        """Write down a recipient that is refused for good."""
        self._write(what="no", to=[recipient])

    def _write(self, **line: Any) -> None:
        os.write(self._file, json.dumps({"at": time.time(), **line}).encode() + b"\n")

    async def take_time(self) -> None:
        """As a relay does that has a disk to wait for."""
        await asyncio.sleep(self._random.uniform(0, 2 * self._delay))

    async def be_slow(self) -> None:
        """Longer than anybody likes."""
        await asyncio.sleep(self._random.uniform(0.2, _SLOW))

    def greylists(self, recipient: str) -> bool:
        """Whether ``recipient`` is to come again later: those called later are, once."""
        if not recipient.startswith("later") or recipient in self._greylisted:
            return False
        self._greylisted.add(recipient)
        return True


def number_in(content: bytes) -> int | None:
    """The number of a message by its content."""
    match = _NUMBER.search(content)
    return int(match[1]) if match else None


class Conversation:
    """One client's."""

    def __init__(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._reader = reader
        self._writer = writer
        self._transaction = Transaction()

    async def run(self) -> None:
        """Until somebody hangs up."""
        if not await self._say("greeting", "220 relay.crashproof.invalid"):
            return
        while line := await self._reader.readline():
            verb, _, argument = line.decode().strip().partition(" ")
            if not await self._command(verb.upper(), argument):
                return

    async def _command(self, verb: str, argument: str) -> bool:
        """Answer a command; whether the conversation goes on."""
        match verb:
            case "EHLO":
                self._transaction = Transaction()
                lines = ["relay.crashproof.invalid", "SIZE 52428800", *self._relay.offers]
                return await self._send("\r\n".join([*(f"250-{line}" for line in lines), "250 8BITMIME"]))
            case "MAIL":
                return await self._say("mail", "250 2.1.0 ok")
            case "RCPT":
                return await self._rcpt(argument.partition("<")[2].partition(">")[0])
            case "DATA":
                return await self._data()
            case "BDAT" if chunk := _BDAT.fullmatch(argument):
                return await self._bdat(int(chunk[1]))
            case "RSET":
                self._transaction = Transaction()
                return await self._send("250 2.0.0 ok")
            case "QUIT":
                await self._send("221 2.0.0 bye")
                return False
        return await self._send("502 5.5.2 what?")

    async def _rcpt(self, recipient: str) -> bool:
        if recipient.startswith("nobody"):
            self._relay.write_refused(recipient)
            return await self._send("550 5.1.1 nobody of that name")
        if self._relay.greylists(recipient):
            return await self._send("450 4.7.1 come again later")
        fault = self._relay.fault("rcpt")
        if fault == "rcpt-452" and not self._transaction.recipients:
            self._relay.unplayed(fault)
            fault = ""
        if fault:
            return await self._send(MISBEHAVIOURS[fault])
        self._transaction.recipients.append(recipient)
        await self._relay.hold("rcpt", int("".join(filter(str.isdigit, recipient))))
        return await self._send("250 2.1.5 ok")

    async def _data(self) -> bool:
        if not self._transaction.recipients:
            return await self._send("554 5.5.1 nobody to send it to")
        fault = self._relay.fault("data")
        if fault == "data-drop":
            return False
        if fault:
            self._transaction = Transaction()
            return await self._send(MISBEHAVIOURS[fault])
        await self._send("354 go ahead")
        if self._relay.fault("content"):
            await self._reader.read(200)
            return False
        stuffed = b"\r\n" + await self._reader.readuntil(b"\r\n.\r\n")
        content = stuffed[2:-3].replace(b"\r\n.", b"\r\n")
        transaction, self._transaction = self._transaction, Transaction()
        return await self._final(content, transaction.recipients)

    async def _bdat(self, size: int) -> bool:
        if self._relay.fault("content"):
            await self._reader.readexactly(size // 2)
            return False
        content = await self._reader.readexactly(size)
        transaction, self._transaction = self._transaction, Transaction()
        if not transaction.recipients:
            return await self._send("554 5.5.1 nobody to send it to")
        return await self._final(content, transaction.recipients)

    async def _final(self, content: bytes, recipients: list[str]) -> bool:
        fault = self._relay.fault("final")
        reply = MISBEHAVIOURS.get(fault, "250 2.0.0 kept")
        kept = not fault or fault.endswith("-kept")
        if kept:
            self._relay.write("kept", content, recipients)
        elif fault == "final-554":
            self._relay.write("refused", content, recipients)
        await self._relay.hold("final", number_in(content) or 0)
        if fault == "final-hang-kept":
            await asyncio.sleep(_HANG)
        elif fault == "final-slow-kept":
            await self._relay.be_slow()
        else:
            await self._relay.take_time()
        if not reply:
            return False
        return await self._send(reply)

    async def _say(self, stage: str, usual: str) -> bool:
        return await self._send(MISBEHAVIOURS.get(self._relay.fault(stage), usual))

    async def _send(self, reply: str) -> bool:
        octets = reply.encode() + b"\r\n"
        if self._relay.lag:
            asyncio.get_running_loop().call_later(self._relay.lag, self._say_late, octets)
        else:
            self._writer.write(octets)
            await self._writer.drain()
        return not reply.startswith("421")

    def _say_late(self, octets: bytes) -> None:
        if not self._writer.transport.is_closing():
            self._writer.write(octets)


async def main(path: str, seed: str, delay: str, offers: str, lag: str) -> None:
    """Record to ``path``."""
    relay = Relay(path, seed, float(delay), offers, float(lag))
    server = await asyncio.start_server(relay.talk, "127.0.0.1", 0, limit=_LARGEST)
    await serve({"port": server.sockets[0].getsockname()[1]}, relay.handle)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
