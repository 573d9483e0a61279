"""RabbitMQ's quorum queues: who declares them, what is in their way, taking from them, and a broker that restarts."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from kombu import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

import mailqueue
from mailqueue import EmailMessage, conf
from mailqueue.codec import Parcel
from mailqueue.lanes import LANES, queue_name
from mailqueue.publisher import Publisher
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.worker import Worker, WorkerTrouble
from workers import tap as taps
from workers.tap import open_tap

pytestmark = [pytest.mark.store, pytest.mark.rabbitmq]

QUEUES = {queue_name(lane) for lane in LANES}


@pytest.fixture
def settings(rabbitmq_url, valkey_url):
    settings = {"MAILQUEUE_BROKER_URL": rabbitmq_url, "MAILQUEUE_LEDGER_URL": valkey_url}
    conf.configure(**settings)
    return {**settings, "MAILQUEUE_LEASE_SECONDS": "3", "MAILQUEUE_TICK_SECONDS": "0.5"}


def relay(inbox):
    return {"EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}


def message(number):
    return EmailMessage(f"Number {number}", "Hello\n", "app@example.com", ["ann@example.com"])


def subjects(inbox):
    return Counter(arrival.message["Subject"] for arrival in inbox.arrivals)


# -- declaring


def kinds(rabbitmq):
    """The kind of each queue that the broker has."""
    listed = rabbitmq.control("list_queues", "--no-table-headers", "name", "type")
    return dict(line.split("\t") for line in listed.splitlines() if ".pidbox" not in line)


def test_a_producer_declares_quorum_queues(settings, rabbitmq):
    mailqueue.enqueue(message(1))
    assert kinds(rabbitmq) == dict.fromkeys(QUEUES, "quorum")


def test_a_worker_declares_the_same_and_nothing_besides(settings, rabbitmq):
    with Inbox() as inbox, Worker({**settings, **relay(inbox)}, concurrency=1) as worker:
        assert kinds(rabbitmq) == dict.fromkeys(QUEUES, "quorum")
        mailqueue.enqueue(message(1))
        inbox.wait_for(1)
        assert "PRECONDITION" not in worker.log


@pytest.fixture
def classic(rabbitmq_url):
    """The default lane's queue as a classic one, which an earlier version has left behind."""
    name = queue_name("default")
    with Connection(rabbitmq_url) as connection:
        Queue(name, Exchange(name), routing_key=name)(connection.default_channel).declare()


def test_a_classic_queue_of_that_name_stops_a_worker_with_the_remedy(settings, classic):
    with pytest.raises(WorkerTrouble) as caught, Worker(settings):
        pass
    assert "ended with 78" in str(caught.value)
    assert "rabbitmqctl delete_queue mailqueue.default" in str(caught.value)


def test_once_it_is_deleted_the_mail_accepted_meanwhile_goes_out(settings, classic, rabbitmq, caplog):
    receipt = mailqueue.enqueue(message(1))
    assert "rabbitmqctl delete_queue mailqueue.default" in caplog.text
    rabbitmq.control("delete_queue", "mailqueue.default")
    with Inbox() as inbox, Worker({**settings, **relay(inbox)}, concurrency=1):
        inbox.wait_for(1, timeout=30)
    assert receipt.status().state == "sent"


# -- publishing


def numbers(connection):
    """The numbers of the tasks that wait in the default lane, oldest first."""
    found = []
    while (got := connection.default_channel.basic_get("mailqueue.default", no_ack=True)) is not None:
        [args, _kwargs, _embed] = connection.default_channel.message_to_python(got).decode()
        found.append(Parcel.from_wire(args[0]).number)
    return found


def test_many_tasks_are_published_in_order_at_once(rabbitmq_url, publish):
    assert publish(*(parcel(number) for number in range(500))) == []
    with Connection(rabbitmq_url) as connection:
        assert numbers(connection) == list(range(500))


def test_a_queue_that_somebody_deleted_is_declared_again(rabbitmq_url, publish):
    """RabbitMQ confirms what it has no queue for, unless it is told that there must be one."""
    publish(parcel(1))
    with Connection(rabbitmq_url) as connection:
        connection.default_channel.queue_delete("mailqueue.default")
        assert publish(*(parcel(number) for number in range(2, 22))) == []
        assert sorted(set(numbers(connection))) == list(range(2, 22))


# -- taking


@pytest.fixture
def publish(rabbitmq_url):
    publisher = Publisher(rabbitmq_url)
    yield lambda *parcels: publisher.publish(parcels)
    publisher.close()


def parcel(number, size=1, *, alone=False):
    return Parcel("default", number, tuple((f"m{number}-{n}", b"{}") for n in range(size)), alone)


@pytest.fixture
def tap(rabbitmq_url, publish):
    publish(parcel(0))  # declares the queues
    tap = open_tap(Connection(rabbitmq_url), SimpleNamespace(counts=dict))
    assert tap.take("default", 1, 1.0) == [parcel(0)]
    yield tap
    tap.close()


def test_tasks_come_whole_and_oldest_first_up_to_the_room(tap, publish):
    publish(parcel(1, 2), parcel(2), parcel(3))
    assert tap.take("default", 3, 1.0) == [parcel(1, 2), parcel(2)]
    assert tap.take("default", 3, 1.0) == [parcel(3)]
    assert tap.take("default", 3, 1.0) == []


def test_a_suspect_ends_the_taking_and_comes_last(tap, publish):
    publish(parcel(1), parcel(2, alone=True), parcel(3))
    assert [found.number for found in tap.take("default", 100, 1.0)] == [1, 2]
    assert [found.number for found in tap.take("default", 100, 1.0)] == [3]


def test_a_task_that_is_not_ours_stays(tap, publish, rabbitmq_url, caplog):
    with Connection(rabbitmq_url, transport_options={"confirm_publish": True}) as connection:
        connection.Producer().publish({}, routing_key="mailqueue.default", headers={"task": "somebody.elses"})
        publish(parcel(1))
        assert tap.take("default", 100, 1.0) == []
        assert "action=foreign_task lane=default task=somebody.elses" in caplog.text
        tap.close()  # before this the broker may not know yet that it has the task back
        tasks = []
        connection.default_channel.basic_consume("mailqueue.default", no_ack=True, callback=tasks.append)
        while len(tasks) < 2:
            connection.drain_events(timeout=10)
    assert {task.headers["task"] for task in tasks} == {"somebody.elses", "workers.tasks.deliver"}


def test_a_broker_that_keeps_silent_is_not_waited_for_with_claimed_messages(monkeypatch, rabbitmq, publish):
    publish(parcel(0))
    monkeypatch.setitem(taps._BOUNDS, "amqp", {"read_timeout": 0.3, "write_timeout": 0.3})
    tap = open_tap(Connection(rabbitmq.url), SimpleNamespace(counts=dict))
    began = time.monotonic()
    rabbitmq.freeze()
    try:
        with pytest.raises(TimeoutError):
            tap.take("default", 100, 1.0)
        tap.close()
        assert time.monotonic() - began < 3
    finally:
        rabbitmq.thaw()


def test_nor_is_one_that_is_away():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"amqp://127.0.0.1:{gone.getsockname()[1]}//"
    began = time.monotonic()
    with pytest.raises(OperationalError):
        open_tap(Connection(url), SimpleNamespace(counts=dict))
    assert time.monotonic() - began < 1


# -- a restart


class Gate:
    """Holds every message but the first few until it is opened."""

    def __init__(self, free):
        self._free = free
        self._open = threading.Event()
        self.held = threading.Event()

    def __call__(self, _arrival):
        self._free -= 1
        if self._free < 0:
            self.held.set()
            self._open.wait(60)

    def open(self):
        self._open.set()


def test_a_restart_of_the_broker_loses_and_repeats_nothing(settings, rabbitmq):
    gate = Gate(free=3)
    settings["MAILQUEUE_BATCH_MESSAGES"] = "5"  # so that most tasks are still in the broker
    with Inbox(on_arrival=gate) as inbox, Worker({**settings, **relay(inbox)}, concurrency=1) as worker:
        before = [mailqueue.enqueue(message(number)) for number in range(30)]
        assert gate.held.wait(30)
        rabbitmq.stop_broker()
        meanwhile = [mailqueue.enqueue(message(number)) for number in range(30, 40)]
        gate.open()
        rabbitmq.start_broker()
        afterwards = [mailqueue.enqueue(message(number)) for number in range(40, 50)]
        receipts = [*before, *meanwhile, *afterwards]
        inbox.wait_for(len(receipts), timeout=60)
        assert worker.running
        assert worker.stop() == 0
    assert Counter(receipt.status().state for receipt in receipts) == {"sent": len(receipts)}
    assert all(receipt.status().unknowns == 0 for receipt in receipts)
    assert subjects(inbox) == Counter(f"Number {number}" for number in range(len(receipts)))
