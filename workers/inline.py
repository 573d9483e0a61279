"""A worker without Celery's machinery: delivers in the calling thread what lies in the queues. For tests.

``mailqueue.testing`` loads it by its name, as tasks are named: nothing there imports the workers.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kombu.connection import Connection

from mailqueue import conf
from mailqueue.conf.url import transport
from mailqueue.lanes import LANES, queue_name
from mailqueue.publisher import Publisher
from workers.drain import drain
from workers.feed import Feeder
from workers.process import Process, Worker
from workers.rota import Rota
from workers.stop import StopFlag
from workers.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.ledger.base import Ledger

__all__ = ["InlineWorker"]


class InlineWorker:
    """One worker that works when it is told to.

    Args:
        ledger: The ledger as this worker sees it.
        now: s since the epoch; the ledger's time.
        sleep: Waits inside an attempt, in s.
        backend: What sends for every relay; None for what the settings name.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        backend: Any = None,
    ) -> None:
        url = conf.get("MAILQUEUE_BROKER_URL")
        build = None if backend is None else lambda _relay: backend
        self._process = Process(
            _Application(url), ledger=ledger, build=build, now=now, worker=Worker(stop=_Awake(sleep))
        )
        self._publisher = Publisher(url, deadline=conf.get("MAILQUEUE_DEADLINE"))
        name = self._process.worker.name
        self._tick = Tick(ledger, self._publisher, name, conf.get("MAILQUEUE_TICK_SECONDS"))
        self._feeder = Feeder(
            ledger, self._publisher, name, deadline=conf.get("MAILQUEUE_DEADLINE"), clock=now, monotonic=now
        )
        self._rota = Rota(ledger, name, clock=now)

    def tick(self) -> int:
        """Recover and publish what is due, start and feed campaigns; returns how much of all that there was."""
        return self._tick.once() + self._rota.once() + self._feeder.once()

    def work(self) -> int:
        """Deliver what lies in the queues, lane by lane, until they are empty; returns the number of tasks taken."""
        return sum(self._empty(lane) for lane in LANES)

    def close(self) -> None:
        """QUIT all connections."""
        self._process.drop_tap()
        self._process.close()
        self._publisher.close()

    def _empty(self, lane: str) -> int:
        count = 0
        while parcels := self._process.tap().take(lane, 1, 1.0):
            for parcel in parcels:
                drain(parcel, self._process)
            count += len(parcels)
        return count


class _Application:
    """As much of a Celery application as a Process asks for."""

    def __init__(self, url: str) -> None:
        self._url, self._options = transport(url)
        self.amqp = SimpleNamespace(
            queues=SimpleNamespace(consume_from=dict.fromkeys(queue_name(lane) for lane in LANES))
        )

    def connection_for_read(self) -> Any:
        return Connection(self._url, transport_options=self._options)  # type: ignore[no-untyped-call]


class _Awake(StopFlag):
    """Never set, and sleeps as it is told to."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        super().__init__()
        self._sleep = sleep

    def sleep(self, seconds: float, pause: Callable[[float], None] | None = None) -> None:  # noqa: ARG002 - the base's
        self._sleep(seconds)
