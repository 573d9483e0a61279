"""Cancel, hold, release, requeue and resolve: by id, by receipt, or by what a filter finds."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

import mailqueue
from mailqueue import EmailMessage, State, cancel, conf, enqueue, enqueue_many, hold, release, requeue, resolve
from mailqueue.control import find
from mailqueue.errors import IllegalTransition, InvalidMessage, MessageNotFound
from mailqueue.ledger.base import Settlement
from mailqueue.outcome import Result, Verdict
from mailqueue.producer import get_producer
from mailqueue.smtp.reply import Reply

GONE = Result(Verdict.REFUSED, Reply(550, "5.1.1 nobody of that name"))
OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))


@pytest.fixture(autouse=True)
def ledger():
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    return get_producer().ledger


def message(number=0, to="t@example.com"):
    return EmailMessage(f"Number {number}", "b", "f@example.com", [to])


def many(count, **options):
    return enqueue_many((message(number) for number in range(count)), **options)


def settle(ledger, receipt, state, **results):
    lane = receipt.status().lane
    ledger.claim(lane, [receipt.id], token="t", owner="w:1")
    ledger.begin([receipt.id], "t")
    ledger.record([Settlement(receipt.id, state, results)], "t")


def states(receipts):
    return [receipt.status().state for receipt in receipts]


def test_messages_are_named_by_id_by_receipt_or_several_of_them():
    one, two, three = many(3)
    assert cancel(one) == {one.id: "cancelled"}
    assert cancel(two.id) == {two.id: "cancelled"}
    assert hold(iter([one, three.id, "absent"])) == {one.id: "late", three.id: "held", "absent": "missing"}
    assert states([one, two, three]) == [State.CANCELLED, State.CANCELLED, State.HELD]


def test_the_answer_to_cancel_is_true_where_nothing_goes_out(ledger):
    one, two = many(2)
    settle(ledger, two, State.SENT)
    answers = cancel([one, two])
    assert [bool(answer) for answer in answers.values()] == [True, False]


def test_what_is_held_rests_until_it_is_released():
    [receipt] = many(1)
    hold(receipt, reason="ask the office")
    assert (receipt.status().state, receipt.status().reason) == (State.HELD, "ask the office")
    assert release(receipt) == {receipt.id: "deferred"}
    assert release(receipt) == {receipt.id: "refused"}
    assert receipt.status().state is State.DEFERRED


def test_what_was_refused_can_be_sent_again(ledger):
    receipt = enqueue(EmailMessage("s", "b", "f@example.com", ["ann@example.com", "bob@example.com"]))
    settle(ledger, receipt, State.PARTIAL, **{"ann@example.com": OK, "bob@example.com": GONE})
    assert requeue(receipt) == {receipt.id: "deferred"}
    assert receipt.status().recipients["ann@example.com"].verdict is Verdict.ACCEPTED
    assert receipt.status().recipients["bob@example.com"].verdict is not Verdict.REFUSED


def test_a_filter_finds_by_lane_state_and_relay():
    bulk = many(3, lane="bulk")
    urgent = many(2, lane="urgent")
    later = many(2, lane="bulk", send_at=datetime.now(UTC) + timedelta(hours=1))
    assert set(hold(lane="bulk", state="queued")) == {receipt.id for receipt in bulk}
    assert set(cancel(lane="bulk")) == {receipt.id for receipt in bulk + later}
    assert states(urgent) == [State.QUEUED] * 2
    assert cancel(relay="office") == {}
    assert set(cancel(relay="")) == {receipt.id for receipt in urgent}


def test_each_looks_where_its_messages_are(ledger):
    one, two = many(2)
    settle(ledger, one, State.FAILED, **{"t@example.com": GONE})
    hold(two)
    assert requeue(lane="default") == {one.id: "deferred"}
    assert release(lane="default") == {two.id: "deferred"}


def test_a_filter_reaches_all_however_many():
    receipts = many(1050)
    answers = hold(state=State.QUEUED)
    assert set(answers) == {receipt.id for receipt in receipts}
    assert set(answers.values()) == {"held"}
    assert mailqueue.counts() == {"default": {"held": 1050}}
    assert len(release(state="held")) == 1050


def test_finding_changes_nothing_and_ends():
    receipts = many(450)
    found = list(find("queued"))
    assert sorted(found) == sorted(receipt.id for receipt in receipts)
    assert set(found[:100]) == {receipt.id for receipt in receipts[:100]}  # oldest first, parcel by parcel
    assert list(find("held")) == []


def test_finding_ends_while_messages_come_and_go():
    many(450)
    found = []
    for number, message_id in enumerate(find(State.QUEUED)):
        found.append(message_id)
        if number % 100 == 0:
            cancel(message_id)
            many(3)
    assert len(set(found)) == len(found) >= 450


@pytest.mark.parametrize("call", [cancel, hold, release, requeue])
def test_it_must_be_said_which(call):
    with pytest.raises(TypeError, match="say which messages"):
        call()
    with pytest.raises(TypeError, match="say which messages"):
        call("m1", lane="bulk")
    with pytest.raises(TypeError, match="by its id or its receipt, not by int"):
        call([7])
    with pytest.raises(InvalidMessage, match="no state 'lost': the states are scheduled, queued"):
        call(state="lost")
    with pytest.raises(InvalidMessage, match="no lane 'fast'"):
        call(lane="fast")
    with pytest.raises(InvalidMessage, match="that are sent are not listed"):
        call(state="sent")


def test_an_answer_that_was_lost_is_settled_by_hand(ledger):
    one, two, three = many(3, on_unknown="hold")
    for receipt in (one, two):
        settle(ledger, receipt, State.UNKNOWN)
    assert resolve(one, "sent", reason="seen in the relay's log") is State.SENT
    assert resolve(two.id, State.DEFERRED) is State.DEFERRED
    assert states([one, two]) == [State.SENT, State.DEFERRED]
    with pytest.raises(IllegalTransition):
        resolve(three, "sent")
    with pytest.raises(MessageNotFound):
        resolve("absent", "sent")
    with pytest.raises(InvalidMessage, match="no state"):
        resolve(three, "lost")
