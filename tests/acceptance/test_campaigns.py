"""Campaigns with real workers on a real store: paused, killed, resumed, cancelled; everybody gets one message."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest

from mailqueue import bulk, conf
from mailqueue.bulk import CampaignState, Template
from mailqueue.bulk.address import digest
from mailqueue.ledger.states import State
from mailqueue.producer import get_producer
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
        worker.wait_for_log("action=campaign_finished campaign=spring total=2000 sent=2000")
    assert arrived(inbox) == Counter(address for address, _ in people(2000))
    subjects = Counter(arrival.message["Subject"] for arrival in inbox.arrivals)
    assert subjects == Counter(f"Hello P{n}" for n in range(2000))
    assert len({arrival.message_id for arrival in inbox.arrivals}) == 2000
    assert {row.state for row in campaign.export()} == {"sent"}


def copies_beyond_one(inbox):
    return sum(count - 1 for count in arrived(inbox).values())


def unknowns():
    return get_producer().ledger.counters()["unknown"]


def let_go_of_the_unknown(campaign):
    """Decide that what was held for want of an answer has arrived; returns how many."""
    ledger = get_producer().ledger
    held = [f"{campaign.id}~{digest(row.address)}" for row in campaign.export() if row.state in {"unknown", "held"}]
    for message_id in held:
        ledger.resolve(message_id, State.SENT)
    return len(held)


def test_paused_killed_and_resumed_it_reaches_everybody_once_but_what_is_counted(settings, inbox):
    campaign = bulk.send(TEMPLATE, people(2000), campaign="spring")
    with Worker(settings, concurrency=2) as worker:
        until(lambda: inbox.count >= 200, [worker])
        assert campaign.pause().state is CampaignState.PAUSED
        until(lambda: resting(campaign), [worker])
        paused_at = inbox.count
        PAUSE.wait(1.5)
        assert inbox.count == paused_at < 2000
        campaign.resume()
        until(lambda: inbox.count >= paused_at + 200, [worker])
        os.kill(worker.children()[0], signal.SIGKILL)
        until(lambda: inbox.count >= paused_at + 600 or campaign.status().ended, [worker])
        worker.kill()
        worker.start()
        until(lambda: campaign.status().ended, [worker])
    status = campaign.status()
    assert status.state is CampaignState.FINISHED
    assert status.counts["sent"] + status.counts["unknown"] + status.counts["held"] == 2000
    let_go_of_the_unknown(campaign)
    missing = {address for address, _ in people(2000)} - arrived(inbox).keys()
    # A message whose answer was lost counts as unknown, and is held: it has gone out, or its last byte has not.
    assert len(missing) <= unknowns()
    assert copies_beyond_one(inbox) <= unknowns()
    assert {row.state for row in campaign.export()} == {"sent"}


def resting(campaign):
    counts = campaign.status().counts
    return counts["sending"] == 0


def test_whoever_has_not_got_it_when_it_is_cancelled_does_not_get_it(settings, inbox):
    campaign = bulk.send(TEMPLATE, people(2000))
    with Worker(settings, concurrency=1) as worker:
        until(lambda: inbox.count >= 100, [worker])
        campaign.cancel()
        until(lambda: campaign.status().done == 1.0, [worker])
        status = campaign.status()
        PAUSE.wait(1.0)
        assert inbox.count == status.counts["sent"]
    assert status.state is CampaignState.CANCELLED
    assert status.counts["sent"] + status.counts["cancelled"] == 2000
    assert {row.state for row in campaign.export()} == {"sent", "cancelled"}


def test_nothing_goes_out_after_its_end(settings, inbox):
    campaign = bulk.send(TEMPLATE, people(20), expires_at=timedelta(seconds=2))
    campaign.pause()
    PAUSE.wait(2.2)
    with Worker(settings, concurrency=1) as worker:
        until(lambda: campaign.status().ended, [worker])
        assert (campaign.status().state, campaign.status().counts["expired"]) == (CampaignState.EXPIRED, 20)
    assert inbox.count == 0


def test_two_workers_feed_it_together(settings, inbox):
    campaigns = [bulk.send(TEMPLATE, people(1500), campaign=name) for name in ("spring", "summer")]
    with Worker(settings, concurrency=1) as first, Worker(settings, concurrency=1) as second:
        until(lambda: all(campaign.status().ended for campaign in campaigns), [first, second])
        until(lambda: sum(worker.log.count("action=campaign_finished") for worker in (first, second)) == 2)
    assert arrived(inbox) == Counter({address: 2 for address, _ in people(1500)})
    assert unknowns() == 0


def test_a_moment_that_two_workers_wait_for_starts_one_campaign(settings, inbox, tmp_path):
    people_file = tmp_path / "people.csv"
    people_file.write_text("email,name,code\n" + "".join(f"p{n}@example.com,P{n},{n}\n" for n in range(300)))
    made = bulk.schedule("digest", "* * * * *", time_zone="UTC", template=TEMPLATE, recipients=people_file)
    ledger = get_producer().ledger
    (entry,) = ledger.schedules.all()
    assert ledger.schedules.move("digest", entry.due_at, entry.due_at - 60)  # not to wait for a whole minute
    with Worker(settings, concurrency=1) as first, Worker(settings, concurrency=1) as second:
        workers = [first, second]
        until(lambda: bulk.campaigns() and bulk.campaigns()[-1].ended, workers)
        started = f"action=schedule_started schedule=digest campaign=digest-{made.next_at - timedelta(minutes=1):%Y%m%dt%H%Mz}"
        until(lambda: any(started in worker.log for worker in workers))
        assert sum(worker.log.count(started) for worker in workers) == 1
        assert bulk.unschedule("digest")
    count = len(bulk.campaigns())  # the next minute may have come meanwhile
    assert set(arrived(inbox).values()) <= {count, count - 1}


def test_while_one_of_its_relays_is_down_another_takes_over(settings, inbox):
    with Inbox() as gone:
        port = gone.port  # nobody listens there afterwards
    relays = {"eu": inbox.port, "us": port}
    mailers = {
        alias: {
            "BACKEND": "mailqueue.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": port},
        }
        for alias, port in relays.items()
    }
    del settings["EMAIL_HOST"], settings["EMAIL_PORT"]
    conf.configure(MAILERS=mailers)
    campaign = bulk.send(TEMPLATE, people(600), using={"eu": 1, "us": 1})
    with Worker(settings | {"MAILERS": json.dumps(mailers)}, concurrency=1) as worker:
        until(lambda: campaign.status().ended, [worker])
        assert "action=relay_trouble relay=us" in worker.log
    assert arrived(inbox) == Counter(address for address, _ in people(600))


def test_a_slow_domain_keeps_no_other_waiting(settings, inbox):
    slow = [(f"s{n}@slow.example", {"name": f"S{n}", "code": n}) for n in range(100)]
    limits = {"default": {"domains": {"slow.example": "20/s"}}}
    campaign = bulk.send(TEMPLATE, [*slow, *people(400)])
    with Worker(settings | {"MAILQUEUE_RELAYS": json.dumps(limits)}, concurrency=2) as worker:
        until(lambda: campaign.status().ended, [worker])
    assert arrived(inbox) == Counter(address for address, _ in [*slow, *people(400)])
    times = {arrival.recipients[0]: arrival.arrived_at for arrival in inbox.arrivals}
    pace = [times[address] for address, _ in slow]
    assert max(pace) - min(pace) >= (len(slow) - 4) / 20  # a tenth of a second's worth may come at once, and one more
    assert max(times[address] for address, _ in people(400)) < max(pace)
