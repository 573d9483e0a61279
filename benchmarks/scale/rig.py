"""The servers of one experiment: a store, a sink, perhaps a long link to it, and workers that drain the one into the other."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import redis

from benchmarks.delay import DelayProxy
from benchmarks.helper import HOST
from benchmarks.scale.fill import fill
from benchmarks.sink import Sink
from benchmarks.usage import cpu_of
from mailqueue.ledger.open import open_ledger
from mailqueue.testing import EmbeddedValkey, Worker
from mailqueue.testing.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from benchmarks.sink import Arrival

__all__ = ["Drained", "Rig", "RigTrouble", "say"]

_PATIENCE = 300.0  # s for a drain
_LOOK = 0.01  # s between two looks at the sink
_SIZINGS, _PAUSE = 5, 0.3  # looks at what the store occupies, and s before each: what was freed in the meantime
#: Octets of the append-only file after which it would be rewritten. How often that comes depends on what was written, and
#: not on what waits: never here, so that a rewrite does not happen to fall into one drain and not into another.
_SETTINGS = {"auto-aof-rewrite-percentage": "0"}
#: Of the ledger's counters, those that must not move in a drain without faults. Outages do: between two workers nobody
#: ticks.
_FAULTS = ("crashed", "expired_leases", "fenced", "lost", "restored", "unknown")


class RigTrouble(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """A run that does not count: mail was lost or came twice, or something had to be recovered."""


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: messages a second at the sink, CPU time a message (s), calls of the store."""

    rate: float
    cpu_worker: float
    cpu_store: float
    cpu_sink: float
    calls: Mapping[str, tuple[float, float]]  # by command: calls a message, microseconds a call

    def row(self) -> dict[str, Any]:
        """The figures for the results' file."""
        return {name: getattr(self, name) for name in self.__slots__}


def say(words: str, *, end: str = "") -> None:
    """Show how far it is, on one line until ``end`` ends it; in a file, what came of it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{words}{end}")
        sys.stderr.flush()
    elif end:
        sys.stderr.write(f"{words}{end}")


class Rig:
    """As a context manager: servers of our own, ended on leaving.

    Args:
        name: What the progress is told under.
        rtt: s that a round trip to the sink takes more.
        settings: Of mailqueue, for producers and workers.
    """

    def __init__(self, name: str, *, rtt: float = 0.0, **settings: str) -> None:
        self.name = name
        self._rtt = rtt
        self._given = settings
        self._stack = contextlib.ExitStack()
        self._filled = 0
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.store = stack.enter_context(EmbeddedValkey(settings=_SETTINGS))
            self.sink = stack.enter_context(Sink())
            port = stack.enter_context(DelayProxy(self.sink.port, self._rtt)).port if self._rtt else self.sink.port
            self.client: Any = stack.enter_context(redis.Redis.from_url(self.store.url))
            self.ledger = open_ledger(self.store.url)
            stack.callback(self.ledger.close)
            self.settings = {
                "MAILQUEUE_BROKER_URL": self.store.url,
                "EMAIL_HOST": HOST,
                "EMAIL_PORT": str(port),
                **self._given,
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tell(self, words: str, *, end: str = "") -> None:
        """Show how far it is."""
        say(f"{self.name}: {words}", end=end)

    @property
    def waiting(self) -> int:
        """Messages that no worker has claimed."""
        return sum(states.get("queued", 0) + states.get("deferred", 0) for states in self.ledger.counts().values())

    def octets(self) -> int:
        """What the store holds, without the buffers of connections and of its file, which come and go."""
        found = []
        for _ in range(_SIZINGS):
            time.sleep(_PAUSE)
            told = self.client.info("memory")
            found.append(int(told["used_memory"] - told["mem_clients_normal"] - told["mem_aof_buffer"]))
        return min(found)

    def fill_to(self, depth: int, *, lane: str = "default", kind: str = "note") -> None:
        """Enqueue messages until ``depth`` of them wait."""
        count = depth - self.waiting
        fill(clean_environment(**self.settings), count, first=self._filled, lane=lane, kind=kind, progress=self.tell)
        self._filled += count
        if self.waiting != depth:
            raise RigTrouble(f"{self.waiting} messages wait, and {depth} should")

    def worker(self, concurrency: int) -> Worker:
        """A worker that drains this store into this sink."""
        return Worker(self.settings, concurrency=concurrency, options=("--without-gossip", "--without-mingle"))

    def send(self, count: int) -> None:
        """Let a worker send ``count`` messages, all that there are."""
        self.sink.clear()
        with self.worker(1):
            self.await_arrivals(count, count)
        self.compare(self.sink.arrivals())

    def drain(self, count: int, *, concurrency: int = 1) -> Drained:
        """Let a worker send ``count`` messages or, as it stops then, a few more."""
        self.sink.clear()
        self.client.config_resetstat()
        with self.worker(concurrency) as worker:
            watched = {"worker": worker.pid, "store": self.store.pid, "sink": self.sink.pid}
            seen = self.await_arrivals(1, count)
            before = {name: cpu_of(pid) or 0.0 for name, pid in watched.items()}
            late = self.await_arrivals(count, count)
            counted = max(1, late - seen)  # a small drain may be over before it is first looked at
            used = {name: ((cpu_of(pid) or 0.0) - before[name]) / counted for name, pid in watched.items()}
            stats = self.client.info("commandstats")
        arrivals = self.sink.arrivals()
        self.compare(arrivals)
        rate = (count - 1) / (arrivals[count - 1].at - arrivals[0].at)
        calls = {
            name.removeprefix("cmdstat_"): (row["calls"] / late, row["usec_per_call"])
            for name, row in stats.items()
            if row["calls"] > late / 1000
        }
        return Drained(rate, used["worker"], used["store"], used["sink"], calls)

    def await_arrivals(self, least: int, of: int) -> int:
        """Wait until the sink has ``least`` messages, telling how many of ``of`` it has; returns their number."""
        deadline = time.monotonic() + _PATIENCE
        while (arrived := self.sink.count) < least:
            if time.monotonic() > deadline:
                raise RigTrouble(f"{arrived} of {least} messages have arrived within {_PATIENCE:g} s")
            self.tell(f"draining: {arrived:,} of {of:,}")
            time.sleep(_LOOK)
        return arrived

    def compare(self, arrivals: list[Arrival]) -> None:
        """Raise RigTrouble unless the ledger says of each arrival that it was sent, and no address had mail twice."""
        recipients = {arrival.recipients[0] for arrival in arrivals}
        again = len(arrivals) - len(recipients) + len(recipients & self._seen)
        self._seen |= recipients
        sent = sum(states.get("sent", 0) for states in self.ledger.counts().values())
        faults = {name: number for name, number in self.ledger.counters().items() if name in _FAULTS and number}
        if again or faults or sent != len(self._seen):
            raise RigTrouble(f"{again} came twice, {len(self._seen)} arrived, {sent} were recorded as sent; {faults}")
