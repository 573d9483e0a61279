"""The long-lived backend connections of one process, some to each relay, opened after fork, reused with care.

Leaves opening to those who deliver, and to the backend how to probe and close; decides here when.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Connection", "Connections", "Limits"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection is reused, and how many there may be."""

    at_once: int = 1  # that one delivery may use
    idle: float = 30.0  # s without use, then it is closed
    messages: int = 10000  # then it is closed
    age: float = 300.0  # s since it was opened, then it is closed
    probe_after: float = 1.0  # s of idling, then it is probed (RSET) before it is used


@dataclass(slots=True, eq=False)
class Connection:
    """A backend that is kept, open or not. ``messages`` were answered for since it was opened: see ``count``."""

    backend: Any
    limits: Limits
    used_at: float
    opened_at: float = 0.0  # 0.0: not open
    messages: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> None:
        """The relay has answered for a message that went over it."""
        self.messages += 1


#: s for which a relay that has refused connections while it served others is asked for no more than it has served.
REFUSED_FOR = 60.0


class Connections:
    """Lends open backends for a relay, each to one user at a time; closes what has idled, aged or surprised."""

    def __init__(
        self,
        build: Callable[[str], Any],
        limits: Callable[[str], Limits] = lambda _relay: Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._connections: dict[int, Connection] = {}  # all of them, by their identity
        self._free: dict[str, list[Connection]] = {}  # by relay, the one used last at the end
        self._fewer: dict[str, tuple[int, float]] = {}  # relay -> how many it serves at once, and until when that holds

    def at_once(self, relay: str) -> int:
        """How many connections to ``relay`` a delivery may use: as it is set, or as many as it was seen to serve."""
        most = self._limits(relay).at_once
        fewer, until = self._fewer.get(relay, (most, 0.0))
        return most if self._clock() >= until else max(1, min(most, fewer))

    def refused(self, relay: str, served: int) -> None:
        """``relay`` would have no more than ``served`` connections at once."""
        self._fewer[relay] = served, self._clock() + REFUSED_FOR

    @contextlib.contextmanager
    def use(self, relay: str) -> Iterator[Connection]:
        """Lend the connection to ``relay``.

        It is open, and fit to be used, or closed and to be opened inside the block. After an exception there it is
        closed: a connection that surprised is never reused.
        """
        connection = self._locked(relay)
        try:
            self._refresh(connection)
            if not connection.opened_at:
                connection.opened_at = self._clock()
                connection.messages = 0
            try:
                yield connection
            except BaseException:
                self._close(connection)
                raise
            connection.used_at = self._clock()
            if self._worn(connection):
                self._close(connection)
        finally:
            with self._lock:
                self._free.setdefault(relay, []).append(connection)
            connection.lock.release()

    def close_idle(self) -> None:
        """Close what nobody has used for the idle limit; called from time to time by a thread of the process.

        That thread waits for the relays' answers to QUIT, but nobody waits for it: who needs a connection meanwhile
        gets a new one. The backend is kept, and with it what it has learned of the relay, unless there is such a new one.
        """
        now = self._clock()
        for connection in self._all():
            idle = connection.opened_at and now - connection.used_at >= connection.limits.idle
            if idle and connection.lock.acquire(blocking=False):
                try:
                    self._close_apart(connection)
                finally:
                    connection.lock.release()

    def _close_apart(self, connection: Connection) -> None:
        """Close ``connection``, if it is free, and lend it to nobody until that is done."""
        with self._lock:
            free = next((free for free in self._free.values() if connection in free), None)
            if free is None:
                return  # somebody has taken it, and waits for its lock
            free.remove(connection)
        self._close(connection)
        with self._lock:
            if free:
                del self._connections[id(connection)]
            else:
                free.append(connection)

    def close_all(self, wait: float = 5.0) -> None:
        """Close everything at once, politely (QUIT). What is in use, or not closed, after ``wait`` s is left as it is."""
        threads = [
            threading.Thread(target=self._close_unused, args=(connection, wait), name="mailqueue-closer", daemon=True)
            for connection in self._all()
        ]
        until = time.monotonic() + wait
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _close_unused(self, connection: Connection, wait: float) -> None:
        if connection.lock.acquire(timeout=wait):
            try:
                self._close(connection)
            finally:
                connection.lock.release()

    def _all(self) -> list[Connection]:
        with self._lock:
            return [*self._connections.values()]

    def _locked(self, relay: str) -> Connection:
        """A free connection, or a new one, its lock held."""
        with self._lock:
            connection = _taken(self._free.get(relay) or [])
        if connection is None:
            connection = Connection(self._build(relay), self._limits(relay), used_at=self._clock())
            with self._lock:
                self._connections[id(connection)] = connection
        connection.lock.acquire()
        return connection

    def _refresh(self, connection: Connection) -> None:
        """Close an open connection that is too old, or that has idled and no longer answers."""
        if not connection.opened_at:
            return
        idle = self._clock() - connection.used_at
        if idle >= connection.limits.idle or self._worn(connection):
            self._close(connection)
        elif idle >= connection.limits.probe_after:
            probe = getattr(connection.backend, "probe", None)
            if probe is not None and not probe():
                self._close(connection)

    def _worn(self, connection: Connection) -> bool:
        return (
            connection.messages >= connection.limits.messages
            or self._clock() - connection.opened_at >= connection.limits.age
        )

    def _close(self, connection: Connection) -> None:
        connection.opened_at = 0.0
        close = getattr(connection.backend, "close", None)  # a plain class may have send_messages() alone
        try:
            if close is not None:
                close()
        except Exception as error:  # noqa: BLE001 - any class's errors; the connection is given up, and nothing is lost
            logger.warning("action=close_failed error=%s", type(error).__name__)


def _taken(free: list[Connection]) -> Connection | None:
    """Take the connection that was used last, so that the rest idle; one that is open before those that are not.

    To open another could be refused by a relay that is content with those that are open.
    """
    if not free:
        return None
    connection = next((each for each in reversed(free) if each.opened_at), free[-1])
    free.remove(connection)
    return connection
