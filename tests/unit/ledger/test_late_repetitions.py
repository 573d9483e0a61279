"""A call that we gave up may still arrive, after what we did on another connection: it must not undo that."""

from __future__ import annotations

import pytest

from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

ACCEPTED = Result(Verdict.ACCEPTED, Reply(250, "ok"))


@pytest.fixture
def late(stored, monkeypatch):
    """Makes a call, and returns what makes the very same command arrive once more."""
    send = stored.client.execute_command

    def late(call):
        commands = []

        def noting(*command, **options):
            commands.append(command)
            return send(*command, **options)

        with monkeypatch.context() as patch:
            patch.setattr(stored.client, "execute_command", noting)
            call()
        return lambda: send(*commands[-1])

    return late


def crash(stored):
    """Its worker dies: what was begun is found unknown, and counted."""
    stored.ledger.free("w:1")
    return stored.ledger.get("a").unknowns


def test_an_unbegin_does_not_undo_the_begin_after_it(stored, late):
    stored.accept("a")
    stored.begun("a")
    again = late(lambda: stored.ledger.unbegin(["a"], "t1"))
    assert stored.ledger.begin(["a"], "t1") == [True]
    again()
    assert crash(stored) == 1


def test_an_unbegin_does_not_send_what_rests_for_want_of_an_answer(stored, late):
    stored.accept("a", on_unknown="hold")
    stored.begun("a")
    again = late(lambda: stored.ledger.unbegin(["a"], "t1"))
    stored.ledger.begin(["a"], "t1")
    assert crash(stored) == 1
    again()
    assert stored.state("a") is State.UNKNOWN


def test_progress_does_not_undo_the_begin_after_it_nor_what_was_recorded_since(stored, late):
    stored.accept("a")
    stored.begun("a")
    again = late(lambda: stored.record("a", State.SENDING, results={"ann@example.com": ACCEPTED}))
    stored.ledger.begin(["a"], "t1")
    both = {"ann@example.com": ACCEPTED, "bob@example.com": ACCEPTED}
    stored.record("a", State.SENDING, results=both)
    stored.ledger.begin(["a"], "t1")
    again()
    assert stored.ledger.get("a").results == both
    assert crash(stored) == 1


def test_a_begin_does_not_undo_the_unbegin_after_it(stored, late):
    stored.accept("a")
    stored.claim("a")
    again = late(lambda: stored.ledger.begin(["a"], "t1"))
    stored.ledger.unbegin(["a"], "t1")
    again()
    assert crash(stored) == 0


def test_a_begin_does_not_begin_the_next_claim_of_the_same_batch(stored, late):
    stored.accept("a")
    stored.claim("a")
    again = late(lambda: stored.ledger.begin(["a"], "t1"))
    stored.record("a", State.DEFERRED, due_in=0.0)
    stored.ledger.tick()
    stored.claim("a")
    again()
    assert crash(stored) == 0


def test_a_begin_does_not_expire_what_has_gone_out_in_time(stored, late):
    stored.accept("a", expires_at=stored.clock.now() + 5)
    stored.claim("a")
    again = late(lambda: stored.ledger.begin(["a"], "t1"))
    stored.clock.moved += 10
    again()
    assert stored.record("a", State.SENT, results={"ann@example.com": ACCEPTED})
    assert stored.state("a") is State.SENT


def test_the_next_worker_counts_from_its_own(stored):
    stored.accept("a")
    stored.claim("a")
    for _ in range(3):
        stored.ledger.begin(["a"], "t1")
        stored.ledger.unbegin(["a"], "t1")
    stored.ledger.release(["a"], "t1")
    stored.tick()
    other = type(stored.ledger)(stored.client, clock_offset=stored.clock.now)
    other._scripts = stored.ledger._scripts
    assert [grant.id for grant in other.claim("default", ["a"], token="t2", owner="w:2").granted] == ["a"]
    assert other.begin(["a"], "t2") == [True]
    other.free("w:2")
    assert stored.ledger.get("a").unknowns == 1
