"""Every ledger: claims, fences, and what a worker may do under them."""

from __future__ import annotations

import threading

import pytest

from mailqueue.errors import IllegalTransition
from mailqueue.ledger.base import Grant, Settlement
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

ACCEPTED = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok: queued as 4XyZ"))
DEFERRED = Result(Verdict.DEFERRED, Reply(450, "4.2.0 try later"))
REFUSED = Result(Verdict.REFUSED, Reply(550, "5.1.1 no such user"))
MANY = {f"user{number}@example.com": ACCEPTED for number in range(100)}


def test_a_queued_message_is_granted_with_what_a_worker_needs(bench):
    bench.accept("a")
    entry = bench.ledger.get("a")
    claim = bench.claim("a")
    assert claim.granted == (Grant("a", 1, entry.accepted_at, {}, suspect=False),)
    assert (claim.refused, claim.missing) == ({}, ())
    assert bench.state("a") is State.SENDING


def test_a_grant_tells_how_often_the_answer_was_lost(bench):
    bench.accept("a", "b")
    bench.begun("a", "b")
    bench.record("a", State.UNKNOWN)
    bench.record("b", State.DEFERRED, results={"b@example.com": DEFERRED})
    bench.jump(31)
    bench.ledger.tick()
    grants = bench.claim("a", "b", token="t2").granted
    assert [(grant.id, grant.attempt, grant.unknowns) for grant in grants] == [("a", 2, 1), ("b", 2, 0)]
    assert grants[1].results == {"b@example.com": DEFERRED}


def test_ids_without_a_record_are_missing(bench):
    bench.accept("a")
    claim = bench.claim("x", "a", "y")
    assert claim.missing == ("x", "y")
    assert [grant.id for grant in claim.granted] == ["a"]


def test_of_two_claimers_one_is_granted(bench):
    bench.accept("a", "b")
    assert bench.granted("a", token="t1") == ["a"]
    second = bench.claim("a", "b", token="t2", owner="w:2")
    assert [grant.id for grant in second.granted] == ["b"]
    assert second.refused == {"a": "sending"}


def test_many_threads_claim_each_message_once(bench):
    ids = [f"m{number}" for number in range(40)]
    bench.accept(*ids)
    granted: list[str] = []

    def work(worker: int) -> None:
        for start in range(0, 40, 5):
            granted.extend(bench.granted(*ids[start : start + 5], token=f"t{worker}", owner=f"w:{worker}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(granted) == sorted(ids)


@pytest.mark.parametrize("state", [State.SENT, State.FAILED, State.PARTIAL, State.DEFERRED, State.HELD])
def test_what_is_not_queued_is_refused_with_its_state(bench, state):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", state, due_in=60)
    assert bench.claim("a", token="t2").refused == {"a": state}


def test_a_claim_repeated_under_its_token_gives_the_same_grants(bench):
    bench.accept("a", "b")
    bench.begun("b", token="t0")
    first = bench.claim("a", "b")
    assert bench.claim("a", "b") == first
    assert bench.claim("a", "a") == first.__class__(first.granted)
    assert bench.counts() == {"sending": 2}


def test_an_empty_claim_is_only_a_barrier(bench):
    claim = bench.claim(number=7)
    assert (claim.granted, claim.refused, claim.missing) == ((), {}, ())


def test_earlier_results_come_with_the_grant(bench):
    results = {"ann@example.com": ACCEPTED, "bob@example.com": DEFERRED}
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.DEFERRED, results=results)
    bench.live(1)
    (grant,) = bench.claim("a", token="t2").granted
    assert grant.results == results
    assert grant.attempt == 2


@pytest.mark.parametrize("results", [{"a@b.c": ACCEPTED}, MANY], ids=["short", "long"])
def test_results_are_kept_whatever_their_length(bench, results):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.DEFERRED, results=MANY)
    bench.live(1)
    bench.begun("a", token="t2")
    assert bench.record("a", State.SENT, token="t2", results=results)
    assert bench.ledger.get("a").results == results


def test_results_that_are_not_repeated_are_not_forgotten(bench):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.SENDING, results={"ann@example.com": ACCEPTED})
    bench.ledger.begin(["a"], "t1")
    bench.record("a", State.UNKNOWN)
    assert bench.ledger.get("a").results == {"ann@example.com": ACCEPTED}


def test_replies_may_carry_any_octets_and_any_length(bench):
    wild = Result(Verdict.REFUSED, Reply(550, 'é \udce9 "\\ \n' + "x" * 5000))
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.FAILED, results={"jörg@exämple.com": wild})
    kept = bench.ledger.get("a").results["jörg@exämple.com"]
    assert kept.reply.code == 550
    assert kept.reply.text.startswith("é \\udce9")
    assert len(kept.reply.text) < 600


# -- begin, unbegin, renew, release


def test_begin_says_which_are_ours(bench):
    bench.accept("a", "b", "c")
    bench.granted("a", "b")
    bench.granted("c", token="t2")
    assert bench.ledger.begin(["a", "c", "b", "x"], "t1") == [True, False, True, False]
    assert bench.event("fenced") == 2
    assert bench.ledger.begin([], "t1") == []


def test_begin_repeated_is_true_again(bench):
    bench.accept("a")
    bench.begun("a")
    assert bench.ledger.begin(["a"], "t1") == [True]


def test_released_messages_are_published_again_at_no_charge(bench):
    bench.accept("a", "b")
    bench.granted("a", "b")
    bench.ledger.release(["a"], "t1", reason="shutting down")
    bench.ledger.release(["b"], "t1", due_in=60, reason="relay down")
    (task,) = bench.live(1)
    assert task.items == (("a", b"env-a"),)
    entry = bench.ledger.get("b")
    assert (entry.state, entry.attempts, entry.reason) == (State.DEFERRED, 0, "relay down")
    assert entry.due_at == pytest.approx(bench.clock.now() + 59, abs=1)
    (grant,) = bench.claim("a", token="t2").granted
    assert (grant.attempt, grant.suspect) == (1, False)
    assert bench.event("crashed") == 0


def test_release_repeated_or_under_another_token_does_nothing(bench):
    bench.accept("a")
    bench.granted("a")
    bench.ledger.release(["a", "x"], "t2")
    assert bench.state("a") is State.SENDING
    bench.ledger.release(["a"], "t1", due_in=10)
    due = bench.ledger.get("a").due_at
    bench.ledger.release(["a"], "t1", due_in=500)
    assert bench.ledger.get("a").due_at == due
    bench.ledger.release([], "t1")


def test_what_has_begun_cannot_be_released(bench):
    bench.accept("a")
    bench.begun("a")
    bench.ledger.release(["a"], "t1")
    assert bench.state("a") is State.SENDING


def test_what_was_not_written_after_all_can_be_released(bench):
    bench.accept("a")
    bench.begun("a")
    bench.ledger.unbegin(["a", "x"], "t2")
    bench.ledger.release(["a"], "t1")
    assert bench.state("a") is State.SENDING
    bench.ledger.unbegin(["a"], "t1")
    bench.ledger.unbegin(["a"], "t1")
    bench.ledger.release(["a"], "t1")
    assert bench.state("a") is State.DEFERRED
    bench.ledger.unbegin([], "t1")


def test_renew_says_which_are_ours_and_keeps_them(bench):
    bench.calm_down()
    bench.accept("a", "b", "c")
    bench.begun("a", "b")
    bench.live(20)
    assert bench.ledger.renew(["a", "c", "x"], "t1") == [True, False, False]
    assert bench.ledger.renew(["a"], "t2") == [False]
    bench.live(20)
    assert bench.state("a") is State.SENDING
    assert bench.state("b") is not State.SENDING
    assert bench.ledger.renew(["b"], "t1") == [False]
    assert bench.ledger.renew([], "t1") == []


# -- record


@pytest.mark.parametrize(
    ("state", "attempts", "envelope"),
    [
        (State.SENT, 1, False),
        (State.PARTIAL, 1, True),
        (State.FAILED, 1, True),
        (State.DEFERRED, 1, True),
        (State.HELD, 0, True),
    ],
)
def test_a_settlement_is_recorded_as_it_is(bench, state, attempts, envelope):
    bench.accept("a")
    bench.begun("a")
    bench.jump(3)
    results = {"ann@example.com": REFUSED}
    assert bench.record("a", state, results=results, due_in=60, reason="a reason")
    entry = bench.ledger.get("a")
    assert (entry.state, entry.attempts, entry.reason, entry.results) == (state, attempts, "a reason", results)
    assert (entry.envelope is not None) is envelope
    assert entry.updated_at == pytest.approx(entry.accepted_at + 3, abs=1)
    assert (entry.due_at is not None) is (state is State.DEFERRED)
    assert bench.counts() == {state: 1}


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.EXPIRED])
def test_an_attempt_cannot_end_in_other_states(bench, state):
    bench.accept("a", "b")
    bench.begun("a", "b")
    with pytest.raises(IllegalTransition):
        bench.ledger.record([Settlement("a", State.SENT), Settlement("b", state)], "t1")
    assert bench.state("a") is State.SENDING


def test_settlements_of_one_call_stand_for_themselves(bench):
    bench.accept("a", "b", "c")
    bench.begun("a", "c")
    bench.begun("b", token="t2")
    settlements = [Settlement("a", State.SENT), Settlement("b", State.SENT), Settlement("c", State.FAILED)]
    assert bench.ledger.record(settlements, "t1") == [True, False, True]
    assert bench.counts() == {"sent": 1, "sending": 1, "failed": 1}
    assert bench.event("fenced") == 1
    assert bench.ledger.record([], "t1") == []


def test_a_record_repeated_under_its_token_is_true_again_and_changes_nothing(bench):
    bench.accept("a", "b")
    bench.begun("a", "b")
    for _ in range(2):
        assert bench.record("a", State.SENT)
        assert bench.record("b", State.DEFERRED, due_in=60)
    assert bench.ledger.get("b").attempts == 1
    assert bench.counts() == {"sent": 1, "deferred": 1}
    assert bench.event("fenced") == bench.event("late") == 0


def test_a_record_repeated_after_the_message_went_on_changes_nothing(bench):
    bench.accept("a")
    bench.begun("a")
    assert bench.record("a", State.DEFERRED)
    bench.live(1)
    assert bench.state("a") is State.QUEUED
    assert bench.record("a", State.DEFERRED)
    assert bench.state("a") is State.QUEUED
    bench.granted("a", token="t2")
    assert not bench.record("a", State.DEFERRED)
    assert bench.state("a") is State.SENDING


def test_a_record_of_a_message_that_is_not_known_is_refused(bench):
    assert not bench.record("x", State.SENT)


def test_saved_progress_goes_on_under_the_same_claim(bench):
    bench.accept("a")
    bench.begun("a")
    half = {"ann@example.com": ACCEPTED}
    assert bench.record("a", State.SENDING, results=half)
    assert bench.ledger.get("a").results == half
    assert bench.state("a") is State.SENDING
    bench.ledger.release(["a"], "t1")  # which shows that it is no longer begun
    assert bench.state("a") is State.DEFERRED
    assert bench.ledger.get("a").attempts == 0


def test_progress_and_end_may_come_in_one_call(bench):
    bench.accept("a", "b")
    bench.begun("a", "b")
    settlements = [
        Settlement("b", State.SENT),
        Settlement("a", State.SENDING, {"ann@example.com": ACCEPTED}),
        Settlement("a", State.SENT, MANY),
    ]
    assert bench.ledger.record(settlements, "t1") == [True] * 3
    assert bench.ledger.list(State.SENDING) == []
    assert bench.ledger.get("a").results == MANY


def test_reasons_are_cut_to_one_short_line(bench):
    bench.accept("a")
    bench.begun("a")
    bench.record("a", State.FAILED, reason="two\nlines and é" + "é" * 100)
    reason = bench.ledger.get("a").reason
    assert reason.startswith("two lines and é")
    assert reason.endswith("…")
    assert len(reason.encode()) <= 64


# -- owners


def test_owners_are_found_whatever_their_names_begin_with(bench):
    bench.accept("a", "b")
    bench.claim("a", token="T1", owner="0f1e:1")
    bench.claim("b", token="T2", owner="~:2")
    assert bench.ledger.owners("0f1e:") == ["0f1e:1"]
    assert bench.ledger.owners("~") == ["~:2"]
    assert bench.ledger.owners("") == ["0f1e:1", "~:2"]


def test_owners_are_listed_by_prefix_while_they_hold_claims(bench):
    bench.accept("a", "b", "c", "d")
    bench.granted("a", "b", owner="host:10")
    bench.granted("c", token="t2", owner="host:9")
    bench.granted("d", token="t3", owner="hostile:1")
    assert bench.ledger.owners("host:") == ["host:10", "host:9"]
    assert bench.ledger.owners("") == ["host:10", "host:9", "hostile:1"]
    bench.ledger.begin(["c"], "t2")
    bench.record("c", State.SENT, token="t2")
    bench.ledger.release(["a"], "t1")
    assert bench.ledger.owners("host") == ["host:10", "hostile:1"]
    assert bench.ledger.owners("nobody") == []


def test_an_owner_is_one_line(bench):
    bench.accept("a")
    with pytest.raises(ValueError, match="one line"):
        bench.claim("a", owner="two\nlines")
    assert bench.state("a") is State.QUEUED
