"""RabbitMQ's answers to what is published: many messages are written at once, and their confirms awaited together.

One at a time, as amqp does it by itself, each task would cost a round trip and a write to the disks of a cluster.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Confirms"]


class Confirms:
    """The confirms of one channel of amqp, for one thread at a time.

    Args:
        channel: Open, and nothing published on it yet.
        patience: s, for writing a message and for the confirms of all that were written.
    """

    def __init__(self, channel: Any, patience: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._patience = patience
        self._clock = clock
        self._last = 0  # RabbitMQ counts what is published on a channel, from 1
        self._open: set[int] = set()
        self._refused = False
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)

    def publish(self, message: Any, *, exchange: str, routing_key: str) -> None:
        """Write ``message``; what becomes of it is told by ``flush``.

        A message without a queue comes back (``mandatory``), as an error here or there: its queue was deleted, and is
        declared again by whoever connects again.
        """
        self._channel.basic_publish(
            message, exchange=exchange, routing_key=routing_key, mandatory=True, timeout=self._patience
        )
        self._last += 1
        self._open.add(self._last)

    def flush(self) -> None:
        """Return when all that was published is confirmed; raise the broker's or the network's error if it is not."""
        end = self._clock() + self._patience
        while self._open and not self._refused:
            self._channel.connection.drain_events(timeout=max(0.001, end - self._clock()))  # 0 would not wait at all
        if self._refused:
            raise OperationalError("the broker refused a message")

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {number for number in self._open if number > tag}
        else:
            self._open.discard(tag)

    def _on_nack(self, _tag: int, _multiple: bool) -> None:
        self._refused = True
