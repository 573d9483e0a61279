"""Delivery backends: how one is built for a relay, and what a plain Django-style class's answers mean."""

from __future__ import annotations

import smtplib

import pytest

from mailqueue import conf
from mailqueue.errors import MailerDoesNotExist, RelayTrouble
from mailqueue.mail import EmailMessage
from mailqueue.mail.backends.dummy import EmailBackend as Dummy
from mailqueue.mail.backends.smtp import EmailBackend as Smtp
from mailqueue.outcome import Ending, Verdict
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
    outcome = one(error)
    assert outcome.ending is Ending.UNKNOWN
    assert type(error).__name__ in outcome.reason


def test_the_default_relay_is_the_delivery_backend():
    assert isinstance(backends.build(""), Smtp)
    conf.configure(MAILQUEUE_DELIVERY_BACKEND="mailqueue.mail.backends.dummy.EmailBackend")
    assert isinstance(backends.build(""), Dummy)


def test_smtp_without_a_timeout_goes_by_the_stages_of_the_rfc():
    assert backends.build("").stage_timeouts is True


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
