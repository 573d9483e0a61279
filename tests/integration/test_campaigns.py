"""Campaigns on a real Valkey: loaded, fed by several workers, and gone on with where one has died."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import Counter

import pytest
from redis import Redis

from mailqueue import bulk, conf
from mailqueue.bulk import CampaignState, Template
from mailqueue.bulk.address import digest
from mailqueue.codec import Parcel, decode
from mailqueue.ledger.campaigns import message_of
from mailqueue.ledger.open import open_ledger
from mailqueue.ledger.states import State
from mailqueue.producer import get_producer
from mailqueue.publisher import Publisher
from mailqueue.testing.store import EmbeddedValkey
from workers.feed import Feeder

pytestmark = pytest.mark.store

TEMPLATE = Template(subject="Hello {{ name }}", text="Dear {{ name }}", from_email="shop@example.org")


class Died(BaseException):
    """As by kill -9: nothing may handle it."""


def people(count):
    return [(f"p{n}@example.com", {"name": f"P{n}"}) for n in range(count)]


@pytest.fixture
def store(valkey_url):
    conf.configure(MAILQUEUE_BROKER_URL=valkey_url)
    with Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def feeder(valkey_url, store):
    """Makes feeders, each of another worker."""
    made = []

    def make(name="w1", **options):
        publisher = Publisher(valkey_url)
        publisher.declare()
        made.append(publisher)
        ledger = open_ledger(valkey_url, prefix="mailqueue", lease_seconds=5, retention=3600)
        return Feeder(ledger, publisher, name, together=True, **options)

    yield make
    for publisher in made:
        publisher.close()


def parcels(store):
    """The tasks that lie in the queue, oldest first."""
    found = []
    for text in reversed(store.lrange("mailqueue.bulk", 0, -1)):
        task = json.loads(text)
        body = task["body"]
        if task["properties"].get("body_encoding") == "base64":
            body = b64decode(body)
        found.append(Parcel.from_body(body))
    return found


def ids(count):
    return {message_of("spring", digest(address)) for address, _ in people(count)}


def test_a_fed_campaign_lies_in_the_queue_in_parcels_of_a_hundred(store, feeder):
    bulk.send(TEMPLATE, people(450), campaign="spring")
    assert feeder().once() == 450
    found = parcels(store)
    assert [len(parcel.items) for parcel in found] == [100, 100, 100, 100, 50]
    assert [parcel.number for parcel in found] == sorted({parcel.number for parcel in found})
    assert {message_id for parcel in found for message_id, _ in parcel.items} == ids(450)
    envelope = decode(found[0].items[0][1])
    assert (envelope.address, envelope.data, envelope.host) == ("p0@example.com", {"name": "P0"}, "example.org")
    assert bulk.status("spring").counts["queued"] == 450


def test_what_is_fed_again_after_a_death_gets_in_once(store, feeder, monkeypatch):
    """The chunk's recipients are messages already, and nobody has said so."""
    bulk.send(TEMPLATE, people(200), campaign="spring")
    first = feeder("w1")

    def die(*arguments, **options):
        raise Died

    monkeypatch.setattr(first._ledger.campaigns, "fed", die)
    with pytest.raises(Died):
        first.once()
    assert bulk.status("spring").counts["queued"] == 200
    second = feeder("w2")
    assert second.once() == 0  # the lease stands
    store.hdel("{mailqueue}:c:spring", "feed:")  # and now it has ended
    monkeypatch.undo()
    assert second.once() == 200
    status = bulk.status("spring")
    assert (status.counts["queued"], status.counts["waiting"]) == (200, 0)
    assert get_producer().ledger.counts()["bulk"] == {"queued": 200}
    found = Counter(message_id for parcel in parcels(store) for message_id, _ in parcel.items)
    assert set(found) == ids(200)  # a task that comes twice is claimed once


def test_several_workers_feed_it_together(store, feeder):
    bulk.send(TEMPLATE, people(3000), campaign="spring")
    feeders = [feeder(f"w{number}", room=10_000) for number in range(3)]
    threads = [threading.Thread(target=each.once) for each in feeders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in feeders:
        each.once()
    found = Counter(message_id for parcel in parcels(store) for message_id, _ in parcel.items)
    assert found == Counter(ids(3000))
    assert bulk.status("spring").counts["queued"] == 3000


def test_paused_between_two_chunks_the_rest_stays_where_it_is(store, feeder):
    bulk.send(TEMPLATE, people(1000), campaign="spring")
    one = feeder(room=200)
    assert one.once() == 200
    bulk.pause("spring")
    assert feeder("w2").once() == 0
    counts = bulk.status("spring").counts
    assert (counts["queued"], counts["waiting"]) == (200, 800)
    bulk.resume("spring")
    assert feeder("w2", room=10_000).once() == 800


def test_it_finishes_once(store, feeder, monkeypatch):
    bulk.send(TEMPLATE, people(3), campaign="spring")
    one, two = feeder("w1"), feeder("w2")
    one.once()
    ledger = get_producer().ledger
    claim = ledger.claim("bulk", sorted(ids(3)), token="t", owner="x:1")
    assert len(claim.granted) == 3
    ledger.cancel(sorted(ids(3)))
    ledger.release(sorted(ids(3)), "t")
    assert {ledger.campaigns.get("spring").counts.get(state, 0) for state in (State.QUEUED, State.SENDING)} == {0}
    one.once()
    two.once()
    assert bulk.status("spring").state is CampaignState.FINISHED
    assert bulk.status("spring").counts["cancelled"] == 3


def test_a_store_that_is_away_for_a_moment_is_waited_for(monkeypatch):
    with EmbeddedValkey() as valkey:
        conf.configure(MAILQUEUE_BROKER_URL=valkey.url, MAILQUEUE_DEADLINE=1)
        thaw = threading.Timer(2.0, valkey.thaw)

        def source():
            yield from people(250)
            valkey.freeze()
            thaw.start()
            yield from people(450)[250:]

        campaign = bulk.send(TEMPLATE, source(), campaign="spring")
        thaw.join()
        assert (campaign.added, campaign.status().total) == (450, 450)
        assert campaign.status().state is CampaignState.RUNNING


def test_a_campaign_of_many_is_loaded_in_flat_memory(store):
    """Chunks leave as they are full: of 20,000 recipients a few hundred are held."""
    alive = []

    def source():
        for number in range(20_000):
            if number % 5000 == 0:
                alive.append(bulk.status("spring").total if number else 0)
            yield f"p{number}@example.com", {"name": "x" * 200}

    assert bulk.send(TEMPLATE, source(), campaign="spring").added == 20_000
    assert all(total >= number * 5000 - 400 for number, total in enumerate(alive))
