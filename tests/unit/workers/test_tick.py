"""A tick publishes what is due, gives back what it could not publish, and frees the claims of dead children."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from mailqueue.errors import ImproperlyConfigured, LedgerFault, LedgerUnavailable, SpoolError
from mailqueue.ledger.base import Publication, Ticked
from mailqueue.ledger.rules import TICK_GAP_MORE
from workers.tick import Tick


def next_of(answers):
    """The next of the answers that were given; raised if it is an exception."""
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


class Ledger:
    def __init__(self):
        self.answers = []
        self.holders = []
        self.freed = []
        self.given_back = []
        self.ticked = threading.Semaphore(0)

    def owners(self, prefix):
        return [owner for owner in self.holders if owner.startswith(prefix)]

    def free(self, owner):
        self.freed.append(owner)
        return 3

    def tick(self, limit=500):
        self.ticked.release()
        return next_of(self.answers) if self.answers else Ticked()

    def unpublished(self, ids, *, due_in=2.0):
        self.given_back.append(tuple(ids))


class Publisher:
    def __init__(self):
        self.published = []
        self.broken = False

    def publish(self, parcels):
        if self.broken:
            return list(parcels)
        self.published += parcels
        return []


class Spool:
    """A spool whose answers to ``replay`` are given."""

    def __init__(self):
        self.answers = []
        self.asked = []
        self.closed = False

    def replay(self, ledger, publisher, limit):
        self.asked.append((ledger, publisher, limit))
        return next_of(self.answers)

    def close(self):
        self.closed = True


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def publisher():
    return Publisher()


@pytest.fixture
def tick(ledger, publisher):
    return Tick(ledger, publisher, "worker", seconds=0.01)


DUE = Ticked((Publication("bulk", 7, (("1", b"one"), ("2", b"two"))), Publication("default", 9)), {"due": 2})


def test_what_is_due_is_published_as_the_ledger_says(tick, ledger, publisher):
    ledger.answers = [DUE]
    assert tick.once() == 2
    parcel, barrier = publisher.published
    assert (parcel.lane, parcel.number, parcel.items) == ("bulk", 7, (("1", b"one"), ("2", b"two")))
    assert (barrier.lane, barrier.number, barrier.items) == ("default", 9, ())


def test_what_could_not_be_published_is_given_back(tick, ledger, publisher):
    ledger.answers = [DUE]
    publisher.broken = True
    assert tick.once() == 0
    assert ledger.given_back == [("1", "2")]


def test_the_claims_of_dead_children_are_freed_and_those_of_the_living_are_not(tick, ledger):
    living = subprocess.Popen(["sleep", "60"])
    reaped = subprocess.Popen(["true"])
    reaped.wait()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    ledger.holders = [f"worker:{pid}" for pid in (os.getpid(), living.pid, reaped.pid, zombie.pid)]
    ledger.holders.append("other:1")
    try:
        tick.once()
    finally:
        living.kill()
        living.wait()
        zombie.wait()
    assert ledger.freed == [f"worker:{reaped.pid}", f"worker:{zombie.pid}"]


def test_where_nobody_can_tell_the_dead_from_the_living_their_leases_are_left_to_end(
    tick, ledger, publisher, monkeypatch
):
    monkeypatch.delattr(os, "waitid")
    ledger.holders = ["worker:999999"]
    ledger.answers = [DUE]
    assert tick.once() == 2
    assert ledger.freed == []


def test_an_owner_that_cannot_be_buried_keeps_neither_the_others_nor_what_is_due(tick, ledger, publisher, caplog):
    dead = subprocess.Popen(["true"])
    dead.wait()
    ledger.holders = ["worker:nonsense", f"worker:{dead.pid}"]
    ledger.answers = [DUE]
    assert tick.once() == 2
    assert ledger.freed == [f"worker:{dead.pid}"]
    assert "action=burial_failed owner=worker:nonsense" in caplog.text


def test_after_a_tick_that_published_the_next_one_follows_as_soon_as_the_ledger_answers_it(ledger, publisher):
    tick = Tick(ledger, publisher, "worker", 60)
    pauses = []

    def wait(pause):
        pauses.append(pause)
        return len(pauses) > 3

    tick._stop.wait = wait
    ledger.answers = [Ticked(), DUE]
    tick._run()
    assert pauses == [60, 60, TICK_GAP_MORE, 60]


def test_what_waits_in_the_spool_goes_along(ledger, publisher):
    spool = Spool()
    spool.answers = [7]
    tick = Tick(ledger, publisher, "worker", 0.01, spool)
    assert tick.replay() == 7
    assert spool.asked == [(ledger, publisher, 500)]
    assert Tick(ledger, publisher, "worker", 0.01).replay() == 0


def test_the_thread_replays_and_closes_the_spool(ledger, publisher):
    spool = Spool()
    spool.answers = [0] * 10_000
    tick = Tick(ledger, publisher, "worker", 0.01, spool)
    tick.start()
    for _ in range(3):
        assert ledger.ticked.acquire(timeout=5)
    tick.stop()
    assert len(spool.asked) >= 2
    assert spool.closed


def test_a_spool_that_cannot_be_read_is_told_once(ledger, publisher, caplog):
    spool = Spool()
    spool.answers = [SpoolError("damaged"), SpoolError("damaged"), 3, ImproperlyConfigured("no append-only file")]
    tick = Tick(ledger, publisher, "worker", 0.01, spool)
    assert [tick.replay() for _ in range(4)] == [0, 0, 3, 0]
    assert [record.getMessage() for record in caplog.records] == [
        "action=spool_failed reason=damaged",
        "action=spool_failed reason=no append-only file",
    ]


def test_the_thread_outlives_an_unavailable_ledger_and_a_bug(tick, ledger, publisher, caplog):
    ledger.answers = [LedgerUnavailable("away"), RuntimeError("a bug"), DUE]
    tick.start()
    for _ in range(4):
        assert ledger.ticked.acquire(timeout=5)
    tick.stop()
    assert len(publisher.published) == 2
    assert "action=tick_waits reason=away" in caplog.text
    assert "a bug" in caplog.text


def test_what_is_the_matter_with_the_store_is_told_once_each_and_without_a_traceback(tick, ledger, publisher, caplog):
    away, fault = LedgerUnavailable("away"), LedgerFault("WRONGTYPE")
    ledger.answers = [away, away, fault, fault, Ticked(), away]
    tick.start()
    for _ in range(8):
        assert ledger.ticked.acquire(timeout=5)
    tick.stop()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "action=tick_waits reason=away"),
        ("ERROR", "action=tick_failed reason=WRONGTYPE"),
        ("WARNING", "action=tick_recovered"),
        ("WARNING", "action=tick_waits reason=away"),
        ("WARNING", "action=tick_recovered"),
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_an_owner_that_the_store_cannot_free_is_told_without_a_traceback(tick, ledger, publisher, caplog):
    def free(_owner):
        raise LedgerFault("WRONGTYPE")

    ledger.free = free
    dead = subprocess.Popen(["true"])
    dead.wait()
    ledger.holders = [f"worker:{dead.pid}"]
    ledger.answers = [DUE]
    assert tick.once() == 2
    [record] = caplog.records
    assert record.getMessage() == f"action=burial_failed owner=worker:{dead.pid} reason=WRONGTYPE"
    assert not record.exc_info


def test_a_store_that_was_away_is_judged_before_the_first_tick_and_then_no_more(ledger, publisher, caplog):
    answers = [LedgerUnavailable("away"), True]
    tick = Tick(ledger, publisher, "worker", 0.01, admit=lambda: next_of(answers))
    tick.start()
    for _ in range(3):
        assert ledger.ticked.acquire(timeout=5)
    tick.stop()
    assert answers == []
    assert [record.getMessage() for record in caplog.records] == [
        "action=tick_waits reason=away",
        "action=tick_recovered",
    ]


def test_on_a_store_that_is_not_fit_there_is_no_tick(ledger, publisher, caplog):
    ledger.answers = [DUE]
    answers = [LedgerUnavailable("away"), False]
    tick = Tick(ledger, publisher, "worker", 0.01, admit=lambda: next_of(answers))
    tick.start()
    tick._thread.join(timeout=5)
    assert not tick._thread.is_alive()
    assert publisher.published == []
    assert caplog.messages == ["action=tick_waits reason=away"]
    tick.stop()
