"""URLs of brokers and stores: what is wrong with one, and its spelling for kombu and for redis-py.

The two name a Unix socket and sentinels differently, and kombu leaves the certificate of a ``rediss://`` server
unverified unless told otherwise, where redis-py verifies it. A setting accepts either spelling; each library gets its
own.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

__all__ = ["REDIS_SCHEMES", "for_kombu", "for_redis", "problem", "scheme", "split", "tls", "transport"]

#: Schemes of stores that can hold the ledger as well as carry tasks.
REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "unix", "sentinel")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# A list of servers is separated by semicolons; a semicolon inside a password is not followed by a scheme.
_BETWEEN = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")


class _Parts(NamedTuple):
    """A URL in parts, none of them decoded."""

    user: str  # user:password@, or nothing
    places: list[str]  # host:port; more than one for sentinels
    path: str
    query: str


def _parts(url: str) -> _Parts:
    # The last "@" ends the user's part, so that an unescaped "/" or "@" in a password never passes for a host.
    user, at, rest = url.partition("://")[2].rpartition("@")
    rest, _, query = rest.partition("?")
    places, _, path = rest.partition("/")
    return _Parts(user + at, places.split(","), path, query)


def split(urls: str) -> list[str]:
    """The single URLs of a list of servers."""
    return _BETWEEN.split(urls)


def scheme(url: str) -> str:
    """The scheme of ``url`` in lower case, or the empty string if it has none."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else ""


def problem(urls: str) -> str:
    """What is wrong with a port, the database or the service in ``urls``, without showing any of it; else nothing."""
    for url in split(urls):
        parts = _parts(url)
        if scheme(url) == "memory":
            continue
        if any(map(_bad_port, parts.places)):
            return "its port is no number from 1 to 65535 (percent-encode a : / or @ in a password)"
        if scheme(url) in ("redis", "rediss") and parts.path and not parts.path.isdigit():
            return "its database is no number; end it with /0, say"
    if scheme(urls) == "sentinel" and not _service(urls)[0]:
        return "it does not name the service; end it with the service and the database: /mymaster/0"
    return ""


def _bad_port(place: str) -> bool:
    port = "" if place.endswith("]") else place.rpartition(":")[2] if ":" in place else ""
    return bool(port) and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535)


def _service(urls: str) -> tuple[str, str]:
    """The service and the database that sentinels are asked for: in the path, or the service as ``master_name``."""
    parts = _parts(split(urls)[-1])
    names = [name for name in parts.path.split("/") if name]
    database = names.pop() if names and names[-1].isdigit() else "0"
    asked = re.search(r"(?:^|&)(?:master_name|service_name)=([^&]+)", parts.query)
    return names[0] if names else asked[1] if asked else "", database


def for_kombu(url: str) -> str:
    """``url`` as kombu wants it: Unix sockets are ``redis+socket://``, certificates are verified unless waived.

    Sentinels need options beside their URL: see ``transport``.
    """
    if scheme(url) == "unix":
        return "redis+socket" + _renamed(url[len("unix") :], "db", "virtual_host")
    if scheme(url) == "rediss" and not re.search(r"[?&]ssl_cert_reqs=", url):
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"
    return url


def for_redis(url: str) -> str:
    """``url`` as redis-py wants it: Unix sockets are ``unix://``, ``CERT_REQUIRED`` is ``required``."""
    if scheme(url) == "redis+socket":
        return "unix" + _renamed(url[len("redis+socket") :], "virtual_host", "db")
    return re.sub(r"([?&]ssl_cert_reqs=)CERT_(\w+)", lambda found: found[1] + found[2].lower(), url)


def transport(url: str) -> tuple[str, dict[str, Any]]:
    """The broker's URL and the transport options for a kombu Connection or a Celery application.

    ``sentinel://user:password@one:26379,two:26379/mymaster/0`` becomes kombu's list of URLs, with ``mymaster`` beside it.
    """
    if scheme(url) != "sentinel":
        return url, {}
    service, database = _service(url)
    servers = [_parts(one) for one in split(url)]
    first, *others = [place for server in servers for place in server.places]
    # kombu takes user, password and database of the primary from the first one.
    urls = [f"sentinel://{servers[0].user}{first}/{database}", *(f"sentinel://{place}" for place in others)]
    return ";".join(urls), {"master_name": service}


def tls(url: str) -> dict[str, None] | bool:
    """What a kombu Connection is to know of TLS beside the broker's URL, which is nothing but for ``amqps://``.

    There amqp verifies the certificate, and the name in it only if it is asked to; kombu puts the host's for None. In a
    list of servers it would hold all of them to the name of the first, so there it is not asked to.
    """
    return {"server_hostname": None} if scheme(url) == "amqps" and len(split(url)) == 1 else False


def _renamed(url: str, old: str, new: str) -> str:
    return re.sub(rf"([?&]){old}=", rf"\g<1>{new}=", url)
