from __future__ import annotations

from mailqueue.codec import encode
from mailqueue.envelope import Envelope
from mailqueue.ledger.base import Entry
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.report import MessageStatus, RecipientStatus
from mailqueue.smtp.reply import Reply

OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok"))
LATER = Result(Verdict.DEFERRED, Reply(451, "4.7.1 Later"))


def entry(**fields):
    return Entry(
        **{
            "id": "1",
            "state": State.DEFERRED,
            "lane": "default",
            "relay": "smtp",
            "attempts": 1,
            "crashes": 0,
            "unknowns": 0,
            "accepted_at": 1.0,
            "updated_at": 2.0,
            "due_at": 3.0,
            "reason": "later",
            "results": {},
            "envelope": None,
            **fields,
        }
    )


def envelope(**fields):
    return encode(Envelope(id="1", created=1.0, to=("a@x", "b@x"), cc=("c@x",), **fields))


def test_every_recipient_is_told_in_order_those_without_a_result_as_pending():
    status = MessageStatus.of(entry(envelope=envelope(), results={"b@x": OK, "c@x": LATER}))
    assert status.recipients == {
        "a@x": RecipientStatus("pending"),
        "b@x": RecipientStatus(Verdict.ACCEPTED, Reply(250, "2.0.0 Ok")),
        "c@x": RecipientStatus(Verdict.DEFERRED, Reply(451, "4.7.1 Later")),
    }
    assert list(status.recipients) == ["a@x", "b@x", "c@x"]


def test_the_ledgers_facts_are_passed_on():
    status = MessageStatus.of(entry(crashes=1, unknowns=2))
    assert (status.id, status.state, status.lane, status.relay) == ("1", "deferred", "default", "smtp")
    assert (status.attempts, status.crashes, status.unknowns) == (1, 1, 2)
    assert (status.accepted_at, status.updated_at, status.due_at, status.reason) == (1.0, 2.0, 3.0, "later")


def test_a_sent_message_is_told_from_its_results_alone():
    assert MessageStatus.of(entry(state=State.SENT, results={"a@x": OK})).recipients.keys() == {"a@x"}


def test_the_callers_metadata_are_told_while_there_is_an_envelope():
    assert MessageStatus.of(entry(envelope=envelope(labels={"order": 7}))).metadata == {"order": 7}
    assert MessageStatus.of(entry()).metadata == {}


def test_an_envelope_that_cannot_be_read_hides_nothing_else():
    status = MessageStatus.of(entry(envelope=b"garbage", results={"a@x": OK}))
    assert status.recipients.keys() == {"a@x"}
