"""What operators ask for while a worker is at it, deadlines that pass, and relays that others have met."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from mailqueue import codec
from mailqueue.conf import Secret
from mailqueue.errors import RelayTrouble
from mailqueue.ledger.base import Settlement, Submission
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.outcome import Ending, Result, Verdict
from mailqueue.smtp.reply import Reply
from workers import backends
from workers.drain import drain
from workers.process import Process
from workers.relays import LOOK_EVERY

OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))
REFUSED_LOGIN = RelayTrouble("auth: 535 5.7.8 no", stage="auth", code=535, text="5.7.8 no")
DOWN = RelayTrouble("connect: refused", stage="connect")


def mail(subject="Hello", *to):
    return EmailMessage(subject, "Body\n", "app@example.com", list(to) or ["ann@example.com"])


def states(process, parcel):
    return [process.ledger.get(message_id).state for message_id, _ in parcel.items]


def ids(parcel):
    return [message_id for message_id, _ in parcel.items]


@pytest.fixture
def move_time(process, monkeypatch):
    """Moves the time of the ledger, and of the process's looks at it."""
    moved = [0.0]
    monkeypatch.setattr(process.ledger, "_clock", lambda: time.time() + moved[0])

    def move(seconds):
        moved[0] += seconds
        process.relays._clock = lambda: time.monotonic() + moved[0]

    return move


def run_what_is_due(process):
    for each in process.ledger.tick().publications:
        drain(codec.Parcel(each.lane, each.number, each.items, each.alone), process)


# -- stopped before its last byte


@pytest.mark.parametrize(
    ("halt", "state"),
    [(lambda ledger, one: ledger.cancel([one]), State.CANCELLED), (lambda ledger, one: ledger.hold([one]), State.HELD)],
    ids=["cancel", "hold"],
)
def test_what_is_stopped_before_its_last_byte_is_not_sent_and_the_others_are(process, backend, queue, halt, state):
    parcel = queue(mail("one"), mail("two"), mail("three"))
    backend.script = [lambda _message: halt(process.ledger, ids(parcel)[1]) and None]
    drain(parcel, process)
    assert states(process, parcel) == [State.SENT, state, State.SENT]
    assert [subject for subject, _to in backend.sent] == ["one", "three"]
    assert process.ledger.counters()["fenced"] == 0


def test_what_was_cancelled_before_it_was_claimed_is_settled(process, backend, queue):
    parcel = queue(mail())
    process.ledger.cancel(ids(parcel))
    drain(parcel, process)
    assert states(process, parcel) == [State.CANCELLED]
    assert backend.sent == []


def test_a_deadline_that_passes_while_it_waits_for_its_turn_is_kept(process, backend, queue, move_time):
    parcel = queue(mail("one"))
    code = Submission("code", parcel.items[0][1], expires_at=time.time() + 60)
    number = process.ledger.accept("default", [code]).number
    backend.script = [lambda _message: move_time(100)]
    drain(codec.Parcel("default", number, (*parcel.items, ("code", code.envelope))), process)
    assert [process.ledger.get(each).state for each in (*ids(parcel), "code")] == [State.SENT, State.EXPIRED]
    assert len(backend.sent) == 1


def test_a_cancel_during_sending_is_honoured_when_the_relay_says_later(process, backend, queue, grey):
    parcel = queue(mail("one", "a@x.org", "b@x.org"))
    backend.answers["b@x.org"] = grey
    backend.script = [Ending.PROGRESS]
    begin = process.ledger.begin

    def begin_and_cancel(begun, token):
        granted = begin(begun, token)
        process.ledger.cancel(begun)
        return granted

    process.ledger.begin = begin_and_cancel
    try:
        drain(parcel, process)
    finally:
        del process.ledger.begin
    assert states(process, parcel) == [State.CANCELLED]
    assert process.ledger.get(ids(parcel)[0]).results["a@x.org"].verdict is Verdict.ACCEPTED


def test_what_is_requeued_is_sent_to_the_refused_alone(process, backend, queue, gone):
    parcel = queue(mail("one", "a@x.org", "b@x.org", "c@x.org"))
    backend.answers["b@x.org"] = gone
    drain(parcel, process)
    assert states(process, parcel) == [State.PARTIAL]
    backend.answers.clear()
    assert process.ledger.requeue(ids(parcel)) == ["deferred"]
    run_what_is_due(process)
    assert [to for _subject, to in backend.sent] == [("a@x.org", "b@x.org", "c@x.org"), ("b@x.org",)]
    assert states(process, parcel) == [State.SENT]
    assert process.ledger.get(ids(parcel)[0]).attempts == 1


def test_who_has_a_final_answer_already_is_not_sent_to_again(process, backend, queue):
    """Its answer came late, when it was held: nobody is left to be served when it is let go."""
    parcel = queue(mail("one", "a@x.org", "b@x.org"))
    process.ledger.claim("default", ids(parcel), token="late", owner="w:1")
    process.ledger.hold(ids(parcel))
    refused = dict.fromkeys(["a@x.org", "b@x.org"], Result(Verdict.REFUSED, Reply(550, "5.1.1 no")))
    process.ledger.record([Settlement(ids(parcel)[0], State.FAILED, refused)], "late")
    process.ledger.unhold(ids(parcel))
    run_what_is_due(process)
    assert states(process, parcel) == [State.FAILED]
    assert backend.sent == []


# -- relays in trouble, for the whole fleet


@pytest.fixture
def another(process, backend, tap, stop, monkeypatch):
    """Another process of the fleet, with the same ledger."""
    another = Process(SimpleNamespace(amqp=process.app.amqp), ledger=process.ledger)
    another.owner = another.relays._owner = "another:1"
    monkeypatch.setattr(another, "tap", lambda: tap)
    monkeypatch.setattr(another, "sleep", lambda _seconds: None)
    yield another
    another.keeper.stop()


def test_a_relay_that_another_process_found_down_is_left_alone(process, another, backend, queue):
    backend.script = [DOWN]
    first, second = queue(mail("one")), queue(mail("two"), mail("three"))
    drain(first, process)
    drain(second, another)
    assert states(process, first) + states(process, second) == [State.DEFERRED] * 3
    entry = process.ledger.get(ids(second)[0])
    assert (entry.attempts, entry.reason) == (0, "the relay is in trouble")
    assert backend.opened == 1


def test_what_waited_is_sent_when_the_relay_has_recovered(process, another, backend, queue, move_time):
    backend.script = [DOWN]
    parcels = [queue(mail("one")), queue(mail("two")), queue(mail("three"))]
    for parcel in parcels:
        drain(parcel, process)
    move_time(10)
    run_what_is_due(process)
    assert [states(process, parcel) for parcel in parcels] == [[State.SENT]] * 3
    assert process.ledger.relay_states() == {}


def test_a_relay_that_refuses_our_login_is_not_asked_again(process, backend, queue, move_time, caplog):
    backend.username, backend.password = "app", "old"
    backend.script = [REFUSED_LOGIN] * 9
    parcel = queue(mail())
    drain(parcel, process)
    for _ in range(5):
        move_time(400)
        run_what_is_due(process)
    assert states(process, parcel) == [State.DEFERRED]
    assert backend.opened == 1
    assert sum("action=relay_latched" in line for line in caplog.messages) == 1
    assert process.ledger.get(ids(parcel)[0]).attempts == 0


def test_it_is_asked_by_a_process_that_has_other_credentials(process, another, backend, queue, move_time):
    backend.username, backend.password = "app", "old"
    backend.script = [REFUSED_LOGIN]
    parcel = queue(mail())
    drain(parcel, process)
    backend.password = "new"
    move_time(400)
    run_what_is_due(another)
    assert states(process, parcel) == [State.SENT]
    move_time(LOOK_EVERY)
    assert process.relays.wait("") > 0
    assert process.ledger.relay_recovered("", by_hand=True)
    move_time(LOOK_EVERY)
    assert process.relays.wait("") == 0


# -- fingerprints


def fingerprint(**facts):
    return backends.fingerprint(lambda _relay: SimpleNamespace(**facts), "")


def test_a_fingerprint_changes_with_address_and_credentials_alone():
    facts = {"host": "mx", "port": 25, "username": "app", "password": "secret"}
    same = fingerprint(**facts)
    assert same == fingerprint(**facts, timeout=3)
    others = {fingerprint(**facts | {name: "other"}) for name in facts}
    assert len(others | {same}) == 5
    assert "secret" not in same


def test_a_fingerprint_sees_through_secrets():
    assert fingerprint(password=Secret("one")) != fingerprint(password=Secret("two"))


def test_credentials_that_change_by_themselves_have_no_fingerprint():
    assert fingerprint(username="app", oauth2_token=lambda: "token") == ""


def test_a_relay_that_cannot_be_built_has_none():
    assert backends.fingerprint(backends.build, "no such alias") == ""
