"""The way in keeps its deadline and loses nothing: the ledger, else the spool, else an error that says why."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from mailqueue import intake as module
from mailqueue import spool as spool_module
from mailqueue.codec import encode
from mailqueue.envelope import pack
from mailqueue.errors import BrokerUnavailable, IdempotencyConflict, ImproperlyConfigured, LedgerUnavailable
from mailqueue.intake import Intake
from mailqueue.ledger.base import Draft, Submission
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.states import State
from mailqueue.mail.message import EmailMessage
from mailqueue.producer import Receipt
from mailqueue.shipment import Packed, Shipment
from mailqueue.spool import Spool

EPOCH = 1767225600.0


class Clock:
    """Time that passes only while the ledger works, or is moved."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def time(self):
        return EPOCH + self.now


class Ledger(MemoryLedger):
    """Notes its calls; ``takes`` maps the name of a call to the s that it takes, ``trouble`` to what it raises."""

    def __init__(self, clock):
        super().__init__(clock=clock.time)
        self.time = clock
        self.calls = []
        self.takes = {}
        self.trouble = {}

    def _note(self, name):
        self.calls.append(name)
        self.time.now += self.takes.get(name, 0.0)
        if name in self.trouble:
            raise self.trouble[name]

    def accept(self, lane, submissions, **options):
        self._note("replay" if options.get("replayed") else "accept")
        return super().accept(lane, submissions, **options)

    def get(self, message_id):
        self._note("get")
        return super().get(message_id)

    def durable(self, timeout):
        assert 0 < timeout <= 2.0
        self._note("durable")


class Broker:
    def __init__(self):
        self.ids = []

    def publish(self, parcels, *, within=None):
        self.ids += [id_ for parcel in parcels for id_, _ in parcel.items]
        return []


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for one in (module, spool_module):
        monkeypatch.setattr(one, "time", clock)
    return clock


@pytest.fixture
def ledger(clock):
    return Ledger(clock)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def spool(tmp_path, clock):
    spool = Spool(tmp_path / "spool.db", clock=clock.time)
    yield spool
    spool.close()


@pytest.fixture
def intake(ledger, broker, spool):
    return Intake(ledger, broker, spool=spool)


def shipment(*ids, **options):
    made = Shipment(0.0)
    for each in ids:
        mail = EmailMessage("s", "b", "f@example.com", ["t@example.com"], headers={"Message-ID": f"<{each}@x>"})
        envelope, blobs = pack(mail, id=each, now=EPOCH)
        made.add(Packed(mail, Submission(each, encode(envelope), **options), Receipt(each, f"<{each}@x>"), blobs))
    return made


def take(intake, *ids, **options):
    """Take messages in; the receipt, or the list of them."""
    load = shipment(*ids, **options)
    intake.take("default", load)
    receipts = load.receipts()
    return receipts[0] if len(ids) == 1 else receipts


AWAY = LedgerUnavailable("the ledger's store is away: start it")


# -- with a spool


def test_what_the_ledger_takes_never_touches_the_spool(intake, spool, broker, tmp_path):
    receipt = take(intake, "m1")
    assert (receipt.state, receipt.spooled) == (State.QUEUED, False)
    assert broker.ids == ["m1"]
    assert list(tmp_path.iterdir()) == []


def test_what_the_ledger_cannot_take_is_spooled(intake, ledger, spool, broker, caplog):
    ledger.trouble["accept"] = AWAY
    with caplog.at_level(logging.WARNING):
        receipts = take(intake, "m1", "m2")
    assert [(each.id, each.state, each.accepted_at, each.spooled) for each in receipts] == [
        ("m1", None, None, True),
        ("m2", None, None, True),
    ]
    assert [each.id for each in spool.messages()] == ["m1", "m2"]
    assert broker.ids == []
    assert "action=spooled messages=2 reason=the ledger's store is away" in caplog.text


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(intake, ledger, caplog):
    ledger.trouble["accept"] = AWAY
    for number in range(5):
        take(intake, f"m{number}")
    ledger.trouble.clear()
    for number in range(5, 8):
        take(intake, f"m{number}")
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2
    assert told[0].startswith("action=spooled messages=1 reason=")
    assert told[1] == "action=spooling_ended"


def test_the_next_healthy_call_replays_it(intake, ledger, spool, broker, clock):
    ledger.trouble["accept"] = AWAY
    take(intake, "m1")
    ledger.trouble.clear()
    clock.now += 10
    take(intake, "m2")
    assert broker.ids == ["m2", "m1"]
    assert spool.status().waiting == 0
    assert ledger.counts() == {"default": {"queued": 2}}


def test_what_had_landed_all_the_same_is_there_once(intake, ledger, spool, broker, clock):
    """The answer of its accept was lost."""
    accept = ledger.accept

    def cut(lane, submissions, **options):
        accept(lane, submissions, **options)
        raise AWAY

    ledger.accept = cut
    assert take(intake, "m1").spooled
    ledger.accept = accept
    clock.now += 10
    take(intake, "m2")
    assert sorted(broker.ids) == ["m1", "m2"]
    assert ledger.counts() == {"default": {"queued": 2}}


def test_a_call_replays_little_and_the_calls_together_all(intake, ledger, spool, clock):
    ledger.trouble["accept"] = AWAY
    take(intake, *(f"m{number}" for number in range(50)))
    ledger.trouble.clear()
    ledger.takes["replay"] = 0.004
    clock.now += 10
    waiting = []
    for number in range(5):
        take(intake, f"n{number}")
        waiting.append(spool.status().waiting)
        clock.now += 0.03
    assert waiting == [30, 30, 10, 10, 0]  # it took 4 ms, so there are 40 ms until the next


def test_replaying_keeps_the_callers_deadline(intake, ledger, spool, clock):
    ledger.trouble["accept"] = AWAY
    take(intake, "m1")
    ledger.trouble.clear()
    ledger.takes["accept"] = 1.1
    clock.now += 10
    take(intake, "m2")
    assert ledger.calls == ["accept", "accept"]
    assert spool.status().waiting == 1


def test_a_spool_that_cannot_be_replayed_is_no_trouble_of_the_callers(intake, ledger, spool, clock, caplog):
    ledger.trouble["accept"] = AWAY
    take(intake, "m1")
    ledger.trouble = {"replay": AWAY}
    clock.now += 10
    assert take(intake, "m2").state is State.QUEUED
    assert "action=replay_failed" in caplog.text
    clock.now += 1
    take(intake, "m3")
    assert ledger.calls.count("replay") == 1  # and it is left alone for some seconds
    ledger.trouble.clear()
    clock.now += 5
    take(intake, "m4")
    assert spool.status().waiting == 0


def test_a_store_that_is_silent_costs_one_caller_its_time_and_the_others_nothing(intake, ledger, spool, clock):
    ledger.trouble["accept"] = AWAY
    ledger.takes["accept"] = 1.0
    began = clock.now
    for number in range(10):
        assert take(intake, f"m{number}").spooled
    assert clock.now - began == 1.0
    clock.now += 2.1
    assert take(intake, "m10").spooled
    assert ledger.calls == ["accept", "accept"]
    assert spool.status().waiting == 11


def test_while_one_caller_asks_whether_it_is_back_the_others_do_not(intake, ledger, spool, clock):
    ledger.trouble["accept"] = AWAY
    ledger.takes["accept"] = 1.0
    take(intake, "m1")
    clock.now += 3
    accept = ledger.accept
    meanwhile = []

    def slow(lane, submissions, **options):
        ledger.accept = accept
        meanwhile.append(take(intake, "m3"))
        ledger.trouble.clear()
        return accept(lane, submissions, **options)

    ledger.accept = slow
    assert take(intake, "m2").state is State.QUEUED
    assert meanwhile[0].spooled
    ledger.takes.clear()
    assert take(intake, "m4").state is State.QUEUED


def test_a_store_that_refuses_at_once_is_asked_each_time(intake, ledger):
    ledger.trouble["accept"] = AWAY
    take(intake, "m1")
    ledger.trouble.clear()
    assert take(intake, "m2").state is State.QUEUED


def test_neither_ledger_nor_spool_is_broker_unavailable_with_both_reasons(ledger, broker, tmp_path):
    ledger.trouble["accept"] = AWAY
    with pytest.raises(BrokerUnavailable) as caught:
        take(Intake(ledger, broker, spool=Spool(tmp_path / "absent" / "spool.db")), "m1", "m2")
    for words in ("MAILQUEUE_DEADLINE", "store is away: start it", "nor was it spooled", "its directory must be there"):
        assert words in str(caught.value)
    assert caught.value.message_ids == ("m1", "m2")


def test_without_a_spool_it_is_broker_unavailable(ledger, broker):
    ledger.trouble["accept"] = AWAY
    with pytest.raises(BrokerUnavailable, match="store is away") as caught:
        take(Intake(ledger, broker), "m1")
    assert caught.value.message_ids == ("m1",)


# -- schedules and keys


def test_what_is_scheduled_is_accepted_and_not_published(intake, broker, ledger):
    receipt = take(intake, "m1", send_at=EPOCH + 1000)
    assert receipt.state is State.SCHEDULED
    assert broker.ids == []


def test_a_key_that_was_used_gives_the_first_receipt(intake, ledger, broker, clock):
    first = take(intake, "m1", key="k", key_digest="d")
    clock.now += 5
    again = take(intake, "m2", key="k", key_digest="d")
    assert (again.id, again.message_id, again.state, again.accepted_at) == (
        "m1",
        "<m1@x>",
        State.QUEUED,
        first.accepted_at,
    )
    assert broker.ids == ["m1"]


def test_the_first_messages_header_is_unknown_when_the_ledger_has_let_go_of_it(intake, ledger, clock):
    take(intake, "m1", key="k", key_digest="d")
    ledger.trouble["get"] = AWAY
    again = take(intake, "m2", key="k", key_digest="d")
    assert (again.id, again.message_id) == ("m1", "")


def test_a_conflict_takes_nothing(intake, ledger, broker):
    take(intake, "m1", key="k", key_digest="d")
    with pytest.raises(IdempotencyConflict):
        take(intake, "m2", key="k", key_digest="other")
    assert broker.ids == ["m1"]


def test_across_the_spool_a_key_gives_the_first_receipt_too(intake, ledger, spool, broker, clock):
    ledger.trouble["accept"] = AWAY
    take(intake, "m1", key="k", key_digest="d")
    again = take(intake, "m2", key="k", key_digest="d")
    assert (again.id, again.message_id, again.spooled) == ("m1", "<m1@x>", True)
    with pytest.raises(IdempotencyConflict):
        take(intake, "m3", key="k", key_digest="other")
    ledger.trouble.clear()
    clock.now += 10
    healthy = take(intake, "m4", key="k", key_digest="d")  # faster than the replay: now it is the first
    assert healthy.id == "m4"
    assert spool.status().waiting == 0
    assert broker.ids == ["m4"]
    assert ledger.get("m1").id == "m4"


# -- durability


def test_where_fsync_counts_the_store_is_asked_before_and_after(ledger, broker):
    intake = Intake(ledger, broker, durable=True)
    take(intake, "m1")
    take(intake, "m2")
    assert ledger.calls == ["durable", "accept", "durable", "accept", "durable"]


def test_a_store_that_cannot_is_told_before_anything_is_accepted(ledger, broker, spool):
    ledger.trouble["durable"] = ImproperlyConfigured("MAILQUEUE_DURABILITY is always, and the store has no such thing")
    with pytest.raises(ImproperlyConfigured, match="no such thing"):
        take(Intake(ledger, broker, durable=True, spool=spool), "m1")
    assert ledger.calls == ["durable"]


def test_what_is_not_synced_in_time_is_spooled_and_known_by_its_id(ledger, broker, spool, clock):
    intake = Intake(ledger, broker, durable=True, spool=spool)
    take(intake, "m1")
    ledger.trouble["durable"] = LedgerUnavailable("not synced within 2 s")
    assert take(intake, "m2").spooled
    ledger.trouble.clear()
    clock.now += 10
    take(intake, "m3")
    assert sorted(broker.ids) == ["m1", "m2", "m3"]
    assert ledger.counts() == {"default": {"queued": 3}}


def test_without_a_spool_what_is_not_synced_in_time_is_no_success(ledger, broker):
    intake = Intake(ledger, broker, durable=True)
    take(intake, "m1")
    ledger.trouble["durable"] = LedgerUnavailable("not synced within 2 s")
    with pytest.raises(BrokerUnavailable, match="not synced"):
        take(intake, "m2")


# -- in one store


class OneStore(Broker):
    """A broker in the ledger's store; before it is ``connected`` it has no drafts."""

    def __init__(self):
        super().__init__()
        self.connected = True

    def draft(self, lane, items):
        return Draft(lane, repr([id_ for id_, _ in items]).encode(), b"") if self.connected else None


class Pushing(Ledger):
    """Publishes the drafts that it is given."""

    def __init__(self, clock):
        super().__init__(clock)
        self.pushed = []

    def accept(self, lane, submissions, *, draft=None, **options):
        answer = super().accept(lane, submissions, **options)
        if draft is not None and all(one.new for one in answer.accepted) and not answer.lacking:
            self.pushed.append(draft.head.decode())
            return dataclasses.replace(answer, published=True)
        return answer


def test_in_one_store_the_ledger_publishes_what_it_accepts(clock):
    ledger, broker = Pushing(clock), OneStore()
    receipts = take(Intake(ledger, broker, together=True), "a", "b")
    assert [receipt.state for receipt in receipts] == [State.QUEUED] * 2
    assert ledger.pushed == ["['a', 'b']"]
    assert broker.ids == []


def test_what_the_ledger_has_not_published_goes_the_long_way(clock):
    ledger, broker = Pushing(clock), OneStore()
    intake = Intake(ledger, broker, together=True)
    take(intake, "a")
    take(intake, "a")  # again, as if its first answer had been lost
    broker.connected = False
    take(intake, "b")
    assert ledger.pushed == ["['a']"]
    assert broker.ids == ["a", "b"]


@pytest.mark.parametrize("options", [{}, {"together": True, "durable": True}])
def test_in_two_stores_or_before_the_disk_has_it_no_task_goes_along(clock, options):
    ledger, broker = Pushing(clock), OneStore()
    take(Intake(ledger, broker, **options), "a")
    assert ledger.pushed == []
    assert broker.ids == ["a"]
