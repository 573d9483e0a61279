"""URLs of brokers and stores: what is wrong with one, and its spelling for kombu and for redis-py.

The two name a Unix socket and sentinels differently. kombu leaves the certificate of a ``rediss://`` server, and the
name in that of an ``amqps://`` server, unverified unless told otherwise; redis-py verifies both. A setting accepts
either spelling; each library gets its own.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

__all__ = ["REDIS_SCHEMES", "for_kombu", "for_redis", "in_one_store", "problem", "scheme", "split", "transport"]

#: Schemes of stores that can hold the ledger as well as carry tasks.
REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "unix", "sentinel")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# A list of servers is separated by semicolons; a semicolon inside a password is not followed by a scheme.
_BETWEEN = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")
# What may stand in the query of a URL whose options are taken apart here: another would be lost without a word.
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS: Final = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL: Final = ("ssl", *_TLS, "sentinel_username", "sentinel_password", "master_name", "service_name")
_TRUE: Final = ("1", "true", "yes")
_VERIFY: Final = {"none": 0, "optional": 1, "required": 2}  # ssl.CERT_NONE and so on, without the cost of importing it

#: s; the patience with sentinels of those who state none of their own.
_ASKED: Final = {"socket_timeout": 4.0, "socket_connect_timeout": 2.0}

_URL = TypeVar("_URL", bound=str)


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
    if scheme(urls) == "amqps" and len(set(map(_host, split(urls)))) > 1:
        return (
            "its servers have several names; certificates are verified by one: give a name that has all their addresses"
        )
    return _bad_option(urls)


def _bad_option(urls: str) -> str:
    """What is wrong with the options of an amqps:// or sentinel:// URL, which have to be taken apart for kombu."""
    options = _options(urls)
    if scheme(urls) == "sentinel":
        known: tuple[str, ...] = _SENTINEL
        if not _encrypted(options) and any(name in _TLS for name in options):
            return "its ssl_ options have no effect without ssl=true"
    elif scheme(urls) == "amqps":
        known = (*_TLS, *(name for name in options if not name.startswith("ssl")))
    else:
        return ""
    if unknown := sorted(set(options) - set(known)):
        return f"it has options that we cannot pass on: {', '.join(unknown)}; there are {', '.join(known)}"
    if _verification(options) not in _VERIFY:
        return f"its ssl_cert_reqs is not one of {', '.join(_VERIFY)}"
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


def in_one_store(broker: str, ledger: str) -> bool:
    """Whether the two are one Redis: the same servers, database and user, each URL in its spelling."""
    return scheme(broker) in REDIS_SCHEMES and for_redis(broker) == for_redis(ledger)


def transport(url: _URL) -> tuple[_URL, dict[str, Any]]:
    """The broker's URL and the transport options for a kombu Connection or a Celery application.

    ``sentinel://user:password@one:26379,two:26379/mymaster/0`` becomes kombu's list of URLs, with ``mymaster`` beside it.
    Over ``amqps://`` the server's certificate must be for the URL's host, unless the URL says ``ssl_cert_reqs=none``. The
    URL is of the type that it was given as, so that one that hides its password still does.
    """
    kind = type(url)
    if scheme(url) == "amqps":
        return kind(";".join(map(_without_tls, split(url)))), {"ssl": _amqp_tls(url)}
    if scheme(url) != "sentinel":
        return url, {}
    service, database = _service(url)
    options = _options(url)
    servers = [_parts(one) for one in split(url)]
    tls = {name: value for name, value in options.items() if name in _TLS}
    asked: dict[str, Any] = {
        name.removeprefix("sentinel_"): kind(value)
        for name, value in options.items()
        if name in ("sentinel_username", "sentinel_password")
    }
    if _encrypted(options):
        tls["ssl_cert_reqs"] = _verification(options)
        asked |= {"ssl": True, **tls}
        if "ssl_check_hostname" in tls:
            asked["ssl_check_hostname"] = _checks_name(options)
    # When the connection is lost kombu goes on with the next of these, and with what that one says alone.
    rest = f"/{database}{'?' if tls else ''}{urlencode(tls)}"
    urls = [f"sentinel://{servers[0].user}{place}{rest}" for server in servers for place in server.places]
    beside: dict[str, Any] = {"master_name": service}
    if asked:  # kombu would ask with the timeouts of the connection itself, if it were not told anything else
        beside["sentinel_kwargs"] = _ASKED | asked
    return kind(";".join(urls)), beside


def _amqp_tls(url: str) -> dict[str, Any]:
    """What py-amqp is told of TLS; a ``server_hostname`` makes it check the name."""
    options = _options(url)
    verification = _VERIFY[_verification(options)]
    tls: dict[str, Any] = {name.removeprefix("ssl_"): options[name] for name in _FILES if name in options}
    tls["cert_reqs"] = verification
    if verification and _checks_name(options):
        tls["server_hostname"] = _host(split(url)[0])
    return tls


def _without_tls(url: str) -> str:
    """``url`` without its ssl_ options, which kombu would give to py-amqp under names that it does not know."""
    user, at, rest = url.rpartition("@")
    place, _, query = rest.partition("?")
    kept = "&".join(option for option in query.split("&") if option and not option.startswith("ssl_"))
    return f"{user}{at}{place}{'?' if kept else ''}{kept}"


def _host(url: str) -> str:
    place = _parts(url).places[0]
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0] or "127.0.0.1"


def _options(urls: str) -> dict[str, str]:
    return {name: value for one in split(urls) for name, value in parse_qsl(_parts(one).query, keep_blank_values=True)}


def _encrypted(options: dict[str, str]) -> bool:
    return options.get("ssl", "").lower() in _TRUE


def _verification(options: dict[str, str]) -> str:
    return options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")


def _checks_name(options: dict[str, str]) -> bool:
    return options.get("ssl_check_hostname", "true").lower() in _TRUE


def tls(url: str) -> dict[str, None] | bool:
    """What a kombu Connection is to know of TLS beside the broker's URL, which is nothing but for ``amqps://``.

    There amqp verifies the certificate, and the name in it only if it is asked to; kombu puts the host's for None. In a
    list of servers it would hold all of them to the name of the first, so there it is not asked to.
    """
    return {"server_hostname": None} if scheme(url) == "amqps" and len(split(url)) == 1 else False


def _renamed(url: str, old: str, new: str) -> str:
    return re.sub(rf"([?&]){old}=", rf"\g<1>{new}=", url)
