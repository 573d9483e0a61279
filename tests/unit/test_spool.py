"""The spool keeps what the ledger could not take, and hands it over once, whoever asks."""

from __future__ import annotations

import logging
import threading

import pytest

from mailqueue.errors import IdempotencyConflict, LedgerUnavailable, MessageNotFound
from mailqueue.ledger.base import Acceptance, Submission
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.states import State
from mailqueue.spool import Spool

DAY = 86400.0
NOW = 1767225600.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Ledger(MemoryLedger):
    """Notes the sizes of the calls; ``trouble`` maps the name of a call to what it raises."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.calls = []
        self.trouble = {}

    def _note(self, name, count):
        self.calls.append((name, count))
        if name in self.trouble:
            raise self.trouble[name]

    def accept(self, lane, submissions, **options):
        assert options == {"replayed": True}
        self._note("accept", len(submissions))
        return super().accept(lane, submissions, **options)

    def put_blobs(self, blobs):
        self._note("put_blobs", len(blobs))
        super().put_blobs(blobs)

    def durable(self, timeout):
        self._note("durable", 0)


class Broker:
    def __init__(self):
        self.parcels = []
        self.away = False

    def publish(self, parcels, *, within=None):
        if self.away:
            return list(parcels)
        self.parcels += parcels
        return []

    @property
    def ids(self):
        return [id_ for parcel in self.parcels for id_, _ in parcel.items]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    return Ledger(clock)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


@pytest.fixture
def make(path, clock):
    made = []

    def make(**options):
        made.append(Spool(path, clock=clock, **options))
        return made[-1]

    yield make
    for spool in made:
        spool.close()


@pytest.fixture
def spool(make):
    return make()


def mail(*ids, **options):
    return [Submission(each, b"env-" + each.encode(), **options) for each in ids]


def waiting(spool):
    return [each.id for each in spool.messages()]


# -- in and out


def test_a_spool_that_was_never_needed_has_no_file(spool, ledger, broker, path):
    assert not spool.waiting()
    assert spool.replay(ledger, broker) == 0
    assert (spool.status().waiting, spool.messages(), spool.envelope("m1"), spool.withdraw(["m1"])) == (0, [], None, [])
    assert not path.exists()


def test_messages_are_replayed_as_they_were_submitted(spool, ledger, broker):
    spool.put("bulk", mail("m1", relay="office", on_unknown="hold"), {})
    assert spool.waiting()
    assert spool.envelope("m1") == b"env-m1"
    assert spool.replay(ledger, broker) == 1
    entry = ledger.get("m1")
    assert (entry.state, entry.lane, entry.relay, entry.envelope) == (State.QUEUED, "bulk", "office", b"env-m1")
    [parcel] = broker.parcels
    assert (parcel.lane, parcel.items) == ("bulk", (("m1", b"env-m1"),))
    assert parcel.number > 0
    assert not spool.waiting()
    assert spool.envelope("m1") is None


def test_every_option_of_a_submission_is_kept(spool, ledger, broker):
    ledger.put_blobs({"b1": b"large"})
    ledger.calls.clear()
    options = {"send_at": NOW + 60, "expires_at": NOW + 3600, "key": "order 7", "key_digest": "d", "blobs": ("b1",)}
    arrived = []

    def accept(lane, submissions, **more):
        arrived.extend(submissions)
        return MemoryLedger.accept(ledger, lane, submissions, **more)

    ledger.accept = accept
    spool.put("default", mail("m1", **options), {"b1": b"large"})
    spool.replay(ledger, broker)
    assert arrived == mail("m1", **options)


def test_what_is_scheduled_is_not_published(spool, ledger, broker):
    spool.put("default", mail("m1", send_at=NOW + 60), {})
    assert spool.replay(ledger, broker) == 1
    assert ledger.get("m1").state is State.SCHEDULED
    assert broker.parcels == []


def test_large_parts_wait_beside_it_and_go_when_the_ledger_lacks_them(spool, ledger, broker):
    large = {"b1": b"x" * 50_000, "b2": b"y" * 50_000}
    spool.put("default", mail("m1", "m2", blobs=("b1",)) + mail("m3", blobs=("b1", "b2")), large)
    assert spool.status().octets == 4 * 50_000 + 3 * len(b"env-m1")
    assert spool.replay(ledger, broker) == 3
    assert ledger.calls == [("accept", 3), ("put_blobs", 2), ("accept", 3)]
    assert ledger.get_blobs(["b1", "b2"]) == large
    with spool._file.transaction() as file:
        assert file.execute("SELECT count(*) FROM blob").fetchone() == (0,)


def test_a_large_part_stays_as_long_as_a_message_here_has_it(spool, ledger, broker):
    spool.put("default", mail("m1", "m2", blobs=("b1",)), {"b1": b"x" * 50_000})
    assert spool.withdraw(["m1"]) == ["m1"]
    assert spool.replay(ledger, broker) == 1
    assert ledger.get_blobs(["b1"])


def test_urgent_mail_goes_first_and_each_lane_in_order(spool, ledger, broker):
    for number in range(3):
        for lane in ("bulk", "default", "urgent"):
            spool.put(lane, mail(f"{lane}-{number}"), {})
    assert spool.replay(ledger, broker) == 9
    assert broker.ids == [f"{lane}-{number}" for lane in ("urgent", "default", "bulk") for number in range(3)]


def test_messages_travel_as_many_to_a_parcel_as_a_parcel_has_room_for(spool, ledger, broker):
    spool.put("default", mail(*map(str, range(250))), {})
    assert spool.replay(ledger, broker) == 250
    assert [len(parcel.items) for parcel in broker.parcels] == [100, 100, 50]
    spool.put("default", [Submission(f"l{n}", b"x" * 100_000) for n in range(5)], {})
    assert spool.replay(ledger, broker) == 5
    assert [len(parcel.items) for parcel in broker.parcels[3:]] == [2, 2, 1]


def test_a_limit_is_kept_and_the_rest_waits(spool, ledger, broker):
    spool.put("default", mail(*map(str, range(250))), {})
    assert spool.replay(ledger, broker, 120) == 120
    assert spool.status().waiting == 130


def test_beside_a_request_one_small_parcel_goes(spool, ledger, broker):
    spool.put("urgent", [Submission(f"u{n}", b"x" * 20_000) for n in range(5)], {})
    spool.put("default", mail("d1"), {})
    assert spool.replay(ledger, broker, 20, octets=50_000, within=1.0) == 2
    assert spool.replay(ledger, broker, 20, octets=10_000, within=1.0) == 1
    assert ledger.calls == [("accept", 2), ("accept", 1)]
    assert broker.ids == ["u0", "u1", "d1"]


def test_beside_a_request_a_large_message_goes_only_if_no_worker_takes_it_along(spool, ledger, broker, clock):
    spool.put("default", mail("large", blobs=("b1",)) + mail("small"), {"b1": b"x" * 100_000})
    beside = {"octets": 50_000, "within": 1.0}
    assert spool.replay(ledger, broker, 20, **beside) == 1
    assert broker.ids == ["small"]
    assert spool.replay(ledger, broker, 20, **beside) == 0
    clock.now += 61
    assert spool.replay(ledger, broker, 20, **beside) == 1
    assert broker.ids == ["small", "large"]


def test_beside_a_request_no_call_begins_when_the_time_is_up(spool, ledger, broker):
    spool.put("default", mail("m1"), {})
    with pytest.raises(LedgerUnavailable, match="too slow"):
        spool.replay(ledger, broker, within=-1.0)
    assert ledger.calls == []
    assert spool.replay(ledger, broker) == 1


# -- exactly once


def test_what_the_ledger_has_already_is_published_but_not_accepted_again(spool, ledger, broker):
    """Its accept had landed, and the answer was lost: the ledger has it, the broker has not."""
    MemoryLedger.accept(ledger, "default", mail("m1"))
    spool.put("default", mail("m1"), {})
    assert spool.replay(ledger, broker) == 1
    assert ledger.counts() == {"default": {"queued": 1}}
    assert broker.ids == ["m1"]


def test_what_was_sent_meanwhile_is_not_published(spool, ledger, broker):
    MemoryLedger.accept(ledger, "default", mail("m1"))
    ledger.claim("default", ["m1"], token="t", owner="w:1")
    spool.put("default", mail("m1"), {})
    assert spool.replay(ledger, broker) == 1
    assert broker.parcels == []


def test_what_cannot_be_published_is_deferred_for_the_tick(spool, ledger, broker):
    broker.away = True
    spool.put("default", mail("m1"), {})
    assert spool.replay(ledger, broker) == 1
    assert ledger.get("m1").state is State.DEFERRED


def test_a_ledger_that_is_still_away_leaves_everything_here(spool, ledger, broker):
    spool.put("default", mail("m1", "m2"), {})
    for call in ("accept", "durable"):
        ledger.trouble = {call: LedgerUnavailable("away")}
        with pytest.raises(LedgerUnavailable, match="away"):
            Spool(spool.path, durable=True, clock=spool._clock).replay(ledger, broker)
        assert waiting(spool) == ["m1", "m2"]
    assert broker.parcels == []
    ledger.trouble = {}
    assert spool.replay(ledger, broker) == 2


def test_a_store_that_forgets_large_parts_leaves_everything_here(spool, ledger, broker):
    ledger.accept = lambda lane, submissions, **_: Acceptance(0, lacking=submissions[0].blobs)
    spool.put("default", mail("m1", blobs=("b1",)), {"b1": b"large"})
    with pytest.raises(LedgerUnavailable, match="does not keep large parts"):
        spool.replay(ledger, broker)
    assert waiting(spool) == ["m1"]


def test_where_fsync_counts_a_row_goes_only_after_it(make, ledger, broker):
    spool = make(durable=True)
    spool.put("default", mail("m1"), {})
    assert spool.replay(ledger, broker) == 1
    assert ledger.calls == [("accept", 1), ("durable", 0)]


def test_many_may_replay_at_once_and_each_message_goes_once(make, ledger, broker):
    make().put("default", mail(*map(str, range(1000))), {})
    started = threading.Barrier(4)
    done = []

    def run():
        spool = make(timeout=20.0)
        started.wait(10)
        done.append(spool.replay(ledger, broker, 1000))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(done) == 1000
    assert sorted(broker.ids, key=int) == [str(number) for number in range(1000)]


def test_rows_of_a_replayer_that_died_are_taken_by_another(spool, ledger, broker, clock):
    spool.put("default", mail("m1"), {})
    [row] = spool._take("default", 10, 10_000, 0)  # and then nothing more is heard of it
    assert spool.replay(ledger, broker) == 0
    assert spool.waiting()
    clock.now += 31
    assert spool.replay(ledger, broker) == 1
    assert row.submission.id == "m1"


def test_a_clock_that_is_set_back_does_not_leave_rows_taken(spool, ledger, broker, clock):
    spool.put("default", mail("m1"), {})
    spool._take("default", 10, 10_000, 0)
    clock.now -= 3600
    assert spool.replay(ledger, broker) == 1


# -- rows that are not sent


def test_what_is_older_than_the_retention_is_held_and_reported(spool, ledger, broker, clock, caplog):
    spool.put("default", mail("old"), {})
    clock.now += 7 * DAY
    spool.put("default", mail("new"), {})
    with caplog.at_level(logging.ERROR):
        assert spool.replay(ledger, broker) == 1
    assert broker.ids == ["new"]
    assert "action=spool_held messages=1" in caplog.text
    [held] = spool.messages(held=True)
    assert (held.id, held.at) == ("old", NOW)
    assert "may have been sent" in held.held
    status = spool.status()
    assert (status.waiting, status.held, status.oldest) == (0, 1, None)
    assert not spool.waiting()


def test_a_person_may_send_what_is_held(spool, ledger, broker, clock):
    spool.put("default", mail("old"), {})
    clock.now += 8 * DAY
    assert spool.replay(ledger, broker) == 0
    assert spool.replay(ledger, broker, held=True) == 1
    assert broker.ids == ["old"]


def test_status_tells_since_when_the_oldest_waits(spool, clock):
    spool.put("default", mail("m1"), {})
    clock.now += 5
    spool.put("default", mail("m2"), {})
    status = spool.status()
    assert (status.path, status.waiting, status.held, status.oldest) == (spool.path, 2, 0, NOW)
    assert [(each.id, each.lane, each.at) for each in spool.messages()] == [
        ("m1", "default", NOW),
        ("m2", "default", NOW + 5),
    ]
    assert [each.id for each in spool.messages(limit=1)] == ["m1"]


def test_a_message_can_be_withdrawn_unless_it_is_on_its_way(spool, ledger, broker):
    spool.put("default", mail("m1", "m2"), {})
    assert spool.withdraw(["m1", "absent"]) == ["m1"]
    spool._take("default", 10, 10_000, 0)
    assert spool.withdraw(["m2"]) == []
    assert spool.envelope("m2")


# -- idempotency keys


def test_a_key_that_is_here_stands_for_the_first_message(spool, ledger, broker):
    assert spool.put("default", mail("m1", key="order 7", key_digest="d"), {}) == {"m1": "m1"}
    assert spool.put("default", mail("m2", key="order 7", key_digest="d"), {}) == {"m2": "m1"}
    assert spool.replay(ledger, broker) == 1
    assert broker.ids == ["m1"]


def test_a_key_that_is_here_with_another_content_is_a_conflict_and_nothing_is_taken(spool):
    spool.put("default", mail("m1", key="order 7", key_digest="d"), {})
    with pytest.raises(IdempotencyConflict) as caught:
        spool.put("default", [*mail("m2"), *mail("m3", key="order 7", key_digest="other")], {})
    assert (caught.value.key, caught.value.message_id) == ("order 7", "m1")
    assert waiting(spool) == ["m1"]


def test_spooling_again_under_the_same_id_changes_nothing(spool):
    for _ in range(2):
        assert spool.put("default", mail("m1", key="order 7", key_digest="d"), {}) == {"m1": "m1"}
    assert waiting(spool) == ["m1"]


def test_a_key_that_was_used_meanwhile_makes_the_message_another_name_of_the_first(spool, ledger, broker):
    MemoryLedger.accept(ledger, "default", mail("first", key="order 7", key_digest="d"))
    spool.put("default", mail("second", key="order 7", key_digest="d"), {})
    assert spool.replay(ledger, broker) == 1
    assert broker.parcels == []
    assert ledger.get("second").id == "first"
    assert ledger.counts() == {"default": {"queued": 1}}


def test_a_key_that_was_used_for_another_content_is_held_and_harms_no_neighbour(spool, ledger, broker, caplog):
    MemoryLedger.accept(ledger, "default", mail("first", key="order 7", key_digest="d"))
    spool.put("default", [*mail("m1"), *mail("m2", key="order 7", key_digest="other"), *mail("m3")], {})
    assert spool.replay(ledger, broker) == 2
    assert broker.ids == ["m1", "m3"]
    [held] = spool.messages(held=True)
    assert held.id == "m2"
    assert "another content, by message first" in held.held
    assert "action=spool_held" in caplog.text
    with pytest.raises(MessageNotFound):
        ledger.get("m2")
