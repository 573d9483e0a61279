"""Takes further tasks of a lane straight from the broker, in the child that is already delivering.

Tasks that are taken so are not acknowledged: the ledger finds what gets lost on the way.
"""

from __future__ import annotations

import abc
import json
import logging
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from kombu.exceptions import KombuError
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailqueue.codec import Parcel
from mailqueue.errors import WireError
from mailqueue.lanes import TASK_NAME, queue_name
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.ledger.base import Ledger

__all__ = ["Tap", "open_tap"]

logger = logging.getLogger(__name__)

#: s that a broker may take for an answer. A child that waited for ever would do so with messages that it has claimed.
PATIENCE = 5.0
_BOUNDS = {
    "redis": {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE},
    "amqp": {"read_timeout": PATIENCE, "write_timeout": PATIENCE},
}


class Tap(abc.ABC):
    """A thread's own way to the queues; not safe across threads."""

    #: Whether the broker hands tasks out before a child is free for them. They wait in the main process, and are older
    #: than all that can still be taken.
    hands_out_ahead = False

    @abc.abstractmethod
    def take(self, lane: str, room: int, size: float) -> list[Parcel]:
        """Take as many tasks, oldest first, as ``room`` messages may need when a task carries about ``size`` of them.

        A suspect's task ends the taking and is the last one returned; so does a task that is not ours, which is put
        back. Nothing is waited for.
        """

    @abc.abstractmethod
    def waiting(self, lanes: Sequence[str]) -> bool:
        """Whether one of ``lanes`` has mail that no worker has claimed."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connection."""


def open_tap(connection: Any, ledger: Ledger) -> Tap:
    """The fastest tap for ``connection`` (a kombu Connection that is the caller's to give away, not yet connected).

    A broker that is away is not waited for, nor one that keeps silent: the caller has claimed messages to deliver.
    """
    options = connection.transport_options
    options |= _BOUNDS.get(connection.transport.driver_type, {})
    if "sentinel_kwargs" in options:  # what is given there, sentinels are asked with instead of the above
        asked = {**options["sentinel_kwargs"], **_BOUNDS["redis"], "retry": Retry(NoBackoff(), 0)}
        options["sentinel_kwargs"] = asked
    # Each server of a list is tried once, and then it is the caller's to come back: kombu would repeat without end.
    options |= {"max_retries": max(0, len(connection.alt) - 1), "interval_start": 0, "interval_step": 0}
    if connection.transport.driver_type == "redis":
        return _RedisTap(connection)
    return _KombuTap(connection, ledger)


def _parcel(message: Any, lane: str) -> Parcel | None:
    """The parcel in ``message``; None if it is readable by nobody here (its messages are recovered by the ledger)."""
    try:
        args, _kwargs, _embed = message.decode()
        return Parcel.from_wire(args[0])
    except (WireError, KombuError, ValueError, TypeError, LookupError) as error:
        logger.error("action=parcel_unreadable lane=%s reason=%s", lane, error)  # noqa: TRY400 - no traceback wanted
        return None


class _Headers(msgspec.Struct):
    task: Literal["workers.tasks.deliver"]
    compression: None = None


class _Properties(msgspec.Struct):
    body_encoding: Literal["base64", "utf-8"] | None = None


class _Task(msgspec.Struct):
    """A task of ours as kombu's Redis transport has it in the queue."""

    body: str
    headers: _Headers
    properties: _Properties
    content_type: Literal["application/json"] = msgspec.field(name="content-type")
    content_encoding: Literal["utf-8"] = msgspec.field(name="content-encoding")


_task_decoder = msgspec.json.Decoder(_Task)


def _own(raw: bytes) -> Parcel | None:
    """The parcel of a task in the form that we publish; None for any other, which kombu's Message has to look at.

    That takes it 20 us and more, and this 4.
    """
    try:
        task = _task_decoder.decode(raw)
        return Parcel.from_body(_plain(task))
    except (WireError, ValueError, RecursionError):  # msgspec's errors are kinds of ValueError
        return None


def _plain(task: _Task) -> str | bytes:
    return b64decode(task.body, validate=True) if task.properties.body_encoding == "base64" else task.body


class _RedisTap(Tap):
    """Pops many tasks in one command; kombu's channel keeps the connection, its Message decodes what is not ours."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._channel = connection.default_channel
        self._client = self._channel.client  # one client for good: kombu would make one an operation

    def take(self, lane: str, room: int, size: float) -> list[Parcel]:
        queue = queue_name(lane)
        raws: list[bytes] = self._client.rpop(queue, max(1, int(room / max(size, 1.0)))) or []
        parcels: list[Parcel] = []
        for position, raw in enumerate(raws):
            parcel = _own(raw)
            if parcel is None:
                message = self._message(raw, lane)
                if message is None:
                    continue
                if message.headers.get("task") != TASK_NAME:
                    logger.warning("action=foreign_task lane=%s task=%s", lane, message.headers.get("task"))
                    self._put_back(queue, raws[position:])
                    return parcels
                parcel = _parcel(message, lane)
            if parcel is None:
                continue
            parcels.append(parcel)
            room -= len(parcel.items)
            if parcel.alone or room <= 0:
                self._put_back(queue, raws[position + 1 :])
                break
        return parcels

    def _message(self, raw: bytes, lane: str) -> Any:
        """Return kombu's Message in ``raw``; None if there is none: it costs nobody but itself."""
        try:
            return self._channel.Message(json.loads(raw), channel=self._channel)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            logger.error("action=task_unreadable lane=%s reason=%s", lane, type(error).__name__)  # noqa: TRY400 - no traceback wanted
            return None

    def _put_back(self, queue: str, raws: Sequence[bytes]) -> None:
        if not raws:
            return
        try:  # the right end is the old one: the oldest goes there last
            self._client.rpush(queue, *reversed(raws))
        except Exception as error:  # noqa: BLE001 - any broker's errors; those in hand must not be lost with these
            logger.warning("action=put_back_failed tasks=%d reason=%s", len(raws), type(error).__name__)

    def waiting(self, lanes: Sequence[str]) -> bool:
        return bool(lanes) and bool(self._client.exists(*map(queue_name, lanes)))

    def close(self) -> None:
        self._connection.release()


class _KombuTap(Tap):
    """Gets one task at a time, on any broker that kombu speaks to."""

    hands_out_ahead = True

    def __init__(self, connection: Any, ledger: Ledger) -> None:
        self._connection = connection
        self._channel = connection.default_channel
        self._ledger = ledger

    def take(self, lane: str, room: int, size: float) -> list[Parcel]:  # noqa: ARG002 - a task at a time needs no estimate
        parcels: list[Parcel] = []
        try:
            self._fill(parcels, lane, room)
        except Exception as error:
            if not parcels:
                raise
            logger.warning("action=drain_failed lane=%s reason=%s", lane, type(error).__name__)
        return parcels

    def _fill(self, parcels: list[Parcel], lane: str, room: int) -> None:
        while room > 0 and (got := self._channel.basic_get(queue_name(lane), no_ack=False)) is not None:
            message = self._channel.message_to_python(got)
            if message.headers.get("task") != TASK_NAME:
                logger.warning("action=foreign_task lane=%s task=%s", lane, message.headers.get("task"))
                message.requeue()
                return
            parcel = _parcel(message, lane)
            message.ack()
            if parcel is None:
                continue
            parcels.append(parcel)
            room -= len(parcel.items)
            if parcel.alone:
                return

    def waiting(self, lanes: Sequence[str]) -> bool:
        # The broker would tell how many tasks lie in a queue, and not of those that it has handed out ahead: they wait
        # in a worker's main process for a child, perhaps for this one. The ledger knows what is still queued.
        counts = self._ledger.counts() if lanes else {}
        return any(counts.get(lane, {}).get(State.QUEUED) for lane in lanes)

    def close(self) -> None:
        self._connection.collect()  # without a word: it may be closed because the broker does not answer
