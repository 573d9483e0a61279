"""The processes whose steps are cut: a producer, a child that delivers, a tick, each on the real code.

A cut stands around an operation of the ledger or of the publisher, by wrapping it; the code in between has no hooks.
Each process is forked from a clean one, and ends at its cut without another word (``os._exit``), or stops there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import celery.app.amqp
import celery.loaders.app
import kombu.transport.redis
import redis.sentinel

import mailqueue.mail.backends.smtp
from mailqueue import EmailMessage, conf
from mailqueue.lanes import LANES
from mailqueue.ledger.open import open_ledger
from mailqueue.ledger.scripts import Script
from mailqueue.producer import Producer
from mailqueue.publisher import Publisher
from mailqueue.route import route_using
from tests.crashproof.sabotage import sabotage
from workers.app import app
from workers.drain import drain
from workers.process import Process, Worker
from workers.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.ledger.base import Ledger

__all__ = ["CUT", "Cut", "Echo", "Job", "message", "on_our_clock", "play"]

CUT = 77  # the exit status at a cut

#: What the code under test imports when it needs it: once, in the process that all others are forked from.
PRELOADED = (celery.app.amqp, celery.loaders.app, kombu.transport.redis, redis.sentinel, mailqueue.mail.backends.smtp)

OURS = Worker()  # whose deliveries are cut


@dataclass(frozen=True, slots=True)
class Cut:
    """Before or after the ``nth`` call of ``operation``; ``freeze``: it stops there, and goes on when it is told to."""

    operation: str
    when: str
    nth: int = 1
    freeze: bool = False


@dataclass(frozen=True, slots=True)
class Echo:
    """The command of the ``nth`` call of ``operation`` arrives once more: right after the ``later``-th call of ``after``.

    As when a client gave up on an answer and asked again over another connection, and the network still had the first.
    """

    operation: str
    after: str
    nth: int = 1
    later: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """One process: what it does (``produce``, ``drain``, ``tick``), and where it is cut."""

    role: str
    url: str
    broker: str
    relay: int  # port
    cut: Cut | None = None
    echo: Echo | None = None
    sabotage: str = ""
    recipients: int = 1
    large: bool = False
    alone_in_charge: bool = False  # a tick of the worker whose children the delivering processes are
    settings: dict[str, Any] = field(default_factory=dict)


def play(job: Job, clock: Any) -> None:
    """The body of a process. ``clock`` is a shared number: s since the epoch, and it stands still unless it is moved."""
    logging.basicConfig(handlers=[logging.NullHandler()])
    if job.sabotage:
        sabotage(job.sabotage)
    conf.configure(
        MAILQUEUE_BROKER_URL=job.broker,
        MAILQUEUE_LEDGER_URL=job.url,
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=job.relay,
        **job.settings,
    )
    wrap = _Wrapping(job.cut, job.echo)

    def opened(url: str, **options: Any) -> Any:
        return wrap.around(on_our_clock(url, clock, **options))

    match job.role:
        case "produce":
            _produce(job, opened(job.url), wrap.around(Publisher(job.broker)))
        case "drain":
            _drain(wrap, opened(job.url))
        case "tick":
            name = OURS.name if job.alone_in_charge else "somebody"
            Tick(opened(job.url), wrap.around(Publisher(job.broker)), name, 1.0).once()
    os._exit(0)


def on_our_clock(url: str, clock: Any, **options: Any) -> Ledger:
    """The ledger at ``url``, whose time is ``clock``: a machine that is busy must not make leases end."""
    ledger: Any = open_ledger(url, clock_offset=lambda: clock.value, **options)
    ledger._scripts = {name: _without_clock(script) for name, script in ledger._scripts.items()}
    opened: Ledger = ledger
    return opened


def _without_clock(script: Script) -> Script:
    source = script.source.replace('call("TIME")', "{0, 0}")  # to which the offset is added
    return Script(script.name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _produce(job: Job, ledger: Any, publisher: Any) -> None:
    producer = Producer(ledger, publisher)
    producer.enqueue(message(0, job.recipients, large=job.large), route_using(None))


def _drain(wrap: _Wrapping, ledger: Any) -> None:
    """Every task that waits, lane by lane, as a child of a worker would be given them."""
    process = Process(app, ledger=ledger, worker=OURS)
    tap = wrap.around(process.tap(), "tap.")
    for lane in LANES:
        while parcels := tap.take(lane, 1, 1.0):
            for parcel in parcels:
                drain(parcel, process)


def message(number: int, recipients: int = 1, *, large: bool = False) -> EmailMessage:
    """The message of a number."""
    to = [f"{name}{number}@example.com" for name in ("ann", "bob", "cid", "dan")[:recipients]]
    mail = EmailMessage(
        f"Number {number}", "Hello\n" * 10, "app@example.com", to, headers={"X-Crashproof": str(number)}
    )
    if large:
        mail.attach("large.bin", bytes(range(256)) * 200, "application/octet-stream")
    return mail


class _Wrapping:
    """Wraps what a process calls, so that it ends at the cut and hears the echo."""

    def __init__(self, cut: Cut | None, echo: Echo | None) -> None:
        self._cut = cut
        self._echo = echo
        self._calls: dict[str, int] = {}
        self._sent: Callable[[], Any] | None = None  # repeats the last command
        self._late: Callable[[], Any] | None = None  # repeats the one that is to arrive late

    def around(self, inner: Any, prefix: str = "") -> Any:
        """Call ``inner`` through us; of a ledger also what it sends is noted, for an echo."""
        if hasattr(inner, "_client"):
            send = inner._client.execute_command

            def noting(*command: Any, **options: Any) -> Any:
                self._sent = lambda: send(*command, **options)
                return self._sent()

            inner._client.execute_command = noting
        return _Wrapped(inner, prefix, self)

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._calls[name] = count = self._calls.get(name, 0) + 1
        self._maybe_cut(name, "before", count)
        answer = function(*args, **kwargs)
        if self._echo is not None:
            if (name, count) == (self._echo.operation, self._echo.nth):
                self._late = self._sent
            if (name, count) == (self._echo.after, self._echo.later) and self._late is not None:
                self._late()
        self._maybe_cut(name, "after", count)
        return answer

    def _maybe_cut(self, name: str, when: str, count: int) -> None:
        cut = self._cut
        if cut is None or (name, when, count) != (cut.operation, cut.when, cut.nth):
            return
        if cut.freeze:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os._exit(CUT)


class _Wrapped:
    """Something whose methods are called through the wrapping."""

    def __init__(self, inner: Any, prefix: str, wrapping: _Wrapping) -> None:
        self._inner, self._prefix, self._wrapping = inner, prefix, wrapping

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._wrapping.call(self._prefix + name, found, *args, **kwargs)
