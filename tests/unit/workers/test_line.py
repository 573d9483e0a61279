"""A connection's part in a delivery: windows, what is recorded when, and what a lost connection costs."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from mailqueue.codec import Parcel
from mailqueue.errors import LedgerUnavailable
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.outcome import Ending, Outcome
from workers.drain import drain


def mails(count):
    return [EmailMessage(str(number), "Body", "app@example.com", ["ann@example.com"]) for number in range(count)]


def states(process, parcel):
    return Counter(process.ledger.get(message_id).state for message_id, _ in parcel.items)


def unknowns(process, parcel):
    return [process.ledger.get(message_id).unknowns for message_id, _ in parcel.items]


@pytest.fixture
def calls(process, monkeypatch):
    """The calls of the ledger that a message's begin stands or falls with, in order: (name, messages)."""
    calls = []

    def spy(name):
        call = getattr(process.ledger, name)

        def spied(items, *args, **kwargs):
            calls.append((name, len(items)))
            return call(items, *args, **kwargs)

        monkeypatch.setattr(process.ledger, name, spied)

    for name in ("begin", "unbegin", "record", "release"):
        spy(name)
    return calls


def test_a_window_is_begun_in_one_call_and_recorded_before_the_next_one_begins(window, process, queue, calls):
    parcel = queue(*mails(7))
    drain(parcel, process)
    assert calls == [("begin", 3), ("record", 3), ("begin", 3), ("record", 3), ("begin", 1), ("record", 1)]
    assert states(process, parcel) == {State.SENT: 7}


def test_what_was_answered_is_recorded_before_the_relay_is_waited_for(window, process, queue, calls):
    window.script = [None, "wait"]
    drain(queue(*mails(3)), process)
    assert calls == [("begin", 3), ("record", 1), ("record", 2)]


def test_what_nothing_else_is_unanswered_beside_is_recorded_at_once(window, process, queue, calls):
    window.window = 1
    seen = []
    window.script = [None, lambda _m: seen.extend(calls)]
    drain(queue(*mails(2)), process)
    assert seen == [("begin", 1), ("record", 1), ("begin", 1)]
    assert calls[2:] == [("begin", 1), ("record", 1)]


def test_a_long_window_is_recorded_in_parts(window, process, queue, calls):
    window.window = 100
    drain(queue(*mails(100)), process)
    assert calls == [("begin", 100), ("record", 64), ("record", 36)]


def test_a_backend_that_knows_of_no_waiting_has_each_outcome_recorded_at_once(backend, process, queue, calls):
    drain(queue(*mails(2)), process)
    assert calls == [("begin", 1), ("record", 1)] * 2


def test_what_is_not_ours_is_taken_out_of_its_window(window, process, queue):
    parcel = queue(*mails(3))
    feed = window.deliver

    def deliver(messages, on_begin, on_wait=None):
        def begin(group):
            process.ledger.cancel([parcel.items[1][0]])
            return on_begin(group)

        return feed(messages, begin, on_wait)

    window.deliver = deliver
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 2, State.CANCELLED: 1}
    assert [subject for subject, _ in window.sent] == ["0", "2"]


def test_all_that_was_fed_is_at_its_turn(window, process, queue):
    seen = []

    def look(_message):
        [batch] = process.keeper._batches
        seen.append((len(batch.busy(60)), len(batch.waiting(0, turn=60)), len(batch.in_flight())))

    window.script = [look]
    drain(queue(*mails(5)), process)
    assert seen == [(3, 2, 3)]


def test_a_window_whose_answers_are_lost_counts_as_one_lost_connection(window, process, queue):
    parcel = queue(*mails(7))
    window.script = [None, Ending.UNKNOWN]
    drain(parcel, process)
    assert unknowns(process, parcel) == [0, 1, 1, 0, 0, 0, 0]
    assert states(process, parcel) == {State.SENT: 5, State.DEFERRED: 2}
    assert window.opened == 2


def test_a_relay_that_loses_two_windows_in_a_row_is_left_alone(window, process, queue):
    parcel = queue(*mails(9))
    window.script = [Ending.UNKNOWN] * 9
    drain(parcel, process)
    assert unknowns(process, parcel) == [1] * 6 + [0] * 3
    assert process.relays.wait("") > 0


def test_what_was_begun_and_not_written_goes_over_the_next_connection_at_no_charge(window, process, queue, calls):
    parcel = queue(*mails(5))
    window.script = [None, Ending.UNSENT]
    drain(parcel, process)
    assert calls[:3] == [("begin", 3), ("record", 1), ("unbegin", 2)]
    assert window.groups == [["0", "1", "2"], ["1"], ["2", "3", "4"]]  # the first one may be what broke it
    assert states(process, parcel) == {State.SENT: 5}
    assert all(process.ledger.get(message_id).attempts == 1 for message_id, _ in parcel.items)


def test_only_the_one_within_which_connections_break_is_charged(window, process, queue):
    window.script = [lambda m: Ending.UNSENT if m.subject == "1" else None] * 20
    parcel = queue(*mails(5))
    drain(parcel, process)
    found = [process.ledger.get(message_id) for message_id, _ in parcel.items]
    assert [each.state for each in found].count(State.SENT) == 4
    assert (found[1].state, found[1].reason, found[1].unknowns) == (State.DEFERRED, "451 4.4.2", 0)


def test_what_was_fed_and_not_begun_when_the_connection_was_lost_is_sent_over_the_next(window, process, queue):
    first = []

    def deliver(messages, on_begin, on_wait=None):
        taken = [next(messages), next(messages)]
        if first:
            yield from window.__class__.deliver(window, iter([*taken, *messages]), on_begin, on_wait)
            return
        first.extend(taken)
        on_begin(taken[:1])
        yield from window._lose(taken[:1], Ending.UNKNOWN)

    window.deliver = deliver
    parcel = queue(*mails(4))
    drain(parcel, process)
    assert unknowns(process, parcel) == [1, 0, 0, 0]
    assert states(process, parcel) == {State.SENT: 3, State.DEFERRED: 1}


def test_a_bug_in_a_window_loses_no_answer_that_was_read(window, process, queue):
    window.script = [None, lambda _m: 1 / 0]
    parcel = queue(*mails(5))
    drain(parcel, process)
    assert unknowns(process, parcel) == [0, 1, 1, 0, 0]
    assert states(process, parcel) == {State.SENT: 1, State.DEFERRED: 4}


def test_answers_that_the_ledger_cannot_take_yet_keep_the_next_window_from_beginning(
    window, process, queue, monkeypatch
):
    troubles = [LedgerUnavailable("away"), LedgerUnavailable("away")]
    record, begun = process.ledger.record, []

    def reluctant(settlements, token):
        if troubles:
            begun.append(len(window.groups))
            raise troubles.pop()
        return record(settlements, token)

    monkeypatch.setattr(process.ledger, "record", reluctant)
    monkeypatch.setattr("workers.retry.wait_random_exponential", lambda **_: lambda _state: 0)
    parcel = queue(*mails(6))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 6}
    assert begun == [1, 1]  # the second window waits for it


def test_a_stop_lets_the_window_end_and_feeds_no_more(window, process, queue, stop):
    window.script = [lambda _m: stop.set()]
    parcel = queue(*mails(7))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 3, State.DEFERRED: 4}


def test_an_unknown_without_a_lost_connection_goes_on(window, process, queue):
    def deliver(messages, on_begin, on_wait=None):
        for message in messages:
            on_begin([message])
            yield Outcome(message, Ending.UNKNOWN, reason="no number")

    window.deliver = deliver
    parcel = queue(*mails(3))
    drain(parcel, process)
    assert unknowns(process, parcel) == [1, 1, 1]


def test_one_whose_answer_was_lost_before_goes_by_itself(window, process, queue):
    window.script = [None, Ending.UNKNOWN]
    parcel = queue(*mails(3))
    drain(parcel, process)
    assert unknowns(process, parcel) == [0, 1, 1]
    process.ledger._clock = lambda: time.time() + 100
    [again] = process.ledger.tick().publications
    others = queue(*mails(4))
    window.groups.clear()
    drain(Parcel("default", others.number, (*others.items[:2], *again.items, *others.items[2:])), process)
    assert window.groups == [["0", "1"], ["1"], ["2"], ["2", "3"]]
    assert window.opened == 2  # over the connection that was open
    assert states(process, parcel) == {State.SENT: 3}
