"""How much of a campaign is fed: what its relays take, and to domains with a pace of their own by that."""

from __future__ import annotations

import pytest

from mailqueue import conf
from mailqueue.bulk.address import digest
from mailqueue.bulk.chunks import decode_chunk, encode_chunk, encode_recipient
from mailqueue.bulk.spec import CampaignSpec, encode_spec
from mailqueue.bulk.template import Template
from mailqueue.ledger.base import Settlement
from mailqueue.ledger.campaigns import CampaignEntry, CampaignState, message_of
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.states import State
from mailqueue.publisher import Publisher
from workers.feed import Feeder
from workers.room import AHEAD, Allowances, Paces, piece


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


def entry(retried=0, **counts):
    return CampaignEntry("c", CampaignState.RUNNING, "bulk", b"", 9999, 50, counts, 0.0, retried=retried)


@pytest.mark.parametrize(
    ("paces", "under_way", "room"),
    [
        (Paces(), entry(queued=1999), 1),
        (Paces(), entry(queued=1500, sending=500), 0),
        (Paces(), entry(deferred=10_000), 0),  # their relay is in trouble: the rest waits in chunks
        (Paces(), entry(deferred=100_000, retried=99_000), 2000),  # greylisted: the others need not wait for them
        (Paces(10.0), entry(queued=100, deferred=400), 100),
        (Paces(10.0), entry(queued=100, deferred=500), 0),
        (Paces(10.0), entry(queued=100, deferred=500, retried=500), 500),
        (Paces(0.1), entry(queued=49), 1),
        (Paces(0.1), entry(queued=50), 0),
    ],
)
def test_there_is_room_until_what_is_under_way_is_enough_for_a_while(paces, under_way, room):
    assert paces.room(under_way, 2000) == room


@pytest.mark.parametrize(
    ("rate", "waiting", "count", "rest"), [(5.0, 200, 50, 9.75), (5.0, 20, 20, 3.75), (0.02, 200, 1, 49.75)]
)
def test_the_recipients_of_a_domain_come_in_pieces(rate, waiting, count, rest):
    assert piece(rate, waiting) == (count, pytest.approx(rest))


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
    """A minute of its rate, to the next chunk."""
    limited(default={"rates": "5/s"})
    campaign(ledger, addresses(3000))
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    assert 5 * AHEAD <= feeder.once() < 5 * AHEAD + 200
    assert feeder.once() == 0


def test_those_who_are_refused_for_now_keep_nobody_waiting(ledger, clock):
    """They wait for minutes and hours, and a campaign may have as many of them as it has recipients."""
    limited(default={"rates": "5/s"})
    campaign(ledger, addresses(800))
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    fed = feeder.once()
    ids = [message_of("c", digest(address)) for address in addresses(fed)]
    assert len(ledger.claim("bulk", ids, token="t", owner="w").granted) == fed
    assert feeder.once() == 0
    ledger.release(ids[:300], "t", due_in=600, reason="relay in trouble")
    assert feeder.once() == 0
    ledger.record([Settlement(each, State.DEFERRED, due_in=600) for each in ids[300:]], "t")
    assert feeder.once() == 0  # a minute's worth has not had its turn
    clock.time += 601
    ledger.tick()
    assert feeder.once() == 0
    assert ledger.claim("bulk", ids, token="u", owner="w", number=99).granted
    ledger.record([Settlement(each, State.DEFERRED, due_in=600) for each in ids], "u")
    assert ledger.campaigns.get("c").retried == fed
    assert feeder.once() > 0


def test_a_domain_with_its_own_pace_keeps_no_other_waiting(ledger, clock):
    limited(default={"rates": "1000/s; gmail.com 1/s"})
    campaign(ledger, [*addresses(20, "gmail.com"), *addresses(180), *addresses(200, "example.net")])
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    assert feeder.once() == 380
    assert ledger.campaigns.get("c").queues == ("gmail.com",)
    assert feeder.once() == 10
    assert feeder.once() == 0
    clock.time += 11
    assert feeder.once() == 10
    assert ledger.campaigns.get("c").queues == ()
    assert waiting(ledger) == 0


def test_the_fleet_keeps_a_domains_pace_together(ledger, clock):
    limited(default={"rates": "1000/s; gmail.com 1/s"})
    campaign(ledger, addresses(200, "gmail.com"))
    fleet = [Feeder(ledger, Publisher("memory://"), f"w{n}", clock=clock, monotonic=clock) for n in range(5)]
    fed = 0
    for _ in range(100):
        fed += sum(feeder.once() for feeder in fleet)
        clock.time += 1
    assert 98 <= fed <= 110


def test_setting_many_aside_keeps_no_other_campaign_waiting(ledger, clock):
    """A list that goes to one slow domain alone: it is sorted some chunks at a time."""
    limited(default={"rates": "1000/s; gmail.com 1/s"})
    campaign(ledger, addresses(12_000, "gmail.com"))
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    feeder.once()
    assert ledger.campaigns.get("c").queues == ("", "gmail.com")
    assert feeder.once() == 10
    assert ledger.campaigns.get("c").queues == ("gmail.com",)


def test_when_the_pace_is_over_the_rest_is_fed_at_once(ledger, clock):
    ledger.rates.override("", "1000/s; gmail.com 1/s")
    campaign(ledger, addresses(150, "gmail.com"))
    feeder = Feeder(ledger, Publisher("memory://"), "w1", clock=clock, monotonic=clock)
    feeder.once()
    assert feeder.once() == 10
    ledger.rates.override("", None)
    clock.time += 10
    assert feeder.once() == 140


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
