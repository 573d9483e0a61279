"""What joins a batch while it is delivered, and what waits for a batch of its own."""

from __future__ import annotations

import dataclasses
import time

import pytest

from mailqueue import codec, conf
from mailqueue.codec import Parcel
from mailqueue.envelope import pack
from mailqueue.errors import LedgerFault, LedgerUnavailable
from mailqueue.ledger.base import Submission
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply
from workers import unpacking
from workers.connections import Limits
from workers.drain import drain


def mails(*subjects):
    return [EmailMessage(subject, "Body", "app@example.com", ["ann@example.com"]) for subject in subjects]


def entries(process, *parcels):
    return [process.ledger.get(message_id) for parcel in parcels for message_id, _ in parcel.items]


def states(process, *parcels):
    return [entry.state for entry in entries(process, *parcels)]


def subjects(backend):
    return [subject for subject, _ in backend.sent]


@pytest.fixture
def lane(tap):
    """Further tasks of the lane, taken one at a time."""
    parcels = []

    def take(lane, room, size):
        tap.asked.append((lane, room, size))
        return [parcels.pop(0)] if parcels else []

    tap.take = take
    return parcels


@pytest.fixture
def batches(process, monkeypatch):
    """The batches that were begun."""
    begun = []
    watch = process.keeper.watch

    def spied(batch):
        begun.append(batch)
        return watch(batch)

    monkeypatch.setattr(process.keeper, "watch", spied)
    return begun


def test_what_comes_into_the_lane_goes_out_behind_what_is_on_its_way(window, process, lane, batches, queue):
    process.batch_messages = 2
    lane += [queue(*mails("2", "3")), queue(*mails("4"))]
    drain(queue(*mails("0", "1")), process)
    assert window.groups == [["0", "1", "2"], ["3", "4"]]
    assert len(batches) == 1


def test_a_lone_message_waits_for_nobody(window, process, lane, batches, queue):
    process.batch_messages = 1
    lane += [queue(*mails("1")), queue(*mails("2"))]
    drain(queue(*mails("0")), process)
    assert window.groups == [["0"], ["1"], ["2"]]
    assert len(batches) == 3


def test_what_was_answered_is_recorded_before_the_queue_is_asked(window, process, tap, queue):
    def deliver(messages, on_begin, on_wait=None):
        one, two = next(messages), next(messages)
        on_begin([one, two])
        yield Outcome(one, Ending.UNKNOWN)
        assert next(messages, None) is None
        yield Outcome(two, Ending.UNKNOWN)

    window.deliver = deliver
    first = queue(*mails("0", "1"))
    process.batch_messages = 2
    seen = []
    tap.take = lambda *_: seen.append([entry.unknowns for entry in entries(process, first)]) or ()
    drain(first, process)
    assert seen[0] == [1, 0]


def test_tasks_are_taken_as_many_as_there_is_room_for_by_the_size_of_the_last_one(window, process, lane, tap, queue):
    process.batch_messages = 2
    lane += [queue(*mails("2")), queue(*mails("3", "4")), queue(*mails("5"))]
    drain(queue(*mails("0", "1")), process)
    assert [size for _lane, _room, size in tap.asked] == [2.0, 1.0, 2.0, 1.0, 1.0]
    assert subjects(window) == ["0", "1", "2", "3", "4", "5"]


def test_a_suspect_ends_it_and_has_the_next_batch_to_itself(window, process, lane, batches, queue):
    process.batch_messages = 2
    suspect = dataclasses.replace(queue(*mails("suspect")), alone=True)
    lane += [suspect, queue(*mails("after"))]
    drain(queue(*mails("0", "1")), process)
    assert window.groups == [["0", "1"], ["suspect"], ["after"]]
    assert len(batches) == 3


def test_a_task_that_was_handed_out_ahead_goes_first(window, process, lane, tap, queue):
    process.batch_messages = 2
    tap.hands_out_ahead = True
    lane.append(queue(*mails("2")))
    drain(queue(*mails("0", "1")), process)
    assert window.groups == [["0", "1"]]
    assert len(lane) == 1


def test_mail_for_another_relay_has_its_turn_before_there_is_more(window, process, tap, queue):
    process.batch_messages = 2
    mixed = [queue(*mails("2")), queue(*mails("other"), relay="other")]
    takes = [mixed, [queue(*mails("3"))]]
    tap.take = lambda *_: takes.pop(0) if takes else []
    drain(queue(*mails("0", "1")), process)
    assert subjects(window) == ["0", "1", "2", "other", "3"]


def test_mail_for_a_relay_that_gets_limits_meanwhile_waits_for_its_permits(
    window, process, lane, batches, queue, monkeypatch
):
    process.batch_messages = 2
    limited = []
    monkeypatch.setattr(process.pace, "is_limited", lambda _relay: bool(limited))
    window.script = [lambda _message: limited.append(True)]
    window.window = 2
    lane.append(queue(*mails("2")))
    drain(queue(*mails("0", "1")), process)
    assert subjects(window) == ["0", "1", "2"]
    assert len(batches) == 2


def test_a_relay_of_many_connections_gets_a_batch_for_all_of_them(window, process, lane, batches, queue):
    conf.configure(MAILQUEUE_RELAYS={"default": {"connections": 2}})
    process.batch_messages = 2
    lane += [queue(*mails("2")), queue(*mails("3"))]
    drain(queue(*mails("0", "1")), process)
    assert sorted(subjects(window)) == ["0", "1", "2", "3"]
    assert len(batches) == 2


def test_a_relay_that_is_probed_gets_no_more_than_the_probe(window, process, lane, batches, queue, monkeypatch):
    process.batch_messages = 2
    monkeypatch.setattr(process.relays, "is_probed", lambda _relay: True)
    lane.append(queue(*mails("2")))
    drain(queue(*mails("0", "1")), process)
    assert len(batches) == 2


def test_after_a_while_a_batch_ends_although_its_lane_has_more(window, process, lane, queue, monkeypatch):
    monkeypatch.setattr("workers.drain.LONGEST_RUN", 0.0)
    process.batch_messages = 2
    lane.append(queue(*mails("2")))
    drain(queue(*mails("0", "1")), process)
    assert window.groups == [["0", "1"]]


def test_a_backend_that_takes_all_it_can_get_is_given_no_more_than_two_batches_before_it_begins(
    window, process, lane, queue
):
    process.batch_messages = 2
    window.window = 100
    lane += [queue(*mails(str(number), str(number + 1))) for number in (2, 4, 6)]
    drain(queue(*mails("0", "1")), process)
    assert max(map(len, window.groups)) == 4
    assert subjects(window) == [str(number) for number in range(8)]


# -- the same message once more


def test_a_second_copy_of_a_task_in_the_same_batch_sends_nothing(window, process, tap, queue):
    first = queue(*mails("0"))
    tap.parcels = [first, queue(*mails("1"))]
    drain(first, process)
    assert subjects(window) == ["0", "1"]


def test_a_second_copy_that_comes_while_the_first_is_in_hand_sends_nothing(window, process, lane, queue):
    process.batch_messages = 2
    first = queue(*mails("0", "1"))
    lane += [first, queue(*mails("2"))]
    drain(first, process)
    assert subjects(window) == ["0", "1", "2"]


def test_what_is_deferred_and_due_at_once_is_tried_again_in_the_same_batch(window, process, lane, batches, queue, ok):
    process.batch_messages = 2
    window.answers["ann@example.com"] = Result(Verdict.DEFERRED, Reply(451, "4.3.0 a moment, please"))
    first = queue(*mails("0", "1"))

    def again(_message):
        window.answers["ann@example.com"] = ok
        process.ledger._clock = lambda clock=process.ledger._clock: clock() + 100
        lane.extend(Parcel("default", each.number, each.items) for each in process.ledger.tick().publications)

    window.window = 1
    window.script = [None, again]
    drain(first, process)
    assert states(process, first) == [State.SENT, State.SENT]
    assert subjects(window) == ["0", "1", "0"]
    assert len(batches) == 1


def test_what_the_batch_has_given_back_is_for_another_batch(window, process, lane, batches, queue):
    """Its old claim and the new one would have the same token, so that one could not be told from the other."""
    process.batch_messages = 2
    first = queue(*mails("0", "1"))

    def late(_message):
        [batch] = process.keeper._batches
        ids = batch.waiting()
        process.ledger.release(ids, batch.token)
        batch.given_back(ids)
        process.ledger._clock = lambda clock=process.ledger._clock: clock() + 1
        lane.extend(Parcel("default", each.number, each.items) for each in process.ledger.tick().publications)

    window.window = 1
    window.script = [late]
    lane.append(queue(*mails("2")))
    drain(first, process)
    assert sorted(subjects(window)) == ["0", "1", "2"]
    assert states(process, first) == [State.SENT, State.SENT]
    assert len(batches) >= 2


# -- bounds


def test_large_parts_are_not_fetched_before_those_on_their_way_have_ended(window, process, lane):
    def queue(subject):
        [message] = mails(subject)
        message.attach("a.bin", bytes(100_000), "application/octet-stream")
        envelope, blobs = pack(message, id=f"large-{subject}", lane="default", relay="", now=time.time())
        process.ledger.put_blobs(blobs)
        encoded = codec.encode(envelope)
        accepted = process.ledger.accept("default", [Submission(envelope.id, encoded, blobs=envelope.blobs())])
        return accepted.number, (envelope.id, encoded)

    process.batch_messages = 2
    parcels = []
    for first in (0, 2, 4):
        (number, one), (_, two) = queue(str(first)), queue(str(first + 1))
        parcels.append(Parcel("default", number, (one, two)))
    lane += parcels[1:]
    drain(parcels[0], process)
    assert window.groups == [["0", "1"], ["2", "3"], ["4", "5"]]


def test_a_connection_serves_as_many_messages_as_it_may(window, process, lane, queue, monkeypatch):
    monkeypatch.setattr(process.connections, "_limits", lambda _relay: Limits(messages=4))
    process.batch_messages = 2
    lane += [queue(*mails(str(number), str(number + 1))) for number in (2, 4, 6, 8)]
    drain(queue(*mails("0", "1")), process)
    assert window.groups == [["0", "1", "2"], ["3"], ["4", "5", "6"], ["7"], ["8", "9"]]
    assert window.opened == 3


def test_a_stop_gives_back_what_has_joined(window, process, lane, queue, stop):
    process.batch_messages = 2
    window.window = 1
    first, second = queue(*mails("0", "1")), queue(*mails("2", "3"))
    lane.append(second)
    window.script = [None, None, lambda _message: stop.set()]
    drain(first, process)
    assert states(process, first, second) == [State.SENT, State.SENT, State.SENT, State.DEFERRED]
    assert [entry.crashes for entry in entries(process, second)] == [0, 0]


# -- trouble while answers are on their way


@pytest.fixture
def in_flight(window, process, queue, ok):
    """Messages that are on their way when more is asked for."""

    def deliver(messages, on_begin, on_wait=None):
        group = [next(messages), next(messages)]
        on_begin(group)
        group.extend(messages)
        on_begin(group[2:])
        for message in group:
            yield Outcome(message, Ending.ANSWERED, dict.fromkeys(message.recipients(), ok))

    window.deliver = deliver
    process.batch_messages = 2
    return queue(*mails("0", "1"))


@pytest.mark.parametrize("error", [LedgerFault("out of memory"), LedgerUnavailable("away"), ZeroDivisionError()])
def test_a_claim_that_fails_meanwhile_costs_no_answer(in_flight, process, lane, queue, monkeypatch, error, caplog):
    claim, calls = process.ledger.claim, []

    def broken(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise error
        return claim(*args, **kwargs)

    monkeypatch.setattr(process.ledger, "claim", broken)
    monkeypatch.setattr(process, "surely", lambda call, *args, **kwargs: call(*args, **kwargs))
    second = queue(*mails("2"))
    lane.append(second)
    drain(in_flight, process)
    assert states(process, in_flight, second) == [State.SENT, State.SENT, State.QUEUED]
    assert type(error).__name__ in caplog.text or "action=batch_left" in caplog.text


def test_what_cannot_be_unpacked_meanwhile_is_given_back(in_flight, process, lane, queue, monkeypatch, caplog):
    unpack_all = unpacking.unpack_all

    def buggy(process, batch, opened):
        if any(each.grant.id == second.items[0][0] for each in opened):
            raise ZeroDivisionError
        return unpack_all(process, batch, opened)

    monkeypatch.setattr("workers.supply.unpack_all", buggy)
    second = queue(*mails("2"))
    lane.append(second)
    drain(in_flight, process)
    assert states(process, in_flight, second) == [State.SENT, State.SENT, State.DEFERRED]
    assert [entry.crashes for entry in entries(process, second)] == [0]
    assert "ZeroDivisionError" in caplog.text
