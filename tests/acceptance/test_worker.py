"""Real workers on real brokers, delivering over real sockets: what arrives, and what the ledger says of it."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import pytest
from kombu import Connection

import mailqueue
from mailqueue import EmailMessage, EmailMultiAlternatives, conf
from mailqueue.lanes import queue_name
from mailqueue.producer import get_producer
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.worker import Worker

pytestmark = pytest.mark.store

#: For what has nothing to do with the broker.
on_valkey_alone = pytest.mark.parametrize("broker", ["valkey"], indirect=True)


class Gate:
    """Lets an inbox answer only as many messages as the test has let through."""

    def __init__(self):
        self._permits = threading.Semaphore(0)
        self._open = threading.Event()
        self.held = threading.Semaphore(0)  # released once for each message that has arrived and waits

    def __call__(self, _arrival):
        self.held.release()
        if not self._open.is_set():
            self._permits.acquire()

    def let(self, count):
        for _ in range(count):
            self._permits.release()

    def open(self):
        self._open.set()
        self.let(1000)


@pytest.fixture
def inbox():
    with Inbox(refuse=["nobody@example.com"], greylist={"later@example.com": 1}) as inbox:
        yield inbox


@pytest.fixture(params=["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker(request, valkey_url):
    """URL of a broker; the ledger is in Valkey in any case."""
    return valkey_url if request.param == "valkey" else request.getfixturevalue("rabbitmq_url")


@pytest.fixture
def settings(broker, valkey_url):
    """Configure this process as the producer; returns what workers need in their environment, but for the relay."""
    conf.configure(MAILQUEUE_BROKER_URL=broker, MAILQUEUE_LEDGER_URL=valkey_url)
    return {
        "MAILQUEUE_BROKER_URL": broker,
        "MAILQUEUE_LEDGER_URL": valkey_url,
        "MAILQUEUE_LEASE_SECONDS": "3",
        "MAILQUEUE_TICK_SECONDS": "0.5",
        "MAILQUEUE_RETRY_DELAYS": "0.5",
    }


def relay(inbox):
    return {"EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}


def message(number=0, to=("ann@example.com",), **kwargs):
    return EmailMessage(f"Number {number}", "Hello\n", "app@example.com", list(to), **kwargs)


def subjects(inbox):
    return Counter(arrival.message["Subject"] for arrival in inbox.arrivals)


def states(receipts):
    return Counter(receipt.status().state for receipt in receipts)


def settled(receipts, timeout=60.0):
    """Wait until the ledger has an end for each of ``receipts``; returns the states."""
    unsettled = {"queued", "sending", "deferred", "unknown"}
    wait_until(lambda: not unsettled & set(states(receipts)), timeout)
    return states(receipts)


def wait_until(condition, timeout=30.0):
    stop = threading.Event()
    for _ in range(int(timeout / 0.05)):
        if condition():
            return
        stop.wait(0.05)  # the ledger has no signal to wait for; the condition is asked again
    assert condition()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_message_is_delivered_and_its_state_told(pool, settings, inbox):
    with Worker({**settings, **relay(inbox)}, pool=pool):
        mail = EmailMultiAlternatives("Grüße", "Text", "app@example.com", ["ann@example.com"], cc=["bob@example.com"])
        mail.attach_alternative("<p>Text</p>", "text/html")
        assert mail.send() == 1
        [arrival] = inbox.wait_for(1)
        assert settled([mail.receipt]) == {"sent": 1}
    assert arrival.sender == "app@example.com"
    assert arrival.recipients == ("ann@example.com", "bob@example.com")
    assert arrival.message["Subject"] == "Grüße"
    assert arrival.message_id == mail.receipt.message_id
    status = mailqueue.status(mail.receipt.id)
    assert status.attempts == 1
    assert {address: result.verdict for address, result in status.recipients.items()} == {
        "ann@example.com": "accepted",
        "bob@example.com": "accepted",
    }


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_mass_mail_goes_over_few_connections(pool, settings, inbox):
    data = [(f"Number {n}", "Hello", "app@example.com", [f"user{n}@example.com"]) for n in range(500)]
    with Worker({**settings, **relay(inbox)}, pool=pool):
        assert mailqueue.send_mass_mail(data) == 500
        inbox.wait_for(500, timeout=60)
        wait_until(lambda: mailqueue.counts()["default"].get("sent") == 500)
    assert subjects(inbox) == Counter(f"Number {n}" for n in range(500))
    assert inbox.connections <= 4


def test_a_temporary_refusal_is_tried_again_by_the_tick(settings, inbox):
    with Worker({**settings, **relay(inbox)}):
        [receipt] = mailqueue.enqueue_many([message(to=["later@example.com", "ann@example.com"])])
        assert settled([receipt]) == {"sent": 1}
    status = receipt.status()
    assert status.attempts == 2
    # Who had it already is not asked again.
    assert [arrival.recipients for arrival in inbox.arrivals] == [("ann@example.com",), ("later@example.com",)]


def test_of_three_recipients_two_accepted_and_one_refused_gives_exactly_that(settings, inbox):
    with Worker({**settings, **relay(inbox)}):
        receipt = mailqueue.enqueue(message(to=["ann@example.com", "nobody@example.com", "bob@example.com"]))
        assert settled([receipt]) == {"partial": 1}
    recipients = receipt.status().recipients
    assert {address: result.verdict for address, result in recipients.items()} == {
        "ann@example.com": "accepted",
        "nobody@example.com": "refused",
        "bob@example.com": "accepted",
    }
    assert recipients["nobody@example.com"].reply.code == 550
    assert recipients["nobody@example.com"].reply.enhanced == "5.1.1"


def test_sigterm_in_mid_batch_loses_and_repeats_nothing(settings):
    gate = Gate()
    with Inbox(on_arrival=gate) as inbox:
        receipts = mailqueue.enqueue_many(message(n) for n in range(60))
        with Worker({**settings, **relay(inbox)}, pool="prefork", concurrency=1) as worker:
            gate.let(5)
            for _ in range(6):
                assert gate.held.acquire(timeout=30)
            worker.signal(signal.SIGTERM)
            worker.wait_for_log("Warm shutdown")
            gate.open()
            worker.wait(30)
            assert 6 <= inbox.count < 60  # it stopped in the middle
        with Worker({**settings, **relay(inbox)}):
            assert settled(receipts) == {"sent": 60}
    assert subjects(inbox) == Counter(f"Number {n}" for n in range(60))
    assert mailqueue.counts()["default"]["sent"] == 60


def test_a_killed_child_loses_nothing_and_repeats_what_was_counted(settings):
    gate = Gate()
    with Inbox(on_arrival=gate) as inbox:
        receipts = mailqueue.enqueue_many(message(n) for n in range(60))
        with Worker({**settings, **relay(inbox)}, pool="prefork", concurrency=1) as worker:
            gate.let(5)
            for _ in range(6):
                assert gate.held.acquire(timeout=30)
            [child] = worker.children()
            os.kill(child, signal.SIGKILL)
            gate.open()
            worker.wait_for_log("action=child_died")
            assert settled(receipts) == {"sent": 60}
    assert_counted(receipts, inbox)


def test_a_killed_worker_loses_nothing_and_repeats_what_was_counted(settings):
    gate = Gate()
    with Inbox(on_arrival=gate) as inbox:
        receipts = mailqueue.enqueue_many(message(n) for n in range(60))
        with Worker({**settings, **relay(inbox)}, pool="prefork", concurrency=2) as worker:
            gate.let(5)
            for _ in range(6):
                assert gate.held.acquire(timeout=30)
            worker.kill()
            gate.open()
        with Worker({**settings, **relay(inbox)}):
            assert settled(receipts) == {"sent": 60}
    assert_counted(receipts, inbox)


def assert_counted(receipts, inbox):
    """Nothing is lost; every copy but the first is one that was counted as unknown."""
    copies = subjects(inbox)
    assert set(copies) == {f"Number {n}" for n in range(len(receipts))}
    for number, receipt in enumerate(receipts):
        assert copies[f"Number {number}"] - 1 <= receipt.status().unknowns


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_urgent_mail_passes_a_bulk_batch_under_way(pool, settings):
    gate = Gate()
    with Inbox(on_arrival=gate) as inbox:
        for first in range(0, 300, 100):  # a task each: more than a worker fetches ahead
            mailqueue.enqueue_many((message(n) for n in range(first, first + 100)), lane="bulk")
        with Worker({**settings, **relay(inbox)}, pool=pool, concurrency=1):
            gate.let(5)
            for _ in range(6):
                assert gate.held.acquire(timeout=30)
            mailqueue.enqueue(message("urgent"), lane="urgent")
            # Slow enough for a look at the higher lane: one look in 50 ms is what the worker takes.
            stop = threading.Event()
            while "Number urgent" not in subjects(inbox):
                gate.let(1)
                assert gate.held.acquire(timeout=30)
                stop.wait(0.02)
            assert inbox.count < 50
            gate.open()
            inbox.wait_for(301, timeout=60)


HASTY = """
from mailqueue.ledger import rules
from workers import app

rules.SHIFT = 0.5  # s, of 20: the pace at which lost tasks are found
"""


def test_a_task_that_the_broker_lost_is_found(broker, settings, inbox, tmp_path):
    receipts = mailqueue.enqueue_many(message(n) for n in range(3))
    with Connection(broker) as connection:
        assert connection.default_channel.queue_purge(queue_name("default")) == 1
    (tmp_path / "hasty.py").write_text(HASTY)
    with Worker({**settings, **relay(inbox), "PYTHONPATH": str(tmp_path)}, application="hasty"):
        assert settled(receipts) == {"sent": 3}
    assert get_producer().ledger.counters()["lost"] == 3
    assert subjects(inbox) == Counter(f"Number {n}" for n in range(3))


@on_valkey_alone
def test_a_relay_that_is_down_costs_the_messages_nothing(settings):
    with Inbox() as gone:
        port = gone.port
    receipt = None
    env = {**settings, "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(port)}
    with Worker(env, pool="solo") as worker:
        receipt = mailqueue.enqueue(message())
        worker.wait_for_log("action=relay_trouble")
        wait_until(lambda: receipt.status().state == "deferred")
        with Inbox(port=port) as inbox:
            inbox.wait_for(1, timeout=30)
            assert settled([receipt]) == {"sent": 1}
    assert receipt.status().attempts == 1


BACKEND = """
import os
class Plain:
    def __init__(self, fail_silently=False, **kwargs):
        self.lines = None
    def open(self):
        if self.lines is None:
            self.lines = open(os.environ["PLAIN_FILE"], "a")
            return True
        return False
    def close(self):
        if self.lines:
            self.lines.close()
            self.lines = None
    def send_messages(self, messages):
        for message in messages:
            self.lines.write(message.subject + "\\n")
            self.lines.flush()
        return len(messages)
"""


@on_valkey_alone
def test_a_plain_django_style_class_delivers(settings, tmp_path):
    (tmp_path / "plain_backend.py").write_text(BACKEND)
    env = {
        **settings,
        "PYTHONPATH": str(tmp_path),
        "PLAIN_FILE": str(tmp_path / "sent"),
        "MAILQUEUE_DELIVERY_BACKEND": "plain_backend.Plain",
    }
    receipts = mailqueue.enqueue_many(message(n) for n in range(3))
    with Worker(env, pool="prefork", concurrency=1):
        assert settled(receipts) == {"sent": 3}
    assert (tmp_path / "sent").read_text().splitlines() == ["Number 0", "Number 1", "Number 2"]


@on_valkey_alone
def test_settings_that_cannot_work_stop_the_worker_at_its_start(settings):
    from mailqueue.testing.worker import WorkerTrouble  # noqa: PLC0415

    env = {**settings, "MAILQUEUE_DELIVERY_BACKEND": "mailqueue.mail.backends.queue.EmailBackend", "EMAIL_PORT": "no"}
    with pytest.raises(WorkerTrouble) as caught, Worker(env):
        pass
    assert "MAILQUEUE_DELIVERY_BACKEND" in str(caught.value)
    assert "EMAIL_PORT" in str(caught.value)


PROJECT = """
from celery import Celery
import workers

app = Celery("shop", broker=__import__("os").environ["MAILQUEUE_BROKER_URL"])
workers.install(app)

@app.task
def add(a, b):
    return a + b
"""


def test_a_projects_own_application_carries_the_mail(settings, inbox, tmp_path):
    (tmp_path / "shop.py").write_text(PROJECT)
    env = {**settings, **relay(inbox), "PYTHONPATH": str(tmp_path)}
    lanes = ("default", "urgent")
    with Worker(env, application="shop", lanes=lanes, pool="prefork", concurrency=1) as worker:
        receipt = mailqueue.enqueue(message(to=["later@example.com"]))
        assert settled([receipt]) == {"sent": 1}  # its worker ticks as well
        assert "lanes=urgent,default" in worker.log
