"""An SMTP server that takes every message, keeps it, and refuses the recipients that it was told to refuse.

For the demo, development and users' tests; servers that behave badly are ``scripted``'s business.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import Counter, deque
from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from email.message import EmailMessage
    from types import TracebackType

__all__ = ["Arrival", "Inbox", "InboxUnavailable"]

_REFUSED = "550 5.1.1 No such user here"
_GREYLISTED = "451 4.7.1 Greylisted, try again later"
_SIZE = 50 * 1024 * 1024  # octets; announced as SIZE (RFC 1870), twice our own limit on a message


class InboxUnavailable(RuntimeError):  # noqa: N818 - named like BrokerUnavailable and LedgerUnavailable
    """aiosmtpd is not installed, or the port is taken."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it arrived: its envelope, its bytes after dot-unstuffing (CRLF line ends), and when."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    arrived_at: float  # s since the epoch
    peer: tuple[str, int]  # address and port of the client

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        return BytesParser(policy=policy.default).parsebytes(self.content)

    @property
    def message_id(self) -> str:
        """Its Message-ID, with the angle brackets; "" if it has none."""
        return str(BytesParser(policy=policy.compat32).parsebytes(self.content, headersonly=True)["Message-ID"] or "")


class Inbox:
    """An SMTP inbox in a thread of its own, as a context manager. Offers SMTPUTF8, 8BITMIME and SIZE.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        refuse: Recipients that are refused for good (550 5.1.1).
        greylist: Recipients that are refused for now (451 4.7.1), and how many times.
        on_arrival: Called in the inbox's thread with each message, before its client gets the answer.
        keep: How many messages to keep, the latest; None for all.

    Raises:
        InboxUnavailable: on entering.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        refuse: Iterable[str] = (),
        greylist: Mapping[str, int] | None = None,
        on_arrival: Callable[[Arrival], None] | None = None,
        keep: int | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._on_arrival = on_arrival
        self._refused = {address.lower() for address in refuse}
        self._greylisted = {address.lower(): tries for address, tries in (greylist or {}).items()}
        self._tried: Counter[str] = Counter()
        self._arrivals: deque[Arrival] = deque(maxlen=keep)
        self._count = 0
        self._changed = threading.Condition()
        self._clients: weakref.WeakSet[Any] = weakref.WeakSet()
        self._connections = 0
        self._served: weakref.WeakSet[Any] = weakref.WeakSet()  # sessions, as long as they last
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def arrivals(self) -> list[Arrival]:
        """What has arrived so far (of ``keep``, the latest), in order."""
        with self._changed:
            return list(self._arrivals)

    @property
    def count(self) -> int:
        """How many messages have arrived."""
        with self._changed:
            return self._count

    @property
    def connections(self) -> int:
        """How many connections delivered at least one message."""
        with self._changed:
            return self._connections

    def tries(self, recipient: str) -> int:
        """How often ``recipient`` was asked for; with ``keep``, that is known of greylisted ones alone."""
        with self._changed:
            return self._tried[recipient.lower()]

    def refuse(self, *recipients: str) -> None:
        """Refuse further recipients for good from now on."""
        with self._changed:
            self._refused.update(address.lower() for address in recipients)

    def clear(self) -> None:
        """Forget what has arrived."""
        with self._changed:
            self._arrivals.clear()
            self._served.clear()
            self._connections = 0
            self._count = 0

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Arrival]:
        """Wait until ``count`` messages have arrived and return them; TimeoutError after ``timeout`` s."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count >= count, timeout):
                raise TimeoutError(f"{self._count} of {count} messages arrived within {timeout:g} s")
            return list(self._arrivals)

    def start(self) -> None:
        """Listen. ``port`` then tells where."""
        loop = asyncio.new_event_loop()
        try:
            make_session = self._sessions(loop)
            server = loop.run_until_complete(loop.create_server(make_session, self.host, self.port))
        except OSError as error:
            loop.close()
            raise InboxUnavailable(f"cannot listen on {self.host}:{self.port}: {error.strerror}") from error
        except BaseException:
            loop.close()
            raise
        self.port = server.sockets[0].getsockname()[1]
        self._loop = loop
        self._thread = threading.Thread(target=self._serve, args=(loop, server), name="mailqueue-inbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(timeout=10)  # unless an `on_arrival` holds it; it is a daemon

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _sessions(self, loop: asyncio.AbstractEventLoop) -> Callable[[], Any]:
        try:
            from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - an extra that only this class needs
        except ImportError:
            raise InboxUnavailable("aiosmtpd is not installed: pip install 'mailqueue[embedded]'") from None
        handler = _Handler(self)

        def make_session() -> Any:
            client = SMTP(
                handler,
                loop=loop,
                data_size_limit=_SIZE,
                enable_SMTPUTF8=True,
                hostname="inbox.mailqueue.invalid",  # asked of the resolver otherwise, once a connection
                ident="mailqueue inbox",
            )
            self._clients.add(client)
            return client

        return make_session

    def _serve(self, loop: asyncio.AbstractEventLoop, server: asyncio.Server) -> None:
        loop.run_forever()
        loop.run_until_complete(self._close(server))
        loop.close()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for client in list(self._clients):
            if client.transport is not None:
                client.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn

    def _answer(self, recipient: str) -> str | None:
        """The reply that refuses ``recipient``, or None."""
        address = recipient.lower()
        with self._changed:
            if self._arrivals.maxlen is None or address in self._greylisted:
                self._tried[address] += 1
            if address in self._refused:
                return _REFUSED
            early = address in self._greylisted and self._tried[address] <= self._greylisted[address]
            return _GREYLISTED if early else None

    def _take(self, arrival: Arrival, session: Any) -> None:
        with self._changed:
            self._arrivals.append(arrival)
            self._count += 1
            if session not in self._served:
                self._served.add(session)
                self._connections += 1
            self._changed.notify_all()
        if self._on_arrival is not None:
            self._on_arrival(arrival)


class _Handler:
    """aiosmtpd's hooks; their names and signatures are its own."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        refusal = self._inbox._answer(address)  # noqa: SLF001 - one noun in two classes
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        address, port = (session.peer or ("", 0))[:2]  # None if the client was gone before we looked
        arrival = Arrival(
            sender=envelope.mail_from,
            recipients=tuple(envelope.rcpt_tos),
            content=bytes(envelope.content),
            arrived_at=time.time(),
            peer=(address, port),
        )
        self._inbox._take(arrival, session)  # noqa: SLF001
        return "250 2.0.0 OK, kept"
