"""The queue in memory: mail goes the whole way, and time passes when it is told to."""

from __future__ import annotations

import smtplib
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from kombu.connection import Connection

import mailqueue
from mailqueue import conf, mail
from mailqueue.errors import BrokerUnavailable
from mailqueue.mail.backends.base import BaseEmailBackend
from mailqueue.testing import MemoryQueue

LEASE = 30


@pytest.fixture
def queue():
    with MemoryQueue(MAILQUEUE_RETRY_DELAYS=[60, 600], MAILQUEUE_LEASE_SECONDS=LEASE) as queue:
        yield queue


def send(subject="Hello", *to, **options):
    message = mailqueue.EmailMessage(subject, "Body", "shop@example.com", list(to) or ["ann@example.com"])
    return mailqueue.enqueue(message, **options)


class Relay(BaseEmailBackend):
    """Refuses for now as often as it is told to, then sends."""

    def __init__(self, refusals=0):
        super().__init__()
        self.refusals = refusals
        self.sent = []

    def send_messages(self, messages):
        if self.refusals:
            self.refusals -= 1
            raise smtplib.SMTPDataError(451, b"4.7.1 later")
        self.sent += [message.subject for message in messages]
        return len(messages)


# -- enqueueing and running


def test_mail_waits_for_a_worker():
    with MemoryQueue() as queue:
        mailqueue.send_mail("Welcome", "Hello Ann!", "shop@example.com", ["ann@example.com"])
        [receipt] = queue.receipts
        assert receipt.status().state == "queued"
        assert queue.outbox == []
        queue.run()
        assert receipt.status().state == "sent"
        [message] = queue.outbox
        assert (message.subject, message.to, message.body) == ("Welcome", ["ann@example.com"], "Hello Ann!")


def test_receipts_are_those_that_the_application_gets(queue):
    receipts = [send("one"), *mailqueue.enqueue_many([mailqueue.EmailMessage(to=["b@example.com"])] * 2)]
    assert queue.receipts == receipts
    assert queue.ledger.counts() == {"default": {"queued": 3}}


def test_lanes_are_served_in_their_order(queue):
    for lane in ("bulk", "default", "urgent"):
        send(lane, lane=lane)
    queue.run()
    assert [message.subject for message in queue.outbox] == ["urgent", "default", "bulk"]


def test_large_parts_arrive(queue):
    message = mailqueue.EmailMessage("Report", to=["ann@example.com"])
    message.attach("report.bin", bytes(100_000), "application/octet-stream")
    mailqueue.enqueue(message)
    queue.run()
    assert queue.outbox[0].attachments[0].content == bytes(100_000)


def test_a_backend_of_the_tests_own_sends(queue):
    relay = Relay()
    send("one")
    queue.run(backend=relay)
    assert relay.sent == ["one"]
    assert queue.outbox == []


def test_more_messages_than_a_batch_takes_are_all_sent(queue):
    mailqueue.enqueue_many(mailqueue.EmailMessage(str(n), to=["ann@example.com"]) for n in range(250))
    queue.run()
    assert sorted(int(message.subject) for message in queue.outbox) == list(range(250))


def test_running_again_sends_nothing_again(queue):
    send()
    queue.run()
    queue.run()
    queue.run(3600)
    assert len(queue.outbox) == 1


def test_mail_that_a_delivery_gives_rise_to_is_sent_in_the_same_run(queue):
    class Answering(Relay):
        def send_messages(self, messages):
            if messages[0].subject == "Question":
                send("Answer")
            return super().send_messages(messages)

    relay = Answering()
    send("Question")
    queue.run(backend=relay)
    assert relay.sent == ["Question", "Answer"]


# -- time


def test_a_message_refused_for_now_is_tried_again_when_it_is_due(queue):
    relay = Relay(refusals=1)
    receipt = send()
    queue.run(backend=relay)
    assert receipt.status().state == "deferred"
    queue.advance(55)
    queue.run(backend=relay)
    assert relay.sent == []
    assert 0 < queue.advance() < 15
    queue.run(backend=relay)
    assert receipt.status().state == "sent"
    assert receipt.status().attempts == 2


def test_a_run_over_time_tries_at_each_due_time(queue):
    relay = Relay(refusals=2)
    receipt = send()
    queue.run(300, backend=relay)
    assert receipt.status().attempts == 2
    before = time.monotonic()
    queue.run(600, backend=relay)
    assert (receipt.status().state, receipt.status().attempts) == ("sent", 3)
    assert time.monotonic() - before < 5


def test_past_its_age_a_message_fails():
    with MemoryQueue(MAILQUEUE_RETRY_DELAYS=[3600], MAILQUEUE_MAX_AGE=86400) as queue:
        receipt = send()
        queue.run(2 * 86400, backend=Relay(refusals=100))
        status = receipt.status()
        assert (status.state, status.reason) == ("failed", "maximum age reached")
        assert 20 < status.attempts <= 25
        assert 86400 <= status.updated_at - status.accepted_at < 86400 + 4000


def test_trouble_with_a_relay_costs_no_attempt_and_no_time_of_ours(queue):
    class Down(Relay):
        def open(self):
            raise ConnectionRefusedError

    receipt = send()
    before = time.monotonic()
    queue.run(600, backend=Down())
    assert time.monotonic() - before < 5
    assert (receipt.status().state, receipt.status().attempts) == ("deferred", 0)
    queue.run(600, backend=Relay())
    assert receipt.status().state == "sent"


def test_the_queues_time_is_the_systems_and_what_was_added(queue):
    assert queue.now() == pytest.approx(time.time(), abs=5)
    assert queue.advance(1000) == 1000
    assert queue.now() == pytest.approx(time.time() + 1000, abs=5)
    assert send().accepted_at == pytest.approx(time.time() + 1000, abs=5)


def test_when_nothing_will_fall_due_there_is_nothing_to_wait_for(queue):
    with pytest.raises(RuntimeError, match="nothing is going to fall due"):
        queue.advance()


@pytest.mark.parametrize("late", [0, 4000])  # s that have passed in the queue before
def test_what_has_expired_is_not_sent(queue, late):
    if late:
        queue.advance(late)
    code = send("code", expires_at=timedelta(minutes=10))
    queue.advance(590)
    in_time = send("in time", expires_at=timedelta(minutes=10))
    queue.advance(20)
    queue.run()
    assert (code.status().state, in_time.status().state) == ("expired", "sent")
    assert [message.subject for message in queue.outbox] == ["in time"]


def test_a_scheduled_message_waits_for_its_time(queue):
    later = datetime.fromtimestamp(queue.now() + 86400, UTC)
    receipt = send(send_at=later)
    queue.run(86000)
    assert (receipt.status().state, queue.outbox) == ("scheduled", [])
    assert 0 < queue.advance() < 401
    queue.run()
    assert receipt.status().state == "sent"


# -- a worker that dies


@pytest.mark.parametrize(("step", "unknowns", "copies"), [("claimed", 0, 1), ("begun", 1, 1), ("answered", 1, 2)])
def test_what_a_dead_worker_held_is_sent_when_its_lease_has_ended(queue, step, unknowns, copies):
    receipt = send()
    queue.crash(step)
    queue.run()
    assert receipt.status().state == "sending"  # nobody knows that its worker is dead
    assert LEASE < queue.advance() < LEASE + 5
    queue.run(2 * LEASE)
    status = receipt.status()
    assert (status.state, status.crashes, status.unknowns) == ("sent", 1, unknowns)
    assert len(queue.outbox) == copies


def test_a_lost_answer_can_be_held():
    with MemoryQueue(MAILQUEUE_ON_UNKNOWN="hold") as queue:
        receipt = send()
        queue.crash("answered")
        queue.run(3600)
        assert receipt.status().state == "unknown"
        assert len(queue.outbox) == 1


def test_a_run_over_time_sees_leases_end(queue):
    receipt = send()
    queue.crash()
    queue.run(LEASE - 5)
    assert receipt.status().state == "sending"
    queue.run(10)
    assert receipt.status().state == "sent"


def test_three_crashes_alone_and_a_message_is_poison(queue):
    poison = send("poison")
    queue.crash()  # in company, for all one knows: it makes a suspect, and does not count
    for _ in range(3):
        queue.advance(LEASE + 95)  # after each crash alone it rests for a while
        queue.crash()
    queue.run(LEASE + 5)
    assert poison.status().state == "failed"
    assert queue.outbox == []


def test_a_worker_cannot_die_of_nothing(queue):
    with pytest.raises(RuntimeError, match="none was due"):
        queue.crash()
    send()
    queue.run()
    with pytest.raises(RuntimeError, match="begun"):
        queue.crash("begun")


# -- an outage


def test_during_an_outage_the_application_is_told(queue):
    with queue.outage():
        with pytest.raises(BrokerUnavailable):
            send()
        with pytest.raises(RuntimeError, match="outage"):
            queue.run()
    receipt = send()
    queue.run()
    assert queue.receipts == [receipt]
    assert receipt.status().state == "sent"


# -- its life


def test_two_queues_know_nothing_of_each_other():
    with MemoryQueue():
        send("of the first")
    with MemoryQueue() as second:
        second.run()
        assert (second.receipts, second.outbox) == ([], [])


def test_afterwards_all_is_as_before():
    conf.configure(MAILQUEUE_BROKER_URL="redis://broker.example.com/0", EMAIL_BACKEND="shop.Backend")
    mail.outbox = before = []
    with MemoryQueue() as queue:
        send()
        queue.run()
    assert mail.outbox is before == []
    assert conf.get("MAILQUEUE_BROKER_URL") == conf.get("MAILQUEUE_LEDGER_URL") == "redis://broker.example.com/0"
    assert conf.get("EMAIL_BACKEND") == "shop.Backend"


def test_what_others_keep_in_kombus_memory_stays():
    with Connection("memory://") as connection:
        theirs = connection.SimpleQueue("of-another-application")
        theirs.put("task")
        with MemoryQueue() as queue:
            send()
            queue.run()
        assert theirs.get(block=False).payload == "task"
        theirs.clear()
        theirs.close()


def test_no_thread_stays(queue):
    before = threading.active_count()
    send()
    queue.run()
    assert threading.active_count() == before


def test_outside_of_its_block_there_is_none():
    with pytest.raises(RuntimeError, match="with"):
        MemoryQueue().run()


def test_what_cannot_be_set_leaves_everything_as_it_was():
    with (
        pytest.raises(mailqueue.ImproperlyConfigured, match="MAILQUEUE_LEASE_SECONDS"),
        MemoryQueue(MAILQUEUE_LEASE_SECOND=5),
    ):
        pytest.fail("it was entered")
    assert not conf.is_set("MAILQUEUE_BROKER_URL")
