"""What can be wrong with settings that are each right: conflicts between them, and things that they name.

Pure but for ``unloadable``, ``unreadable`` and ``unwritable``, which import classes and look at files.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mailqueue.conf.nearest import nearest
from mailqueue.conf.signingkey import load_key
from mailqueue.conf.table import QUEUE_BACKEND, SMTP_BACKEND

__all__ = ["advice", "conflicts", "unknown", "unloadable", "unreadable", "unsignable", "unwritable"]

# What Kubernetes puts into the environment of every pod beside a service that is called mailqueue or mailqueue-*.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")


def unknown(names: Iterable[str], known: Iterable[str], source: str) -> Iterator[str]:
    """The names of ours in ``source`` that no setting has: misspelt, most likely."""
    known = list(known)
    for name in sorted(names):
        if name.startswith("MAILQUEUE_") and name not in known and not _SERVICE_LINK.search(name):
            yield f"{name} (from {source}) is no setting{nearest(name, known)}"


def conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between settings; those that are wrong in themselves are absent from ``values``."""
    if values.get("EMAIL_USE_TLS") and values.get("EMAIL_USE_SSL"):
        yield "EMAIL_USE_TLS and EMAIL_USE_SSL exclude each other; keep TLS for port 587, SSL for port 465"
    if values.get("EMAIL_SSL_KEYFILE") and not values.get("EMAIL_SSL_CERTFILE"):
        yield "EMAIL_SSL_KEYFILE is of no use without EMAIL_SSL_CERTFILE; set both, or neither"
    if values.get("MAILQUEUE_DELIVERY_BACKEND") == QUEUE_BACKEND:
        yield f"MAILQUEUE_DELIVERY_BACKEND is the queue backend: {_FOR_EVER}"
    for shorter, longer, why in (
        ("MAILQUEUE_TICK_SECONDS", "MAILQUEUE_LEASE_SECONDS", "a lease would end before any worker looks"),
        ("MAILQUEUE_LEASE_SECONDS", "MAILQUEUE_RETENTION", "a message would be forgotten while it is being sent"),
        ("MAILQUEUE_LEASE_SECONDS", "MAILQUEUE_MAX_AGE", "a message would fail during its first attempt"),
    ):
        if shorter in values and longer in values and not values[shorter] < values[longer]:
            yield f"{longer} ({values[longer]} s) must be more than {shorter} ({values[shorter]} s): {why}"
    yield from _delivery_aliases(values.get("MAILERS", {}))
    for name, lacking in itertools.permutations(("MAILQUEUE_UNSUBSCRIBE_URL", "MAILQUEUE_UNSUBSCRIBE_KEYS")):
        if values.get(name) and lacking in values and not values[lacking]:
            yield f"{name} is of no use without {lacking}; set both, or neither"


def advice(values: Mapping[str, Any]) -> Iterator[str]:
    """What works, and is not the best that could be; one sentence each with its remedy."""
    bulk = [alias for alias, entry in values.get("MAILERS", {}).items() if _options(entry).get("lane") == "bulk"]
    if (bulk or "bulk" in values.get("MAILQUEUE_LANES", {})) and not values.get("MAILQUEUE_UNSUBSCRIBE_URL"):
        where = f"MAILERS[{bulk[0]!r}]" if bulk else "MAILQUEUE_LANES"
        yield (
            f"{where} is for bulk mail, which will go without a way to unsubscribe (large providers refuse such mail); "
            "set MAILQUEUE_UNSUBSCRIBE_URL and MAILQUEUE_UNSUBSCRIBE_KEYS, see docs/consent.md"
        )


_FOR_EVER = (
    f"a worker would enqueue for ever what it should deliver; set it to a backend that sends, such as {SMTP_BACKEND}"
)


def _delivery_aliases(mailers: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the ``deliver_with`` of those entries of MAILERS that enqueue."""
    for alias, entry in mailers.items():
        target = _options(entry).get("deliver_with") if _backend(entry) == QUEUE_BACKEND else None
        if target is None:
            continue
        if target not in mailers:
            yield f"MAILERS[{alias!r}] delivers with {target!r}, which MAILERS does not have{nearest(target, mailers)}"
        elif _backend(mailers[target]) == QUEUE_BACKEND:
            yield f"MAILERS[{alias!r}] delivers with {target!r}, which enqueues in its turn; name an alias that sends"


def _backend(entry: Any) -> Any:
    return entry.get("BACKEND") if isinstance(entry, Mapping) else None


def _options(entry: Any) -> Mapping[str, Any]:
    options = entry.get("OPTIONS") if isinstance(entry, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def unloadable(values: Mapping[str, Any], *, worker: bool) -> Iterator[str]:
    """Backends that cannot be imported: those that a worker delivers through, or that a producer hands its mail to."""
    if not worker:
        yield from _trouble("EMAIL_BACKEND", values.get("EMAIL_BACKEND"))
        return
    path = values.get("MAILQUEUE_DELIVERY_BACKEND")
    trouble = list(_trouble("MAILQUEUE_DELIVERY_BACKEND", path))
    yield from trouble
    if path and path != QUEUE_BACKEND and not trouble and _enqueues(path):
        yield f"MAILQUEUE_DELIVERY_BACKEND ({path}) is a kind of queue backend: {_FOR_EVER}"
    for alias, entry in values.get("MAILERS", {}).items():
        yield from _trouble(f"BACKEND of MAILERS[{alias!r}]", _backend(entry))


def _trouble(label: str, path: Any) -> Iterator[str]:
    if not isinstance(path, str) or path == QUEUE_BACKEND:  # ours is there
        return
    module, _, attribute = path.rpartition(".")
    try:
        found = hasattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - a stranger's module: whatever its import raises is the problem told
        yield f"{label} is {path!r}, whose import fails ({_line(error)}); correct the path, or install what it needs"
        return
    if not found:
        yield f"{label} is {path!r}, but the module {module} has no {attribute}; correct the path"


def _enqueues(path: str) -> bool:
    module, _, attribute = path.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    return any(f"{base.__module__}.{base.__qualname__}" == QUEUE_BACKEND for base in getattr(found, "__mro__", ()))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def unreadable(values: Mapping[str, Any]) -> Iterator[str]:
    """Files that a worker needs and cannot read."""
    for name in ("EMAIL_SSL_CERTFILE", "EMAIL_SSL_KEYFILE"):
        path = values.get(name)
        if path is not None and not os.access(path, os.R_OK):
            yield f"{name} is {os.fspath(path)!r}, which cannot be read; correct the path or its permissions"


def unsignable(values: Mapping[str, Any]) -> Iterator[str]:
    """Keys that a worker is to sign with, and cannot."""
    for alias, options in values.get("MAILQUEUE_RELAYS", {}).items():
        for signing in options.get("dkim", ()):
            try:
                load_key(signing)
            except ValueError as error:
                yield f"MAILQUEUE_RELAYS: dkim of the relay {alias!r}: {error}"


def unwritable(values: Mapping[str, Any]) -> Iterator[str]:
    """Files that a producer, and the workers on its host, need and cannot write."""
    path = values.get("MAILQUEUE_SPOOL")
    if path is None:
        return
    shown = repr(os.fspath(path))
    if not os.path.isabs(path):  # noqa: PTH117 - it is text as often as a Path
        yield f"MAILQUEUE_SPOOL is {shown}, which each process would look for in its own directory; give a full path"
        return
    directory = os.path.dirname(path)  # noqa: PTH120 - as above
    if not os.path.isdir(directory):  # noqa: PTH112 - as above
        yield f"MAILQUEUE_SPOOL is {shown}, whose directory is not there; make it, on a local disk"
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield f"MAILQUEUE_SPOOL is {shown}, whose directory cannot be written; correct the path or its permissions"
    elif os.path.exists(path) and not (os.path.isfile(path) and os.access(path, os.R_OK | os.W_OK)):  # noqa: PTH110, PTH113 - as above
        yield f"MAILQUEUE_SPOOL is {shown}, which is no file that can be written; correct the path or its permissions"
