"""How long mail takes to come back from a ``kill -9`` of a whole worker, at the default settings.

``python -m tests.crashproof.comeback``. A worker with two processes is killed in the midst of its batches. Then it is
started again at once, or not at all while another worker goes on.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from mailqueue import EmailMessage, conf
from mailqueue.ledger.states import State
from mailqueue.producer import enqueue, get_producer
from mailqueue.testing.inbox import Arrival, Inbox
from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Collection

    from mailqueue.producer import Receipt

_MESSAGES = 600
_REPLY = 0.02  # s that the relay takes over a message
_LONGEST = 300.0  # s


@dataclass(frozen=True, slots=True)
class Comeback:
    """What the killed worker held, and the seconds from the kill until the last of it had arrived."""

    claimed: int  # not begun
    begun: int  # its answer may have been lost: it is sent again no sooner than a lease after that was found
    last_claimed: float
    last_begun: float


def measure(*, restart: bool) -> Comeback:
    """Kill a worker. ``restart``: start it again at once; otherwise another one is there, and goes on alone."""
    arrived: dict[str, list[float]] = defaultdict(list)

    def on_arrival(arrival: Arrival) -> None:
        time.sleep(_REPLY)
        arrived[str(arrival.message["Subject"])].append(time.monotonic())

    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        store = stack.enter_context(EmbeddedValkey(Path(directory) / "store", appendfsync="always"))
        inbox = stack.enter_context(Inbox(on_arrival=on_arrival))
        conf.configure(MAILQUEUE_BROKER_URL=store.url)
        stack.callback(conf.reset)
        settings = {"MAILQUEUE_BROKER_URL": store.url, "EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}
        worker = stack.enter_context(Worker(settings, concurrency=2))
        if not restart:
            stack.enter_context(Worker(settings, concurrency=2))
        receipts = [
            enqueue(EmailMessage(f"Number {number}", "Hello\n", "app@example.com", ["ann@example.com"]))
            for number in range(_MESSAGES)
        ]
        inbox.wait_for(40, timeout=60)
        children = worker.children()
        worker.kill()
        killed = time.monotonic()
        with Redis(port=store.port) as client:
            claimed, begun = _held(client, receipts, children)
        if restart:
            worker.start()
        _await_end(receipts, killed)
        return Comeback(len(claimed), len(begun), _last(arrived, claimed, killed), _last(arrived, begun, killed))


def _held(client: Any, receipts: list[Receipt], children: Collection[int]) -> tuple[list[int], list[int]]:
    """The numbers of the messages that the dead worker's children hold: those not begun, and those begun."""
    held: dict[str, list[int]] = {"claimed": [], "begun": []}
    for number, receipt in enumerate(receipts):
        owner, phase, state = client.hmget(f"{{mailqueue}}:m:{receipt.id}", "o", "p", "s")
        if state == b"sending" and int(owner.rpartition(b":")[2]) in children:
            held[phase.decode()].append(number)
    return held["claimed"], held["begun"]


def _await_end(receipts: list[Receipt], killed: float) -> None:
    ledger = get_producer().ledger
    while ledger.counts()["default"].get(State.SENT, 0) < len(receipts):
        if time.monotonic() - killed > _LONGEST:
            raise TimeoutError(f"not all sent within {_LONGEST:g} s: {ledger.counts()}")
        time.sleep(0.1)


def _last(arrived: dict[str, list[float]], numbers: Collection[int], killed: float) -> float:
    """When the last of these arrived, in s after the kill; what had arrived before it came a second time."""
    return max((max(arrived[f"Number {number}"]) - killed for number in numbers), default=0.0)


def main() -> None:
    """Measure both, and print a table."""
    print("| after `kill -9` of a whole worker | claimed, not begun | the last of them | begun | the last of them |")  # noqa: T201
    print("|---|---:|---:|---:|---:|")  # noqa: T201
    for what, restart in (("it is started again at once", True), ("it is not; another worker goes on", False)):
        found = measure(restart=restart)
        print(  # noqa: T201
            f"| {what} | {found.claimed} | {found.last_claimed:.1f} s | {found.begun} | {found.last_begun:.1f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
