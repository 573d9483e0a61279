"""Every ledger: what operators ask."""

from __future__ import annotations

import pytest

from mailqueue.errors import MailQueueError, MessageNotFound
from mailqueue.ledger import rules
from mailqueue.ledger.states import State


def test_a_message_that_was_never_accepted_is_not_found(bench):
    with pytest.raises(MessageNotFound) as caught:
        bench.ledger.get("x")
    assert caught.value.message_id == "x"
    assert isinstance(caught.value, MailQueueError | LookupError)


def settle(bench, state, *ids):
    """Each in ``state``, a second after the other."""
    for message_id in ids:
        bench.accept(message_id, on_unknown="hold")
        if state is State.QUEUED:
            pass
        elif state is State.SENDING:
            bench.granted(message_id)
        else:
            bench.begun(message_id)
            bench.record(message_id, state, due_in=100)
        bench.jump(1)


@pytest.mark.parametrize(
    "state",
    [State.QUEUED, State.SENDING, State.DEFERRED, State.UNKNOWN, State.HELD, State.FAILED, State.PARTIAL],
)
def test_messages_are_listed_by_state_oldest_first(bench, state):
    settle(bench, state, "c", "a", "b")
    other = State.HELD if state is not State.HELD else State.FAILED
    settle(bench, other, "d")
    assert bench.ledger.list(state) == ["c", "a", "b"]
    assert bench.ledger.list(state, limit=2) == ["c", "a"]
    assert bench.ledger.list(state, limit=0) == []
    assert bench.ledger.list(other) == ["d"]


def test_queued_messages_are_listed_lane_by_lane(bench):
    for number, lane in enumerate(["bulk", "default", "urgent", "default"]):
        bench.accept(f"m{number}", lane=lane)
        bench.jump(1)
    assert bench.ledger.list(State.QUEUED) == ["m0", "m1", "m3", "m2"]
    assert bench.ledger.list(State.QUEUED, limit=3) == ["m0", "m1", "m3"]


def test_deferred_messages_of_all_lanes_are_listed_by_due_time(bench):
    for message_id, lane, due_in in [("a", "bulk", 30), ("b", "urgent", 10), ("c", "bulk", 20)]:
        bench.accept(message_id, lane=lane)
        bench.granted(message_id, lane=lane)
        bench.ledger.release([message_id], "t1", due_in=due_in)
    assert bench.ledger.list(State.DEFERRED) == ["b", "c", "a"]
    assert bench.ledger.list(State.DEFERRED, limit=2) == ["b", "c"]


@pytest.mark.parametrize("state", [State.SENT, State.CANCELLED, State.EXPIRED])
def test_states_without_an_index_are_not_listed(bench, state):
    with pytest.raises(ValueError, match="not indexed"):
        bench.ledger.list(state)


def test_counts_are_by_lane_and_state(bench):
    assert bench.ledger.counts() == {}
    bench.accept("a", "b", "c", lane="bulk")
    bench.accept("d", lane="urgent")
    bench.begun("a", "b", lane="bulk")
    bench.record("a", State.SENT)
    assert bench.ledger.counts() == {"bulk": {"queued": 1, "sending": 1, "sent": 1}, "urgent": {"queued": 1}}


def test_counters_begin_at_zero_and_are_all_named(bench):
    assert bench.ledger.counters() == dict.fromkeys(rules.EVENTS, 0)
    bench.record("x", State.SENT)
    assert bench.ledger.counters() == dict.fromkeys(rules.EVENTS, 0) | {"fenced": 1}


def test_a_ledger_that_is_there_answers_ping_and_can_be_used_after_close(bench):
    bench.ledger.ping()
    bench.ledger.close()
    bench.ledger.ping()
    bench.ledger.close()
