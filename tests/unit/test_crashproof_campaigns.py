"""The crash proof's judgement of campaigns: what its audit calls a breach, what it excuses; and what its sender does."""

from __future__ import annotations

from collections import Counter

import pytest

from mailqueue import bulk
from mailqueue.bulk.report import COUNTED, CampaignStatus, RecipientRow
from mailqueue.ledger.campaigns import CampaignState, message_of
from mailqueue.testing import MemoryQueue
from tests.crashproof.audit import Relayed
from tests.crashproof.bulkaudit import Told, audit_campaigns
from tests.crashproof.history import BulkHistory
from tests.crashproof.sender import FIRST, Mailing, Recipient, Sender

ANN = "ann@example.net"


def mailing(*, on_unknown="resend", suppressed="", forgotten=()):
    recipient = Recipient(FIRST, ANN, "d1", suppressed)
    return Mailing("spring", "bulk", on_unknown, [recipient], said="running", forgotten=list(forgotten))


def told(*states, state=CampaignState.FINISHED, counts=None, reply=""):
    rows = [RecipientRow(ANN, each, reply) for each in states]
    counts = dict.fromkeys(COUNTED, 0) | (Counter(states) if counts is None else counts)
    return Told(CampaignStatus("spring", state, "bulk", len(rows), counts), rows)


def relayed(*recipients, data=("d1",), digests=("same",), dates=("now",), no=()):
    found = Relayed(refused_recipients=set(no))
    for recipient in recipients:
        found.copies[FIRST][recipient] += 1
        found.data[FIRST].update(data)
        found.digests[FIRST].update(digests)
        found.dates[FIRST].update(dates)
    return found


def kinds(said, relay, *, unknowns=0, stopped=False, cut=(), **options):
    one = mailing(**options)
    name = message_of("spring", one.recipients[0].digest)
    steps = {key: set(step) for key, step in dict(cut).items()}
    if "message" in steps:
        steps[name] = steps.pop("message")
    history = BulkHistory(Counter({name: unknowns}), {name} if stopped else set())
    findings = audit_campaigns([one], {"spring": said}, history, relay, steps)
    return [breach.kind for breach in findings.breaches]


@pytest.mark.parametrize(
    ("said", "relay", "options"),
    [
        pytest.param(told("sent"), relayed(ANN), {}, id="sent once"),
        pytest.param(told("sent"), relayed(ANN, ANN), {"unknowns": 1}, id="sent again, and counted"),
        pytest.param(told("unknown"), relayed(ANN), {"unknowns": 1, "on_unknown": "hold"}, id="its answer was lost"),
        pytest.param(told("failed"), relayed(no=[ANN]), {}, id="refused by the relay"),
        pytest.param(told("failed", reply="poison: ..."), relayed(), {}, id="poison"),
        pytest.param(told("suppressed"), relayed(), {"suppressed": "before"}, id="suppressed"),
        pytest.param(
            told("suppressed"),
            relayed(ANN),
            {"suppressed": "later", "unknowns": 1},
            id="suppressed when it was in doubt",
        ),
        pytest.param(told("cancelled", state=CampaignState.CANCELLED), relayed(), {}, id="cancelled"),
    ],
)
def test_a_recipient_who_is_accounted_for_is_in_order(said, relay, options):
    assert kinds(said, relay, **options) == []


@pytest.mark.parametrize(
    ("expected", "said", "relay", "options"),
    [
        pytest.param("lost", told(), relayed(), {}, id="not in the report"),
        pytest.param("lost", told("waiting"), relayed(), {}, id="waits for ever"),
        pytest.param("twice", told("sent", "sent"), relayed(ANN), {}, id="twice in the report"),
        pytest.param("missing", told("sent"), relayed(), {}, id="sent, and not at the relay"),
        pytest.param("repeated", told("sent"), relayed(ANN, ANN), {}, id="two copies, never counted"),
        pytest.param(
            "repeated",
            told("sent"),
            relayed(ANN, ANN),
            {"unknowns": 1, "on_unknown": "hold"},
            id="repeated, to be held",
        ),
        pytest.param(
            "uncounted",
            told("cancelled", state=CampaignState.CANCELLED),
            relayed(ANN),
            {},
            id="a copy of one cancelled",
        ),
        pytest.param("uncounted", told("suppressed"), relayed(ANN), {"suppressed": "later"}, id="of one suppressed"),
        pytest.param("stopped", told("sent"), relayed(ANN), {"stopped": True}, id="begun while it was paused"),
        pytest.param("suppressed", told("sent"), relayed(ANN), {"suppressed": "before"}, id="sent though suppressed"),
        pytest.param("altered", told("sent"), relayed(ANN, data=("d2",)), {}, id="another's datum"),
        pytest.param("altered", told("sent"), relayed("bob@example.net"), {}, id="somebody else's copy"),
        pytest.param(
            "altered", told("sent"), relayed(ANN, ANN, digests=("a", "b")), {"unknowns": 1}, id="copies that differ"
        ),
        pytest.param(
            "redated", told("sent"), relayed(ANN, ANN, dates=("now", "then")), {"unknowns": 1}, id="copies of two dates"
        ),
        pytest.param("unaccounted", told("failed"), relayed(), {}, id="refused, and not by the relay"),
        pytest.param("unaccounted", told("suppressed"), relayed(), {}, id="suppressed by nobody"),
        pytest.param("unaccounted", told("cancelled"), relayed(), {}, id="cancelled by nobody"),
        pytest.param("unaccounted", told("unknown"), relayed(), {}, id="unknown, and never counted so"),
        pytest.param("unfinished", told("sent", state=CampaignState.RUNNING), relayed(ANN), {}, id="not finished"),
        pytest.param("tally", told("sent", counts={"failed": 1}), relayed(ANN), {}, id="counts of others"),
        pytest.param("forgotten", told("sent"), relayed(ANN), {"forgotten": ["..."]}, id="not as it was said"),
    ],
)
def test_each_broken_promise_to_a_recipient_is_a_breach(expected, said, relay, options):
    assert expected in kinds(said, relay, **options)


@pytest.mark.parametrize(
    ("cut", "said", "relay", "options", "left"),
    [
        ({"message": {"add"}}, told(), relayed(), {}, []),
        ({"message": {"begin", "record"}}, told("waiting"), relayed(), {}, ["lost"]),
        ({"message": {"record"}}, told("sent"), relayed(ANN, ANN), {}, []),
        ({"message": {"add"}}, told("sent"), relayed(ANN, ANN), {}, ["repeated"]),
        ({"message": {"accept"}}, told("sent"), relayed(ANN, ANN, dates=("now", "then")), {}, []),
        ({"message": {"record"}}, told("sent"), relayed(ANN, ANN, dates=("now", "then")), {}, ["redated"]),
        ({"message": {"accept"}}, told("sent"), relayed(ANN, ANN, digests=("a", "b")), {}, ["altered"]),
        ({"message": {"accept", "begin", "record"}}, told("sent"), relayed(), {}, ["missing"]),
        ({ANN: {"suppress"}}, told("suppressed"), relayed(ANN), {"suppressed": "before"}, ["uncounted"]),
        ({ANN: {"suppress"}}, told("sent"), relayed(ANN), {"suppressed": "before"}, []),
        ({"spring": {"turn"}}, told("sent"), relayed(ANN), {"forgotten": ["..."]}, []),
        ({"spring": {"turn"}}, told("sent", state=CampaignState.LOADING), relayed(ANN), {}, ["unfinished"]),
    ],
)
def test_a_store_that_rolled_back_excuses_of_a_campaign_only_what_it_forgot(cut, said, relay, options, left):
    assert kinds(said, relay, cut=cut, **options) == left


def test_campaigns_are_counted_by_what_became_of_their_recipients():
    name = message_of("spring", mailing().recipients[0].digest)
    findings = audit_campaigns(
        [mailing()], {"spring": told("sent")}, BulkHistory(Counter({name: 1})), relayed(ANN, ANN)
    )
    assert +findings.counts == {"campaigns": 1, "recipients": 1, "sent": 1, "copies": 2, "repeated": 1, "unknowns": 1}


def test_a_seed_says_what_campaigns_there_are_and_whose_message_a_number_is():
    sender = Sender("2/campaigns")
    assert sender.mailings == Sender("2/campaigns").mailings != Sender("1/campaigns").mailings
    first, second = sender.mailings
    assert sender.ids_of(FIRST) == (message_of(first.id, first.recipients[0].digest),)
    assert sender.ids_of(FIRST + len(first.recipients)) == (message_of(second.id, second.recipients[0].digest),)


def test_campaigns_are_complete_and_stand_as_was_said_when_their_sender_has_stopped():
    with MemoryQueue() as queue:
        sender = Sender("2/campaigns")
        sender.start()
        sender.stop()
        queue.run(20)
        for each in sender.mailings:
            assert bulk.status(each.id).total == len(each.recipients)
            assert each.forgotten == []


def test_a_campaign_that_does_not_stand_as_was_said_is_noted_and_goes_on():
    with MemoryQueue():
        sender = Sender("2/campaigns")
        sender.start()
        sender.stop()
        paused = sender.mailings[0]
        bulk.pause(paused.id)
        sender.stop()
        assert paused.forgotten == ["it was running, and is paused"]
        assert bulk.status(paused.id).state is CampaignState.RUNNING
