"""An outage of the store from one end to the other: accepted by the spool, replayed by a worker, delivered once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import mailqueue
from mailqueue import conf
from mailqueue.spool import Spool
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.worker import Worker

pytestmark = pytest.mark.store


@pytest.fixture
def store():
    with EmbeddedValkey() as valkey:
        yield valkey


def message(number, **fields):
    return mailqueue.EmailMessage(f"Number {number}", "text", "f@example.com", [f"t{number}@example.com"], **fields)


def test_the_workers_of_a_host_empty_its_spool(store, tmp_path):
    path = tmp_path / "spool.db"
    with Inbox() as inbox:
        settings = {
            "MAILQUEUE_BROKER_URL": store.url,
            "MAILQUEUE_SPOOL": str(path),
            "EMAIL_HOST": inbox.host,
            "EMAIL_PORT": str(inbox.port),
        }
        conf.configure(MAILQUEUE_BROKER_URL=store.url, MAILQUEUE_SPOOL=path)
        with Worker(settings, concurrency=1):
            before = mailqueue.enqueue(message(0))
            inbox.wait_for(1)
            store.kill()
            large = ("a.bin", b"x" * 100_000, "application/octet-stream")
            spooled = mailqueue.enqueue_many(message(number, attachments=[large]) for number in range(1, 6))
            late = mailqueue.enqueue(message(6), expires_at=datetime.now(UTC) - timedelta(seconds=1))
            assert all(receipt.spooled for receipt in [*spooled, late])
            store.start()
            arrived = inbox.wait_for(6, timeout=60)  # nobody enqueues any more: the worker's tick finds them
        assert sorted(str(arrival.message["Subject"]) for arrival in arrived) == [f"Number {n}" for n in range(6)]
        assert {receipt.status().state for receipt in [before, *spooled]} == {mailqueue.State.SENT}
        assert late.status().state is mailqueue.State.EXPIRED
    spool = Spool(path)
    assert spool.status().waiting == 0
    spool.close()
