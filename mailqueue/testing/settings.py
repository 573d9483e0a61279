"""Where mail goes for the time of a test: settings that win over all others, for Django's own mail as well.

No mail leaves the machine: every alias of MAILERS that sends leads where the test wants its mail.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from mailqueue import conf, mail, producer
from mailqueue.route import enqueues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "OUTBOX",
    "Server",
    "Way",
    "applied",
    "at_once",
    "by_smtp",
    "by_workers",
    "kept_outbox",
    "outbox",
    "queued_at",
    "sent_to",
]

#: Django's backend for tests, which its test runner puts in the place of the project's own.
_DJANGO_LOCMEM: Final = "django.core.mail.backends.locmem.EmailBackend"

_PATIENCE: Final = 3.0  # s that a relay of a test may keep silent; a real one gets minutes (RFC 5321, 4.5.3.2)

#: How a project's tests may find the queue: nothing of the host's, and no transaction of a test that never commits.
_QUEUE: Final = {"MAILQUEUE_SPOOL": None, "MAILQUEUE_DURABILITY": "default", "MAILQUEUE_ON_COMMIT": False}


class Server(Protocol):
    """An SMTP server: the inbox, or the scripted one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Way:
    """A way out: the backend that sends, the settings that it reads, the OPTIONS of an alias that is it."""

    backend: str
    settings: Mapping[str, Any]
    options: Mapping[str, Any]

    def alias(self) -> dict[str, Any]:
        """An entry of MAILERS."""
        return {"BACKEND": self.backend, "OPTIONS": dict(self.options)}


#: Into the list ``mailqueue.mail.outbox``.
OUTBOX: Final = Way("mailqueue.mail.backends.locmem.EmailBackend", {}, {})


def by_smtp(server: Server) -> Way:
    """To ``server``, without TLS and login: a test of those sets them itself."""
    settings = {
        "EMAIL_HOST": server.host,
        "EMAIL_PORT": server.port,
        "EMAIL_HOST_USER": "",
        "EMAIL_HOST_PASSWORD": "",
        "EMAIL_USE_TLS": False,
        "EMAIL_USE_SSL": False,
        "EMAIL_SSL_CERTFILE": None,
        "EMAIL_SSL_KEYFILE": None,
        "EMAIL_TIMEOUT": _PATIENCE,
    }
    options = {"host": server.host, "port": server.port, "timeout": _PATIENCE}
    return Way(conf.SMTP_BACKEND, settings, options)


def at_once(way: Way) -> dict[str, Any]:
    """The settings for mail that is sent ``way`` in the call, without a queue."""
    return {
        **way.settings,
        "EMAIL_BACKEND": way.backend,
        "MAILQUEUE_DELIVERY_BACKEND": way.backend,
        "MAILERS": dict.fromkeys(_project_mailers(), way.alias()) or None,
    }


def by_workers(way: Way) -> dict[str, Any]:
    """The settings for mail that is enqueued, and sent ``way`` by a worker.

    What enqueues in the project's settings stays as it is; what sends leads ``way``.
    """
    backend = _project_backend()
    mailers = {alias: entry if _entry_enqueues(entry) else way.alias() for alias, entry in _project_mailers().items()}
    return {
        **way.settings,
        "EMAIL_BACKEND": backend if enqueues(backend) else conf.QUEUE_BACKEND,
        "MAILQUEUE_DELIVERY_BACKEND": way.backend,
        "MAILERS": mailers or None,
    }


@contextlib.contextmanager
def outbox(**settings: Any) -> Iterator[list[Any]]:
    """While the block lasts, mail is sent at once into the list that is given, and no queue is needed.

    ``settings`` win over those that this takes.
    """
    with applied(**{**at_once(OUTBOX), **settings}), kept_outbox() as messages:
        yield messages


@contextlib.contextmanager
def sent_to(server: Server, **settings: Any) -> Iterator[None]:
    """While the block lasts, mail is sent at once to ``server``, and no queue is needed.

    ``settings`` win over those that this takes.
    """
    with applied(**{**at_once(by_smtp(server)), **settings}):
        yield


@contextlib.contextmanager
def queued_at(
    url: str, *, ledger_url: str | None = None, server: Server | None = None, **settings: Any
) -> Iterator[None]:
    """While the block lasts, mail is enqueued at ``url``, and workers with these settings send it to ``server``.

    The ledger is at ``url`` too, unless at its own; without a ``server`` what is sent goes to the outbox. Mail is
    enqueued at once, also inside of a transaction: those of tests never commit. ``settings`` win over those that this
    takes.
    """
    way = OUTBOX if server is None else by_smtp(server)
    places = {"MAILQUEUE_BROKER_URL": url, "MAILQUEUE_LEDGER_URL": ledger_url or url}
    with applied(**{**_QUEUE, **by_workers(way), **places, **settings}):
        yield


@contextlib.contextmanager
def kept_outbox() -> Iterator[list[Any]]:
    """A new ``mailqueue.mail.outbox`` for the time of the block."""
    names = vars(mail)
    before = names.get("outbox")
    mail.outbox = []
    try:
        yield mail.outbox
    finally:
        if before is None:
            names.pop("outbox", None)
        else:
            mail.outbox = before


@contextlib.contextmanager
def applied(**settings: Any) -> Iterator[None]:
    """Set ``settings`` for the time of the block, and close what was opened with them (or with others before)."""
    producer.close()
    with conf.override(**settings), _in_django(settings):
        try:
            yield
        finally:
            producer.close()


# -- the project's own settings


def _project_mailers() -> dict[str, Any]:
    """MAILERS as the project has it: Django's test runner puts other backends in."""
    if not conf.is_set("MAILERS"):
        return {}
    mailers: dict[str, Any] = conf.get("MAILERS")
    saved = _before_the_test_runner("mailers") or {}
    return {
        alias: saved.get(alias, entry) if _backend(entry) == _DJANGO_LOCMEM else entry
        for alias, entry in mailers.items()
    }


def _project_backend() -> str:
    """EMAIL_BACKEND as the project has it."""
    backend = str(conf.get("EMAIL_BACKEND"))
    if backend == _DJANGO_LOCMEM:
        return str(_before_the_test_runner("email_backend") or conf.QUEUE_BACKEND)
    return backend


def _before_the_test_runner(name: str) -> Any:
    utils = sys.modules.get("django.test.utils")
    saved = getattr(getattr(utils, "_TestState", None), "saved_data", None)
    return getattr(saved, name, None)


def _backend(entry: Any) -> str:
    return str(entry.get("BACKEND", conf.SMTP_BACKEND)) if isinstance(entry, Mapping) else ""


def _entry_enqueues(entry: Any) -> bool:
    return enqueues(_backend(entry))


@contextlib.contextmanager
def _in_django(settings: Mapping[str, Any]) -> Iterator[None]:
    """What ``settings`` say of backends holds for ``django.core.mail`` too, where Django is at work."""
    module: Any = sys.modules.get("django.conf")
    if module is None or not module.settings.configured:
        yield
        return
    # Optional, and there already.
    from django import VERSION  # noqa: PLC0415
    from django.test.utils import override_settings  # noqa: PLC0415

    # From 6.1 on Django has either the one or the other.
    name = "MAILERS" if VERSION >= (6, 1) and hasattr(module.settings, "MAILERS") else "EMAIL_BACKEND"
    if settings.get(name) is None:
        yield
        return
    override = override_settings(**{name: settings[name]})
    _quietly(override.enable)
    try:
        yield
    finally:
        _quietly(override.disable)


def _quietly(call: Callable[[], object]) -> None:
    """Make ``call`` without the warning of Django 6.1 that EMAIL_BACKEND is deprecated: whoever sets it was told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
