"""What a relay with the option dkim is sent is signed, once, whatever its backend; other relays' mail is not."""

from __future__ import annotations

import base64
import smtplib

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured, RelayTrouble
from mailqueue.mail import EmailMessage
from mailqueue.mail.backends.smtp import EmailBackend as SMTPBackend
from mailqueue.mail.render import fix, render
from mailqueue.mail.signature import Signer
from mailqueue.outcome import Ending, Outcome, Verdict
from mailqueue.rendered import RenderedMessage
from mailqueue.testing.inbox import Inbox
from workers import backends
from workers.backends import build, deliver
from workers.signed import sign

KEY = ed25519.Ed25519PrivateKey.generate()
SEED = base64.b64encode(KEY.private_bytes_raw()).decode()
DKIM = {"domain": "example.com", "selector": "ed", "key": SEED}
RECORD = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(KEY.public_key().public_bytes_raw())


def verified(octets):
    return dkim.verify(octets, dnsfunc=lambda _name, timeout=5: RECORD)


def message(number=1, **more):
    return EmailMessage(f"s{number}", "böody", "a@example.com", ["b@example.com"], **more)


def all_of(backend, messages):
    return list(deliver(backend, messages, lambda begun: [True] * len(begun)))


class Plain:
    """A backend as Django has them."""

    def __init__(self):
        self.sent = []

    def send_messages(self, messages):
        self.sent += [each.message().as_bytes(linesep="\r\n") for each in messages]
        return len(messages)


@pytest.fixture
def signer():
    conf.configure(MAILQUEUE_RELAYS={"default": {"dkim": DKIM}})
    (signing,) = conf.get("MAILQUEUE_RELAYS")["default"]["dkim"]
    return Signer([signing])


def test_our_backend_sends_the_signed_bytes():
    with Inbox() as inbox:
        host, port = inbox.host, inbox.port
        conf.configure(EMAIL_HOST=host, EMAIL_PORT=port, MAILQUEUE_RELAYS={"default": {"dkim": [DKIM]}})
        backend = build("")
        try:
            outcomes = all_of(backend, map(message, range(3)))
        finally:
            backend.close()
        assert [outcome.ending for outcome in outcomes] == [Ending.ANSWERED] * 3
        received = [each.content for each in inbox.arrivals]
    assert len(received) == 3
    for octets in received:
        assert verified(octets)
        assert octets.count(b"DKIM-Signature:") == 1


def test_any_other_backend_does_too():
    backend = Plain()
    backends.set_up(backend, {"dkim": [*conf_signing()]})
    all_of(backend, [message()])
    assert verified(backend.sent[0])


def conf_signing():
    conf.configure(MAILQUEUE_RELAYS={"x": {"dkim": DKIM}})
    return conf.get("MAILQUEUE_RELAYS")["x"]["dkim"]


def test_a_relay_without_the_option_gets_what_was_made():
    backend = Plain()
    backends.set_up(backend, {})
    one = message()
    all_of(backend, [one])
    assert b"DKIM" not in backend.sent[0]
    assert not hasattr(backend, "mailqueue_signer")


def test_a_message_is_signed_once_and_left_as_it_was(signer):
    one = message()
    fix(one)
    before = render(one)
    sign(signer, one)
    first = render(one)
    sign(signer, one)
    assert render(one) == first == one.message().as_bytes(linesep="\r\n")
    assert first.endswith(before)

    class Answers:
        mailqueue_signer = signer

        def deliver(self, messages, _on_begin):
            for each in messages:
                yield Outcome(each, Ending.PROGRESS)
                assert render(each) == first
                yield Outcome(each, Ending.ANSWERED)

    all_of(Answers(), [one])
    assert render(one) == before
    assert "message" not in vars(one)


def test_one_that_was_not_sent_keeps_its_signature_for_the_next_connection(signer):
    class Lost:
        mailqueue_signer = signer

        def deliver(self, messages, _on_begin):
            yield Outcome(next(iter(messages)), Ending.UNSENT)
            raise RelayTrouble("lost", stage="content")

    one = message()
    with pytest.raises(RelayTrouble):
        all_of(Lost(), [one])
    octets = render(one)
    assert octets.count(b"DKIM-Signature:") == 1
    sign(signer, one)
    assert render(one) == octets


def test_one_that_came_rendered_is_signed_as_it_is(signer):
    octets = b"From: a@example.com\r\nSubject: x\r\n\r\nbody\r\n"
    one = RenderedMessage(octets, ["b@example.com"])
    backend = Plain()
    backend.mailqueue_signer = signer
    all_of(backend, [one])
    assert verified(backend.sent[0])
    assert backend.sent[0].endswith(octets)
    assert render(one) == octets


@pytest.mark.parametrize(
    "bad", [message(headers={"X-Bad": "a\nb"}), RenderedMessage(b"To: x\r\n\r\nbody", ["b@example.com"])]
)
def test_one_that_is_no_mail_is_refused_and_the_others_are_sent(signer, bad):
    with Inbox() as inbox:
        backend = SMTPBackend(inbox.host, inbox.port)
        backend.mailqueue_signer = signer
        try:
            outcomes = all_of(backend, [message(), bad, message()])
        finally:
            backend.close()
        verdicts = [next(iter(outcome.results.values())).verdict for outcome in outcomes]
        assert verdicts == [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.ACCEPTED]
        assert [each.local for each in outcomes] == [False, True, False]
        assert all(verified(each.content) for each in inbox.arrivals)


def test_a_plain_backend_that_fails_is_told_as_ever(signer):
    class Failing(Plain):
        mailqueue_signer = signer

        def send_messages(self, messages):
            messages[0].message()
            raise smtplib.SMTPDataError(554, b"no")

    (outcome,) = all_of(Failing(), [message()])
    assert next(iter(outcome.results.values())).verdict is Verdict.REFUSED


def test_a_key_that_cannot_be_read_is_told_at_the_start_and_when_it_is_built(tmp_path):
    conf.configure(
        MAILQUEUE_RELAYS={
            "default": {"dkim": {"domain": "example.com", "selector": "s", "key_file": str(tmp_path / "no")}}
        }
    )
    with pytest.raises(ImproperlyConfigured, match=r"dkim of the relay 'default'.*cannot be read"):
        conf.check("worker")
    conf.check("producer")
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        build("")
