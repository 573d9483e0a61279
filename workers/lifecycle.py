"""What happens when a worker and its processes start and stop; hung on Celery's signals, once per application."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import WorkerShutdown
from celery.utils.text import str_to_list
from celery.worker import state

from mailqueue import conf
from mailqueue.conf.url import in_one_store
from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable
from mailqueue.lanes import LANES, task_queue
from mailqueue.publisher import Publisher
from mailqueue.spool import open_spool
from workers import process
from workers.feed import Feeder
from workers.rota import Rota
from workers.tick import Tick

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery

    from mailqueue.ledger.base import Checkup, Ledger
    from workers.process import Process
    from workers.rounds import Rounds

__all__ = ["connect"]

logger = logging.getLogger(__name__)

WAKE = 0.05  # s
_EX_CONFIG = 78  # of sysexits.h

_connected: list[Any] = []
_rounds: dict[Any, list[Rounds]] = {}  # by application


def connect(app: Celery) -> None:
    """Give the workers of ``app`` their start and stop. The handlers ignore the workers of other applications."""
    if app in _connected:
        return
    _connected.append(app)
    # Signals keep weak references by default, and our functions live as long as this module.
    signals.celeryd_init.connect(_configure)
    signals.celeryd_init.connect(_begin)
    signals.worker_ready.connect(_start)
    signals.worker_shutting_down.connect(_stop_taking)
    signals.worker_shutdown.connect(_stop)
    signals.worker_process_shutdown.connect(_close)


def _configure(instance: Any = None, options: Mapping[str, Any] | None = None, **_: Any) -> None:
    """Main process, before anything else: refuse what cannot work, make the queues known that it is to serve."""
    app = instance.app
    if app not in _connected:
        return
    try:
        conf.check("worker")
        with contextlib.closing(_publisher()) as publisher:
            publisher.declare()
        with contextlib.closing(process.make_ledger()) as ledger, contextlib.suppress(LedgerUnavailable):
            _judge(ledger)
    except ImproperlyConfigured as error:
        _tell(error)
        raise SystemExit(_EX_CONFIG) from None
    # Not all of them: one quorum queue changes how Celery fetches from every queue of an application.
    asked = str_to_list((options or {}).get("queues")) or ()
    driver = app.connection_for_read().transport.driver_type
    for lane in LANES:
        queue = task_queue(lane, driver)
        if queue.name in asked and queue.name not in app.amqp.queues:
            app.amqp.queues[queue.name] = queue


def _begin(sender: str = "", instance: Any = None, **_: Any) -> None:
    """Main process, before its pool forks: what the worker and its children are to share."""
    if instance.app in _connected:
        process.begin(instance.app, sender)


def _judge(ledger: Ledger) -> Checkup:
    """Raise ImproperlyConfigured for a store that would lose mail in normal operation.

    Likewise for one whose fsync nobody can wait for, if MAILQUEUE_DURABILITY says so: producers refuse all mail then.
    """
    store = ledger.check(durable=conf.get("MAILQUEUE_DURABILITY") == "always")
    if store.problems:
        raise ImproperlyConfigured(*store.problems)
    return store


def _admit(ledger: Ledger) -> None:
    """Judge the store, and tell what is not the best of it."""
    for warning in _judge(ledger).warnings:
        logger.warning("action=store_warning reason=%s", warning)


def _admit_late(this: Process) -> bool:
    """Judge a store that was away while the worker started. One that is not fit stops the worker, as it does at a start."""
    try:
        _admit(this.ledger)
    except ImproperlyConfigured as error:
        logger.error("action=store_refused reason=%s: the worker stops", "; ".join(error.problems))  # noqa: TRY400 - no traceback wanted
        process.stop(this.worker.hostname)
        state.should_stop = _EX_CONFIG  # Celery's own flag, which the loop of its main process looks at
        return False
    return True


def _tell(error: ImproperlyConfigured) -> None:
    lines = "\n".join(f"  - {problem}" for problem in error.problems)
    sys.stderr.write(f"mailqueue cannot start with these settings:\n{lines}\n")


def _publisher() -> Publisher:
    return Publisher(conf.get("MAILQUEUE_BROKER_URL"), deadline=conf.get("MAILQUEUE_DEADLINE"))


def _start(sender: Any = None, **_: Any) -> None:
    """Main process, ready: look at the store once more, which may have been away before, and start the rounds."""
    app = sender.app
    if app not in _connected:
        return
    if sender.hub is not None and "thread" in type(sender.pool).__module__:
        # A thread that ends its task does not wake the event loop, which would fetch the next one up to 1 s later.
        sender.hub.call_repeatedly(WAKE, lambda: None)
    this = process.current(app)
    admit = None
    try:
        _admit(this.ledger)
    except LedgerUnavailable as error:
        logger.warning("action=ledger_unavailable reason=%s", error)  # the tick and the claims wait for it
        admit = functools.partial(_admit_late, this)
    except ImproperlyConfigured as error:
        _tell(error)
        raise WorkerShutdown(_EX_CONFIG) from None
    _rounds[app] = _make_rounds(this, admit)
    for each in _rounds[app]:
        each.start()
    logger.info("action=worker_ready worker=%s lanes=%s", this.worker.name, ",".join(this.lanes()))


def _make_rounds(this: Process, admit: Callable[[], bool] | None) -> list[Rounds]:
    """The rounds of every worker: over what is due, and over campaigns."""
    publisher = _publisher()
    name = this.worker.name
    return [
        Tick(this.ledger, publisher, name, conf.get("MAILQUEUE_TICK_SECONDS"), open_spool(), admit=admit),
        Feeder(
            this.ledger,
            publisher,
            name,
            deadline=conf.get("MAILQUEUE_DEADLINE"),
            together=in_one_store(conf.get("MAILQUEUE_BROKER_URL"), conf.get("MAILQUEUE_LEDGER_URL")),
        ),
        Rota(this.ledger, name),
    ]


def _stop_taking(sender: str = "", **_: Any) -> None:
    """Main process, told to stop: its children finish what they have begun, and give back the rest."""
    process.stop(sender)


def _stop(sender: Any = None, **_: Any) -> None:
    """Main process, children gone: no more rounds; QUIT what a solo or threads worker has open."""
    for each in _rounds.pop(sender.app, ()):
        each.stop()
    process.close(sender.app)


def _close(**_: Any) -> None:
    """A child that ends."""
    process.close()
