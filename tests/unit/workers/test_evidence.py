"""Whether it is the relay that loses connections, or a message."""

from __future__ import annotations

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.ledger.base import Grant
from workers.batch import Attempt
from workers.evidence import Evidence, Tally

DROPPED = RelayTrouble("dropped", stage="mail", reconnect=True)
SILENT = RelayTrouble("timed out", stage="mail")
BROKEN = RelayTrouble("dropped", stage="content", reconnect=True)


class Message:
    def recipients(self):
        return ["a"]


def attempt(message_id="m1"):
    return Attempt(Grant(message_id, 1, 0.0), "", Message(), ["a"])


@pytest.fixture
def evidence():
    return Evidence()


def test_a_relay_that_serves_nobody_is_to_blame_itself(evidence):
    one, two = attempt("m1"), attempt("m2")
    for each in (one, two, one, two):
        assert not evidence.unsent(each, DROPPED, first=True, others=True)


def test_a_message_is_to_blame_once_the_relay_has_served_another(evidence):
    one = attempt()
    assert not evidence.unsent(one, DROPPED, first=True, others=True)
    evidence.answered()
    assert evidence.unsent(one, DROPPED, first=True, others=False)


def test_a_message_that_was_not_the_first_on_its_connection_is_not_to_blame(evidence):
    one = attempt()
    evidence.unsent(one, DROPPED, first=True, others=True)
    evidence.answered()
    assert not evidence.unsent(one, DROPPED, first=False, others=False)


def test_a_message_within_whose_content_two_connections_broke_is_to_blame(evidence):
    one = attempt()
    assert not evidence.unsent(one, BROKEN, first=True, others=False)
    assert evidence.worth_another(BROKEN)
    assert evidence.unsent(one, BROKEN, first=False, others=False)


def test_a_relay_that_takes_its_leave_within_the_content_does_not_blame_the_message(evidence):
    closing = RelayTrouble("421", stage="content", code=421, reconnect=True)
    one = attempt()
    assert not evidence.unsent(one, closing, first=True, others=False)
    assert not evidence.unsent(one, closing, first=True, others=False)


def test_a_dropped_connection_is_worth_another(evidence):
    assert evidence.worth_another(DROPPED)


def test_silence_is_not_unless_another_message_may_fare_better(evidence):
    evidence.connecting()
    assert not evidence.worth_another(SILENT)
    evidence.unsent(attempt("m1"), SILENT, first=True, others=True)
    assert evidence.worth_another(SILENT)
    evidence.connecting()
    evidence.unsent(attempt("m2"), SILENT, first=True, others=True)
    assert not evidence.worth_another(SILENT)


def test_silence_at_the_only_message_is_not_worth_another(evidence):
    evidence.unsent(attempt(), SILENT, first=True, others=False)
    assert not evidence.worth_another(SILENT)


def test_two_lost_answers_in_a_row_are_enough(evidence):
    lost = RelayTrouble("dropped", stage="final", reconnect=True)
    evidence.answer_lost()
    assert evidence.worth_another(lost)
    evidence.answered()
    evidence.answer_lost()
    assert evidence.worth_another(lost)
    evidence.answer_lost()
    assert not evidence.worth_another(lost)


def test_a_silent_relay_loses_one_answer_only(evidence):
    evidence.answer_lost()
    assert not evidence.worth_another(RelayTrouble("timed out", stage="final"))


@pytest.mark.parametrize(
    ("troubles", "over"),
    [([], ""), (["m1"], "m1"), (["m1", "m1"], "m1"), (["m1", "m2"], ""), (["m1", None], ""), ([None, "m1"], "")],
)
def test_it_knows_whether_all_trouble_was_over_one_message(troubles, over):
    tally = Tally()
    for message_id in troubles:
        Evidence(tally).trouble(attempt(message_id) if message_id else None)
    assert (tally.over or "") == over


def test_trouble_before_an_answer_is_no_part_of_it():
    tally = Tally()
    one = Evidence(tally)
    one.trouble(None)
    one.answered()
    one.trouble(attempt("m1"))
    assert tally.over == "m1"


def test_connections_to_one_relay_share_what_it_has_done(evidence):
    tally = Tally()
    one, two, message = Evidence(tally), Evidence(tally), attempt()
    assert not one.unsent(message, DROPPED, first=True, others=True)
    two.answered()
    assert one.unsent(message, DROPPED, first=True, others=True)
    one.answer_lost()
    two.answer_lost()
    assert not one.worth_another(DROPPED)
