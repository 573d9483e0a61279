"""Two workers of two processes each, and a relay with limits: what the fleet as a whole sends it, second by second."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

import mailqueue
from mailqueue import EmailMessage, conf
from mailqueue.producer import get_producer
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.worker import Worker

pytestmark = pytest.mark.store

RATE, SLOW_RATE = 200, 20
RELAYS = {"default": {"rates": f"{RATE}/s", "domains": {"slow.example": f"{SLOW_RATE}/s"}}}
#: Messages that may come besides what the rate gives in a stretch of time: the account's burst, and what the machine
#: holds up on the way, so that it arrives later.
SLACK = 0.6  # s of the rate


class Log:
    """What arrived when, by domain; the time is this host's, so that the workers' clocks do not matter."""

    def __init__(self):
        self.arrivals = []

    def __call__(self, arrival):
        self.arrivals.append((time.monotonic(), arrival.recipients[0].rpartition("@")[2]))

    def times(self, *domains):
        return [at for at, domain in self.arrivals if not domains or domain in domains]

    def most(self, seconds, *domains):
        """The most messages of any stretch of so many s."""
        times, first, most = self.times(*domains), 0, 0
        for last, at in enumerate(times):
            while times[first] < at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def inbox(log):
    with Inbox(on_arrival=log, keep=1) as inbox:
        yield inbox


@pytest.fixture
def fleet(valkey_url, inbox):
    """Two workers on the relay with its limits; this process is the producer."""
    conf.configure(MAILQUEUE_BROKER_URL=valkey_url, MAILQUEUE_LEDGER_URL=valkey_url)
    env = {
        "MAILQUEUE_BROKER_URL": valkey_url,
        "MAILQUEUE_LEDGER_URL": valkey_url,
        "MAILQUEUE_RELAYS": json.dumps(RELAYS),
        "EMAIL_HOST": inbox.host,
        "EMAIL_PORT": str(inbox.port),
    }
    workers = [Worker(env, concurrency=2) for _ in range(2)]
    for worker in workers:
        worker.start()
    yield workers
    for worker in workers:
        worker.close()


def enqueue(count, domain, **more):
    messages = [EmailMessage("Hello", "Body", "app@example.com", [f"ann{n}@{domain}"]) for n in range(count)]
    with mailqueue.get_connection(lane=more.get("lane", "bulk")) as connection:
        assert connection.send_messages(messages) == count


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def test_the_fleet_keeps_to_the_rates_of_relay_and_domain(fleet, inbox, log):
    enqueue(100, "slow.example")
    enqueue(1000, "a.example")
    wait_until(lambda: inbox.count >= 1100, 40, lambda: Counter(domain for _, domain in log.arrivals))
    times = log.times()
    lasted = times[-1] - times[0]
    assert inbox.count == 1100
    assert len(times) <= 1 + RATE * (lasted + 0.1 + SLACK)
    assert log.most(1.0) <= 1 + RATE * (1.0 + 0.1 + SLACK)
    assert log.most(1.0, "slow.example") <= 1 + SLOW_RATE * (1.0 + 0.1 + SLACK)
    # The others are not held up by the slow domain: 1000 at 180/s or more take less than 7 s.
    others = log.times("a.example")
    assert len(others) / (others[-1] - others[0]) >= 0.8 * (RATE - SLOW_RATE)
    slow = log.times("slow.example")
    assert len(slow) / (slow[-1] - slow[0]) >= 0.6 * SLOW_RATE
    assert not get_producer().ledger.counts()["bulk"].get("failed")


def test_urgent_mail_passes_the_queue_of_a_limited_relay(fleet, inbox, log):
    enqueue(2000, "a.example")
    wait_until(lambda: inbox.count >= 100, 20, lambda: inbox.count)
    took = []
    for number in range(5):
        began = time.monotonic()
        enqueue(1, f"urgent{number}.example", lane="urgent")
        wait_until(lambda n=number: log.times(f"urgent{n}.example"), 10, lambda: inbox.count)
        took.append(log.times(f"urgent{number}.example")[0] - began)
    assert inbox.count < 2000
    assert sorted(took)[2] < 1.0, took
    get_producer().ledger.rates.override("", "unlimited")  # for the workers to end soon


def test_a_limit_that_is_changed_shows_at_once(fleet, inbox, log):
    rates = get_producer().ledger.rates
    enqueue(2500, "a.example")
    wait_until(lambda: inbox.count >= 200, 20, lambda: inbox.count)
    rates.override("", "20/s")
    time.sleep(0.5)  # what has its permits already
    before, began = inbox.count, time.monotonic()
    time.sleep(2.0)
    sent, lasted = inbox.count - before, time.monotonic() - began
    assert sent <= 1 + 20 * (lasted + 0.1 + SLACK)
    rates.override("", "unlimited")
    # What was put off meanwhile comes back in its time; the others go out as fast as the relay takes them.
    wait_until(lambda: inbox.count >= before + 600, 20, lambda: (inbox.count, before))
