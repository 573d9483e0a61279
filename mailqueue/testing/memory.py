"""The whole queue in the process of a test: ledger and broker in memory, a worker and a clock that do as they are told.

What is enqueued goes the whole way - envelope, codec, ledger, task - and a worker takes it from there. No server, and
nothing sleeps: retries, leases and expiry are a matter of ``advance()``.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from kombu.connection import Connection

from mailqueue import conf, mail
from mailqueue.lanes import LANES, queue_name
from mailqueue.ledger.campaigns import CampaignState
from mailqueue.ledger.open import kept_in_memory
from mailqueue.ledger.states import State
from mailqueue.mail.mailers import import_string
from mailqueue.testing.mortal import Killed, MortalLedger
from mailqueue.testing.settings import applied, kept_outbox, queued_at
from mailqueue.testing.watched import WatchedLedger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from mailqueue.ledger.base import Ledger
    from mailqueue.producer import Receipt
    from mailqueue.testing.mortal import Step
    from mailqueue.testing.settings import Server

__all__ = ["MemoryQueue"]

_BROKER: Final = "memory://"
_WORKER: Final = "workers.inline.InlineWorker"

#: s of the queue's time from one tick to the next: the ledger answers none sooner.
_TICK: Final = 0.5
#: s between ticks while a worker holds claims. Without any for 5 s the ledger takes it for an outage of its store, in
#: which no lease ends.
_WATCH: Final = 4.0
#: s between two looks at campaigns that are neither at their end nor paused.
_LOOK: Final = 60.0


class MemoryQueue:
    """The queue as a context manager: inside the block the application enqueues here, and nowhere else.

    Args:
        server: Where workers send the mail: an Inbox or a ScriptedServer; None for ``outbox``.
        **settings: Settings for the time of the block; they win over those that this takes.
    """

    def __init__(self, server: Server | None = None, **settings: Any) -> None:
        self._server = server
        self._settings = settings
        self._moved = 0.0
        self._ledger: WatchedLedger | None = None
        self._stack = contextlib.ExitStack()

    # -- what there is

    @property
    def ledger(self) -> Ledger:
        """The ledger, behind its port."""
        return self._watched

    @property
    def receipts(self) -> list[Receipt]:
        """Receipts of all messages that were accepted, in order; ``receipt.status()`` tells what became of one."""
        return list(self._watched.receipts)

    @property
    def outbox(self) -> list[Any]:
        """The messages that were sent, unless they went to a server or a backend of the test's own."""
        messages: list[Any] = mail.outbox
        return messages

    def now(self) -> float:
        """The time that the queue goes by: s since the epoch."""
        return time.time() + self._moved

    # -- what can happen

    def run(self, seconds: float = 0.0, *, backend: Any = None) -> None:
        """Let a worker work until nothing is due, and go on so for ``seconds`` of the queue's time.

        Args:
            seconds: What falls due meanwhile is delivered as well, at its time.
            backend: A mail backend that sends everything, in place of the outbox or the server.
        """
        end = self.now() + seconds
        while True:
            with self._worker(self._watched, backend) as worker:
                self._pass(_TICK)
                while worker.tick() + worker.work():
                    self._pass(_TICK)
            left = end - self.now()
            if left <= 0:
                return
            self._pass(min(left, self._until_next(left)))

    def crash(self, step: Step = "claimed", *, backend: Any = None) -> None:
        """Let a worker begin to work, and die as by ``kill -9`` with the first batch that it takes.

        Nobody knows of it until its lease ends, which is a matter of ``advance()``.

        Args:
            step: When: it has ``claimed`` the messages and sent none; it has ``begun`` to send one, which has not gone
                out; or the relay has ``answered``, and that is not recorded.
            backend: As for ``run()``.

        Raises:
            RuntimeError: Nothing was due, so there was nothing to die of.
        """
        with self._worker(MortalLedger(self._watched, step), backend) as worker:
            self._pass(_TICK)
            try:
                while worker.tick() + worker.work():
                    self._pass(_TICK)
            except Killed:
                return
        raise RuntimeError(f"the worker did not come so far as to have {step} a message: none was due")

    def advance(self, seconds: float | None = None) -> float:
        """Let time pass in which no mail is delivered; returns the seconds.

        What falls due is queued, and leases end. Only the queue's time moves, not that of the application.

        Args:
            seconds: None for as long as it takes until a message falls due, or the lease of a dead worker has ended.

        Raises:
            RuntimeError: for None, when nothing will ever fall due.
        """
        if seconds is None:
            seconds = self._until_due()
        end = self.now() + seconds
        with self._worker(self._watched, None) as worker:
            worker.tick()
            while (left := end - self.now()) > 0:
                self._pass(min(left, _WATCH) if self._claimed else left)
                worker.tick()
        return seconds

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """While the block lasts the ledger cannot be reached: enqueueing raises BrokerUnavailable."""
        self._watched.away = True
        try:
            yield
        finally:
            self._watched.away = False

    # -- its life

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(applied(**self._settings))  # the ledger is opened by them as well
            self._ledger = WatchedLedger(
                clock=self.now,
                lease_seconds=conf.get("MAILQUEUE_LEASE_SECONDS"),
                retention=conf.get("MAILQUEUE_RETENTION"),
            )
            url = stack.enter_context(kept_in_memory(self._ledger))
            stack.enter_context(queued_at(_BROKER, ledger_url=url, server=self._server, **self._settings))
            stack.enter_context(kept_outbox())
            _empty_queues()
            stack.callback(_empty_queues)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def _watched(self) -> WatchedLedger:
        if self._ledger is None:
            raise RuntimeError("the queue is there inside of its `with` block alone")
        return self._ledger

    # -- time

    def _pass(self, seconds: float) -> None:
        self._moved += seconds

    @property
    def _claimed(self) -> bool:
        return bool(self._watched.list(State.SENDING, limit=1))

    def _until_next(self, most: float) -> float:
        """Seconds until there may be something to do, ``most`` at most."""
        if self._claimed:
            return _WATCH
        due = [*self._due(), *self._starts()]
        return min((max(_TICK, when - self.now()) for when in due), default=most)

    def _until_due(self) -> float:
        if self._claimed:
            return float(conf.get("MAILQUEUE_LEASE_SECONDS")) + _TICK
        due = min(self._due(), default=None)
        if due is None:
            raise RuntimeError("nothing is going to fall due: no message waits for its time")
        return max(0.0, due - self.now()) + _TICK

    def _due(self) -> list[float]:
        """When the first of the messages that wait for their time is due."""
        ids = [id_ for state in (State.DEFERRED, State.SCHEDULED) for id_ in self._watched.list(state, limit=1000)]
        return [due for id_ in ids if (due := self._watched.get(id_).due_at) is not None]

    def _starts(self) -> list[float]:
        """When a campaign starts, or may go on after its quiet hours, which are looked at every minute."""
        campaigns = self._watched.campaigns
        starts = [entry.due_at for entry in self._watched.schedules.all()]
        starts += [self.now() + _LOOK for _ in campaigns.live()]
        entries = map(campaigns.get, campaigns.ids())
        return starts + [entry.start_at for entry in entries if entry.state is CampaignState.SCHEDULED]

    # -- the worker

    @contextlib.contextmanager
    def _worker(self, ledger: Any, backend: Any) -> Iterator[_Worker]:
        if self._watched.away:
            raise RuntimeError("no worker can work during an outage: leave the `with` block of outage() first")
        # By its name, as tasks are sent; only now is Celery needed.
        worker: _Worker = import_string(_WORKER)(ledger, now=self.now, sleep=self._pass, backend=backend)
        try:
            yield worker
        finally:
            with contextlib.suppress(Killed):
                worker.close()


class _Worker(Protocol):
    def tick(self) -> int: ...
    def work(self) -> int: ...
    def close(self) -> None: ...


def _empty_queues() -> None:
    """Leave nothing in kombu's queues in memory, which are those of the whole process: another test's, say."""
    with Connection(_BROKER) as connection:  # type: ignore[no-untyped-call]
        for lane in LANES:
            connection.default_channel.queue_purge(queue_name(lane))
