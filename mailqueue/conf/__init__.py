"""The one place that reads settings: ``configure()``, then Django's explicitly set ones, the environment, the default.

Each is read when it is asked for, never at import, and comes converted and checked. The names stand in ``table``.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from mailqueue.conf import django
from mailqueue.conf.kinds import Kind
from mailqueue.conf.nearest import nearest
from mailqueue.conf.secret import Secret, SecretURL
from mailqueue.conf.table import QUEUE_BACKEND, REDIS_SCHEMES, REPLACED_BY_MAILERS, SETTINGS, SMTP_BACKEND, Setting
from mailqueue.errors import ImproperlyConfigured

__all__ = [
    "QUEUE_BACKEND",
    "REDIS_SCHEMES",
    "REPLACED_BY_MAILERS",
    "SETTINGS",
    "SMTP_BACKEND",
    "Kind",
    "Role",
    "Secret",
    "SecretURL",
    "Setting",
    "check",
    "configure",
    "get",
    "is_set",
    "reset",
]

Role = Literal["producer", "worker"]

_UNSET = django.UNSET
_BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}

_CODE, _DJANGO, _ENVIRONMENT, _DEFAULT = "configure()", "Django's settings", "the environment", "the default"

# What Kubernetes puts into the environment of every pod beside a service that is called mailqueue or mailqueue-*.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")

_lock = threading.Lock()
_configured: dict[str, Any] = {}  # replaced as a whole, so that readers need no lock
_converted: dict[str, tuple[str, str, Any]] = {}  # name -> source, text, value: texts are converted once


def configure(**settings: Any) -> None:
    """Set settings from code: the source that wins over all others. Calls add up; ``reset()`` forgets them.

    None stands for itself where it is a value (EMAIL_TIMEOUT=None), and for "not set" elsewhere. Raises
    ImproperlyConfigured with every unknown name and bad value; nothing is set then.
    """
    global _configured  # noqa: PLW0603 - the settings of the process
    problems = [f"{name} is no setting{nearest(name, _BY_NAME)}" for name in settings if name not in _BY_NAME]
    for name, raw in settings.items():
        # A lazy string stays lazy: it may depend on what is not ready yet.
        if name in _BY_NAME and (raw is None or type(raw).__name__ != "__proxy__"):
            problems += _problems(_BY_NAME[name], _CODE, raw)
    if problems:
        raise ImproperlyConfigured(*problems)
    with _lock:
        _configured = {**_configured, **settings}


def reset() -> None:
    """Forget what ``configure()`` was told."""
    global _configured  # noqa: PLW0603 - the settings of the process
    with _lock:
        _configured = {}
        _converted.clear()


def get(name: str) -> Any:
    """The value of the setting ``name`` now, converted to its kind. Raises ImproperlyConfigured if it is a bad one."""
    setting = _BY_NAME.get(name)
    if setting is None:
        raise ImproperlyConfigured(f"{name} is no setting{nearest(name, _BY_NAME)}")
    source, raw = _find(setting)
    if source is _ENVIRONMENT:
        known = _converted.get(name)
        if known is not None and known[1] == raw:
            return known[2]
    value, problem = _convert(setting, source, raw)
    if problem:
        raise ImproperlyConfigured(problem)
    if source is _ENVIRONMENT and setting.kind.shared:
        _converted[name] = (source, raw, value)
    return value


def is_set(name: str) -> bool:
    """Whether any source but the default has the setting ``name``."""
    if name not in _BY_NAME:
        raise ImproperlyConfigured(f"{name} is no setting{nearest(name, _BY_NAME)}")
    return _find(_BY_NAME[name])[0] is not _DEFAULT


def check(role: Role | None = None) -> None:
    """Check all settings at once; raises ImproperlyConfigured with every problem and its remedy.

    ``role`` adds what only a producer or only a worker needs to be true: the classes and files that it will load.
    None adds both.
    """
    problems = [*_unknown_names()]
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        source, raw = _find(setting)
        value, problem = _convert(setting, source, raw)
        if problem:
            problems.append(problem)
            continue
        values[setting.name] = value
        problems += [f"{setting.name} (from {source}): {sentence}" for sentence in setting.kind.inspect(value)]
    problems += _conflicts(values)
    if role in (None, "producer"):
        problems += _unloadable(values, "EMAIL_BACKEND")
    if role in (None, "worker"):
        problems += _unloadable(values, "MAILQUEUE_DELIVERY_BACKEND")
        problems += _unreadable(values)
    if problems:
        raise ImproperlyConfigured(*problems)


# -- sources


def _find(setting: Setting) -> tuple[str, Any]:
    """Where the value of ``setting`` comes from, and that value as it stands there."""
    name = setting.name
    optional = setting.kind.optional
    raw = _configured.get(name, _UNSET)
    if raw is not _UNSET and (raw is not None or optional):
        return _CODE, raw
    raw = django.explicit(name)
    if raw is not _UNSET and (raw is not None or optional):
        return _DJANGO, raw
    raw = os.environ.get(name)
    if raw is not None and (raw or setting.kind.blank):  # NAME= stands for "unset", save where empty is a value
        return _ENVIRONMENT, raw
    return _DEFAULT, setting.default


def _convert(setting: Setting, source: str, raw: Any) -> tuple[Any, str]:
    """The value that ``raw`` stands for, and the problem with it, if there is one."""
    if source is _DEFAULT and setting.name == "MAILQUEUE_LEDGER_URL":
        return _ledger_from_broker()
    if raw is None:
        return None, ""
    try:
        value = setting.kind.parse(raw) if source is _ENVIRONMENT else setting.kind.take(raw)
    except ValueError as error:
        return None, f"{setting.name} (from {source}): {error}"
    if setting.fixed and value != setting.default:
        return None, f"{setting.name} (from {source}): {setting.fixed}; leave it unset"
    return value, ""


def _ledger_from_broker() -> tuple[Any, str]:
    broker = _BY_NAME["MAILQUEUE_BROKER_URL"]
    url, problem = _convert(broker, *_find(broker))
    if problem:
        return None, problem
    scheme = url.partition("://")[0].lower()
    if scheme in REDIS_SCHEMES:
        return url, ""
    return None, (
        f"MAILQUEUE_LEDGER_URL is not set, and the broker ({scheme}://) cannot hold the ledger; "
        "set it to a Redis or Valkey, such as redis://localhost:6379/0"
    )


# -- the thorough check


def _problems(setting: Setting, source: str, raw: Any) -> list[str]:
    if raw is None:
        return []
    value, problem = _convert(setting, source, raw)
    return [problem] if problem else [f"{setting.name} (from {source}): {x}" for x in setting.kind.inspect(value)]


def _unknown_names() -> Iterator[str]:
    places = ((django.names("MAILQUEUE_"), _DJANGO), (_environment_names("MAILQUEUE_"), _ENVIRONMENT))
    for found, place in places:
        for name in sorted(found):
            if name not in _BY_NAME:
                yield f"{name} (from {place}) is no setting{nearest(name, _BY_NAME)}"


def _environment_names(prefix: str) -> Iterable[str]:
    return [name for name in os.environ if name.startswith(prefix) and not _SERVICE_LINK.search(name)]


def _conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between settings that are each right; those that are not are absent from ``values``."""
    if values.get("EMAIL_USE_TLS") and values.get("EMAIL_USE_SSL"):
        yield "EMAIL_USE_TLS and EMAIL_USE_SSL exclude each other; keep TLS for port 587, SSL for port 465"
    if values.get("EMAIL_SSL_KEYFILE") and not values.get("EMAIL_SSL_CERTFILE"):
        yield "EMAIL_SSL_KEYFILE is of no use without EMAIL_SSL_CERTFILE; set both, or neither"
    if values.get("MAILQUEUE_DELIVERY_BACKEND") == QUEUE_BACKEND:
        yield (
            "MAILQUEUE_DELIVERY_BACKEND is the queue backend: a worker would enqueue for ever what it should deliver; "
            f"set it to a backend that sends, such as {SMTP_BACKEND}"
        )
    for shorter, longer, why in (
        ("MAILQUEUE_TICK_SECONDS", "MAILQUEUE_LEASE_SECONDS", "leases would end before any worker looks"),
        ("MAILQUEUE_LEASE_SECONDS", "MAILQUEUE_RETENTION", "a message would be forgotten while it is being sent"),
        ("MAILQUEUE_LEASE_SECONDS", "MAILQUEUE_MAX_AGE", "a message would fail during its first attempt"),
    ):
        if shorter in values and longer in values and not values[shorter] < values[longer]:
            yield f"{longer} ({values[longer]} s) must be more than {shorter} ({values[shorter]} s): {why}"
    yield from _delivery_aliases(values.get("MAILERS", {}))


def _delivery_aliases(mailers: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the ``deliver_with`` of those entries of MAILERS that enqueue."""
    for alias, entry in mailers.items():
        if not isinstance(entry, Mapping) or entry.get("BACKEND") != QUEUE_BACKEND:
            continue
        options = entry.get("OPTIONS", {})
        target = options.get("deliver_with") if isinstance(options, Mapping) else None
        if target is None:
            continue
        if target not in mailers:
            yield f"MAILERS[{alias!r}] delivers with {target!r}, which MAILERS does not have{nearest(target, mailers)}"
        elif isinstance(mailers[target], Mapping) and mailers[target].get("BACKEND") == QUEUE_BACKEND:
            yield f"MAILERS[{alias!r}] delivers with {target!r}, which enqueues; name an alias that sends"


def _unloadable(values: Mapping[str, Any], name: str) -> Iterator[str]:
    path = values.get(name)
    if path is None or path == QUEUE_BACKEND:
        return
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        yield f"{name} is {path!r}, which cannot be imported ({error}); correct the path, or install what it needs"
        return
    if found is None:
        yield f"{name} is {path!r}, but {module} has no {attribute}"
    elif name == "MAILQUEUE_DELIVERY_BACKEND" and QUEUE_BACKEND in map(_path, getattr(found, "__mro__", ())):
        yield f"{name} is {path!r}, a kind of queue backend: a worker would enqueue for ever what it should deliver"


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _unreadable(values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("EMAIL_SSL_CERTFILE", "EMAIL_SSL_KEYFILE"):
        path = values.get(name)
        if path is not None and not os.access(path, os.R_OK):
            yield f"{name} is {os.fspath(path)!r}, which cannot be read; correct the path or its permissions"
