"""Campaigns with real workers on a real store: paused, killed, resumed, cancelled; everybody gets one message."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from mailqueue import bulk, conf
from mailqueue.bulk import Template
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.worker import Worker

pytestmark = pytest.mark.store

FAST = {"MAILQUEUE_LEASE_SECONDS": "5", "MAILQUEUE_TICK_SECONDS": "0.5", "MAILQUEUE_RETRY_DELAYS": "1"}
TEMPLATE = Template(
    subject="Hello {{ name }}",
    text="Dear {{ name }}, your code is {{ code }}.",
    html="<p>Dear {{ name }}, your code is <b>{{ code }}</b>.</p>",
    from_email="Shop <shop@example.org>",
)
PAUSE = threading.Event()


def people(count):
    return [(f"p{n}@example.com", {"name": f"P{n}", "code": n}) for n in range(count)]


@pytest.fixture
def inbox():
    with Inbox() as inbox:
        yield inbox


@pytest.fixture
def settings(valkey_url, inbox):
    conf.configure(MAILQUEUE_BROKER_URL=valkey_url)
    return {"MAILQUEUE_BROKER_URL": valkey_url, "EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port), **FAST}


def arrived(inbox):
    return Counter(recipient for arrival in inbox.arrivals for recipient in arrival.recipients)


def until(condition, workers=(), timeout=60.0):
    """Wait for something that has no signal."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("\n".join(worker.log[-6000:] for worker in workers) or "it did not come about")
        PAUSE.wait(0.05)


def test_each_recipient_gets_a_message_of_their_own(settings, inbox):
    campaign = bulk.send(TEMPLATE, people(2000), campaign="spring")
    assert campaign.added == 2000
    with Worker(settings, concurrency=2) as worker:
        until(lambda: campaign.status().ended, [worker])
        assert "action=campaign_finished campaign=spring total=2000 sent=2000" in worker.log
    assert arrived(inbox) == Counter(address for address, _ in people(2000))
    subjects = Counter(arrival.message["Subject"] for arrival in inbox.arrivals)
    assert subjects == Counter(f"Hello P{n}" for n in range(2000))
    assert len({arrival.message_id for arrival in inbox.arrivals}) == 2000
    assert {row.state for row in campaign.export()} == {"sent"}
