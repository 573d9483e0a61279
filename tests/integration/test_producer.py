"""Enqueueing on a real Valkey that carries both the tasks and the ledger, and on one that lets us down."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from redis import Redis

import mailqueue
from mailqueue import conf
from mailqueue.codec import Parcel, decode
from mailqueue.envelope import unpack
from mailqueue.lanes import DEFAULT_LANE, TASK_NAME, queue_name, task_queue
from mailqueue.producer import get_producer
from mailqueue.testing.store import EmbeddedValkey

pytestmark = pytest.mark.store

DEADLINE = 2.0
#: s; what a busy machine may add to a deadline.
GRACE = 1.0


def settings(broker, ledger=None):
    conf.configure(MAILQUEUE_BROKER_URL=broker, MAILQUEUE_LEDGER_URL=ledger or broker, MAILQUEUE_DEADLINE=DEADLINE)


def message(number=0, **fields):
    return mailqueue.EmailMultiAlternatives(
        **{
            "subject": f"Number {number}",
            "body": "text " * 100,
            "from_email": "f@example.com",
            "to": ["t@example.com"],
            "alternatives": [("<p>text</p>" * 50, "text/html")],
            **fields,
        }
    )


@pytest.fixture
def store(valkey_url):
    settings(valkey_url)
    with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def own_store():
    """A Valkey that the test may freeze and kill."""
    with EmbeddedValkey() as valkey:
        settings(valkey.url)
        yield valkey
        valkey.thaw()


def tasks(client, lane=DEFAULT_LANE):
    """The parcels that wait in the broker, oldest first."""
    bodies = [json.loads(raw)["body"] for raw in reversed(client.lrange(queue_name(lane), 0, -1))]
    return [Parcel.from_wire(json.loads(body)[0][0]) for body in bodies]


def took(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


# -- what arrives


def test_celery_runs_the_task_with_the_parcel(store, valkey_url):
    app = Celery("test", broker=valkey_url, set_as_current=False)
    app.conf.update(task_queues=[task_queue(DEFAULT_LANE, "redis")], task_default_queue=queue_name(DEFAULT_LANE))
    arrived, done = [], threading.Event()

    @app.task(name=TASK_NAME, bind=True)
    def deliver(task, wire):
        arrived.append((task.request.id, task.request.get("argsrepr"), Parcel.from_wire(wire)))
        if len(arrived) == 2:
            done.set()

    receipts = [mailqueue.enqueue(message(subject="Grüße")) for _ in range(2)]  # the second is pushed by the ledger
    with start_worker(app, pool="solo", perform_ping_check=False):
        assert done.wait(20)
    for number, (receipt, (task_id, argsrepr, parcel)) in enumerate(zip(receipts, arrived, strict=True), 1):
        assert len(task_id) == 36
        assert not argsrepr
        assert parcel.number == number
        [(id_, encoded)] = parcel.items
        assert id_ == receipt.id
        assert unpack(decode(encoded), {}).subject == "Grüße"


def test_in_one_store_a_message_is_accepted_and_published_in_one_call(store, monkeypatch):
    mailqueue.enqueue(message())
    monkeypatch.setattr(get_producer().publisher, "publish", lambda *_, **__: pytest.fail("a second call"))
    receipt = mailqueue.enqueue(message())
    mailqueue.enqueue(message(attachments=[("a.bin", os.urandom(100_000), "application/octet-stream")]))
    assert [parcel.number for parcel in tasks(store)] == [1, 2, 3]
    assert tasks(store)[1].items[0][0] == receipt.id
    assert receipt.state == "queued"


def test_in_two_stores_the_task_goes_to_the_brokers(store, own_store, valkey_url):
    settings(own_store.url, valkey_url)
    receipts = [mailqueue.enqueue(message()) for _ in range(2)]
    with Redis.from_url(own_store.url) as broker:
        assert [parcel.items[0][0] for parcel in tasks(broker)] == [receipt.id for receipt in receipts]
    assert tasks(store) == []


def test_the_task_is_in_the_broker_and_the_message_in_the_ledger(store):
    receipt = mailqueue.enqueue(message(), lane="urgent", metadata={"order": 7})
    [parcel] = tasks(store, "urgent")
    assert [id_ for id_, _ in parcel.items] == [receipt.id]
    assert parcel.number == 1
    status = receipt.status()
    assert (status.state, status.lane, status.metadata) == ("queued", "urgent", {"order": 7})
    assert status.recipients["t@example.com"].verdict == "pending"
    assert mailqueue.counts() == {"urgent": {"queued": 1}}


def test_a_large_attachment_is_stored_once(store):
    content = os.urandom(300_000)
    mailqueue.enqueue_many(message(n, attachments=[("a.bin", content, "application/octet-stream")]) for n in range(20))
    assert sum(len(encoded) for parcel in tasks(store) for _, encoded in parcel.items) < 30_000
    assert [store.strlen(key) for key in store.keys("*") if store.type(key) == b"string"].count(len(content)) == 1
    envelope = decode(tasks(store)[0].items[0][1])
    blobs = get_producer().ledger.get_blobs(envelope.blobs())
    assert unpack(envelope, blobs).attachments[0].content == content


def test_a_mass_mail_travels_in_parcels(store):
    data = ((f"Number {n}", "b", "f@example.com", ["t@example.com"]) for n in range(250))
    assert mailqueue.send_mass_mail(data) == 250
    assert [len(parcel.items) for parcel in tasks(store)] == [100, 100, 50]
    assert [parcel.number for parcel in tasks(store)] == [1, 2, 3]


# -- trouble


def test_a_store_that_is_not_there_is_told_at_once():
    settings("redis://127.0.0.1:1/0")

    def enqueue():
        with pytest.raises(mailqueue.BrokerUnavailable, match="cannot be reached"):
            mailqueue.enqueue(message())

    assert took(enqueue) < DEADLINE


@pytest.mark.parametrize("used", [True, False], ids=["used", "new"])
@pytest.mark.parametrize("size", [0, 500_000], ids=["small", "large"])
def test_a_frozen_store_is_told_within_the_deadline(own_store, used, size):
    if used:
        mailqueue.enqueue(message())
    own_store.freeze()
    mail = message(attachments=[("a.bin", os.urandom(size), "application/octet-stream")])

    def enqueue():
        with pytest.raises(mailqueue.BrokerUnavailable, match="did not answer") as caught:
            mailqueue.enqueue(mail)
        assert len(caught.value.message_ids) == 1

    assert took(enqueue) < DEADLINE + GRACE


def test_what_a_frozen_store_had_taken_all_the_same_is_known_by_its_id(own_store):
    mailqueue.enqueue(message())
    own_store.freeze()
    with pytest.raises(mailqueue.BrokerUnavailable) as caught:
        mailqueue.enqueue(message())
    own_store.thaw()
    [id_] = caught.value.message_ids
    with contextlib.suppress(mailqueue.MessageNotFound):  # it had not: both are possible, and the id tells them apart
        assert mailqueue.status(id_).state == "queued"


def test_a_thawed_store_takes_mail_again(own_store):
    own_store.freeze()
    with pytest.raises(mailqueue.BrokerUnavailable):
        mailqueue.enqueue(message())
    own_store.thaw()
    assert mailqueue.enqueue(message()).state == "queued"


def test_a_store_that_was_restarted_is_connected_to_again(own_store):
    first = mailqueue.enqueue(message(1))
    own_store.stop()
    own_store.start()
    second = mailqueue.enqueue(message(2))
    assert [first.status().state, second.status().state] == ["queued", "queued"]
    with Redis.from_url(own_store.url) as client:
        assert [parcel.items[0][0] for parcel in tasks(client)] == [first.id, second.id]


def test_a_broker_that_refuses_makes_the_message_wait_for_the_tick(valkey_url):
    settings("redis://127.0.0.1:1/0", valkey_url)
    receipt = mailqueue.enqueue(message())
    status = receipt.status()
    assert receipt.state == status.state == "deferred"
    assert 0 < status.due_at - status.accepted_at < 3
    assert mailqueue.counts() == {"default": {"deferred": 1}}


def test_a_frozen_broker_costs_the_deadline_once_and_then_nothing(own_store, valkey_url):
    settings(own_store.url, valkey_url)
    mailqueue.enqueue(message())
    own_store.freeze()
    assert took(lambda: mailqueue.enqueue(message())) < DEADLINE + GRACE
    assert took(lambda: mailqueue.enqueue(message())) < 0.5
    assert mailqueue.counts() == {"default": {"queued": 1, "deferred": 2}}
    own_store.thaw()


# -- threads, forks, many


def test_eight_threads_enqueue_at_once(store):
    started = threading.Barrier(8)
    receipts = []

    def run(thread):
        started.wait(10)
        receipts.extend(mailqueue.enqueue(message(thread * 50 + number)) for number in range(50))

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    ids = [parcel.items[0][0] for parcel in tasks(store)]
    assert sorted(ids) == sorted(receipt.id for receipt in receipts)
    assert len(set(ids)) == 400
    assert {receipt.status().state for receipt in receipts} == {"queued"}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_forked_processes_enqueue_beside_their_parent(store):
    """As gunicorn does it with preload: the parent has enqueued before it forks."""
    mailqueue.enqueue(message(0))
    producer = get_producer()
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                mailqueue.enqueue_many(message(number) for number in range(20))
                for number in range(20):
                    mailqueue.enqueue(message(child * 20 + number))
                status = 0 if get_producer() is not producer else 2
            finally:
                os._exit(status)
        children.append(pid)
    for number in range(20):
        mailqueue.enqueue(message(number))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    mailqueue.enqueue(message(0))
    assert get_producer() is producer
    ids = [id_ for parcel in tasks(store) for id_, _ in parcel.items]
    assert len(set(ids)) == len(ids) == 1 + 4 * 40 + 20 + 1
    assert mailqueue.counts() == {"default": {"queued": len(ids)}}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_another_thread_makes_the_producer_does_not_hang(store):
    from mailqueue import producer as module  # noqa: PLC0415 - its lock is what this is about

    with module._lock:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                mailqueue.enqueue(message())
                status = 0
            finally:
                os._exit(status)
        deadline = time.monotonic() + 20
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        if ended == (0, 0):
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert ended[0] == pid


def test_memory_stays_flat_over_a_long_iterator(store):
    resident = []
    page = os.sysconf("SC_PAGE_SIZE")

    def data():
        for number in range(100_000):
            if number % 5000 == 0:
                resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)
            yield f"Number {number}", "text " * 200, "f@example.com", [f"t{number}@example.com"]

    assert mailqueue.send_mass_mail(data()) == 100_000
    assert 1000 <= store.llen(queue_name(DEFAULT_LANE)) < 1100  # a parcel waits a second at most for the next message
    # The messages are 130 MB, and their receipts would be 30.
    assert max(resident[2:]) - resident[1] < 8_000_000


def test_the_lanes_of_concurrent_senders_do_not_mix(store):
    threads = [
        threading.Thread(
            target=lambda lane=lane: mailqueue.enqueue_many((message(n) for n in range(150)), lane=lane),
        )
        for lane in ("urgent", "default", "bulk")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = Counter(
        (lane, decode(encoded).lane)
        for lane in ("urgent", "default", "bulk")
        for parcel in tasks(store, lane)
        for _, encoded in parcel.items
    )
    assert found == {(lane, lane): 150 for lane in ("urgent", "default", "bulk")}
