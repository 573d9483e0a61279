from __future__ import annotations

import pytest

from mailqueue.errors import InvalidMessage
from mailqueue.lanes import DEFAULT_LANE, LANES, TASK_NAME, check_lane, queue_name, task_queue


def test_lanes_stand_in_the_order_in_which_workers_serve_them():
    assert LANES == ("urgent", "default", "bulk")
    assert DEFAULT_LANE in LANES


def test_each_lane_has_a_queue_of_our_own():
    assert [queue_name(lane) for lane in LANES] == ["mailqueue.urgent", "mailqueue.default", "mailqueue.bulk"]


def test_the_task_is_known_by_its_name_alone():
    assert TASK_NAME == "workers.tasks.deliver"


@pytest.mark.parametrize("ask", [queue_name, check_lane, lambda lane: task_queue(lane, "redis")])
def test_an_unknown_lane_is_refused_and_the_lanes_are_named(ask):
    with pytest.raises(InvalidMessage, match="no lane 'fast': the lanes are urgent, default, bulk"):
        ask("fast")


def test_both_sides_declare_a_durable_queue_with_a_direct_exchange_of_its_name():
    queue = task_queue("bulk", "redis")
    assert (queue.name, queue.routing_key, queue.durable) == ("mailqueue.bulk", "mailqueue.bulk", True)
    assert (queue.exchange.name, queue.exchange.type, queue.exchange.durable) == ("mailqueue.bulk", "direct", True)


@pytest.mark.parametrize(
    ("driver", "arguments"), [("amqp", {"x-queue-type": "quorum"}), ("redis", None), ("memory", None)]
)
def test_rabbitmqs_queues_are_quorum_queues(driver, arguments):
    assert task_queue("default", driver).queue_arguments == arguments
