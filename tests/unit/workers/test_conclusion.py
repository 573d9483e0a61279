"""What the results of an attempt mean for its message."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mailqueue.ledger.base import Grant
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply
from workers.batch import Attempt
from workers.conclusion import Conclusion, state_of

OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))
LATER = Result(Verdict.DEFERRED, Reply(451, "4.7.1 later, a@example.com"))
NO = Result(Verdict.REFUSED, Reply(550, "5.1.1 no"))


def attempt(number=1, **results):
    message = SimpleNamespace(recipients=list)
    return Attempt(Grant("m1", number, 1000.0), "", message, ["a", "b"], dict(results))


@pytest.fixture
def asked():
    return []


@pytest.fixture
def conclusion(asked):
    """At 1060 s; waits a minute after the first attempt, and has enough after the second."""

    def decide(number, age):
        asked.append((number, age))
        return 60.0 if number < 2 else None

    policies = SimpleNamespace(of=lambda _lane, _relay: SimpleNamespace(decide=decide))
    return Conclusion(SimpleNamespace(now=lambda: 1060.0, policies=policies), "default")


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([OK, OK], State.SENT),
        ([OK, NO], State.PARTIAL),
        ([NO, NO], State.FAILED),
        ([OK, LATER], State.DEFERRED),
        ([NO, LATER], State.DEFERRED),
        ([], State.SENT),
    ],
)
def test_the_state_follows_from_all_results(results, state):
    assert state_of({str(number): result for number, result in enumerate(results)}) is state


def test_what_was_accepted_is_sent_without_a_reason(conclusion, asked):
    settlement = conclusion.answered(attempt(a=OK, b=OK))
    assert (settlement.id, settlement.state, settlement.reason) == ("m1", State.SENT, "")
    assert asked == []


def test_the_reason_is_the_worst_replys_codes_without_its_words(conclusion):
    assert conclusion.answered(attempt(a=LATER, b=OK)).reason == "451 4.7.1"
    assert conclusion.answered(attempt(a=NO, b=OK)).reason == "550 5.1.1"


def test_for_now_is_due_by_the_policy_and_the_age(conclusion, asked):
    settlement = conclusion.answered(attempt(a=LATER, b=OK))
    assert (settlement.state, settlement.due_in) == (State.DEFERRED, 60.0)
    assert asked == [(1, 60.0)]


def test_after_the_last_attempt_those_who_were_only_deferred_are_given_up(conclusion):
    settlement = conclusion.answered(attempt(2, a=LATER, b=OK))
    assert (settlement.state, settlement.reason) == (State.PARTIAL, "maximum age reached")
    assert settlement.results["a"] == Result(Verdict.REFUSED, LATER.reply)


def test_one_that_was_never_tried_fails_with_a_reply_that_says_so(conclusion):
    settlement = conclusion.aged(attempt())
    assert settlement.state is State.FAILED
    assert {result.reply.enhanced for result in settlement.results.values()} == {"4.4.7"}


def test_waiting_for_a_relay_counts_as_a_first_attempt(conclusion, asked):
    assert not conclusion.is_aged(attempt(7))
    assert asked == [(1, 60.0)]


def test_a_recipient_without_a_result_is_a_bug(conclusion):
    with pytest.raises(AssertionError, match="1 recipients of m1"):
        conclusion.answered(attempt(a=OK))
