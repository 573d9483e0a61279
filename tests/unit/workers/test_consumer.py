from __future__ import annotations

import pytest
from celery.utils.imports import symbol_by_name
from celery.worker.consumer import Consumer as Celerys

from mailqueue import conf
from mailqueue.lanes import LANES, queue_name
from workers.app import _settings
from workers.consumer import FETCHED_AHEAD, Consumer


def settings(broker):
    conf.configure(MAILQUEUE_BROKER_URL=broker)
    return _settings()


def test_rabbitmq_has_quorum_queues_and_our_consumer():
    found = settings("amqp://localhost//")
    assert [queue.name for queue in found["task_queues"]] == [queue_name(lane) for lane in LANES]
    assert all(queue.queue_arguments == {"x-queue-type": "quorum"} for queue in found["task_queues"])
    assert symbol_by_name(found["worker_consumer"]) is Consumer
    assert not found["worker_disable_prefetch"]  # Celery would warn that it can not


@pytest.mark.parametrize("broker", ["redis://localhost/0", "sentinel://one:26379,two:26379/mail/0", "unix:///s.sock"])
def test_redis_is_consumed_by_celerys_own(broker):
    found = settings(broker)
    assert all(queue.queue_arguments is None for queue in found["task_queues"])
    assert "worker_consumer" not in found
    assert found["worker_disable_prefetch"]


def test_it_takes_every_step_of_celerys_but_the_delayed_delivery():
    left_out = set(Celerys.Blueprint.default_steps) - set(Consumer.Blueprint.default_steps)
    assert left_out == {"celery.worker.consumer.delayed_delivery:DelayedDelivery"}


def test_it_fetches_one_task_a_lane_ahead_however_many_children_there_are(monkeypatch):
    given = {}
    monkeypatch.setattr(Celerys, "__init__", lambda _self, *_args, **options: given.update(options))
    Consumer(None, initial_prefetch_count=8, hostname="here")
    assert given == {"initial_prefetch_count": FETCHED_AHEAD, "hostname": "here"}
