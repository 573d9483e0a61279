"""Celery's consumer as our own workers run it on RabbitMQ: fetches little ahead, and declares no queues but ours."""

from __future__ import annotations

from typing import Any, ClassVar

from celery.worker import consumer

__all__ = ["Consumer"]

#: Tasks of each lane that wait in the worker while its children are busy. Celery's own is one a child, and RabbitMQ
#: fills that up for every lane at once: an urgent task would then wait behind as many of bulk mail.
FETCHED_AHEAD = 1


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """Consumes quorum queues, whose prefetch counts for each queue by itself."""

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]  # as above
        """Its steps, but for the one that declares 28 further quorum queues, for ETAs: our due times are the ledger's."""

        default_steps: ClassVar = [
            step for step in consumer.Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
        ]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"initial_prefetch_count": FETCHED_AHEAD})
