"""The composition root: the Celery application, and the task that it or a project's own application carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.connection import Connection

from mailqueue import conf
from mailqueue.conf.url import tls, transport
from mailqueue.lanes import LANES, TASK_NAME, queue_name, task_queue
from workers import lifecycle
from workers.tasks import deliver

if TYPE_CHECKING:
    from celery.app.task import Task

__all__ = ["app", "install"]


def install(app: Celery) -> Task:
    """Let the workers of ``app`` deliver mail; returns the registered task.

    Registers ``workers.tasks.deliver`` and the lanes' queues, and gives each of its workers the tick. Start one with
    ``-Q`` and the lanes that it is to carry: ``celery -A proj worker -Q mailqueue.urgent,mailqueue.default``. The
    broker of ``app`` must be the one that MAILQUEUE_BROKER_URL gives to the producers.
    """
    lifecycle.connect(app)
    task: Task = app.task(deliver, name=TASK_NAME, bind=True, ignore_result=True, acks_late=False, shared=False)
    return task


def _settings() -> dict[str, Any]:
    """The configuration of our own application, read when Celery first asks for it (never at import)."""
    broker, options = transport(conf.get("MAILQUEUE_BROKER_URL"))
    driver = Connection(broker).transport.driver_type  # type: ignore[no-untyped-call]
    return {
        "broker_url": broker,
        "broker_use_ssl": tls(broker),
        # CELERY_BROKER_URL, which a project may have set for its own application, would win over the line above.
        "broker_read_url": broker,
        "broker_write_url": broker,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # Celery would end its worker after an outage of 50 minutes
        # Lanes are popped in the order of `task_queues`: a password reset never waits behind a newsletter.
        "broker_transport_options": {"queue_order_strategy": "priority", "socket_keepalive": True, **options},
        "task_queues": [task_queue(lane, driver) for lane in LANES],
        "task_default_queue": queue_name("default"),
        "task_ignore_result": True,
        # The ledger recovers what a broker or a worker lost, so a task is acknowledged when it starts.
        "task_acks_late": False,
        # A task fetched ahead would make urgent mail wait behind the bulk mail of a busy child. From Redis Celery can
        # fetch none; from RabbitMQ our consumer fetches one a lane, before and after a lost connection.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": driver == "redis",
        "worker_enable_prefetch_count_reduction": False,
        **({"worker_consumer": "workers.consumer:Consumer"} if driver == "amqp" else {}),
        "worker_send_task_events": False,
        "accept_content": ["json"],
        "task_serializer": "json",
    }


app = Celery("mailqueue", set_as_current=False)
app.add_defaults(_settings)
install(app)
