"""What one process of a worker holds: its name, the ledger, the long-lived connections, and its settings.

Built on first use, so that a child opens everything after its fork.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mailqueue import conf
from mailqueue.errors import LedgerUnavailable
from mailqueue.lanes import LANES, queue_name
from mailqueue.ledger.open import open_ledger
from mailqueue.retry import Policies
from workers import backends
from workers.blobs import BlobCache
from workers.campaigns import CampaignCache, Ways
from workers.connections import Connections
from workers.keeper import Keeper
from workers.pace import Pace
from workers.relays import Relays
from workers.retry import until_recorded
from workers.stop import StopFlag
from workers.tap import Tap, open_tap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mailqueue.ledger.base import Ledger

__all__ = ["Process", "Worker", "begin", "close", "current", "make_ledger", "spare_the_collector", "stop"]

T = TypeVar("T")

#: s without a look at a broker that has failed. Each may cost seconds, and the claimed mail does not need them.
TAP_PAUSE = 5.0

#: Of a batch for many connections. The store claims them in one call, 10 us each, and does nothing else meanwhile.
MOST_MESSAGES = 1000

#: Objects that may be made before the collector of cycles looks; Python's own is 700. Some 20 % of a worker's time on a
#: message (measured).
GC_THRESHOLD = 10_000


@dataclass(frozen=True, eq=False, slots=True)
class Worker:
    """One worker among all. Made in its main process before the pool forks, so that its children share it.

    ``name`` lets the main process tell whose claims a dead child held. ``hostname`` is what Celery calls the worker.
    """

    hostname: str = ""
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    stop: StopFlag = field(default_factory=StopFlag)


class Process:
    """Everything that deliveries of this process share.

    Args:
        app: The Celery application.
        ledger: Instead of the one that the settings name.
        build: Makes the backend for a relay.
        now: s since the epoch, for the ages of messages.
        worker: Whose process it is; a worker of its own unless given.
    """

    def __init__(
        self,
        app: Any,
        *,
        ledger: Ledger | None = None,
        build: Callable[[str], Any] | None = None,
        now: Callable[[], float] = time.time,
        worker: Worker | None = None,
    ) -> None:
        self.app = app
        self.now = now
        self.worker = worker or Worker()
        self.owner = f"{self.worker.name}:{os.getpid()}"
        self.lease: float = conf.get("MAILQUEUE_LEASE_SECONDS")
        self.retention: float = conf.get("MAILQUEUE_RETENTION")
        self.batch_messages = _room(conf.get("MAILQUEUE_BATCH_MESSAGES"), conf.get("MAILQUEUE_RELAYS"))
        self.batch_bytes: int = conf.get("MAILQUEUE_BATCH_BYTES")
        self.policies = Policies()
        self.ledger = ledger or make_ledger()
        self.blobs = BlobCache(self.ledger)
        self.campaigns = CampaignCache(self.ledger, self.blobs, retention=self.retention)
        build = build or backends.build
        self.relays = Relays(self.ledger, self.owner, functools.cache(lambda relay: backends.fingerprint(build, relay)))
        self.pace = Pace(self.ledger.rates, now)
        self.ways = Ways(self.relays, self.ledger.rates)
        self.connections = Connections(build, backends.limits)
        self.keeper = Keeper(self.ledger, self.connections, self.relays, self.lease)
        self._stop = self.worker.stop
        self._taps = threading.local()

    @property
    def stopping(self) -> bool:
        """Whether the worker is shutting down."""
        return self._stop.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep, but not past the beginning of a shutdown."""
        self._stop.sleep(seconds)

    def give_up(self) -> Any:
        """A predicate for retries that must end some time after a shutdown has begun."""
        deadline: list[float] = []

        def over() -> bool:
            if self.stopping and not deadline:
                deadline.append(time.monotonic() + self.lease / 2)
            return bool(deadline) and time.monotonic() > deadline[0]

        return over

    def surely(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """A call to the ledger, repeated until it is taken: nothing further is begun before that.

        Raises LedgerUnavailable only some time after a shutdown has begun.
        """
        try:
            return call(*args, **kwargs)
        except LedgerUnavailable as error:
            answer: T = until_recorded(self.give_up(), error)(call, *args, **kwargs)
            return answer

    def lanes(self) -> list[str]:
        """The lanes that this worker consumes, in priority order."""
        consumed = self.app.amqp.queues.consume_from
        return [lane for lane in LANES if queue_name(lane) in consumed]

    def tap(self) -> Tap:
        """This thread's way to the queues; raises ConnectionError at once for a while after it has failed."""
        tap: Tap | None = getattr(self._taps, "tap", None)
        if tap is None:
            if time.monotonic() < getattr(self._taps, "again_at", 0.0):
                raise ConnectionError("the broker has failed a moment ago")
            tap = self._taps.tap = open_tap(self.app.connection_for_read(), self.ledger)
        return tap

    def drop_tap(self) -> None:
        """The tap has failed, or could not be opened: after a while the next use opens another."""
        if time.monotonic() >= getattr(self._taps, "again_at", 0.0):
            self._taps.again_at = time.monotonic() + TAP_PAUSE
        tap: Tap | None = getattr(self._taps, "tap", None)
        if tap is not None:
            self._taps.tap = None
            with contextlib.suppress(Exception):  # closing says goodbye, over the connection that has failed
                tap.close()

    def close(self) -> None:
        """QUIT all connections, end the keeper, leave the ledger."""
        self.keeper.stop()
        self.connections.close_all()
        self.ledger.close()


def _room(for_each: int, relays: Mapping[str, Mapping[str, Any]]) -> int:
    """Messages of a batch: as many for each connection, should they all be for the relay that may have the most."""
    connections = max((options.get("connections", 1) for options in relays.values()), default=1)
    return max(for_each, min(for_each * connections, MOST_MESSAGES))


def make_ledger() -> Ledger:
    """The ledger that the settings name; nothing is connected before its first use."""
    return open_ledger(
        conf.get("MAILQUEUE_LEDGER_URL"),
        prefix=conf.get("MAILQUEUE_KEY_PREFIX"),
        lease_seconds=conf.get("MAILQUEUE_LEASE_SECONDS"),
        retention=conf.get("MAILQUEUE_RETENTION"),
    )


_workers: dict[Any, Worker] = {}  # by application
_processes: dict[tuple[int, Any], Process] = {}  # by process id, for a fork inherits its parent's, and application
_lock = threading.Lock()


def begin(app: Any, hostname: str) -> None:
    """Main process, before the pool forks: a worker of ``app`` begins."""
    close(app)
    _workers[app] = Worker(hostname)


def stop(hostname: str) -> None:
    """Ask the worker that Celery calls ``hostname``, if it is ours, to end what it has begun, and nothing more."""
    for worker in _workers.values():
        if worker.hostname == hostname:
            worker.stop.set()


def current(app: Any) -> Process:
    """The Process that this process is of the worker of ``app``; made on first use after a fork."""
    key = os.getpid(), app
    process = _processes.get(key)
    if process is None:
        with _lock:
            process = _processes.get(key)
            if process is None:
                process = _processes[key] = Process(app, worker=_workers.get(app))
                spare_the_collector()
    return process


def spare_the_collector() -> None:
    """Let Python's collector of cycles look for garbage where there can be some, and less often.

    A batch makes thousands of objects, in no cycle, that live until it ends: at the default threshold the collector
    looks through them again and again, and finds nothing. What was there before the first batch stays for good.
    """
    gc.freeze()
    first, second, third = gc.get_threshold()
    if 0 < first < GC_THRESHOLD:
        gc.set_threshold(GC_THRESHOLD, second, third)


def close(app: Any = None) -> None:
    """Close what this process holds for ``app``, or for all, if it holds anything."""
    ours = [key for key in list(_processes) if key[0] == os.getpid() and (app is None or key[1] is app)]
    for key in ours:
        process = _processes.pop(key, None)
        if process is not None:
            process.close()
