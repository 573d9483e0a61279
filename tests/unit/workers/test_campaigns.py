"""What a child knows of campaigns: their templates, compiled once, and the relays that can take their messages."""

from __future__ import annotations

import pytest

from mailqueue.bulk.spec import CampaignSpec, encode_spec
from mailqueue.bulk.template import Template, pack_attachments
from mailqueue.errors import CampaignNotFound, TemplateError, WireError
from mailqueue.ledger.base import Grant
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.rates import RelayRates
from mailqueue.ledger.states import State
from workers.blobs import BlobCache
from workers.campaigns import CampaignCache, Ways, failure


@pytest.fixture
def ledger():
    return MemoryLedger()


@pytest.fixture
def cache(ledger):
    return CampaignCache(ledger, BlobCache(ledger), clock=lambda: cache_clock[0])


cache_clock = [0.0]


def create(ledger, name="c", **fields):
    template = Template(**{"subject": "Hello", "text": "{{ name }}", **fields})
    spec = CampaignSpec(template=template, unsubscribe=False)
    assert not ledger.campaigns.create(name, encode_spec(spec), blobs=spec.blobs()).lacking


def test_a_campaign_is_asked_for_once_in_an_hour(ledger, cache, monkeypatch):
    create(ledger)
    asked = []
    get = ledger.campaigns.get
    monkeypatch.setattr(ledger.campaigns, "get", lambda name: asked.append(name) or get(name))
    cache_clock[0] = 0.0
    first = cache.letters("c")
    assert cache.letters("c") is first
    assert first.render("a@example.com", {"name": "Ann"}).body == "Ann"
    cache_clock[0] = 3601.0
    cache.letters("c")
    assert asked == ["c", "c"]


def test_those_that_were_not_used_for_longest_are_forgotten(ledger, cache):
    cache_clock[0] = 0.0
    for number in range(40):
        create(ledger, f"c{number}")
        cache.letters(f"c{number}")
    assert len(cache._ready) == 32


def test_one_that_is_gone_says_so(cache):
    with pytest.raises(CampaignNotFound):
        cache.letters("nothing")


def test_one_of_a_later_release_says_so(ledger, cache):
    ledger.campaigns.create("c", b'{"v":2}')
    with pytest.raises(WireError, match="no campaign that this release can read"):
        cache.letters("c")


def test_its_attachments_come_from_the_ledger(ledger, cache):
    parts, blobs = pack_attachments([("a.pdf", bytes(50_000), "application/pdf")])
    ledger.put_blobs(blobs)
    create(ledger, attachments=parts)
    (attachment,) = cache.letters("c").render("a@example.com", {"name": ""}).attachments
    assert attachment.content == bytes(50_000)


def test_a_message_that_cannot_be_made_tells_where_but_not_whose(ledger):
    settlement = failure(Grant("c~d", 1, 0.0), "a@example.com", TemplateError("it is empty", field="html", line=3))
    assert (settlement.state, settlement.reason) == (State.FAILED, "template error: html, line 3")
    (result,) = settlement.results.values()
    assert str(result.reply).startswith("554 5.6.0 TemplateError: html, line 3: it is empty")


# -- relays


class Accounts:
    def __init__(self):
        self.asked = 0
        self.relays = {}

    def states(self):
        self.asked += 1
        return self.relays


@pytest.fixture
def accounts():
    return Accounts()


class Health:
    """Of relays: how long those in trouble are still to be left alone."""

    def __init__(self):
        self.down = {}
        self.waited = []

    def is_in_trouble(self, relay):
        return relay in self.down

    def wait(self, relay):
        self.waited.append(relay)
        return self.down.get(relay, 0.0)


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def choose(accounts, health):
    ways = Ways(health, accounts, clock=lambda: 100.0, chance=lambda: 0.5)
    probing = set()
    return lambda relay, relays=RELAYS, age=1.0: ways.choose(relay, relays, age=age, probing=probing)


RELAYS = {"eu": 3.0, "us": 1.0, "own": 1.0}


def test_a_relay_that_is_well_keeps_its_messages(choose):
    assert choose("us") == "us"


def test_while_one_is_in_trouble_another_takes_over(choose, health):
    health.down["us"] = 5.0
    assert choose("us") == "eu"
    health.down["eu"] = 5.0
    assert choose("us") == "own"
    health.down["own"] = 5.0
    assert choose("us") == "us"


def test_one_young_message_finds_out_and_the_others_do_not_wait_for_it(choose, health):
    health.down["us"] = 0.0  # its time to be asked has come
    assert choose("us", age=3600.0) == "eu"
    assert health.waited == []
    assert [choose("us") for _ in range(3)] == ["us", "eu", "eu"]
    assert health.waited == ["us"]


@pytest.mark.parametrize(
    ("limits", "used", "chosen"),
    [
        ("14/s, 50000/d", {"d": 40_000}, "us"),
        ("14/s, 50000/d", {"d": 47_500}, "eu"),  # what is left is for urgent mail
        ("500/h", {"h": 500}, "eu"),
        ("14/s", {"s": 20}, "us"),  # a matter of a moment
        ("unlimited", {"d": 50_000}, "us"),
    ],
)
def test_when_its_quota_is_used_up_another_takes_over(choose, accounts, limits, used, chosen):
    accounts.relays["us"] = RelayRates("us", limits, overridden=False, used=used)
    assert choose("us") == chosen


def test_a_campaign_of_one_relay_asks_nobody(choose, accounts, health):
    health.down["us"] = 5.0
    assert choose("us", {"us": 1.0}) == "us"
    assert choose("", {}) == ""
    assert accounts.asked == 0


def test_quotas_are_looked_at_once_in_a_while(choose, accounts):
    for _ in range(5):
        choose("us")
    assert accounts.asked == 1
