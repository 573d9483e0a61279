"""The table of transitions, as the recovery rests on it."""

from __future__ import annotations

import pytest

from mailqueue.errors import IllegalTransition
from mailqueue.ledger.states import FINAL, TRANSITIONS, State, check


def reachable(start):
    seen, ahead = {start}, [start]
    while ahead:
        for following in TRANSITIONS[ahead.pop()] - seen:
            seen.add(following)
            ahead.append(following)
    return seen


def test_every_state_has_its_row():
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reached_from_where_messages_begin():
    assert reachable(State.QUEUED) | reachable(State.SCHEDULED) == set(State)


def test_no_way_leads_from_a_state_to_itself():
    assert all(state not in following for state, following in TRANSITIONS.items())


def test_what_is_published_was_due():
    assert {old for old, new in TRANSITIONS.items() if State.QUEUED in new} == {State.DEFERRED, State.SCHEDULED}


def test_what_is_sent_was_claimed():
    assert {old for old, new in TRANSITIONS.items() if State.SENDING in new} == {State.QUEUED}
    assert {old for old, new in TRANSITIONS.items() if State.SENT in new} == {State.SENDING, State.UNKNOWN}


def test_lost_answers_come_from_claims_alone():
    assert {old for old, new in TRANSITIONS.items() if State.UNKNOWN in new} == {State.SENDING}


@pytest.mark.parametrize("state", sorted(FINAL))
def test_final_states_lead_nowhere_but_back_by_hand(state):
    expected = {State.DEFERRED} if state in {State.FAILED, State.PARTIAL} else set()
    assert TRANSITIONS[state] == expected


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_every_other_state_can_end(state):
    assert reachable(state) & FINAL


def test_a_way_that_the_table_has_is_checked_silently():
    check(State.QUEUED, State.SENDING)


@pytest.mark.parametrize(("old", "new"), [(State.SENT, State.QUEUED), (State.QUEUED, State.SENT)])
def test_a_way_that_the_table_lacks_raises(old, new):
    with pytest.raises(IllegalTransition, match=f"{old} to {new}"):
        check(old, new)
