"""Delivery backends: how one is built for a relay, and what a plain Django-style class's answers mean."""

from __future__ import annotations

import smtplib

import pytest

from mailqueue import conf
from mailqueue.errors import MailerDoesNotExist, RelayTrouble
from mailqueue.mail import EmailMessage
from mailqueue.mail.backends.dummy import EmailBackend as Dummy
from mailqueue.mail.backends.smtp import EmailBackend as Smtp
from mailqueue.outcome import Ending, Outcome, Verdict
from mailqueue.smtp.timeouts import RFC_5321
from workers import backends
from workers.connections import Limits


class Plain:
    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    def send_messages(self, messages):
        self.calls.append([message.subject for message in messages])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Django(Plain):
    def __init__(self, *answers, timeout=None):
        super().__init__(*answers)
        self.timeout = timeout


def mail(subject="Hello", to=("a@x.org", "Bob <b@x.org>")):
    return EmailMessage(subject, "Body", "app@example.com", list(to))


def yes(messages):
    return [True] * len(messages)


def one(answer, on_begin=yes):
    [outcome] = backends.deliver(Plain(answer), [mail()], on_begin)
    return outcome


def test_each_message_is_a_call_of_its_own():
    backend = Plain(1, True)
    outcomes = list(backends.deliver(backend, [mail("one"), mail("two")], yes))
    assert backend.calls == [["one"], ["two"]]
    assert [outcome.ending for outcome in outcomes] == [Ending.ANSWERED] * 2
    assert {result.verdict for result in outcomes[0].results.values()} == {Verdict.ACCEPTED}
    assert set(outcomes[0].results) == {"a@x.org", "Bob <b@x.org>"}


def test_a_subclass_of_ours_that_changes_how_it_sends_is_asked_to_send():
    class Counting(Smtp):
        def send_messages(self, email_messages):
            return len(email_messages)

        def open(self):
            return True

    [outcome] = backends.deliver(Counting(), [mail()], yes)
    assert outcome.ending is Ending.ANSWERED


def test_a_subclass_of_ours_that_changes_how_it_connects_still_tells_outcomes():
    class Elsewhere(Smtp):
        def open(self):
            raise ConnectionRefusedError

    with pytest.raises(RelayTrouble) as caught:
        next(backends.deliver(Elsewhere(), [mail()], yes))
    assert caught.value.stage == "connect"


def test_what_is_not_ours_any_more_is_not_sent():
    backend = Plain(1)
    answers = iter([[False], [True]])
    [outcome] = backends.deliver(backend, [mail("one"), mail("two")], lambda _messages: next(answers))
    assert backend.calls == [["two"]]
    assert outcome.message.subject == "two"


def test_zero_is_a_temporary_refusal():
    outcome = one(0)
    assert {result.verdict for result in outcome.results.values()} == {Verdict.DEFERRED}


def test_a_forgotten_return_tells_nothing():
    assert one(None).ending is Ending.UNKNOWN


def test_an_smtp_reply_is_classified():
    for code, verdict in ((450, Verdict.DEFERRED), (554, Verdict.REFUSED)):
        outcome = one(smtplib.SMTPDataError(code, b"no"))
        assert {result.verdict for result in outcome.results.values()} == {verdict}
        assert {result.reply.code for result in outcome.results.values()} == {code}


def test_refused_recipients_keep_their_own_replies():
    outcome = one(smtplib.SMTPRecipientsRefused({"a@x.org": (550, b"5.1.1 gone"), "b@x.org": (451, b"later")}))
    assert outcome.results["a@x.org"].verdict is Verdict.REFUSED
    assert outcome.results["Bob <b@x.org>"].verdict is Verdict.DEFERRED


def test_a_recipient_gets_nobody_elses_reply():
    replies = {"ann@x.org": (550, b"5.1.1 gone"), "joann@x.org": (450, b"later")}
    to = ("Joann <joann@x.org>", "Ann <ann@x.org>")
    [outcome] = backends.deliver(Plain(smtplib.SMTPRecipientsRefused(replies)), [mail(to=to)], yes)
    assert outcome.results["Joann <joann@x.org>"].verdict is Verdict.DEFERRED
    assert outcome.results["Ann <ann@x.org>"].verdict is Verdict.REFUSED


def test_a_recipient_whose_reply_is_not_told_is_deferred_unless_all_were_refused_for_good():
    some = {"c@x.org": (550, b"gone"), "d@x.org": (450, b"later")}
    outcome = one(smtplib.SMTPRecipientsRefused(some))
    assert {result.verdict for result in outcome.results.values()} == {Verdict.DEFERRED}
    outcome = one(smtplib.SMTPRecipientsRefused({"c@x.org": (550, b"gone")}))
    assert {result.verdict for result in outcome.results.values()} == {Verdict.REFUSED}


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPAuthenticationError(535, b"no"),
        smtplib.SMTPConnectError(421, b"busy"),
        smtplib.SMTPHeloError(500, b""),
    ],
)
def test_trouble_of_the_relay_is_no_fault_of_the_message(error):
    outcomes = backends.deliver(Plain(error), [mail()], yes)
    assert next(outcomes).ending is Ending.UNSENT
    with pytest.raises(RelayTrouble):
        next(outcomes)


def test_a_connection_that_cannot_be_opened_is_trouble_of_the_relay():
    backend = Plain(1)
    backend.open = lambda: (_ for _ in ()).throw(ConnectionRefusedError())
    with pytest.raises(RelayTrouble) as caught:
        next(backends.deliver(backend, [mail()], yes))
    assert caught.value.reconnect
    assert backend.calls == []


@pytest.mark.parametrize("error", [ConnectionResetError(), smtplib.SMTPServerDisconnected("gone"), KeyError("bug")])
def test_anything_else_after_the_call_began_is_unknown(error):
    outcomes = backends.deliver(Plain(error), [mail()], yes)
    outcome = next(outcomes)
    assert outcome.ending is Ending.UNKNOWN
    assert type(error).__name__ in outcome.reason
    with pytest.raises(RelayTrouble) as caught:
        next(outcomes)
    assert caught.value.reconnect


def test_after_a_lost_connection_the_next_message_is_not_offered_to_it():
    backend = Plain(smtplib.SMTPServerDisconnected("gone"), 1)
    outcomes = backends.deliver(backend, [mail("one"), mail("two")], yes)
    assert next(outcomes).ending is Ending.UNKNOWN
    with pytest.raises(RelayTrouble):
        next(outcomes)
    assert backend.calls == [["one"]]


def test_a_relay_that_fell_silent_is_not_asked_again_at_once():
    silent = smtplib.SMTPServerDisconnected("timed out")
    silent.__context__ = TimeoutError()
    outcomes = backends.deliver(Plain(silent), [mail()], yes)
    assert next(outcomes).ending is Ending.UNKNOWN
    with pytest.raises(RelayTrouble) as caught:
        next(outcomes)
    assert not caught.value.reconnect


@pytest.mark.parametrize("code", [-1, 250, 354])
def test_an_answer_to_the_data_that_makes_no_sense_is_unknown(code):
    # smtplib raises the same for the answer to DATA and for that to the final dot: the message may be out.
    outcomes = backends.deliver(Plain(smtplib.SMTPDataError(code, b"what")), [mail()], yes)
    assert next(outcomes).ending is Ending.UNKNOWN
    with pytest.raises(RelayTrouble) as caught:
        next(outcomes)
    assert caught.value.reconnect


def test_421_after_the_data_defers_the_message_and_ends_the_connection():
    outcomes = backends.deliver(Plain(smtplib.SMTPDataError(421, b"closing")), [mail()], yes)
    assert {result.verdict for result in next(outcomes).results.values()} == {Verdict.DEFERRED}
    with pytest.raises(RelayTrouble):
        next(outcomes)


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPRecipientsRefused({"a@x.org": (421, b"4.7.0 <a@x.org>: come back later")}),
        smtplib.SMTPSenderRefused(421, b"4.7.0 not now, app@example.com", "app@example.com"),
    ],
)
def test_421_before_the_data_is_trouble_of_the_relay(error):
    outcomes = backends.deliver(Plain(error), [mail()], yes)
    outcome = next(outcomes)
    assert outcome.ending is Ending.UNSENT
    assert "@" not in outcome.reason
    with pytest.raises(RelayTrouble) as caught:
        next(outcomes)
    assert (caught.value.code, caught.value.reconnect) == (421, True)


def test_the_default_relay_is_the_delivery_backend():
    assert isinstance(backends.build(""), Smtp)
    conf.configure(MAILQUEUE_DELIVERY_BACKEND="mailqueue.mail.backends.dummy.EmailBackend")
    assert isinstance(backends.build(""), Dummy)


def test_smtp_without_a_timeout_goes_by_the_stages_of_the_rfc():
    assert backends.build("").stage_timeouts is True


def test_a_class_that_would_wait_for_ever_waits_as_long_as_the_final_reply_may_take(monkeypatch):
    monkeypatch.setattr(backends, "get_connection", lambda _path: Django())
    assert backends.build("").timeout == RFC_5321.final


def test_a_timeout_that_a_class_has_is_kept(monkeypatch):
    monkeypatch.setattr(backends, "get_connection", lambda _path: Django(timeout=7))
    assert backends.build("").timeout == 7


def test_an_alias_is_built_from_mailers():
    conf.configure(
        MAILERS={"ses": {"BACKEND": "mailqueue.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "127.0.0.1"}}}
    )
    assert backends.build("ses").host == "127.0.0.1"
    with pytest.raises(MailerDoesNotExist):
        backends.build("nowhere")


def test_limits_and_timeout_come_from_the_relays_setting():
    assert backends.limits("") == Limits()
    conf.configure(MAILQUEUE_RELAYS={"default": {"idle_seconds": 5, "max_messages": 10, "timeout": 7}})
    assert backends.limits("") == Limits(idle=5, messages=10)
    assert backends.build("").timeout == 7


def test_its_options_say_how_many_connections_and_how_many_messages_unanswered():
    conf.configure(MAILQUEUE_RELAYS={"default": {"connections": 4, "window": 16}}, EMAIL_HOST="relay.example")
    assert backends.limits("") == Limits(at_once=4)
    assert backends.limits("other").at_once == 1

    class Windowed(Plain):
        window = 1

    assert not hasattr(Plain(), "window")
    backend = Windowed()
    backends.set_up(backend, {"window": 16})
    assert backend.window == 16


def test_a_backend_that_tells_waits_is_told_of_them_and_any_other_waits_after_each_outcome():
    told = []

    class Windowed:
        def deliver(self, messages, on_begin, on_wait=None):
            for message in messages:
                yield Outcome(message, Ending.UNSENT)
            on_wait()

    class Single:
        def deliver(self, messages, on_begin):
            for message in messages:
                yield Outcome(message, Ending.UNSENT)

    for backend in (Windowed(), Single()):
        outcomes = backends.deliver(backend, [mail("one"), mail("two")], yes, lambda: told.append("wait"))
        told.extend(outcome.message.subject for outcome in outcomes)
    assert told == ["one", "two", "wait", "one", "wait", "two", "wait"]
