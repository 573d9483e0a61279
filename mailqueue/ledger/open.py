"""Opens the ledger that a URL names: Redis or Valkey on a host, a Unix socket or behind sentinels; or one in memory.

``redis://[user:password@]host:port/db``, ``rediss://`` the same through TLS (options ``ssl_ca_certs``,
``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs``), ``unix:///path?db=0``,
``sentinel://[user:password@]host:port,host:port/service/db`` (options ``sentinel_username``, ``sentinel_password``,
``ssl=true``; kombu's list with semicolons and ``?master_name=service`` is understood as well), ``memory://name``.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from mailqueue.errors import ImproperlyConfigured
from mailqueue.ledger.client import Client
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.redis import RedisLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis
    from redis.connection import AbstractConnection

    from mailqueue.ledger.base import Ledger

__all__ = ["kept_in_memory", "open_ledger"]

_SENTINEL_PORT: Final = 26379
_STORES: Final = ("redis", "rediss", "unix", "sentinel")
# Timeouts and repetitions are ours, so that no call outlasts its timeout; answers are bytes.
_NOT_BY_URL: Final = (
    "decode_responses", "protocol", "retry_on_error", "retry_on_timeout", "socket_connect_timeout", "socket_timeout",
    "timeout",
)  # fmt: skip

_in_memory: dict[str, MemoryLedger] = {}
_lock = threading.Lock()


def open_ledger(
    url: str,
    *,
    prefix: str = "mailqueue",
    lease_seconds: float = 30.0,
    retention: float = 604800.0,
    timeout: float = 1.0,
    clock_offset: Callable[[], float] | None = None,
) -> Ledger:
    """The ledger at ``url``; nothing is connected before its first use.

    Args:
        url: See the module. ``memory://name`` is one ledger for the whole process, made with the arguments of the
            first call for that name.
        prefix: What the names of all keys begin with.
        lease_seconds: How long a claim stands without a sign of life, in s.
        retention: How long final records are kept, in s.
        timeout: How long a call may take before it raises LedgerUnavailable, in s.
        clock_offset: Seconds to be added to the store's clock, asked at every call: for tests.

    Raises:
        ImproperlyConfigured: The URL cannot work. Its text shows no credentials.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "memory":
        return _memory(url, lease_seconds, retention, clock_offset)
    if scheme not in _STORES:
        known = ", ".join(f"{name}://" for name in (*_STORES, "memory"))
        raise ImproperlyConfigured(f"MAILQUEUE_LEDGER_URL begins with none of {known}")
    try:
        client, where = _sentinel(url, timeout) if scheme == "sentinel" else _direct(url, timeout)
    except TypeError as error:
        # Names an option that connections do not have.
        raise ImproperlyConfigured(f"MAILQUEUE_LEDGER_URL has an unknown option: {error}") from None
    except ValueError:
        # Its text may repeat a part of the URL, and so of a password.
        raise ImproperlyConfigured(
            "MAILQUEUE_LEDGER_URL cannot be read: its port or an option is malformed "
            "(percent-encode a : / or @ in a password)"
        ) from None
    return RedisLedger(
        Client(client),
        prefix=prefix,
        lease_seconds=lease_seconds,
        retention=retention,
        timeout=timeout,
        where=where,
        clock_offset=clock_offset,
    )


def _memory(url: str, lease_seconds: float, retention: float, offset: Callable[[], float] | None) -> MemoryLedger:
    def clock() -> float:
        return time.time() + (offset() if offset else 0.0)

    with _lock:
        return _in_memory.setdefault(
            url.partition("://")[2], MemoryLedger(clock=clock, lease_seconds=lease_seconds, retention=retention)
        )


@contextlib.contextmanager
def kept_in_memory(ledger: MemoryLedger) -> Iterator[str]:
    """While the block lasts, ``ledger`` is what the URL opens that is given; for tests with a ledger of their own."""
    name = uuid.uuid4().hex
    with _lock:
        _in_memory[name] = ledger
    try:
        yield f"memory://{name}"
    finally:
        with _lock:
            del _in_memory[name]


def _direct(url: str, timeout: float) -> tuple[Redis, str]:
    # redis-py takes 100 ms to import: only where a ledger is opened.
    from redis import ConnectionPool, Redis  # noqa: PLC0415

    kind, options = _options(url, timeout)
    where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return Redis(connection_pool=ConnectionPool(kind, **options)), f"{where}/{options.get('db', 0)}"


def _options(url: str, timeout: float) -> tuple[type[AbstractConnection], dict[str, Any]]:
    """The kind of connection that a redis://, rediss:// or unix:// URL asks for, and its arguments."""
    from redis.connection import Connection, parse_url  # noqa: PLC0415 - see _direct
    from redis.exceptions import RedisError  # noqa: PLC0415

    said: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    options = {name: value for name, value in said.items() if name not in _NOT_BY_URL} | _ours(timeout)
    kind = options.pop("connection_class", Connection)
    if "path" in options:
        del options["socket_keepalive"]  # of TCP
    try:
        kind(**{name: value for name, value in options.items() if name != "max_connections"})
    except RedisError as error:  # a wrong option shows here, not at the first message
        raise ImproperlyConfigured(f"MAILQUEUE_LEDGER_URL cannot be used: {error}") from None
    return kind, options


class _Sentinels(NamedTuple):
    """What a sentinel URL says; ``server`` is the same as a redis:// or rediss:// URL of the primary."""

    addresses: list[tuple[str, int]]
    service: str
    server: str
    credentials: dict[str, str]  # of the sentinels themselves


def _sentinel(url: str, timeout: float) -> tuple[Redis, str]:
    from redis import Redis  # noqa: PLC0415 - see _direct
    from redis.sentinel import Sentinel  # noqa: PLC0415

    said = _read_sentinel_url(url)
    kind, options = _options(said.server, timeout)
    del options["host"]
    encrypted = {"ssl": True} if kind.__name__ == "SSLConnection" else {}
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    # Each sentinel is asked in turn, so that each may take only a part of the time.
    patience = timeout / (len(said.addresses) + 1)
    asked = _ours(timeout) | {"socket_timeout": patience, "socket_connect_timeout": patience}
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        said.addresses, sentinel_kwargs={**asked, **encrypted, **tls, **said.credentials}
    )
    client: Redis = sentinel.master_for(said.service, Redis, **options, **encrypted)
    where = ",".join(f"{host}:{port}" for host, port in said.addresses)
    return client, f"{where}/{said.service}/{options.get('db', 0)}"


def _read_sentinel_url(url: str) -> _Sentinels:
    parts = [urlsplit(part) for part in re.split(r";(?=sentinel://)", url)]
    query = {name: value for part in parts for name, value in parse_qsl(part.query)}
    path = next((part.path for part in reversed(parts) if part.path.strip("/")), "").strip("/")
    service, _, database = path.rpartition("/")
    if not service and not database.isdigit():
        service, database = database, "0"
    service = service or query.pop("master_name", "") or query.pop("service_name", "")
    if not service:
        raise ImproperlyConfigured(
            "MAILQUEUE_LEDGER_URL lacks the service's name, which its sentinels know: sentinel://host:26379/name/0"
        )
    addresses: list[tuple[str, int]] = []
    for address in ",".join(part.netloc.rpartition("@")[2] for part in parts).split(","):
        host, colon, port = address.rpartition(":")
        addresses.append((host, int(port)) if colon else (address, _SENTINEL_PORT))
    user = next((part.netloc.rpartition("@")[0] for part in parts if "@" in part.netloc), "")
    encrypted = query.pop("ssl", "false").lower() in {"1", "true", "yes"}
    credentials = {
        name.removeprefix("sentinel_"): query.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in query
    }
    server = f"{'rediss' if encrypted else 'redis'}://{user}{'@' if user else ''}primary/{database}?{urlencode(query)}"
    return _Sentinels(addresses, service, server, credentials)


def _ours(timeout: float) -> dict[str, Any]:
    from redis.backoff import NoBackoff  # noqa: PLC0415 - see _direct
    from redis.retry import Retry  # noqa: PLC0415

    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout / 2,  # together with what follows it must stay near the timeout
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # no push messages, and no round trip to negotiate
    }
