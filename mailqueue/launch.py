"""The command line that starts a worker: Celery's own, with the flags that suit mail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from mailqueue.lanes import queue_name

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["POOLS", "worker_command"]

#: Pools that a worker runs in; the event-loop ones would share one SMTP connection between greenlets.
POOLS: Final = ("prefork", "threads", "solo")


def worker_command(
    *,
    lanes: Sequence[str] = (),
    pool: str = "prefork",
    concurrency: int | None = None,
    loglevel: str = "INFO",
    name: str | None = None,
    application: str = "workers",
    options: Sequence[str] = (),
) -> list[str]:
    """Return the arguments of ``celery -A workers worker``, for this Python.

    Args:
        lanes: Lanes to serve, by name; empty for all, urgent mail first.
        pool: One of ``POOLS``.
        concurrency: Processes or threads that send; None for Celery's default, one per core.
        loglevel: Celery's log level.
        name: Node name without its host part; must be unique among the workers of one host.
        application: Where Celery finds its application; a project's own has had ``workers.install(app)``.
        options: Further options of ``celery worker``.
    """
    command = [sys.executable, "-m", "celery", "-A", application, "worker", "--pool", pool, "--loglevel", loglevel]
    if concurrency is not None:
        command += ["--concurrency", str(concurrency)]
    if lanes:
        command += ["--queues", ",".join(map(queue_name, lanes))]
    if name is not None:
        command += ["--hostname", f"{name}@%h"]
    # Workers know each other through the ledger. Celery's gossip and mingle would cost a second at every start, and
    # a message between each pair of workers every few seconds.
    return [*command, "--without-gossip", "--without-mingle", *options]
