"""The app that takes unsubscriptions: one click of a mail client (RFC 8058), or a page with a button, and a way back.

One core, and two adapters to mount it by: ``wsgi_app()`` and ``asgi_app()``. To look at a page changes nothing:
scanners follow every link of a mail. Needs no cookies, redirects nobody, and logs no address.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.bulk.webpage import PAGE_POLICY, View, Words, page
from mailqueue.errors import InvalidToken, LedgerFault, LedgerUnavailable
from mailqueue.ledger.suppressions import Suppression, key_of
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from mailqueue.bulk.unsubscribe import Subscription
    from mailqueue.bulk.webpage import Page
    from mailqueue.ledger.base import Ledger
    from mailqueue.ledger.suppressions import Suppressions

__all__ = ["BODY_LIMIT", "Response", "Unsubscriptions", "asgi_app", "wsgi_app"]

logger = logging.getLogger(__name__)

#: Octets of a request's body, at most: what clients send has some 200.
BODY_LIMIT: Final = 16 * 1024
_RETRY_AFTER: Final = "60"  # s
_METHODS: Final = "GET, HEAD, POST"
_UNSUBSCRIBED: Final = "unsubscribed"
_BOUNDARY: Final = re.compile(r';\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_NAME: Final = re.compile(
    rb'^content-disposition:[^\r\n]*;[ \t]*name=(?:"([^"\r\n]+)"|([^\s;"]+))', re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; ``headers`` have the length of the body, also where that is left out."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Unsubscriptions:
    """What is behind the URLs of ``Unsubscribe``. Safe across threads.

    Args:
        unsubscribe: Reads the tokens; that of the settings unless given.
        ledger: Called for the ledger whose suppression list is written; that of the settings unless given.
        words: What the pages say.
        titles: What lists are called there, by their names.
        page: Makes the HTML of a page, instead of ours.
        policy: The Content-Security-Policy of your own pages.
    """

    def __init__(
        self,
        unsubscribe: Unsubscribe | None = None,
        *,
        ledger: Callable[[], Ledger] | None = None,
        words: Words | None = None,
        titles: Mapping[str, str] | None = None,
        page: Page = page,
        policy: str = PAGE_POLICY,
    ) -> None:
        self._unsubscribe = unsubscribe or Unsubscribe.from_settings()
        self._ledger = ledger or (lambda: get_producer().ledger)
        self._words = words or Words()
        self._titles = titles or {}
        self._page = page
        self._policy = policy

    def respond(self, method: str, path: str, content_type: str = "", body: bytes = b"") -> Response:
        """Answer one request; ``path`` ends with the token. Never raises for anything that a client may send."""
        response = self._respond(method, path, content_type, body)
        return replace(response, body=b"") if method == "HEAD" else response

    def _respond(self, method: str, path: str, content_type: str, body: bytes) -> Response:
        if method not in {"GET", "HEAD", "POST"}:
            return self._answer(405, self._problem("refused"), ("Allow", _METHODS))
        if len(body) > BODY_LIMIT:
            return self._answer(413, self._problem("refused"))
        try:
            subscription = self._unsubscribe.read(path.rstrip("/").rpartition("/")[2])
        except InvalidToken:
            return self._answer(404, self._problem("invalid"))
        if method != "POST":
            return self._answer(200, self._view("confirm", subscription, "unsubscribe"))
        try:
            return self._do(subscription, _fields(content_type, body))
        except (LedgerUnavailable, LedgerFault) as error:
            logger.error("action=unsubscribe_failed list=%s reason=%s", subscription.list, error)  # noqa: TRY400 - the store's trouble, not ours
            return self._answer(503, self._problem("away"), ("Retry-After", _RETRY_AFTER))

    def _do(self, subscription: Subscription, fields: Mapping[str, str]) -> Response:
        one_click = fields.get("List-Unsubscribe", "").strip().lower() == "one-click"
        action = "unsubscribe" if one_click else fields.get("action", "")
        suppressions = self._ledger().suppressions
        if action == "unsubscribe":
            source = "one-click" if one_click else "page"
            entry = Suppression(subscription.address, subscription.list, _UNSUBSCRIBED, source)
            new = suppressions.add([entry])
            logger.info("action=unsubscribed list=%s source=%s new=%d", subscription.list, source, new)
            return self._answer(200, self._view("done", subscription, "subscribe"))
        if action == "subscribe":
            gone = self._take_back(suppressions, subscription)
            logger.info("action=subscribed_again list=%s entries=%d", subscription.list, gone)
            if suppressions.find([subscription.address], list=subscription.list):
                return self._answer(200, self._view("kept", subscription))
            return self._answer(200, self._view("undone", subscription, "unsubscribe"))
        return self._answer(400, self._problem("refused"))

    def _take_back(self, suppressions: Suppressions, subscription: Subscription) -> int:
        """Undo an unsubscription: a complaint, a refusal, or what an operator has entered is not theirs to undo who have a link."""
        name, address = subscription
        entry = suppressions.find([address], list=name).get(address)
        if entry is None or (entry.key, entry.list, entry.reason) != (key_of(address), name, _UNSUBSCRIBED):
            return 0
        return suppressions.remove([address], list=name)

    # -- pages

    def _view(self, kind: str, subscription: Subscription, action: str = "") -> View:
        words, name = self._words, subscription.list
        title = self._titles.get(name) or name or words.all_mail

        def filled(what: str) -> str:
            text: str = getattr(words, f"{kind}_{what}", "")
            return text.replace("{list}", title).replace("{address}", subscription.address)

        return View(
            kind,
            filled("title"),
            filled("text"),
            filled("button"),
            action,
            words.language,
            subscription.address,
            name,
        )

    def _problem(self, kind: str) -> View:
        words = self._words
        return View(kind, getattr(words, f"{kind}_title"), getattr(words, f"{kind}_text"), language=words.language)

    def _answer(self, status: int, view: View, *more: tuple[str, str]) -> Response:
        body = self._page(view).encode("utf-8", "replace")
        headers = (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", self._policy),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Robots-Tag", "noindex, nofollow"),
            *more,
        )
        return Response(status, headers, body)


def _fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, sent in either way that RFC 8058 section 3.2 names."""
    if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
        return _parts(content_type, body)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _parts(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form (RFC 7578). The standard library's parser of mail raises for some that are none."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        return {}
    fields = {}
    delimiter = b"\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    for part in (b"\n" + body).split(delimiter)[1:]:
        head, *content = _BLANK_LINE.split(part, maxsplit=1)
        if content and (name := _NAME.search(head)):
            fields[(name[1] or name[2]).decode("utf-8", "replace")] = content[0].decode("utf-8", "replace").strip()
    return fields


# -- adapters


def wsgi_app(unsubscribe: Unsubscribe | None = None, **options: Any) -> Callable[..., Iterable[bytes]]:
    """The app for WSGI (PEP 3333); arguments as those of ``Unsubscriptions``. Raises ImproperlyConfigured."""
    core = Unsubscriptions(unsubscribe, **options)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = core.respond(
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            environ.get("CONTENT_TYPE", ""),
            _wsgi_body(environ),
        )
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", [*response.headers])
        return [response.body]

    return app


def _wsgi_body(environ: Mapping[str, Any]) -> bytes:
    """The body, or one octet more of it than there may be."""
    if environ["REQUEST_METHOD"] != "POST":
        return b""
    length = environ.get("CONTENT_LENGTH") or ""
    most = BODY_LIMIT + 1
    if not length.isdecimal() and not environ.get("wsgi.input_terminated"):
        return b""  # to read on would be to wait for what may never come
    body: bytes = environ["wsgi.input"].read(min(int(length), most) if length.isdecimal() else most)
    return body


def asgi_app(unsubscribe: Unsubscribe | None = None, **options: Any) -> Callable[..., Awaitable[None]]:
    """The app for ASGI 3 on asyncio; arguments as those of ``Unsubscriptions``. Raises ImproperlyConfigured."""
    core = Unsubscriptions(unsubscribe, **options)

    async def app(
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        body = await _asgi_body(receive)
        if body is None:
            return
        content_type = dict(scope.get("headers", ())).get(b"content-type", b"").decode("latin-1")
        # The store is asked by a thread: the loop serves others meanwhile.
        response = await asyncio.to_thread(core.respond, scope["method"], scope["path"], content_type, body)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    return app


async def _lifespan(
    receive: Callable[[], Awaitable[Mapping[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """There is nothing to start or to stop; servers ask all the same."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _asgi_body(receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> bytes | None:
    """The body, or so much of it that it is too long; None if the client has gone."""
    body = b""
    while len(body) <= BODY_LIMIT:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    return body
