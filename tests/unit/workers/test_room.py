"""How much of a campaign is fed: what its relays take, and to domains with a pace of their own by that."""

from __future__ import annotations

import pytest

from mailqueue import conf
from mailqueue.bulk.address import digest
from mailqueue.bulk.chunks import decode_chunk, encode_chunk, encode_recipient
from mailqueue.bulk.spec import CampaignSpec, encode_spec
from mailqueue.bulk.template import Template
from mailqueue.ledger.campaigns import CampaignEntry, CampaignState, message_of
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.publisher import Publisher
from workers.feed import Feeder
from workers.room import Allowances, Paces


class Clock:
    def __init__(self):
        self.time = 1_800_000_000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    return MemoryLedger(clock=clock)


def limited(**relays):
    conf.configure(MAILQUEUE_RELAYS=relays)


def allowances(ledger, clock):
    return Allowances(ledger.rates, now=clock, clock=clock)


# -- the paces of relays


def test_relays_without_limits_have_no_pace(ledger, clock):
    assert allowances(ledger, clock).paces([""]) == Paces()


def test_those_of_the_settings_are_added_up(ledger, clock):
    limited(eu={"rates": "10/s; gmail.com 2/s"}, us={"rates": "4/s; gmail.com 1/s; yahoo.com 1/s"})
    paces = allowances(ledger, clock).paces(["eu", "us"])
    assert (paces.relays, dict(paces.domains)) == (14.0, {"gmail.com": 3.0})


def test_a_change_by_hand_shows_after_a_moment(ledger, clock):
    known = allowances(ledger, clock)
    assert known.paces([""]) == Paces()
    ledger.rates.override("", "5/s")
    clock.time += 3
    assert known.paces([""]).relays == 5.0


def entry(**counts):
    return CampaignEntry("c", CampaignState.RUNNING, "bulk", b"", 9999, 50, counts, 0.0)


@pytest.mark.parametrize(
    ("paces", "counts", "full"),
    [
        (Paces(), {"queued": 1999}, False),
        (Paces(), {"queued": 1500, "sending": 500}, True),
        (Paces(), {"deferred": 100_000}, False),  # greylisted: the others need not wait for them
        (Paces(10.0), {"queued": 100, "deferred": 400}, False),
        (Paces(10.0), {"queued": 100, "deferred": 500}, True),
        (Paces(0.1), {"queued": 49}, False),
        (Paces(0.1), {"queued": 50}, True),
    ],
)
def test_it_is_full_when_what_is_under_way_is_enough_for_a_while(paces, counts, full):
    assert paces.is_full(entry(**counts), 2000) is full


def test_the_recipients_of_a_domain_come_in_pieces(ledger, clock):
    known = allowances(ledger, clock)
    assert known.piece("c", "gmail.com", 5.0, 200) == 100  # of 20 s
    assert known.piece("c", "gmail.com", 5.0, 100) == 0
    clock.time += 19
    assert known.piece("c", "gmail.com", 5.0, 100) == 0
    clock.time += 1
    assert known.piece("c", "gmail.com", 5.0, 100) == 100
    assert known.piece("c", "yahoo.com", 0.1, 200) == 50
    assert known.piece("c", "yahoo.com", 0.1, 3) == 0
    clock.time += 30
    assert known.piece("c", "yahoo.com", 0.1, 3) == 3
    known.forget("c")
    assert known.piece("c", "gmail.com", 5.0, 200) == 100


# -- what the feeder makes of it


@pytest.fixture
def feeder(ledger, clock):
    return Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)


def campaign(ledger, addresses, **options):
    spec = CampaignSpec(template=Template(subject="s", text="t"), **options)
    ledger.campaigns.create("c", encode_spec(spec))
    for first in range(0, len(addresses), 200):
        part = addresses[first : first + 200]
        content = encode_chunk(encode_recipient(address, {"n": address}) for address in part)
        ledger.campaigns.add("c", [digest(address) for address in part], content)
    ledger.campaigns.start("c")


def addresses(count, domain="example.com"):
    return [f"p{n}@{domain}" for n in range(count)]


def waiting(ledger):
    return ledger.campaigns.get("c").counts.get("waiting", 0)


def test_it_feeds_as_much_as_there_is_room_for(ledger, feeder):
    campaign(ledger, addresses(3000))
    assert feeder.once() == 2000
    assert waiting(ledger) == 1000
    assert feeder.once() == 0


def test_of_a_limited_relay_it_feeds_less(ledger, clock):
    limited(default={"rates": "5/s"})
    campaign(ledger, addresses(3000))
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    assert feeder.once() <= 2000
    assert feeder.once() == 0


def test_a_domain_with_its_own_pace_keeps_no_other_waiting(ledger, clock):
    limited(default={"rates": "1000/s; gmail.com 1/s"})
    campaign(ledger, [*addresses(150, "gmail.com"), *addresses(50), *addresses(200, "example.net")])
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    assert feeder.once() == 250
    assert ledger.campaigns.get("c").queues == ("gmail.com",)
    assert feeder.once() == 50
    assert feeder.once() == 0
    clock.time += 51
    assert feeder.once() == 50
    clock.time += 51
    assert feeder.once() == 50
    assert ledger.campaigns.get("c").queues == ()
    assert waiting(ledger) == 0


def test_when_the_pace_is_over_the_rest_is_fed_at_once(ledger, clock):
    ledger.rates.override("", "1000/s; gmail.com 1/s")
    campaign(ledger, addresses(150, "gmail.com"))
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    feeder.once()
    assert feeder.once() == 50
    ledger.rates.override("", None)
    clock.time += 3
    assert feeder.once() == 100


def test_every_recipient_is_in_one_chunk_still(ledger, clock):
    limited(default={"rates": "1000/s; gmail.com 5/s"})
    everybody = [*addresses(150, "gmail.com"), *addresses(150)]
    campaign(ledger, everybody)
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    for _ in range(5):
        feeder.once()
        clock.time += 30
    chunks = [ledger.campaigns.chunk("c", number + 1) for number in range(ledger.campaigns.get("c").chunks)]
    found = [address for content in chunks for address, _ in decode_chunk(content)]
    assert sorted(found) == sorted(everybody)


def test_a_campaign_whose_options_nobody_can_read_harms_no_other(ledger, feeder, clock, caplog):
    ledger.campaigns.create("bad", b"nothing")
    ledger.campaigns.add("bad", [digest("a@example.com")], encode_chunk([encode_recipient("a@example.com", {})]))
    ledger.campaigns.start("bad")
    campaign(ledger, addresses(10))
    assert feeder.once() == 10
    feeder.once()
    assert caplog.text.count("action=feed_failed campaign=bad") == 1
    clock.time += 61
    feeder.once()
    assert caplog.text.count("action=feed_failed campaign=bad") == 2


def test_a_chunk_that_nobody_can_read_is_left_behind(ledger, feeder, caplog):
    """Those after it are fed, and the campaign ends, saying how many it has not found."""
    ledger.campaigns.create("c", encode_spec(CampaignSpec(template=Template(subject="s", text="t"))))
    ledger.campaigns.add("c", [digest("a@example.com")], b"=garbage")
    ledger.campaigns.add("c", [digest("b@example.com")], encode_chunk([encode_recipient("b@example.com", {})]))
    ledger.campaigns.start("c")
    assert feeder.once() == 1
    assert "action=chunk_unreadable campaign=c chunk=1" in caplog.text
    feeder.once()
    assert ledger.campaigns.get("c").state is CampaignState.RUNNING
    ledger.cancel([message_of("c", digest("b@example.com"))])
    feeder.once()
    assert ledger.campaigns.get("c").state is CampaignState.FINISHED
    assert "campaign=c total=2 waiting=1 cancelled=1" in caplog.text
