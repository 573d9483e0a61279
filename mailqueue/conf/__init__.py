"""The one place that reads settings: ``configure()``, then Django's explicitly set ones, the environment, the default.

Each is read when it is asked for, never at import, and comes converted and checked. The names stand in ``table``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from typing import TYPE_CHECKING, Any, Literal

from mailqueue.conf import checks, django, environment, url
from mailqueue.conf.kinds import Kind
from mailqueue.conf.nearest import nearest
from mailqueue.conf.secret import Secret, SecretURL
from mailqueue.conf.table import QUEUE_BACKEND, REPLACED_BY_MAILERS, SETTINGS, SMTP_BACKEND, Setting
from mailqueue.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "QUEUE_BACKEND",
    "REPLACED_BY_MAILERS",
    "SETTINGS",
    "SMTP_BACKEND",
    "Kind",
    "Role",
    "Secret",
    "SecretURL",
    "Setting",
    "advice",
    "check",
    "configure",
    "get",
    "is_set",
    "override",
    "reset",
]

Role = Literal["producer", "worker"]

_UNSET = django.UNSET
_BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}

_CODE, _DJANGO, _ENVIRONMENT, _DEFAULT = "configure()", "Django's settings", "the environment", "the default"

_lock = threading.Lock()
_configured: dict[str, Any] = {}  # replaced as a whole, so that readers need no lock
_converted: dict[str, tuple[str, Any, Any]] = {}  # by name: source, value there, and what it stands for


def configure(**settings: Any) -> None:
    """Set settings from code: the source that wins over all others. Calls add up; ``reset()`` forgets them.

    None stands for itself where it is a value (EMAIL_TIMEOUT=None), and for "not set" elsewhere. Raises
    ImproperlyConfigured with every unknown name and every bad value; nothing is set then. What is wrong inside a
    value (an entry of MAILERS, a person of ADMINS) is told by who uses it, and by ``check()``.
    """
    global _configured  # noqa: PLW0603 - the settings of the process
    problems = [_unknown(name) for name in settings if name not in _BY_NAME]
    for name, raw in settings.items():
        # A lazy string stays lazy: what it depends on may not be ready yet.
        if name in _BY_NAME and raw is not None and type(raw).__name__ != "__proxy__":
            problems += filter(None, [_convert(_BY_NAME[name], _CODE, raw)[1]])
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


@contextlib.contextmanager
def override(**settings: Any) -> Iterator[None]:
    """``configure()`` for the time of a block: at its end all that was configured in it is forgotten. For tests."""
    global _configured  # noqa: PLW0603 - the settings of the process
    before = _configured
    configure(**settings)
    try:
        yield
    finally:
        with _lock:
            _configured = before


def get(name: str) -> Any:
    """The value of the setting ``name`` now, converted to its kind. Raises ImproperlyConfigured if it is a bad one."""
    setting = _BY_NAME.get(name)
    if setting is None:
        raise ImproperlyConfigured(_unknown(name))
    value, problem = _current(setting)
    if problem:
        raise ImproperlyConfigured(problem)
    return value


def is_set(name: str) -> bool:
    """Whether any source but the default has the setting ``name``. Raises ImproperlyConfigured if there is none."""
    if name not in _BY_NAME:
        raise ImproperlyConfigured(_unknown(name))
    return _find(_BY_NAME[name])[0] is not _DEFAULT


def check(role: Role | None = None) -> None:
    """Check all settings at once; raises ImproperlyConfigured with every problem and its remedy.

    ``role`` adds what only a producer or only a worker needs to be true: the classes and files that it will load.
    None adds both.
    """
    problems = [
        *checks.unknown(django.names(), _BY_NAME, _DJANGO),
        *checks.unknown(os.environ, _BY_NAME, _ENVIRONMENT),
    ]
    values, found = _evaluate_all()
    problems += found
    problems += checks.conflicts(values)
    if role in (None, "producer"):
        problems += checks.unloadable(values, worker=False)
    if role in (None, "worker"):
        problems += checks.unloadable(values, worker=True)
        problems += checks.unreadable(values)
        problems += checks.unsignable(values)
    problems += checks.unwritable(values)
    if problems:
        raise ImproperlyConfigured(*dict.fromkeys(problems))


def advice() -> list[str]:
    """What works with these settings, and is not the best that could be: sentences with their remedies."""
    return [*checks.advice(_evaluate_all()[0])]


def _evaluate_all() -> tuple[dict[str, Any], list[str]]:
    """The values of all settings that have no problem, and the problems of the others."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in SETTINGS:
        value, found = _evaluate(setting, *_find(setting))
        if found:
            problems += found
        else:
            values[setting.name] = value
    return values, problems


def _unknown(name: str) -> str:
    return f"{name} is no setting{nearest(name, _BY_NAME)}"


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
    if environment.has(name):
        raw = os.environ[name]
        if raw or setting.kind.blank:  # NAME= stands for "unset", save where empty is a value
            return _ENVIRONMENT, raw
    return _DEFAULT, setting.default


def _current(setting: Setting) -> tuple[Any, str]:
    """The value of ``setting`` now, and the problem with it, if there is one. A producer asks for several a mail."""
    source, raw = _find(setting)
    known = _converted.get(setting.name)
    if known is not None and known[0] is source and (known[1] is raw or (source is _ENVIRONMENT and known[1] == raw)):
        return known[2], ""
    value, problem = _convert(setting, source, raw)
    if not problem and setting.kind.shared and isinstance(raw, _UNCHANGING) and not _follows(setting, source):
        _converted[setting.name] = source, raw, value
    return value, problem


#: Types of values that are converted once, for as long as they stand in their place.
_UNCHANGING = (str, int, float, tuple)


def _follows(setting: Setting, source: str) -> bool:
    """Whether the value is that of another setting."""
    return source is _DEFAULT and setting.name == "MAILQUEUE_LEDGER_URL"


def _convert(setting: Setting, source: str, raw: Any) -> tuple[Any, str]:
    """The value that ``raw`` stands for, and the problem with it, if there is one."""
    if _follows(setting, source):
        return _ledger_from_broker()
    if raw is None:
        return None, ""
    try:
        value = setting.kind.parse(raw) if source is _ENVIRONMENT else setting.kind.take(raw)
    except ValueError as error:
        return None, f"{setting.name} (from {source}): {error}"
    return value, ""


def _evaluate(setting: Setting, source: str, raw: Any) -> tuple[Any, list[str]]:
    """As ``_convert``, and with all problems that a thorough look finds."""
    value, problem = _convert(setting, source, raw)
    if problem:
        return None, [problem]
    if value is None:
        return None, []
    return value, [f"{setting.name} (from {source}): {sentence}" for sentence in setting.kind.inspect(value)]


def _ledger_from_broker() -> tuple[Any, str]:
    address, problem = _current(_BY_NAME["MAILQUEUE_BROKER_URL"])
    return (None, problem) if problem else _ledger_at(address)


@functools.lru_cache(maxsize=4)
def _ledger_at(address: str) -> tuple[Any, str]:
    scheme = url.scheme(address)
    if scheme in url.REDIS_SCHEMES:
        return SecretURL(url.for_redis(address)), ""
    return None, (
        f"MAILQUEUE_LEDGER_URL is not set, and the broker ({scheme}://) cannot hold the ledger; "
        "set it to a Redis or Valkey, such as redis://localhost:6379/0"
    )
