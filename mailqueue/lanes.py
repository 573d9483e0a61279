"""The lanes: classes of mail with a queue each, and the name of the task that carries parcels.

What producers and workers must agree on without importing each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailqueue.errors import InvalidMessage

if TYPE_CHECKING:
    from kombu.entity import Queue

__all__ = ["DEFAULT_LANE", "LANES", "TASK_NAME", "check_lane", "queue_name", "task_queue"]

#: In the order in which workers serve them.
LANES: Final = ("urgent", "default", "bulk")
DEFAULT_LANE: Final = "default"

#: Sent by name; its one positional argument is a parcel's wire form (``mailqueue.codec``).
TASK_NAME: Final = "workers.tasks.deliver"

_QUEUES: Final = {lane: f"mailqueue.{lane}" for lane in LANES}


def check_lane(lane: str) -> str:
    """Return ``lane``; raise InvalidMessage, naming the lanes that there are, if it is none."""
    if lane not in _QUEUES:
        raise InvalidMessage(f"no lane {lane!r}: the lanes are {', '.join(LANES)}")
    return lane


def queue_name(lane: str) -> str:
    """The name of the broker's queue that carries ``lane``; raises InvalidMessage for a lane that is none."""
    return _QUEUES[check_lane(lane)]


def task_queue(lane: str, driver: str) -> Queue:
    """The queue of ``lane`` as both sides declare it: durable, bound to a direct exchange of its own name.

    On RabbitMQ it is a quorum queue: replicated where there is a cluster, on disk before a publish is confirmed.

    Args:
        lane: Raises InvalidMessage for one that is none.
        driver: The broker's kind, as the ``driver_type`` of kombu's transport names it: ``amqp`` is RabbitMQ.
    """
    # kombu takes 50 ms to import: not in a web process that only builds messages.
    from kombu.entity import Exchange, Queue  # noqa: PLC0415

    name = queue_name(lane)
    exchange = Exchange(name, type="direct", durable=True)  # type: ignore[no-untyped-call]
    arguments = {"x-queue-type": "quorum"} if driver == "amqp" else None
    return Queue(name, exchange, routing_key=name, durable=True, queue_arguments=arguments)  # type: ignore[no-untyped-call]
