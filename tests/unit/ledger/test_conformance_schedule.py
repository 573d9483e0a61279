"""Every ledger: what is to be sent later, and what must not be sent late."""

from __future__ import annotations

import pytest

from mailqueue.ledger.base import Submission
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

ACCEPTED = {"ann@example.com": Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok"))}


def at(bench, seconds):
    """The time that is ``seconds`` from now."""
    return bench.clock.now() + seconds


def published(tasks):
    return [message_id for task in tasks for message_id, _envelope in task.items]


# -- send_at


def test_a_message_for_later_is_scheduled_and_takes_no_number(bench):
    answer = bench.ledger.accept("default", [Submission("a", b"env-a", send_at=at(bench, 60))])
    assert (answer.number, answer.accepted[0].state, answer.accepted[0].new) == (0, State.SCHEDULED, True)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.envelope) == (State.SCHEDULED, b"env-a")
    assert entry.due_at == pytest.approx(at(bench, 60), abs=0.01)
    assert entry.accepted_at == pytest.approx(at(bench, 0), abs=0.01)
    assert bench.counts() == {"scheduled": 1}
    assert bench.ledger.list(State.SCHEDULED) == ["a"]
    assert bench.accept("b") == 1


@pytest.mark.parametrize("ago", [0, 1, 10_000])
def test_a_message_for_a_time_gone_by_is_queued(bench, ago):
    assert bench.accept("a", send_at=at(bench, -ago)) == 1
    assert bench.state("a") is State.QUEUED


def test_a_call_may_bring_some_for_now_and_some_for_later(bench):
    answer = bench.ledger.accept(
        "default", [Submission("a", b"a", send_at=at(bench, 9)), Submission("b", b"b"), Submission("c", b"c")]
    )
    assert answer.number == 1
    assert [one.state for one in answer.accepted] == ["scheduled", "queued", "queued"]


def test_a_scheduled_message_is_published_at_its_time_and_not_before(bench):
    bench.accept("a", send_at=at(bench, 60))
    assert bench.claim("a").refused == {"a": "scheduled"}
    assert bench.live(58) == []
    (task,) = bench.live(4)
    assert (task.number, task.items, task.alone) == (1, (("a", b"env-a"),), False)
    assert bench.found["due"] == 1
    assert bench.granted("a") == ["a"]


def test_scheduled_and_deferred_messages_share_a_task(bench):
    bench.accept("a", send_at=at(bench, 2))
    bench.accept("b")
    bench.granted("b")
    bench.ledger.release(["b"], "t1", due_in=2)
    bench.jump(3)
    (task,) = bench.tick()
    assert [message_id for message_id, _envelope in task.items] == ["a", "b"]


def test_a_retry_does_not_wait_behind_thousands_that_were_scheduled(bench):
    bench.accept("a")
    bench.accept(*(f"m{number}" for number in range(1000)), send_at=at(bench, 1))
    bench.granted("a")
    bench.ledger.release(["a"], "t1", due_in=2)
    bench.jump(3)
    ids = published(bench.ledger.tick(limit=10).publications)
    assert "a" in ids
    assert len(ids) == 11


def test_the_age_of_a_scheduled_message_counts_from_its_time(bench):
    bench.accept("a", send_at=at(bench, 600_000))
    bench.jump(600_001)
    bench.live(1)
    (grant,) = bench.claim("a").granted
    assert grant.since == pytest.approx(at(bench, -2), abs=1.5)
    assert bench.ledger.get("a").accepted_at == pytest.approx(at(bench, -600_002), abs=1.5)


def test_a_clock_set_back_only_delays_what_is_scheduled(bench):
    bench.accept("a", send_at=at(bench, 60))
    bench.jump(-1000)
    assert bench.live(1058) == []
    assert published(bench.live(4)) == ["a"]


def test_a_clock_set_forward_publishes_what_is_scheduled_until_then(bench):
    bench.accept("a", send_at=at(bench, 5000))
    bench.accept("b", send_at=at(bench, 50_000))
    bench.jump(10_000)
    assert published(bench.live(1)) == ["a"]


def test_a_lost_task_of_a_scheduled_message_is_found(bench):
    bench.accept("a", send_at=at(bench, 10))
    bench.live(12)
    bench.claim(number=5)
    bench.live(65)
    assert published(bench.published) == ["a", "a"]
    assert bench.event("lost") == 1


# -- expires_at


@pytest.mark.parametrize("state", [State.SCHEDULED, State.QUEUED, State.DEFERRED])
def test_what_was_not_sent_in_time_expires(bench, state):
    bench.accept("a", expires_at=at(bench, 60), send_at=at(bench, 100) if state is State.SCHEDULED else 0)
    if state is State.DEFERRED:
        bench.granted("a")
        bench.ledger.release(["a"], "t1", due_in=1000)
    bench.live(58)
    assert bench.state("a") is state
    bench.live(4)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.envelope, entry.due_at) == (State.EXPIRED, None, None)
    assert "expires_at" in entry.reason
    assert bench.counts() == {"expired": 1}
    assert bench.event("expired") == bench.found["expired"] == 1
    assert bench.claim("a", token="t2").refused == {"a": "expired"}
    assert not any(task.items for task in bench.live(30))


def test_an_expired_message_keeps_its_record_for_the_retention(bench):
    bench.ledger.put_blobs({"h": b"x"})
    bench.accept("a", blobs=("h",), expires_at=at(bench, 5))
    bench.live(10)
    bench.jump(3601)
    assert bench.ledger.get_blobs(["h"]) == {}
    bench.jump(600_000)
    assert bench.state("a") is State.EXPIRED
    bench.jump(5000)
    assert bench.claim("a").missing == ("a",)


def test_it_is_not_granted_after_its_time_though_nobody_has_ticked(bench):
    bench.accept("a", "b", expires_at=at(bench, 60))
    bench.accept("c")
    bench.jump(60)
    claim = bench.claim("a", "b", "c")
    assert [grant.id for grant in claim.granted] == ["c"]
    assert claim.refused == {"a": "expired", "b": "expired"}
    assert bench.event("expired") == 2
    assert bench.counts() == {"expired": 2, "sending": 1}


def test_it_does_not_begin_after_its_time(bench):
    bench.accept("a", "b", expires_at=at(bench, 20))
    bench.accept("c")
    bench.granted("a", "b", "c")
    assert bench.ledger.begin(["a"], "t1") == [True]
    bench.jump(20)
    assert bench.ledger.begin(["b", "c"], "t1") == [False, True]
    assert [bench.state(each) for each in "abc"] == ["sending", "expired", "sending"]
    assert bench.ledger.owners("") == ["w:1"]
    assert (bench.event("expired"), bench.event("fenced"), bench.event("illegal")) == (1, 0, 0)
    assert bench.record("a", State.SENT)


def test_a_begin_repeated_after_its_time_is_refused_for_nothing_was_written(bench):
    bench.accept("a", expires_at=at(bench, 20))
    bench.begun("a")
    bench.jump(21)
    assert bench.ledger.begin(["a"], "t1") == [False]
    assert bench.state("a") is State.EXPIRED


def test_what_is_being_sent_ends_as_it_ends(bench):
    bench.accept("a", expires_at=at(bench, 10))
    bench.begun("a")
    bench.live(20)
    assert bench.state("a") is State.SENDING
    assert bench.record("a", State.SENT)
    assert bench.state("a") is State.SENT


def test_what_comes_back_after_its_time_expires_then(bench):
    bench.accept("a", expires_at=at(bench, 10))
    bench.begun("a")
    bench.live(20)
    bench.record("a", State.DEFERRED, due_in=10_000)
    bench.live(2)
    assert bench.state("a") is State.EXPIRED


def test_a_lost_answer_is_not_resent_after_its_time(bench):
    bench.calm_down()
    bench.accept("a", expires_at=at(bench, 20))
    bench.begun("a")
    bench.live(35)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.unknowns) == (State.EXPIRED, 1)


def test_a_late_answer_of_an_expired_message_is_kept_for_the_operator(bench):
    bench.accept("a", expires_at=at(bench, 20))
    bench.begun("a")
    bench.record("a", State.UNKNOWN)
    bench.live(25)
    assert bench.record("a", State.SENT, results=ACCEPTED)
    entry = bench.ledger.get("a")
    assert (entry.state, entry.results) == (State.EXPIRED, ACCEPTED)


def test_what_is_held_expires_when_it_is_let_go(bench):
    bench.accept("a", expires_at=at(bench, 20))
    bench.ledger.hold(["a"])
    bench.live(30)
    assert bench.state("a") is State.HELD
    bench.ledger.unhold(["a"])
    assert not any(task.items for task in bench.live(2))
    assert bench.state("a") is State.EXPIRED


def test_a_tick_expires_no_more_than_its_limit_and_publishes_none_of_the_rest(bench):
    ids = [f"m{number}" for number in range(10)]
    bench.accept(*ids, send_at=at(bench, 5), expires_at=at(bench, 6))
    bench.jump(7)
    ticked = bench.ledger.tick(limit=3)
    assert ticked.publications == ()
    assert 3 <= ticked.found["expired"] <= 6
    bench.live(5)
    assert bench.counts() == {"expired": 10}


def test_a_message_says_until_when_it_may_be_sent(bench):
    bench.accept("a", expires_at=at(bench, 20))
    bench.accept("b")
    assert bench.ledger.get("a").expires_at == pytest.approx(at(bench, 20), abs=0.01)
    assert bench.ledger.get("b").expires_at is None


def test_one_that_is_late_already_is_accepted_and_expires(bench):
    bench.accept("a", expires_at=at(bench, -1))
    assert bench.claim("a").refused == {"a": "expired"}
