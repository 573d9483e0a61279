"""Two workers of several processes each, and a relay in trouble: what the fleet as a whole does to it."""

from __future__ import annotations

import threading
import time

import pytest

import mailqueue
from mailqueue import EmailMessage, conf
from mailqueue.producer import get_producer
from mailqueue.testing.script import drip
from mailqueue.testing.scripted import ScriptedServer
from mailqueue.testing.worker import Worker

pytestmark = pytest.mark.store

HASTY = """
from workers import app, relays

relays.FIRST_PROBE, relays.LAST_PROBE, relays.LOOK_EVERY = 0.5, 2.0, 0.2  # s, of 5, 300 and 2
"""
PROCESSES = 4  # two workers of two each
MESSAGES = 60


@pytest.fixture
def settings(valkey_url, tmp_path):
    """Configure this process as the producer; returns what workers need in their environment, but for the relay."""
    conf.configure(MAILQUEUE_BROKER_URL=valkey_url, MAILQUEUE_LEDGER_URL=valkey_url)
    (tmp_path / "hasty.py").write_text(HASTY)
    return {
        "MAILQUEUE_BROKER_URL": valkey_url,
        "MAILQUEUE_LEDGER_URL": valkey_url,
        "MAILQUEUE_LEASE_SECONDS": "3",
        "MAILQUEUE_TICK_SECONDS": "0.5",
        "PYTHONPATH": str(tmp_path),
    }


@pytest.fixture
def fleet(settings):
    """Makes the workers of a fleet that sends through a relay."""
    workers = []

    def make(server, **more):
        env = {**settings, "EMAIL_HOST": server.host, "EMAIL_PORT": str(server.port), **more}
        workers.extend(Worker(env, application="hasty", concurrency=PROCESSES // 2) for _ in range(2))
        for worker in workers:
            worker.start()
        return workers

    yield make
    for worker in workers:
        worker.close()


class Watch:
    """Samples what the fleet does to a relay: how many connections it has open at once."""

    def __init__(self, server):
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def _run(self):
        while not self._stop.wait(0.01):
            self.most = max(self.most, self.open)

    @property
    def open(self):
        return sum(not each.ended for each in self._server.connections)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def wait_until(condition, timeout=60.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def entries(receipts):
    return [get_producer().ledger.get(receipt.id) for receipt in receipts]


def enqueue(count):
    """One task a message, so that all processes have something to do."""
    return [
        mailqueue.enqueue(EmailMessage(f"Number {number}", "Hello\n", "app@example.com", ["ann@example.com"]))
        for number in range(count)
    ]


def test_a_relay_that_is_down_is_asked_by_one_at_a_time_and_not_run_over_when_it_is_back(fleet):
    refusal = drip("greeting", "554 5.3.2 not now, come back later", interval=0.01)
    with ScriptedServer(refusal) as server:
        workers = fleet(server)
        receipts = enqueue(MESSAGES)
        ledger = get_producer().ledger
        wait_until(lambda: ledger.relay_states().get("") and not Watch(server).open)
        met_by_all = len(server.connections)
        assert met_by_all <= PROCESSES
        with Watch(server) as watch:
            wait_until(lambda: ledger.relay_states()[""].times >= 4)
        assert watch.most == 1
        assert len(server.connections) - met_by_all <= 5
        assert {(entry.state, entry.attempts) for entry in entries(receipts)} <= {
            ("deferred", 0),
            ("queued", 0),
            ("sending", 0),
        }
        began = len(server.connections)
        server.play()
        with Watch(server) as watch:
            wait_until(lambda: {entry.state for entry in entries(receipts)} == {"sent"})
        assert watch.most <= PROCESSES
        assert len(server.connections) - began <= 2 * PROCESSES
        assert len(server.messages) == MESSAGES
        assert {entry.attempts for entry in entries(receipts)} == {1}
        assert ledger.relay_states() == {}
    log = "".join(worker.log for worker in workers)
    assert log.count("action=relay_recovered") == 1


def test_a_login_that_is_refused_is_tried_once_by_each_process_at_most(fleet):
    login = {"EMAIL_HOST_USER": "app", "EMAIL_HOST_PASSWORD": "wrong"}
    with ScriptedServer(users={"app": "right"}) as server:
        workers = fleet(server, **login)
        receipts = enqueue(MESSAGES)
        ledger = get_producer().ledger
        wait_until(lambda: {entry.state for entry in entries(receipts)} == {"deferred"})
        assert ledger.relay_states()[""].latched
        assert len(server.connections) <= PROCESSES
        assert "".join(worker.log for worker in workers).count("action=relay_latched") == 1
        tried = len(server.connections)
        more = enqueue(MESSAGES)
        wait_until(lambda: {entry.state for entry in entries(more)} == {"deferred"})
        assert len(server.connections) == tried
        assert {entry.attempts for entry in entries([*receipts, *more])} == {0}
