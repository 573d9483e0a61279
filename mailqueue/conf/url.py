"""URLs of brokers and stores: what is wrong with one, and its spelling for kombu and for redis-py.

The two name a Unix socket differently, and kombu leaves the certificate of a ``rediss://`` server unverified unless
told otherwise, where redis-py verifies it. A setting accepts either spelling; each library gets its own.
"""

from __future__ import annotations

import re

__all__ = ["REDIS_SCHEMES", "for_kombu", "for_redis", "problem", "scheme", "split"]

#: Schemes of stores that can hold the ledger as well as carry tasks.
REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "unix", "sentinel")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# A list of servers is separated by semicolons; a semicolon inside a password is not followed by a scheme.
_BETWEEN = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def split(urls: str) -> list[str]:
    """The single URLs of a list of servers."""
    return _BETWEEN.split(urls)


def scheme(url: str) -> str:
    """The scheme of ``url`` in lower case, or the empty string if it has none."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else ""


def problem(url: str) -> str:
    """What is wrong with the port or the database of ``url``, without showing any of it; else the empty string."""
    if scheme(url) == "memory":
        return ""
    rest = url.partition("://")[2].rpartition("@")[2]
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    port = "" if place.endswith("]") else place.rpartition(":")[2] if ":" in place else ""
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        return "its port is no number from 1 to 65535 (percent-encode a : / or @ in a password)"
    if scheme(url) in ("redis", "rediss", "sentinel") and slash and path and not path.isdigit():
        return "its database is no number; end it with /0, say"
    return ""


def for_kombu(url: str) -> str:
    """``url`` as kombu wants it: Unix sockets are ``redis+socket://``, certificates are verified unless waived."""
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


def _renamed(url: str, old: str, new: str) -> str:
    return re.sub(rf"([?&]){old}=", rf"\g<1>{new}=", url)
