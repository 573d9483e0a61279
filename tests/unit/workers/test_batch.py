"""A batch knows how far each of its messages has come."""

from __future__ import annotations

import pytest

from mailqueue.ledger.base import Grant
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply
from workers.batch import Attempt, Batch, outstanding


class Message:
    def recipients(self):
        return ["a", "b", "c"]


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def batch(now):
    return Batch("default", clock=lambda: now[0])


def test_tokens_differ():
    assert Batch("default").token != Batch("default").token


def test_claimed_messages_wait_until_they_begin(batch, now):
    batch.claimed(["1", "2"])
    now[0] += 10
    batch.begun(["1"])
    assert batch.waiting() == ["2"]
    assert batch.waiting(longer_than=11) == []
    assert batch.busy(no_longer_than=5) == ["1"]
    now[0] += 6
    assert batch.busy(no_longer_than=5) == []
    assert batch.in_flight() == ["1"]


def test_the_one_whose_turn_it_is_does_not_wait(batch, now):
    batch.claimed(["1", "2"])
    batch.turn("1")
    now[0] += 10
    assert batch.waiting(longer_than=5, turn=60) == ["2"]
    assert batch.busy(no_longer_than=60) == ["1"]
    assert batch.in_flight() == []
    now[0] += 51
    assert batch.waiting(longer_than=5, turn=60) == ["1", "2"]
    assert batch.busy(no_longer_than=60) == []


def test_all_that_was_fed_is_at_its_turn_until_it_ends_or_waits_again(batch):
    batch.claimed(["1", "2", "3", "4"])
    assert all(batch.turn(message_id) for message_id in "123")
    assert batch.busy(no_longer_than=60) == ["1", "2", "3"]
    batch.ended(["2"])
    batch.waits(["3"])
    assert batch.busy(no_longer_than=60) == ["1"]
    assert batch.waiting(longer_than=0, turn=60) == ["3", "4"]


def test_what_is_not_ours_has_no_turn(batch):
    batch.claimed(["1"])
    batch.given_back(["1"])
    assert not batch.turn("1")
    assert batch.busy(no_longer_than=60) == []


def test_what_was_unbegun_is_still_at_its_turn(batch, now):
    batch.claimed(["1"])
    batch.turn("1")
    batch.begun(["1"])
    now[0] += 10
    batch.unbegun(["1"])
    assert batch.waiting(longer_than=0, turn=60) == []
    assert batch.busy(no_longer_than=5) == ["1"]


def test_what_was_unbegun_waits_anew(batch, now):
    batch.claimed(["1"])
    batch.begun(["1"])
    now[0] += 10
    batch.unbegun(["1"])
    assert batch.waiting(longer_than=5) == []
    assert batch.waiting() == ["1"]


def test_what_has_ended_is_not_unbegun(batch):
    batch.claimed(["1"])
    batch.ended(["1"])
    batch.unbegun(["1"])
    assert not batch.holds("1")


def test_giving_back_leaves_what_has_begun_meanwhile(batch):
    batch.claimed(["1", "2"])
    batch.begun(["1"])
    batch.given_back(["1", "2"])
    assert batch.holds("1")
    assert not batch.holds("2")


def test_it_knows_what_it_has_given_back(batch):
    batch.claimed(["1", "2"])
    batch.given_back(["1"])
    assert [batch.gave_back("1"), batch.gave_back("2")] == [True, False]


def test_recipients_without_a_final_answer_are_outstanding():
    results = {
        "a": Result(Verdict.ACCEPTED, Reply(250)),
        "b": Result(Verdict.DEFERRED, Reply(451)),
        "d": Result(Verdict.REFUSED, Reply(550)),
    }
    assert outstanding(["a", "b", "c", "d"], results) == ["b", "c"]


def test_the_message_of_an_attempt_names_only_those_still_to_be_served():
    attempt = Attempt(Grant("1", 1, 0.0), "", Message(), ["a", "b", "c"])
    assert attempt.message.recipients() == ["a", "b", "c"]
    attempt.settle({"b": Result(Verdict.ACCEPTED, Reply(250))})
    assert attempt.message.recipients() == ["a", "c"]


def test_who_was_deferred_is_asked_again_by_another_attempt_only():
    later = {"a": Result(Verdict.DEFERRED, Reply(451))}
    attempt = Attempt(Grant("1", 2, 0.0), "", Message(), ["a", "b"], dict(later))
    assert attempt.message.recipients() == ["a", "b"]
    attempt.settle(later)
    assert attempt.message.recipients() == ["b"]
