"""Through kombu's own broker in memory; real ones are in tests/integration/test_publisher.py."""

from __future__ import annotations

import json
import logging

import pytest
from kombu import Connection

from mailqueue import publisher as module
from mailqueue.codec import Parcel
from mailqueue.errors import ImproperlyConfigured
from mailqueue.lanes import LANES, queue_name
from mailqueue.publisher import Publisher

PARCEL = Parcel("default", 7, (("1", b'{"v":1}'),))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def broker():
    """The queues of kombu's broker in memory, which is one for the whole process."""
    with Connection("memory://") as connection:
        channel = connection.default_channel

        def take(lane="default"):
            message = channel.basic_get(queue_name(lane), no_ack=True)
            return message and (message, channel.message_to_python(message))

        for lane in LANES:
            channel.queue_declare(queue_name(lane))
            channel.queue_purge(queue_name(lane))
        yield take


def test_a_parcel_becomes_a_task_that_celery_knows(broker):
    assert Publisher("memory://").publish([PARCEL]) == []
    message, _ = broker()
    [args, kwargs, embed] = json.loads(message.body)
    assert Parcel.from_wire(args[0]) == PARCEL
    assert kwargs == {}
    assert embed == {}
    assert message.headers["task"] == "workers.tasks.deliver"
    assert message.headers["id"] == message.headers["root_id"] == message.properties["correlation_id"]
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.properties["delivery_mode"] == 2


def test_headers_hold_neither_addresses_nor_text(broker):
    Publisher("memory://").publish([PARCEL])
    message, _ = broker()
    required = {"lang", "task", "id", "root_id", "parent_id", "group"}  # by Celery's message protocol 2
    assert set(message.headers) == required | {"origin", "ignore_result"}


def test_each_parcel_goes_to_the_queue_of_its_lane(broker):
    assert Publisher("memory://").publish([Parcel(lane, 1) for lane in LANES]) == []
    assert [bool(broker(lane)) for lane in LANES] == [True, True, True]
    assert [bool(broker(lane)) for lane in LANES] == [False, False, False]


def test_a_broker_that_is_not_redis_has_no_drafts(broker):
    publisher = Publisher("memory://")
    publisher.publish([PARCEL])
    assert publisher.draft("default", PARCEL.items) is None


def test_nothing_to_publish_opens_nothing(monkeypatch):
    publisher = Publisher("memory://")
    monkeypatch.setattr(publisher, "_connection", lambda: pytest.fail("connected"))
    assert publisher.publish([]) == []


def test_a_connection_is_held_and_used_again(monkeypatch, broker):
    publisher = Publisher("memory://")
    made = []
    connect = publisher._connection
    monkeypatch.setattr(publisher, "_connection", lambda: made.append(1) or connect())
    for _ in range(3):
        publisher.publish([PARCEL])
    assert made == [1]
    publisher.close()
    publisher.publish([PARCEL])
    assert made == [1, 1]


class Refusing:
    """Stands for a connection whose broker is away; ``slow`` s later it says so."""

    def __init__(self, clock, slow=0.0, error=None):
        self.attempts = 0
        self.clock, self.slow, self.error = clock, slow, error or ConnectionRefusedError("no")

    def __call__(self):
        self.attempts += 1
        self.clock.now += self.slow
        raise self.error


def test_a_broker_that_is_away_gives_the_parcels_back(monkeypatch, clock, caplog):
    publisher = Publisher("memory://")
    refusing = Refusing(clock)
    monkeypatch.setattr(publisher, "_connection", refusing)
    with caplog.at_level(logging.WARNING, "mailqueue.publisher"):
        assert publisher.publish([PARCEL, PARCEL]) == [PARCEL, PARCEL]
    assert refusing.attempts == 1
    assert "action=publish_failed tasks=2 error=ConnectionRefusedError" in caplog.text


def test_even_an_error_that_nobody_foresaw_refuses_no_accepted_message(monkeypatch, clock, caplog):
    publisher = Publisher("memory://")
    monkeypatch.setattr(publisher, "_connection", Refusing(clock, error=RuntimeError("surprise")))
    assert publisher.publish([PARCEL]) == [PARCEL]
    assert "Traceback" in caplog.text


def test_a_broker_that_takes_its_time_to_fail_is_left_alone_for_a_second(monkeypatch, clock):
    publisher = Publisher("memory://", deadline=2.0)
    refusing = Refusing(clock, slow=0.8)
    monkeypatch.setattr(publisher, "_connection", refusing)
    assert publisher.publish([PARCEL]) == [PARCEL]
    assert publisher.publish([PARCEL]) == [PARCEL]
    assert refusing.attempts == 1
    clock.now += 1.1
    publisher.publish([PARCEL])
    assert refusing.attempts == 2


def test_one_that_refuses_at_once_is_asked_each_time(monkeypatch, clock):
    publisher = Publisher("memory://")
    refusing = Refusing(clock)
    monkeypatch.setattr(publisher, "_connection", refusing)
    publisher.publish([PARCEL])
    publisher.publish([PARCEL])
    assert refusing.attempts == 2


def test_past_the_deadline_what_is_left_is_given_back(monkeypatch, clock, broker):
    publisher = Publisher("memory://", deadline=2.0)
    publisher.publish([PARCEL])
    [line] = publisher._idle
    message = line._message

    def slowly(parcel):
        clock.now += 1.5
        return message(parcel)

    monkeypatch.setattr(line, "_message", slowly)
    monkeypatch.setattr(module, "_WRITE", 0)
    parcels = [Parcel("default", number) for number in range(4)]
    assert publisher.publish(parcels) == parcels[2:]


def test_a_stale_connection_is_replaced_once(monkeypatch, clock, broker):
    publisher = Publisher("memory://")
    publisher.publish([PARCEL])
    [line] = publisher._idle

    def broken(parcel):
        raise ConnectionResetError

    monkeypatch.setattr(line, "_message", broken)
    assert publisher.publish([PARCEL]) == []
    assert publisher._idle != [line]


class OtherwiseThereError(Exception):
    """What a broker says that has a queue of that name, and of another kind."""

    code = 406


@pytest.fixture
def classic(monkeypatch, broker):
    """A broker whose queues are there already, of another kind."""

    def declare(*_args, **_kwargs):
        raise OtherwiseThereError("inequivalent arg 'x-queue-type'")

    monkeypatch.setattr("kombu.transport.memory.Channel.queue_declare", declare)
    monkeypatch.setattr("kombu.transport.memory.Transport.channel_errors", (OtherwiseThereError,))


def test_a_queue_of_another_kind_is_told_with_its_remedy(classic, clock, caplog):
    publisher = Publisher("memory://")
    assert publisher.publish([PARCEL]) == [PARCEL]
    assert "Stop the workers and delete it: `rabbitmqctl delete_queue mailqueue.urgent`" in caplog.text
    assert "Traceback" not in caplog.text
    caplog.clear()
    assert publisher.publish([PARCEL]) == [PARCEL]
    assert caplog.text == ""  # once a second is enough


def test_whoever_declares_the_queues_learns_it_as_a_mistake_in_the_settings(classic):
    with pytest.raises(ImproperlyConfigured, match=r"has mailqueue\.urgent already.*inequivalent arg 'x-queue-type'"):
        Publisher("memory://").declare()


def test_queues_declared_before_are_published_to_over_the_same_connection(monkeypatch, broker):
    publisher = Publisher("memory://")
    publisher.declare()
    monkeypatch.setattr(publisher, "_connection", lambda: pytest.fail("connected again"))
    assert publisher.publish([PARCEL]) == []


def test_a_broker_that_is_away_is_no_reason_not_to_start(monkeypatch, clock):
    publisher = Publisher("memory://")
    monkeypatch.setattr(publisher, "_connection", Refusing(clock))
    publisher.declare()


@pytest.mark.parametrize("url", ["nothing://localhost", "http://localhost"])
def test_a_url_without_a_transport_is_a_mistake_in_the_settings(url):
    with pytest.raises(ImproperlyConfigured, match="MAILQUEUE_BROKER_URL"):
        Publisher(url)
