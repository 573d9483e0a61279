"""The way to the broker: parcels as Celery tasks, published with kombu alone.

A web process needs no Celery: its message protocol 2 is documented, and workers know the task by its name. What
becomes of a message is not decided here: what cannot be published is given back, and the ledger has it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from kombu.connection import Connection
from kombu.exceptions import KombuError

from mailqueue.conf.url import split, transport
from mailqueue.confirms import Confirms
from mailqueue.errors import ImproperlyConfigured
from mailqueue.form import Form, task_body
from mailqueue.lanes import LANES, TASK_NAME, queue_name, task_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mailqueue.codec import Parcel
    from mailqueue.ledger.base import Draft

__all__ = ["Publisher"]

logger = logging.getLogger(__name__)

#: Parts of the deadline: how long one answer of the broker may take, and one connect. Together with the repetition
#: on a new connection, which only a quick failure has, they stay within it.
_ANSWER: Final = 0.4
_CONNECT: Final = 0.2
#: s; after a failure that took long, how long nothing is tried, so that not every mail waits for a frozen broker.
_PAUSE: Final = 1.0
#: Octets of tasks that are written at once.
_WRITE: Final = 1024 * 1024
#: AMQP 0-9-1's precondition-failed: what is declared is there, and was declared otherwise.
_OTHERWISE: Final = 406

#: Connections from before a fork: they are the parent's, and to close one, or to lose it, would end the parent's.
_parents: Final[list[Any]] = []


class Publisher:
    """Publishes parcels to a broker. Safe across threads and fork; connects when it is first used, and again.

    Args:
        broker_url: As MAILQUEUE_BROKER_URL.
        deadline: How long ``publish`` may take, in s.

    Raises:
        ImproperlyConfigured: for a URL that kombu has no transport for.
    """

    def __init__(self, broker_url: str, *, deadline: float = 2.0) -> None:
        self._url, self._options = transport(broker_url)
        self._deadline = deadline
        self._pid = os.getpid()
        self._idle: list[_Line] = []  # pop and append are atomic; it grows to as many as publish at a time
        self._forms: Mapping[str, Form] = {}  # of the connection that was opened last
        self._paused_until = 0.0
        try:
            found = self._connection()
            self._expected: tuple[type[BaseException], ...] = (
                *found.connection_errors,
                *found.channel_errors,
                KombuError,
                OSError,
            )
        except (ImportError, KeyError) as trouble:
            raise ImproperlyConfigured(f"MAILQUEUE_BROKER_URL: kombu has no transport for it ({trouble})") from None

    def publish(self, parcels: Sequence[Parcel], *, within: float | None = None) -> list[Parcel]:
        """Publish each parcel as a task; returns those that were not, or that may not have been.

        Never raises for trouble with the broker. A connection that it has closed meanwhile is opened again, once. To
        publish a parcel twice harms nothing: its messages are claimed once.

        Args:
            parcels: Any number, of any lanes.
            within: A shorter deadline for this call, in s.
        """
        end = time.monotonic() + (self._deadline if within is None else min(within, self._deadline))
        left = list(parcels)
        if left and time.monotonic() >= self._paused_until:
            line = self._take()
            done = self._send(line, left, end)
            if not done and line is not None and time.monotonic() >= self._paused_until:
                while self._idle:
                    self._idle.pop().drop()  # as stale as that one
                self._send(None, left, end)
        return left

    def draft(self, lane: str, items: tuple[tuple[str, bytes], ...]) -> Draft | None:
        """A task for ``items`` but for its number, as it lies in the queue of ``lane`` in the broker's store.

        For a ledger that shares the store. None on a broker that is not Redis, and before the first connection to it.
        """
        self._forget_parents()
        form = self._forms.get(lane)
        return None if form is None else form.draft(items)

    def declare(self) -> None:
        """Declare the lanes' queues now, as the first publish would. Trouble with the broker passes without a word.

        Raises:
            ImproperlyConfigured: for a queue that is there, and of another kind.
        """
        try:
            line = self._take() or self._open()
        except self._expected:
            return
        self._idle.append(line)

    def close(self) -> None:
        """Close the connections of this process; the publisher may be used again."""
        self._forget_parents()
        while self._idle:
            self._idle.pop().close()

    def _send(self, line: _Line | None, left: list[Parcel], end: float) -> bool:
        """Publish from ``left`` what time allows, through ``line`` or a new one; False for trouble with the broker."""
        began = time.monotonic()
        try:
            line = line or self._open()
            line.send(left, end)
        except Exception as trouble:  # whatever it is: the messages are accepted, and must not look as if they were not
            hopeless = isinstance(trouble, ImproperlyConfigured)
            known = hopeless or isinstance(trouble, self._expected)
            told = str(trouble) if hopeless else type(trouble).__name__
            logger.warning("action=publish_failed tasks=%d error=%s", len(left), told, exc_info=not known)
            if line is not None:
                line.drop()
            now = time.monotonic()
            if hopeless or now - began > self._deadline * _CONNECT:
                self._paused_until = now + _PAUSE
            return False
        self._idle.append(line)
        return True

    def _open(self) -> _Line:
        line = _Line(self._connection(), self._deadline * _ANSWER)
        self._forms = line.forms
        return line

    def _take(self) -> _Line | None:
        self._forget_parents()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _forget_parents(self) -> None:
        if self._pid != os.getpid():
            _parents.append(self._idle)
            self._idle = []
            self._forms = {}  # they name the parent as the sender
            self._pid = os.getpid()

    def _connection(self) -> Any:
        servers = len(split(self._url))
        answer = self._deadline * _ANSWER
        connect = self._deadline * _CONNECT / servers
        if self._url.startswith(("amqp", "pyamqp")):
            options: dict[str, Any] = {"read_timeout": answer, "write_timeout": answer}
        else:
            # Text as it is, in JSON: kombu's default is base64 around it, a third more in the store and on the way.
            options = {"body_encoding": "utf-8", "socket_keepalive": True}
            options |= {"socket_timeout": answer, "socket_connect_timeout": connect}
        # Each server of a list is tried once; kombu's own default is to try for ever.
        options |= {"max_retries": servers - 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        options |= self._options
        if "sentinel_kwargs" in options:  # asked in turn, and as patiently as the primary
            options["sentinel_kwargs"] = {
                **options["sentinel_kwargs"],
                "socket_timeout": answer,
                "socket_connect_timeout": connect,
            }
        return Connection(self._url, connect_timeout=connect, transport_options=options)  # type: ignore[no-untyped-call]


class _Line:
    """One open connection with its channel, for one thread at a time."""

    def __init__(self, connection: Any, patience: float) -> None:
        self._connection = connection
        self._confirms: Confirms | None = None
        self.forms: dict[str, Form] = {}
        self._origin = f"{os.getpid()}@{socket.gethostname()}"
        try:
            self._channel = connection.default_channel
            if connection.transport.driver_type == "redis":
                # kombu makes a client for every operation, and the client asks its pool for a connection: together
                # that costs as much as the operation itself (measured). One client with its own connection stays.
                with self._channel.conn_or_acquire() as client:
                    held = nullcontext(client.client())
                self._channel.conn_or_acquire = lambda _client=None: held
            for lane in LANES:
                self._declare(task_queue(lane, connection.transport.driver_type))
            if connection.transport.driver_type == "amqp":
                self._confirms = Confirms(self._channel, patience)
            if connection.transport.driver_type == "redis":
                found = {lane: Form.of(lane, self._fill_in) for lane in LANES}
                self.forms = {lane: form for lane, form in found.items() if form is not None}
        except BaseException:
            self.drop()
            raise

    def send(self, left: list[Parcel], end: float) -> None:
        """Publish from ``left`` until it is empty or the time is ``end``; what is published leaves the list."""
        while left and time.monotonic() < end:
            count = size = 0
            with self._batch(len(left)) as publish:
                for parcel in left:
                    publish(
                        self._message(parcel),
                        exchange="",  # the default exchange takes it to the queue of this name
                        routing_key=queue_name(parcel.lane),
                    )
                    count += 1
                    size += sum(len(envelope) for _id, envelope in parcel.items)
                    if size >= _WRITE:
                        break
            del left[:count]

    def close(self) -> None:
        """Close the connection in order."""
        self._connection.release()

    def drop(self) -> None:
        """Let go of the connection without a word: the broker may not answer."""
        self._connection.collect()

    def _declare(self, queue: Any) -> None:
        try:
            queue(self._channel).declare()
        except self._connection.channel_errors as trouble:
            if getattr(trouble, "code", None) != _OTHERWISE:
                raise
            raise ImproperlyConfigured(
                f"MAILQUEUE_BROKER_URL: the broker has {queue.name} already, and of another kind than the quorum queue "
                f"that it must be ({trouble}). Stop the workers and delete it: `rabbitmqctl delete_queue {queue.name}`. "
                "No mail is lost by that: what was in it is found in the ledger, and published again"
            ) from None

    @contextmanager
    def _batch(self, count: int) -> Iterator[Callable[..., Any]]:
        """What publishes messages: all of them in one go at the end, or confirmed by then, on a transport that can."""
        if self._confirms is not None:
            yield self._confirms.publish
            self._confirms.flush()
            return
        if count == 1 or not hasattr(self._channel, "create_publish_batch"):
            yield self._channel.basic_publish
            return
        batch = self._channel.create_publish_batch(count)
        try:
            yield batch.publish
            batch.flush()
        finally:
            batch.close()

    def _fill_in(self, parcel: Parcel, task_id: str, client: Any) -> None:
        """Publish ``parcel`` by way of ``client`` instead of the connection."""
        held, self._channel.conn_or_acquire = self._channel.conn_or_acquire, lambda _client=None: nullcontext(client)
        try:
            message = self._message(parcel, task_id)
            self._channel.basic_publish(message, exchange="", routing_key=queue_name(parcel.lane))
        finally:
            self._channel.conn_or_acquire = held

    def _message(self, parcel: Parcel, task_id: str = "") -> Any:
        # What kombu's Producer and its serializers do, on what is JSON already.
        task_id = task_id or str(uuid.uuid4())
        body = task_body(parcel).decode()
        properties = {"correlation_id": task_id, "reply_to": "", "delivery_mode": 2}  # 2: persistent
        headers = _headers(task_id, self._origin)
        return self._channel.prepare_message(body, 0, "application/json", "utf-8", headers, properties)


def _headers(task_id: str, origin: str) -> dict[str, Any]:
    """The headers of a task: those that Celery's message protocol 2 requires, who sent it, and that nobody wants a result.

    The others may be lacking, and would say nothing; in the queue they would take as much room as a small message. The
    reprs of arguments, which Celery's own clients send along, would show addresses in clear.
    """
    return {
        "lang": "py",
        "task": TASK_NAME,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "origin": origin,
        "ignore_result": True,
    }
