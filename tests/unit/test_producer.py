"""The producer on the ledger in memory; the broker is a list."""

from __future__ import annotations

import itertools
import pickle
import random
import traceback
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.core.mail import EmailMessage as DjangoMessage

from mailqueue import conf, intake
from mailqueue import producer as module
from mailqueue.codec import decode
from mailqueue.envelope import unpack
from mailqueue.errors import (
    BrokerUnavailable,
    IdempotencyConflict,
    InvalidMessage,
    LedgerUnavailable,
    MailerDoesNotExist,
    MessageNotFound,
    MessageTooLarge,
    TooManyRecipients,
)
from mailqueue.ledger.base import Acceptance, Settlement, Submission
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.ledger.states import State
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives
from mailqueue.producer import (
    Cancellation,
    Producer,
    Receipt,
    counts,
    enqueue,
    enqueue_many,
    get_producer,
    prepare,
    status,
)
from mailqueue.spool import Spool

BIG = bytes(range(256)) * 200


class Broker:
    """A publisher whose tasks are a list; ``away`` gives all parcels back."""

    def __init__(self):
        self.parcels = []
        self.away = False

    def publish(self, parcels, *, within=None):
        assert within is None or within > 0
        if self.away:
            return list(parcels)
        self.parcels += parcels
        return []

    @property
    def ids(self):
        return [id_ for parcel in self.parcels for id_, _ in parcel.items]


class Ledger(MemoryLedger):
    """Notes the calls of a producer; ``trouble`` maps the name of a call to what it raises instead."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.trouble = {}

    def _note(self, name):
        self.calls.append(name)
        if name in self.trouble:
            raise self.trouble[name]

    def accept(self, lane, submissions, **options):
        if "replayed" not in options:
            self._note("accept")
        return super().accept(lane, submissions, **options)

    def unpublished(self, ids, *, due_in=2.0):
        self._note("unpublished")
        super().unpublished(ids, due_in=due_in)

    def put_blobs(self, blobs):
        self._note("put_blobs")
        super().put_blobs(blobs)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def producer(ledger, broker, monkeypatch):
    """What the functions of the module use as well."""
    producer = Producer(ledger, broker)
    monkeypatch.setattr(module, "get_producer", lambda: producer)
    return producer


def message(number=0, **fields):
    return EmailMessage(
        **{
            "subject": f"Number {number}",
            "body": "text",
            "from_email": "f@example.com",
            "to": ["t@example.com"],
            **fields,
        }
    )


def down():
    return LedgerUnavailable("the ledger's store is away")


pytestmark = pytest.mark.usefixtures("producer")


# -- one message


def test_a_message_is_accepted_and_then_published(ledger, broker):
    mail = message()
    receipt = enqueue(mail)
    assert ledger.get(receipt.id).state is State.QUEUED
    [parcel] = broker.parcels
    [(id_, encoded)] = parcel.items
    assert (id_, parcel.lane, parcel.alone) == (receipt.id, "default", False)
    assert parcel.number > 0
    envelope = decode(encoded)
    assert ledger.get(receipt.id).envelope == encoded
    assert unpack(envelope, {}).subject == "Number 0"
    assert (envelope.id, envelope.lane, envelope.relay, envelope.on_unknown) == (receipt.id, "default", "", "resend")


def test_the_receipt_is_the_handle(ledger):
    mail = message()
    receipt = enqueue(mail)
    assert mail.receipt is receipt
    assert (receipt.state, receipt.spooled) == (State.QUEUED, False)
    assert receipt.accepted_at == ledger.get(receipt.id).accepted_at
    assert receipt.message_id == decode(ledger.get(receipt.id).envelope).message_id
    assert receipt.status() == status(receipt.id)


def test_b40_a_message_with_its_receipt_still_pickles():
    mail = message()
    receipt = enqueue(mail)
    assert pickle.loads(pickle.dumps(mail)).receipt == receipt


def test_options_reach_the_ledger_and_the_envelope(ledger, broker):
    conf.configure(MAILERS={"smtp": {"BACKEND": conf.SMTP_BACKEND}})
    receipt = enqueue(message(), using="smtp", lane="urgent", metadata={"order": 7}, on_unknown="hold")
    entry = ledger.get(receipt.id)
    assert (entry.lane, entry.relay) == ("urgent", "smtp")
    assert status(receipt.id).metadata == {"order": 7}
    envelope = decode(entry.envelope)
    assert (envelope.lane, envelope.relay, envelope.on_unknown) == ("urgent", "smtp", "hold")
    assert broker.parcels[0].lane == "urgent"


@pytest.mark.usefixtures("django_settings")
def test_a_django_message_is_taken_and_gets_its_receipt(broker):
    mail = DjangoMessage("s", "b", "f@example.com", ["t@example.com"])
    assert enqueue(mail) is mail.receipt
    assert len(broker.ids) == 1


def test_an_object_that_takes_no_attributes_is_enqueued_all_the_same(broker):
    class Fixed:
        __slots__ = ("inner",)

        def __init__(self):
            self.inner = message()

        from_email = "f@example.com"

        def message(self):
            return self.inner.message()

        def recipients(self):
            return ["t@example.com"]

    assert enqueue(Fixed()).id in broker.ids


@pytest.mark.parametrize(
    ("mail", "error"),
    [
        (message(subject="a\nb"), ValueError),
        (message(to=["a@b@c"]), ValueError),
        (message(to=[]), InvalidMessage),
        (message(body=b"bytes"), TypeError),
        ("no message", TypeError),
    ],
)
def test_what_is_refused_leaves_nothing_behind(mail, error, ledger, broker):
    with pytest.raises(error):
        enqueue(mail)
    assert (ledger.calls, broker.parcels, counts()) == ([], [], {})
    assert getattr(mail, "receipt", None) is None


def test_the_limits_are_the_settings():
    conf.configure(MAILQUEUE_MAX_MESSAGE_BYTES=500, MAILQUEUE_MAX_RECIPIENTS=2)
    with pytest.raises(MessageTooLarge):
        enqueue(message(body="x" * 1000))
    with pytest.raises(TooManyRecipients):
        enqueue(message(to=["a@x", "b@x", "c@x"]))


def test_an_unknown_alias_or_lane_is_told_before_anything_is_stored(ledger):
    with pytest.raises(MailerDoesNotExist):
        enqueue(message(), using="absent")
    with pytest.raises(InvalidMessage, match="urgent, default, bulk"):
        enqueue(message(), lane="fast")
    assert ledger.calls == []


# -- trouble


def test_a_ledger_that_is_away_is_broker_unavailable_with_the_id(ledger, broker):
    ledger.trouble["accept"] = down()
    mail = message()
    with pytest.raises(BrokerUnavailable, match=r"MAILQUEUE_DEADLINE.*store is away") as caught:
        enqueue(mail)
    assert len(caught.value.message_ids) == 1
    assert isinstance(caught.value, ConnectionError)
    assert mail.receipt is None
    assert broker.parcels == []


def test_a_task_that_is_not_published_is_deferred_for_the_tick(ledger, broker):
    broker.away = True
    receipt = enqueue(message())
    assert receipt.state is State.DEFERRED
    entry = ledger.get(receipt.id)
    assert entry.state is State.DEFERRED
    assert 0 < entry.due_at - entry.accepted_at <= 2.5


def test_not_even_that_can_refuse_what_is_accepted(ledger, broker):
    broker.away = True
    ledger.trouble["unpublished"] = down()
    receipt = enqueue(message())
    assert receipt.state is State.QUEUED
    assert ledger.get(receipt.id).state is State.QUEUED


def test_an_accept_whose_first_answer_was_lost_is_published_too(ledger, broker, monkeypatch):
    accept = ledger.accept

    def repeated(lane, submissions, **options):
        accept(lane, submissions, **options)
        return accept(lane, submissions, **options)

    monkeypatch.setattr(ledger, "accept", repeated)
    receipt = enqueue(message())
    assert receipt.state is State.QUEUED
    assert broker.ids == [receipt.id]


def test_large_parts_are_put_when_the_ledger_lacks_them_and_only_then(ledger, broker):
    with_file = {"attachments": [("a.bin", BIG, "application/octet-stream")]}
    receipt = enqueue(message(**with_file))
    assert ledger.calls == ["accept", "put_blobs", "accept"]
    enqueue(message(**with_file))
    assert ledger.calls == ["accept", "put_blobs", "accept", "accept"]
    envelope = decode(ledger.get(receipt.id).envelope)
    assert unpack(envelope, ledger.get_blobs(envelope.blobs())).attachments[0].content == BIG
    assert len(broker.ids) == 2


def test_a_store_that_forgets_large_parts_is_told(ledger, monkeypatch):
    monkeypatch.setattr(ledger, "accept", lambda _lane, submissions, **_: Acceptance(0, lacking=submissions[0].blobs))
    with pytest.raises(BrokerUnavailable, match="does not keep large parts"):
        enqueue(message(attachments=[("a.bin", BIG, "application/octet-stream")]))


class Clock:
    """Time that passes only while the ledger works."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1767225600.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for one in (module, intake):
        monkeypatch.setattr(one, "time", clock)
    return clock


def slow(ledger, clock, name, seconds, monkeypatch):
    call = getattr(ledger, name)

    def later(*args, **options):
        clock.now += seconds
        return call(*args, **options)

    monkeypatch.setattr(ledger, name, later)


def test_the_deadline_is_that_of_all_calls_together(ledger, clock, monkeypatch):
    slow(ledger, clock, "accept", 0.95, monkeypatch)
    slow(ledger, clock, "put_blobs", 0.95, monkeypatch)
    with pytest.raises(BrokerUnavailable, match="too slow"):
        enqueue(message(attachments=[("a.bin", BIG, "application/octet-stream")]))
    assert clock.now < 2.0


def test_after_a_slow_accept_nothing_more_is_asked_of_the_ledger(ledger, broker, clock, monkeypatch):
    slow(ledger, clock, "accept", 1.5, monkeypatch)
    broker.away = True
    assert enqueue(message()).state is State.QUEUED
    assert ledger.calls == ["accept"]


# -- many messages


def test_messages_travel_a_hundred_to_a_parcel(ledger, broker):
    mails = [message(number) for number in range(250)]
    receipts = enqueue_many(mails)
    assert [len(parcel.items) for parcel in broker.parcels] == [100, 100, 50]
    assert broker.ids == [receipt.id for receipt in receipts] == [mail.receipt.id for mail in mails]
    assert counts() == {"default": {"queued": 250}}
    assert [parcel.number for parcel in broker.parcels] == sorted({parcel.number for parcel in broker.parcels})


def test_a_parcel_has_256_kb_at_most(broker):
    enqueue_many(message(n, body=random.Random(n).randbytes(15_000).hex()) for n in range(40))
    sizes = [sum(len(encoded) for _, encoded in parcel.items) for parcel in broker.parcels]
    assert len(sizes) > 1
    assert max(sizes) <= 256 * 1024


def test_large_parts_of_a_parcel_are_put_once(ledger, broker):
    enqueue_many(message(n, attachments=[("a.bin", BIG, "application/octet-stream")]) for n in range(50))
    assert ledger.calls == ["accept", "put_blobs", "accept"]
    assert len(broker.parcels) == 1


def test_different_large_parts_do_not_pile_up(broker):
    def mails():
        for number in range(60):
            yield message(number, attachments=[("a.bin", BIG + b"%d" % number, "application/octet-stream")] * 3)

    enqueue_many(mails())
    assert len(broker.parcels) == 1
    enqueue_many(message(n, attachments=[("a.bin", BIG * 10 + b"%d" % n, "a/b")]) for n in range(30))
    assert len(broker.parcels) > 3


def test_a_slow_iterator_does_not_hold_back_what_it_has_yielded(broker, clock):
    def mails():
        for number in range(3):
            clock.now += 0.8
            yield message(number)

    enqueue_many(mails())
    assert [len(parcel.items) for parcel in broker.parcels] == [2, 1]


def test_b41_an_iterator_is_read_as_it_goes(broker):
    ahead = []

    def mails():
        for number in range(300):
            ahead.append(number - len(broker.ids))
            yield message(number)

    assert len(enqueue_many(mails())) == 300
    assert max(ahead) <= 101


@pytest.mark.parametrize("mails", [[], (), iter([])])
def test_nothing_to_enqueue_asks_nothing(mails, ledger):
    assert enqueue_many(mails) == []
    assert ledger.calls == []


def failing(count, error):
    for number in range(count):
        yield message(number)
    raise error


def test_an_iterator_that_fails_half_way_leaves_the_messages_before_it_accepted(ledger, broker):
    error = RuntimeError("the database went away")
    with pytest.raises(RuntimeError) as caught:
        enqueue_many(failing(130, error))
    assert caught.value is error
    assert len(error.receipts) == error.accepted == 130
    assert [receipt.id for receipt in error.receipts] == broker.ids
    assert {ledger.get(receipt.id).state for receipt in error.receipts} == {State.QUEUED}
    assert "130 messages before it are accepted" in "".join(traceback.format_exception(error))


def test_so_does_a_message_that_is_refused(broker):
    mails = [message(1), message(2, subject="a\nb"), message(3)]
    with pytest.raises(ValueError, match="newlines") as caught:
        enqueue_many(mails)
    assert [receipt.id for receipt in caught.value.receipts] == broker.ids == [mails[0].receipt.id]


@pytest.mark.parametrize("fixed", ["receipts", "everything"])
def test_an_exception_of_fixed_attributes_comes_through_all_the_same(fixed):
    class Fixed(Exception):  # noqa: N818 - a stranger's
        def __setattr__(self, name, value):
            if fixed in ("everything", name):
                raise AttributeError(name)
            super().__setattr__(name, value)

    error = Fixed("no room")
    with pytest.raises(Fixed) as caught:
        enqueue_many(failing(3, error))
    assert caught.value is error
    notes = getattr(error, "__notes__", [])
    assert any("3 messages before it are accepted" in note for note in notes) == (fixed == "receipts")


def test_what_could_not_be_accepted_before_a_failure_is_noted_on_it(ledger):
    ledger.trouble["accept"] = down()
    error = RuntimeError("stop")
    with pytest.raises(RuntimeError) as caught:
        enqueue_many(failing(5, error))
    assert caught.value is error
    assert error.receipts == []
    assert any("5 messages before it were not accepted" in note for note in error.__notes__)


def test_a_ledger_that_goes_away_half_way_leaves_the_receipts_of_what_it_had_accepted(ledger, broker):
    def mails():
        for number in itertools.count():
            if len(broker.ids) == 200:
                ledger.trouble["accept"] = down()
            yield message(number)

    with pytest.raises(BrokerUnavailable) as caught:
        enqueue_many(mails())
    assert [receipt.id for receipt in caught.value.receipts] == broker.ids
    assert len(caught.value.message_ids) == 100
    assert not set(caught.value.message_ids) & set(broker.ids)


# -- on commit


class Transaction:
    """Stands for an open Django transaction."""

    def __init__(self):
        self.open = True
        self.hooks = []

    def __call__(self, act):
        if self.open:
            self.hooks.append(act)
        return self.open

    def commit(self):
        self.open = False
        for hook in self.hooks:
            hook()


@pytest.fixture
def transaction(monkeypatch):
    transaction = Transaction()
    monkeypatch.setattr(module, "on_commit", transaction)
    return transaction


def test_in_a_transaction_a_message_is_accepted_on_commit(transaction, ledger, broker):
    mail = message()
    receipt = enqueue(mail)
    assert mail.receipt is receipt
    assert (receipt.state, receipt.accepted_at, ledger.calls) == (None, None, [])
    with pytest.raises(MessageNotFound):
        receipt.status()
    transaction.commit()
    assert receipt.state is State.QUEUED
    assert broker.ids == [receipt.id]


def test_in_a_transaction_a_message_is_refused_at_once(transaction):
    with pytest.raises(ValueError, match="newlines"):
        enqueue(message(subject="a\nb"))
    assert transaction.hooks == []


def test_what_is_enqueued_is_what_the_message_was_then(transaction, ledger):
    mail = message(body="before")
    receipt = enqueue(mail)
    mail.body = "after"
    transaction.commit()
    assert decode(ledger.get(receipt.id).envelope).body == "before"


def test_a_commit_never_fails_for_the_ledger_and_waits_for_it_once(transaction, ledger, caplog):
    receipts = enqueue_many(message(number) for number in range(250))
    ledger.trouble["accept"] = down()
    transaction.commit()
    assert ledger.calls == ["accept"]
    assert {receipt.state for receipt in receipts} == {None}
    assert all(receipt.id in caplog.text for receipt in receipts)


# -- schedules


def test_a_message_waits_for_its_time(ledger, broker):
    later = datetime.now(UTC) + timedelta(hours=1)
    receipt = enqueue(message(), send_at=later)
    assert receipt.state is receipt.status().state is State.SCHEDULED
    assert receipt.status().due_at == pytest.approx(later.timestamp(), abs=0.01)
    assert broker.parcels == []


def test_a_time_that_has_passed_is_now(broker):
    receipt = enqueue(message(), send_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert receipt.state is State.QUEUED
    assert broker.ids == [receipt.id]


def test_a_deadline_reaches_the_ledger_and_the_envelope(ledger, monkeypatch):
    arrived = []
    accept = ledger.accept
    monkeypatch.setattr(
        ledger, "accept", lambda lane, submissions, **_: arrived.extend(submissions) or accept(lane, submissions)
    )
    deadline = datetime.now(UTC) + timedelta(minutes=5)
    enqueue(message(), expires_at=deadline)
    enqueue_many([message()], expires_at=timedelta(minutes=5), send_at=deadline)
    one, two = arrived
    assert one.expires_at == decode(one.envelope).expires_at == deadline.timestamp()
    assert two.expires_at == decode(two.envelope).expires_at == pytest.approx(deadline.timestamp() + 300)
    assert two.send_at == deadline.timestamp()


@pytest.mark.parametrize("call", [enqueue, lambda mail, **options: enqueue_many([mail], **options)])
def test_a_naive_time_is_refused_before_anything_is_stored(call, ledger):
    for options in ({"send_at": datetime(2030, 1, 1)}, {"expires_at": datetime(2030, 1, 1)}):  # noqa: DTZ001 - naive
        with pytest.raises(ValueError, match="no time zone"):
            call(message(), **options)
    assert ledger.calls == []


# -- idempotency keys


def test_the_same_key_returns_the_first_receipt(ledger, broker):
    first = enqueue(message(1), idempotency_key="order-7")
    mail = message(1)
    again = enqueue(mail, idempotency_key="order-7")
    assert again == first
    assert mail.receipt is again
    assert broker.ids == [first.id]
    assert counts() == {"default": {"queued": 1}}


def test_a_call_whose_answer_was_lost_is_repeated_under_its_key_without_a_second_copy(ledger, broker, monkeypatch):
    accept = ledger.accept

    def lost(lane, submissions, **options):
        accept(lane, submissions, **options)
        raise LedgerUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "accept", lost)
        with pytest.raises(BrokerUnavailable) as caught:
            enqueue(message(1), idempotency_key="order-7")
    again = enqueue(message(1), idempotency_key="order-7")
    assert (again.id,) == caught.value.message_ids
    assert counts() == {"default": {"queued": 1}}


def test_the_same_key_with_another_content_is_an_error(broker):
    first = enqueue(message(1), idempotency_key="order-7")
    with pytest.raises(IdempotencyConflict, match="use a new key") as caught:
        enqueue(message(2), idempotency_key="order-7")
    assert (caught.value.key, caught.value.message_id) == ("order-7", first.id)
    assert isinstance(caught.value, InvalidMessage)
    assert broker.ids == [first.id]


def test_a_key_that_cannot_be_one_is_told_before_anything_is_stored(ledger):
    for key, error in (("", InvalidMessage), ("x" * 300, InvalidMessage), (7, TypeError)):
        with pytest.raises(error, match="idempotency_key"):
            enqueue(message(), idempotency_key=key)
    with pytest.raises(InvalidMessage, match="idempotency_key"):
        enqueue_many([message()], idempotency_key="")
    assert ledger.calls == []


def test_a_call_of_many_can_be_repeated_under_one_key(broker):
    def run(count):
        return enqueue_many((message(number) for number in range(count)), idempotency_key="news-42")

    first = run(130)
    assert run(130) == first
    more = run(150)
    assert more[:130] == first
    assert broker.ids == [receipt.id for receipt in more]


def test_each_of_many_may_have_a_key_of_its_own_or_none(broker):
    def run():
        mails = [message(number) for number in range(4)]
        return enqueue_many(mails, idempotency_key=lambda mail: mail.subject if mail.subject != "Number 3" else None)

    first, again = run(), run()
    assert again[:3] == first[:3]
    assert again[3] != first[3]
    assert len(broker.ids) == 5


def test_two_of_one_call_under_one_key_are_one(broker):
    one, two, three = enqueue_many([message(1), message(1), message(2)], idempotency_key=lambda mail: mail.subject)
    assert one == two
    assert broker.ids == [one.id, three.id]


def test_before_a_conflict_all_are_accepted_and_after_it_none(ledger, broker):
    enqueue(message(1), idempotency_key="two")
    mails = [message(number) for number in range(10, 15)]
    keys = dict(zip((mail.subject for mail in mails), ["zero", "one", "two", "three", None], strict=True))
    with pytest.raises(IdempotencyConflict) as caught:
        enqueue_many(mails, idempotency_key=lambda mail: keys[mail.subject])
    assert [receipt.id for receipt in caught.value.receipts] == broker.ids[1:] == [m.receipt.id for m in mails[:2]]
    assert "2 messages before it are accepted" in "".join(traceback.format_exception(caught.value))
    assert mails[2].receipt is None


def test_a_conflict_within_one_call_is_found_too(broker):
    keys = iter(["one", "same", "same"])
    with pytest.raises(IdempotencyConflict) as caught:
        enqueue_many([message(1), message(2), message(3)], idempotency_key=lambda _mail: next(keys))
    assert [receipt.id for receipt in caught.value.receipts] == broker.ids
    assert len(broker.ids) == 2


def test_a_conflict_before_a_failing_iterator_is_noted_on_it(broker):
    enqueue(message(99), idempotency_key="k/1")
    error = RuntimeError("the database went away")
    with pytest.raises(RuntimeError) as caught:
        enqueue_many(failing(3, error), idempotency_key="k")
    assert [receipt.id for receipt in caught.value.receipts] == broker.ids[1:]
    assert len(broker.ids) == 2
    assert any("2 messages before it were not accepted" in note for note in error.__notes__)


def test_on_commit_a_conflict_costs_the_others_nothing(transaction, broker, caplog):
    transaction.open = False
    enqueue(message(99), idempotency_key="k/1")
    transaction.open = True
    receipts = enqueue_many((message(number) for number in range(4)), idempotency_key="k")
    transaction.commit()
    assert broker.ids[1:] == [receipts[place].id for place in (0, 2, 3)]
    assert "action=conflict_on_commit key=k/1" in caplog.text


# -- the spool


@pytest.fixture
def spool(producer, ledger, broker, monkeypatch, tmp_path):
    """The producer has a spool, and its ledger is away."""
    spool = Spool(tmp_path / "spool.db")
    monkeypatch.setattr(module, "get_producer", lambda: spooling)
    spooling = Producer(ledger, broker, spool=spool)
    ledger.trouble["accept"] = down()
    yield spool
    spool.close()


def test_what_the_ledger_cannot_take_is_accepted_by_the_spool(spool, ledger):
    mail = message()
    receipt = enqueue(mail)
    assert (receipt.spooled, receipt.state) == (True, None)
    assert mail.receipt is receipt
    assert [each.id for each in spool.messages()] == [receipt.id]
    assert len(enqueue_many(message(number) for number in range(250))) == 250
    assert spool.status().waiting == 251


def test_large_parts_are_spooled_as_well(spool, ledger, broker):
    receipt = enqueue(message(attachments=[("a.bin", BIG, "application/octet-stream")]))
    ledger.trouble.clear()
    assert spool.replay(ledger, broker) == 1
    envelope = decode(ledger.get(receipt.id).envelope)
    assert unpack(envelope, ledger.get_blobs(envelope.blobs())).attachments[0].content == BIG


def test_a_spooled_message_is_known_to_be_there(spool, ledger, broker):
    receipt = enqueue(message())
    with pytest.raises(MessageNotFound, match="waits in this host's spool") as caught:
        receipt.status()
    assert caught.value.spooled
    with pytest.raises(MessageNotFound, match="never accepted") as caught:
        status("absent")
    assert not caught.value.spooled
    ledger.trouble.clear()
    spool.replay(ledger, broker)
    assert receipt.status().state is State.QUEUED


def test_in_a_transaction_it_is_spooled_on_commit(spool, transaction):
    receipt = enqueue(message())
    assert spool.status().waiting == 0
    transaction.commit()
    assert receipt.spooled
    assert spool.status().waiting == 1


# -- cancelling


def test_a_message_that_waits_can_be_cancelled(ledger):
    receipt = enqueue(message(), send_at=datetime.now(UTC) + timedelta(hours=1))
    answer = receipt.cancel()
    assert answer is Cancellation.CANCELLED
    assert answer
    assert receipt.status().state is State.CANCELLED


def test_what_is_final_cannot_be_cancelled(ledger):
    receipt = enqueue(message())
    ledger.claim("default", [receipt.id], token="t", owner="w:1")
    ledger.record([Settlement(receipt.id, State.SENT)], "t")
    answer = receipt.cancel()
    assert answer == "late"
    assert not answer


def test_what_is_going_out_may_be_sent_once_more(ledger):
    receipt = enqueue(message())
    ledger.claim("default", [receipt.id], token="t", owner="w:1")
    ledger.begin([receipt.id], "t")
    answer = receipt.cancel()
    assert answer == "cancelling"
    assert not answer


def test_a_spooled_message_can_be_cancelled_and_an_accept_that_comes_late_changes_nothing(spool, ledger):
    receipt = enqueue(message(attachments=[("a.bin", BIG, "application/octet-stream")]))
    assert receipt.cancel()
    assert spool.status().waiting == 0
    ledger.trouble.clear()
    assert not ledger.accept("default", [Submission(receipt.id, b"")]).accepted[0].new
    assert receipt.status().state is State.CANCELLED


def test_a_spooled_message_stays_while_the_ledger_cannot_be_asked_to_cancel_it(spool, ledger, monkeypatch):
    receipt = enqueue(message())
    monkeypatch.setattr(ledger, "accept", mock.Mock(side_effect=down()))
    with pytest.raises(LedgerUnavailable):
        receipt.cancel()
    assert spool.status().waiting == 1


def test_what_the_spool_holds_can_be_cancelled(spool, ledger):
    receipt = enqueue(message())
    spool._hold(spool._take("default", 1, 10_000, 0), "old")
    assert receipt.cancel() is Cancellation.CANCELLED
    assert spool.status().held == 0
    assert receipt.cancel() is Cancellation.MISSING


# -- the producer of the process


def test_there_is_one_producer_until_the_settings_change():
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL="memory://producer-of-the-process")
    first = get_producer()
    assert get_producer() is first
    conf.configure(MAILQUEUE_KEY_PREFIX="other")
    assert get_producer() is not first


def test_a_producer_that_was_closed_is_followed_by_another():
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL="memory://producer-closed")
    first = get_producer()
    module.close()
    module.close()  # there is none now
    assert get_producer() is not first


def test_a_producer_has_the_spool_and_the_durability_of_the_settings(monkeypatch, tmp_path):
    monkeypatch.undo()  # the fixture's producer
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL="memory://producer-with-spool")
    assert get_producer().spool is None
    conf.configure(MAILQUEUE_SPOOL=tmp_path / "spool.db", MAILQUEUE_RETENTION=100)
    assert get_producer().spool.path == str(tmp_path / "spool.db")
    assert not get_producer()._intake._durable
    conf.configure(MAILQUEUE_DURABILITY="always")
    assert get_producer()._intake._durable
    assert get_producer().spool._durable
    assert enqueue(message()).state is State.QUEUED


def test_a_prepared_process_has_its_producer_and_its_name(monkeypatch):
    made = []
    monkeypatch.setattr(module, "get_producer", lambda: made.append("producer"))
    monkeypatch.setattr(module, "DNS_NAME", mock.Mock(get_fqdn=lambda: made.append("name")))
    prepare()
    assert made == ["producer", "name"]


def test_receipts_are_plain_values():
    receipt = Receipt("1", "<1@x>", State.QUEUED, 1.0)
    assert pickle.loads(pickle.dumps(receipt)) == receipt


def test_several_versions_of_a_body_arrive(ledger):
    mail = EmailMultiAlternatives("s", "b", "f@example.com", ["t@example.com"], alternatives=[("<p>", "text/html")])
    receipt = enqueue(mail)
    assert unpack(decode(ledger.get(receipt.id).envelope), {}).alternatives == [("<p>", "text/html")]
