"""When all mail is sent and all records have ended, the store is as empty as on its first day, but for some counters."""

from __future__ import annotations

import datetime as dt
import time

import pytest
import redis

import mailqueue
from mailqueue import EmailMessage, conf
from mailqueue.lanes import LANES
from mailqueue.ledger.rules import BLOB_TTL
from mailqueue.testing import EmbeddedValkey, Inbox, Worker

pytestmark = pytest.mark.store

#: What stays for good, whatever was sent: a few hundred octets, however many messages there were.
CONSTANT = {
    *(f"{{mailqueue}}:{name}" for name in ("counts", "events", "tick")),
    *(f"{{mailqueue}}:lane:{lane}" for lane in LANES),
}
_KOMBUS = "_kombu.binding"  # kombu's own notes of which queues there are


@pytest.fixture
def store():
    with EmbeddedValkey() as server, redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def inbox():
    with Inbox(refuse=["nobody@example.com"]) as server:
        yield server


@pytest.fixture
def settings(store, inbox):
    host, port = (store.get_connection_kwargs()[name] for name in ("host", "port"))
    given = {
        "MAILQUEUE_BROKER_URL": f"redis://{host}:{port}/0",
        "MAILQUEUE_LEASE_SECONDS": "2",
        "MAILQUEUE_RETENTION": "3",
        "MAILQUEUE_TICK_SECONDS": "0.5",
        "EMAIL_HOST": inbox.host,
        "EMAIL_PORT": str(inbox.port),
    }
    with conf.override(**given):
        yield given


def message(*to, large=b"", name="terms.pdf"):
    mail = EmailMessage("Subject", "Text.\n" * 50, "shop@example.com", list(to))
    if large:
        mail.attach(name, large, "application/pdf")
    return mail


def keys(store):
    return {key.decode() for key in store.scan_iter(count=1000) if not key.startswith(_KOMBUS.encode())}


def await_none(left, timeout=20):
    """Wait until ``left()`` is empty; the records end by the store's own clock."""
    deadline = time.monotonic() + timeout
    while found := left():
        assert time.monotonic() < deadline, sorted(found)[:20]
        time.sleep(0.05)


def enqueue_all():
    """Mail of every kind; how many messages arrive."""
    shared, own = b"%PDF shared" * 10_000, b"%PDF own" * 10_000
    many = [f"user{number}@example.com" for number in range(50)]  # whose answers need a key of their own
    mailqueue.enqueue(message("one@example.com"))
    mailqueue.enqueue(message(*many))
    mailqueue.enqueue(message("key@example.com"), idempotency_key="order-1")
    mailqueue.enqueue(message("key@example.com"), idempotency_key="order-1")
    mailqueue.enqueue(message("urgent@example.com"), lane="urgent")
    mailqueue.enqueue(message("nobody@example.com", large=own), idempotency_key="order-2")
    mailqueue.enqueue(message("nobody@example.com", "partial@example.com", large=shared))
    mailqueue.enqueue_many((message(to, large=shared) for to in many), lane="bulk")
    mailqueue.enqueue_many(message(to) for to in many)
    late = mailqueue.enqueue(message("late@example.com"), expires_at=dt.timedelta(milliseconds=1))
    later = mailqueue.enqueue(
        message("later@example.com", large=own), send_at=dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    )
    assert later.cancel()
    assert late
    return 1 + 1 + 1 + 1 + 1 + 50 + 50


def test_nothing_is_left_when_the_last_record_has_ended(store, inbox, settings):
    arriving = enqueue_all()
    with Worker(settings, concurrency=1, options=("--without-gossip", "--without-mingle")):
        inbox.wait_for(arriving, 30)
        await_none(lambda: {name for name in keys(store) if name.startswith("{mailqueue}:e:")})
        large = {name for name in keys(store) if name.startswith("{mailqueue}:b:")}
        assert len(large) == 2
        assert {0 < store.ttl(name) <= BLOB_TTL for name in large} == {True}
        store.delete(*large)  # an hour passes
        await_none(lambda: keys(store) - CONSTANT)
    assert keys(store) <= CONSTANT
    assert inbox.count == arriving


def test_mail_that_has_come_and_gone_leaves_no_memory(store, inbox, settings):
    """Also what SCAN does not show: a second lot leaves no more than the first one did."""
    left = []
    with Worker(settings, concurrency=1, options=("--without-gossip", "--without-mingle")):
        for turn in range(1, 4):
            mailqueue.enqueue_many(message(f"user{number}@example.com") for number in range(500))
            inbox.wait_for(500 * turn, 30)
            await_none(lambda: keys(store) - CONSTANT)
            told = store.info("memory")
            left.append(told["used_memory"] - told["mem_clients_normal"] - told["mem_aof_buffer"])
    assert left[2] - left[1] < 500 * 100
