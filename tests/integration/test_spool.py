"""The spool under several processes, forks and ``kill -9``, with a real store that comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from redis import Redis

import mailqueue
from mailqueue import conf
from mailqueue.lanes import queue_name
from mailqueue.producer import get_producer
from mailqueue.spool import Spool
from mailqueue.testing.environment import clean_environment
from mailqueue.testing.store import EmbeddedValkey

pytestmark = pytest.mark.store

#: Enqueues for as long as its input has lines, and tells each receipt when it has it.
PROGRAM = """
import sys
import mailqueue

for line in sys.stdin:
    message = mailqueue.EmailMessage(line.strip(), "text", "f@example.com", ["t@example.com"])
    receipt = mailqueue.enqueue(message, idempotency_key=line.strip())
    print(receipt.id, int(receipt.spooled), flush=True)
"""


@pytest.fixture
def store():
    """A store that is not there yet."""
    with EmbeddedValkey() as valkey:
        valkey.kill()
        yield valkey


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


def start(store, path):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(MAILQUEUE_BROKER_URL=store.url, MAILQUEUE_SPOOL=str(path)),
    )


def settings(store, path):
    conf.configure(MAILQUEUE_BROKER_URL=store.url, MAILQUEUE_SPOOL=path)


def waiting(path):
    spool = Spool(path)
    try:
        return spool.status().waiting
    finally:
        spool.close()


def tasks(store):
    with Redis.from_url(store.url) as client:
        return client.llen(queue_name("default"))


def test_many_processes_spool_at_once_and_each_message_is_sent_on_once(store, path):
    running = [start(store, path) for _ in range(4)]
    for number, process in enumerate(running):
        process.stdin.writelines(f"{number}-{place}\n" for place in range(50))
        process.stdin.flush()
    receipts = [process.stdout.readline().split() for process in running for _ in range(50)]
    assert {spooled for _id, spooled in receipts} == {"1"}
    assert waiting(path) == len({id_ for id_, _spooled in receipts}) == 200
    store.start()
    for number, process in enumerate(running):  # each replays what it finds, beside the others
        process.stdin.writelines(f"{number}-after-{place}\n" for place in range(10))
        process.stdin.close()
    after = [line.split() for process in running for line in process.stdout]
    for process in running:
        process.stdout.close()
    assert [process.wait(30) for process in running] == [0] * 4
    assert {spooled for _id, spooled in after} == {"0"}
    settings(store, path)
    producer = get_producer()
    producer.spool.replay(producer.ledger, producer.publisher)
    assert waiting(path) == 0
    assert mailqueue.counts() == {"default": {"queued": 240}}
    assert {mailqueue.status(id_).state for id_, _spooled in receipts + after} == {mailqueue.State.QUEUED}
    producer.close()


def test_what_was_told_to_be_spooled_survives_kill_9(store, path):
    told = []
    for number in range(6):
        process = start(store, path)
        process.stdin.writelines(f"{number}-{place}\n" for place in range(300))
        process.stdin.flush()
        told += [process.stdout.readline().split()[0] for _ in range(10 + 7 * number)]
        process.send_signal(signal.SIGKILL)
        told += [line.split()[0] for line in process.communicate()[0].splitlines() if line.endswith(" 1")]
    store.start()
    settings(store, path)
    producer = get_producer()
    count = producer.spool.replay(producer.ledger, producer.publisher, 10_000)
    assert count >= len(told) == len(set(told))
    assert {mailqueue.status(id_).state for id_ in told} == {mailqueue.State.QUEUED}
    assert mailqueue.counts() == {"default": {"queued": count}}
    producer.close()


def test_a_replayer_that_is_killed_loses_nothing_and_repeats_nothing(store, path, monkeypatch):
    settings(store, path)
    mails = (mailqueue.EmailMessage(f"{n}", "b", "f@example.com", ["t@example.com"]) for n in range(1000))
    receipts = mailqueue.enqueue_many(mails)
    store.start()
    program = (
        "from mailqueue.producer import get_producer\n"
        "producer = get_producer()\n"
        "print('begins', flush=True)\n"
        "producer.spool.replay(producer.ledger, producer.publisher, 5000)\n"
    )
    for _ in range(3):
        replayer = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            env=clean_environment(MAILQUEUE_BROKER_URL=store.url, MAILQUEUE_SPOOL=str(path)),
        )
        with replayer:
            replayer.stdout.readline()
            with Redis.from_url(store.url) as client, client.monitor() as monitor:
                seen = 0
                for command in monitor.listen():
                    seen += "EVALSHA" in command["command"]
                    if seen == 2 or replayer.poll() is not None:
                        break
            replayer.send_signal(signal.SIGKILL)
    producer = get_producer()
    monkeypatch.setattr(producer.spool, "_clock", lambda: time.time() + 31)  # what the dead had taken is free then
    producer.spool.replay(producer.ledger, producer.publisher, 5000)
    assert waiting(path) == 0
    assert mailqueue.counts() == {"default": {"queued": 1000}}
    assert {receipt.status().state for receipt in receipts} == {mailqueue.State.QUEUED}
    assert 10 <= tasks(store) <= 10 + 3  # a parcel may have been published by one that died before it could say so
    producer.close()


def test_forked_processes_spool_beside_their_parent(store, path):
    """As gunicorn does it with preload."""
    settings(store, path)

    def enqueue(count):
        mails = (mailqueue.EmailMessage(f"{n}", "b", "f@example.com", ["t@example.com"]) for n in range(count))
        return [mailqueue.enqueue(mail) for mail in mails]

    enqueue(3)
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if all(receipt.spooled for receipt in enqueue(20)) else 2
            finally:
                os._exit(status)
        children.append(pid)
    enqueue(20)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert waiting(path) == 3 + 80 + 20
    store.start()
    producer = get_producer()
    assert producer.spool.replay(producer.ledger, producer.publisher, 1000) == 103
    assert mailqueue.counts() == {"default": {"queued": 103}}
    producer.close()
