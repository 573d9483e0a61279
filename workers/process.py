"""What one process of a worker holds: its name, the ledger, the long-lived connections, and its settings.

Built on first use, so that a child opens everything after its fork.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.lanes import LANES, queue_name
from mailqueue.ledger.open import open_ledger
from mailqueue.retry import Policies
from workers import backends
from workers.blobs import BlobCache
from workers.connections import Connections
from workers.keeper import Keeper
from workers.relays import Relays
from workers.stop import StopFlag
from workers.tap import Tap, open_tap

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.ledger.base import Ledger

__all__ = ["STOP", "WORKER", "Process", "close", "current", "make_ledger"]

#: Names this worker among all; children inherit it, so that the main process can tell whose claims a dead child held.
WORKER = uuid.uuid4().hex[:12]
#: Shared with the children, which are forked after this was made.
STOP = StopFlag()


class Process:
    """Everything that deliveries of this process share.

    Args:
        app: The Celery application.
        ledger: Instead of the one that the settings name.
        build: Makes the backend for a relay.
        now: s since the epoch, for the ages of messages.
        stop: When to end; the flag of this worker unless given.
    """

    def __init__(
        self,
        app: Any,
        *,
        ledger: Ledger | None = None,
        build: Callable[[str], Any] | None = None,
        now: Callable[[], float] = time.time,
        stop: StopFlag | None = None,
    ) -> None:
        self.app = app
        self.now = now
        self.owner = f"{WORKER}:{os.getpid()}"
        self.lease: float = conf.get("MAILQUEUE_LEASE_SECONDS")
        self.retention: float = conf.get("MAILQUEUE_RETENTION")
        self.batch_messages: int = conf.get("MAILQUEUE_BATCH_MESSAGES")
        self.batch_bytes: int = conf.get("MAILQUEUE_BATCH_BYTES")
        self.policies = Policies()
        self.ledger = ledger or make_ledger()
        self.blobs = BlobCache(self.ledger)
        build = build or backends.build
        self.relays = Relays(self.ledger, self.owner, functools.cache(lambda relay: backends.fingerprint(build, relay)))
        self.connections = Connections(build, backends.limits)
        self.keeper = Keeper(self.ledger, self.connections, self.relays, self.lease)
        self._stop = stop or STOP
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

    def lanes(self) -> list[str]:
        """The lanes that this worker consumes, in priority order."""
        consumed = self.app.amqp.queues.consume_from
        return [lane for lane in LANES if queue_name(lane) in consumed]

    def tap(self) -> Tap:
        """This thread's way to the queues."""
        tap: Tap | None = getattr(self._taps, "tap", None)
        if tap is None:
            tap = self._taps.tap = open_tap(self.app.connection_for_read(), self.ledger)
        return tap

    def drop_tap(self) -> None:
        """The tap's connection has failed: the next use opens another."""
        tap: Tap | None = getattr(self._taps, "tap", None)
        if tap is not None:
            self._taps.tap = None
            tap.close()

    def close(self) -> None:
        """QUIT all connections, end the keeper, leave the ledger."""
        self.keeper.stop()
        self.connections.close_all()
        self.ledger.close()


def make_ledger() -> Ledger:
    """The ledger that the settings name; nothing is connected before its first use."""
    return open_ledger(
        conf.get("MAILQUEUE_LEDGER_URL"),
        prefix=conf.get("MAILQUEUE_KEY_PREFIX"),
        lease_seconds=conf.get("MAILQUEUE_LEASE_SECONDS"),
        retention=conf.get("MAILQUEUE_RETENTION"),
    )


_process: Process | None = None
_pid: int | None = None
_lock = threading.Lock()


def current(app: Any) -> Process:
    """The Process of this process; made on first use after a fork."""
    global _process, _pid
    if _process is None or _pid != os.getpid():
        with _lock:
            if _process is None or _pid != os.getpid():
                _process, _pid = Process(app), os.getpid()
    return _process


def close() -> None:
    """Close what this process holds, if it holds anything."""
    global _process
    with _lock:
        process, _process = _process, None
    if process is not None and _pid == os.getpid():
        process.close()
