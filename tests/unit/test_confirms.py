from __future__ import annotations

from collections import defaultdict

import pytest
from kombu.exceptions import OperationalError

from mailqueue.confirms import Confirms


class Channel:
    """A channel whose broker answers what the test has told it to; silence is a timeout."""

    def __init__(self):
        self.events = defaultdict(set)
        self.connection = self
        self.selected = 0
        self.published = []
        self.answers = []
        self.waits = []

    def confirm_select(self):
        self.selected += 1

    def basic_publish(self, message, **where):
        self.published.append((message, where))

    def drain_events(self, timeout):
        self.waits.append(timeout)
        if not self.answers:
            raise TimeoutError
        event, *details = self.answers.pop(0)
        for call in self.events[event]:
            call(*details)


@pytest.fixture
def channel():
    return Channel()


@pytest.fixture
def confirms(channel):
    return Confirms(channel, 0.5, clock=lambda: 100.0)


def publish(confirms, count):
    for number in range(count):
        confirms.publish(f"m{number}", exchange="", routing_key="mailqueue.bulk")


def test_what_is_published_must_find_a_queue(channel, confirms):
    publish(confirms, 1)
    where = {"exchange": "", "routing_key": "mailqueue.bulk", "mandatory": True, "timeout": 0.5}
    assert channel.published == [("m0", where)]


def test_all_are_written_before_the_first_answer_is_awaited(channel, confirms):
    publish(confirms, 3)
    assert channel.waits == []
    channel.answers = [("basic_ack", 2, False), ("basic_ack", 1, False), ("basic_ack", 3, False)]
    confirms.flush()
    assert len(channel.waits) == 3


def test_one_answer_may_stand_for_many(channel, confirms):
    publish(confirms, 5)
    channel.answers = [("basic_ack", 4, True), ("basic_ack", 5, False)]
    confirms.flush()
    assert channel.answers == []


def test_numbers_go_on_from_batch_to_batch_and_the_channel_is_asked_for_confirms_once(channel, confirms):
    publish(confirms, 2)
    channel.answers = [("basic_ack", 2, True)]
    confirms.flush()
    publish(confirms, 1)
    channel.answers = [("basic_ack", 3, False)]
    confirms.flush()
    assert channel.selected == 1


def test_without_an_answer_nothing_counts_as_published(channel, confirms):
    publish(confirms, 2)
    channel.answers = [("basic_ack", 1, False)]
    with pytest.raises(TimeoutError):
        confirms.flush()


def test_a_broker_that_refuses_one_has_failed(channel, confirms):
    publish(confirms, 2)
    channel.answers = [("basic_ack", 1, False), ("basic_nack", 2, False)]
    with pytest.raises(OperationalError, match="refused"):
        confirms.flush()


def test_answers_are_awaited_for_as_long_as_patience_lasts_in_all(channel):
    now = iter([100.0, 100.1, 100.4, 100.7])
    confirms = Confirms(channel, 0.5, clock=lambda: next(now))
    publish(confirms, 3)
    channel.answers = [("basic_ack", 1, False), ("basic_ack", 2, False), ("basic_ack", 3, False)]
    confirms.flush()
    assert channel.waits == pytest.approx([0.4, 0.1, 0.001])
