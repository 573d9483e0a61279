"""The queue backend as Django's API uses it; test names carry the numbers of the behaviours in docs/mail-api.md."""

from __future__ import annotations

import itertools
import json

import pytest

import mailqueue
from mailqueue import conf, mail
from mailqueue import producer as producer_module
from mailqueue.codec import decode
from mailqueue.envelope import unpack
from mailqueue.errors import (
    BadHeaderError,
    BrokerUnavailable,
    ImproperlyConfigured,
    InvalidMailer,
    InvalidMessage,
    LedgerUnavailable,
    MailerDoesNotExist,
)
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.mail.backends.locmem import EmailBackend as LocmemBackend
from mailqueue.mail.backends.queue import EmailBackend
from mailqueue.mail.render import render
from mailqueue.producer import Producer

QUEUE = conf.QUEUE_BACKEND


class Broker:
    def __init__(self):
        self.parcels = []

    def publish(self, parcels, *, within=None):
        self.parcels += parcels
        return []


class Ledger(MemoryLedger):
    """``down`` is the number of messages after which it accepts no more."""

    down = None

    def accept(self, lane, submissions, **options):
        if self.down is not None and sum(self.counts().get(lane, {}).values()) >= self.down:
            raise LedgerUnavailable("away")
        return super().accept(lane, submissions, **options)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture(autouse=True)
def _producer(monkeypatch, ledger, broker):
    producer = Producer(ledger, broker)
    monkeypatch.setattr(producer_module, "get_producer", lambda: producer)
    monkeypatch.setattr("mailqueue.mail.backends.queue.get_producer", lambda: producer)


@pytest.fixture
def queued(broker):
    """What was enqueued, as workers unpack it."""

    def messages():
        envelopes = [decode(encoded) for parcel in broker.parcels for _, encoded in parcel.items]
        return [unpack(envelope, {}) for envelope in envelopes]

    return messages


def message(number=0, **fields):
    return mail.EmailMessage(
        **{"subject": f"Number {number}", "body": "b", "from_email": "f@x.org", "to": ["t@x.org"], **fields}
    )


def test_unless_set_otherwise_the_helpers_enqueue(queued):
    assert isinstance(mail.get_connection(), EmailBackend)
    assert mail.send_mail("s", "b", None, ["t@x.org"], html_message="<p>") == 1
    [arrived] = queued()
    assert (arrived.subject, arrived.from_email, arrived.to) == ("s", "webmaster@localhost", ["t@x.org"])
    assert arrived.alternatives == [("<p>", "text/html")]


def test_everyday_names_are_those_of_the_package(queued):
    assert mailqueue.send_mail("s", "b", "f@x.org", ["t@x.org"]) == 1
    assert mailqueue.EmailMessage("s", "b", "f@x.org", ["t@x.org"]).send() == 1
    assert len(queued()) == 2


def test_what_is_queued_is_what_would_have_been_sent(queued):
    original = message(headers={"X-Note": "é"}, cc=["c@x.org"], body="From me\né")
    original.send()
    [arrived] = queued()
    original.extra_headers = {**arrived.extra_headers}
    assert render(arrived) == render(original)


def test_a_message_has_its_receipt_after_sending(ledger):
    sent = message()
    assert sent.send() == 1
    assert ledger.get(sent.receipt.id).state == "queued"
    assert sent.receipt.message_id.startswith("<")


@pytest.mark.parametrize(
    "send",
    [
        lambda: mail.send_mail("s\nBcc: x@x.org", "b", "f@x.org", ["t@x.org"]),
        lambda: mail.send_mail("s", "b", "f@x.org", ["t@x.org\nX: y"]),
        lambda: message(headers={"X": "a\r\nb"}).send(),
        lambda: mail.send_mass_mail([("s\n", "b", "f@x.org", ["t@x.org"])]),
    ],
)
def test_b03_header_injection_is_refused_in_the_caller(send, queued):
    with pytest.raises(ValueError, match=r"newlines|Invalid address"):
        send()
    assert queued() == []


def test_b03_also_when_it_is_to_be_silent():
    with pytest.raises(BadHeaderError):
        message(subject="a\nb").send(fail_silently=True)


def test_b14_headers_are_encoded_with_the_messages_own_charset(queued):
    latin = message(subject="Grüße", body="é")
    latin.encoding = "iso-8859-1"
    latin.send()
    [arrived] = queued()
    assert b"Subject: =?iso-8859-1?q?Gr=FC=DFe?=" in render(arrived)


class Lazy:
    """As Django's lazy strings: text once it is asked for."""

    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text

    def encode(self, *args):
        return self._text.encode(*args)


Lazy.__name__ = "__proxy__"


def test_b16_lazy_strings_are_text_before_they_travel(queued):
    mail.send_mail(Lazy("subject"), Lazy("body"), Lazy("f@x.org"), [Lazy("t@x.org")])
    [arrived] = queued()
    assert [type(value) for value in (arrived.subject, arrived.body, arrived.from_email, arrived.to[0])] == [str] * 4


def test_b20_bcc_travels_beside_the_message(queued):
    message(to=["t@x.org"], cc=["c@x.org"], bcc=["b@x.org"]).send()
    [arrived] = queued()
    assert arrived.recipients() == ["t@x.org", "c@x.org", "b@x.org"]
    assert b"b@x.org" not in render(arrived)


def test_b22_a_bad_bcc_is_refused_in_the_caller():
    with pytest.raises(ValueError, match="Invalid address"):
        message(bcc=["a@b@c"]).send()


def test_b41_send_messages_takes_an_iterator(queued):
    assert EmailBackend().send_messages(message(number) for number in range(3)) == 3
    assert [arrived.subject for arrived in queued()] == ["Number 0", "Number 1", "Number 2"]


def test_b41_send_mass_mail_reads_as_it_goes(broker):
    ahead = []

    def data():
        for number in range(250):
            ahead.append(number - sum(len(parcel.items) for parcel in broker.parcels))
            yield f"Number {number}", "b", "f@x.org", ["t@x.org"]

    assert mail.send_mass_mail(data()) == 250
    assert max(ahead) <= 101
    assert [len(parcel.items) for parcel in broker.parcels] == [100, 100, 50]


@pytest.mark.parametrize("nothing", [[], (), iter([]), None])
def test_b42_no_messages_are_0(nothing):
    assert EmailBackend().send_messages(nothing) == 0


def test_b42_a_message_without_recipients_is_not_counted(queued):
    assert EmailBackend().send_messages([message(to=[]), message(1), message(to=[None, ""])]) == 1
    assert [arrived.subject for arrived in queued()] == ["Number 1"]
    assert message(to=[]).send() == 0


def test_b43_open_and_close_do_nothing_and_say_so():
    backend = EmailBackend()
    assert backend.open() is None
    assert backend.close() is None
    with backend as same:
        assert same is backend


def test_b51_unknown_arguments_are_ignored_until_an_alias_is_given():
    assert mail.get_connection(QUEUE, host="x", timeout=5).send_messages([message()]) == 1
    conf.configure(MAILERS={"odd": {"BACKEND": QUEUE, "OPTIONS": {"host": "x"}}})
    with pytest.raises(InvalidMailer, match="host"):
        mail.mailers["odd"]


def test_b59_a_connection_that_is_given_is_used_and_nothing_is_queued(queued):
    elsewhere = LocmemBackend()
    assert mail.send_mail("s", "b", "f@x.org", ["t@x.org"], connection=elsewhere) == 1
    assert message(connection=elsewhere).send() == 1
    assert (len(mail.outbox), queued()) == (2, [])


@pytest.mark.parametrize("send", [mail.mail_admins, mail.mail_managers])
def test_b59_by_mail_admins_and_mail_managers_too(send, queued):
    conf.configure(ADMINS=["a@x.org"], MANAGERS=["m@x.org"])
    send("s", "b", connection=LocmemBackend())
    assert (len(mail.outbox), queued()) == (1, [])
    send("s", "b")
    assert len(queued()) == 1


def test_b60_the_helpers_return_the_number_accepted(ledger):
    assert mail.send_mail("s", "b", "f@x.org", ["t@x.org"]) == 1
    assert mail.send_mail("s", "b", "f@x.org", []) == 0
    assert mail.send_mass_mail([("s", "b", "f@x.org", ["t@x.org"])] * 7) == 7
    assert ledger.counts() == {"default": {"queued": 8}}


# -- trouble


def test_a_ledger_that_is_away_is_told(ledger):
    ledger.down = 0
    with pytest.raises(BrokerUnavailable):
        mail.send_mail("s", "b", "f@x.org", ["t@x.org"])


def test_or_is_not_if_it_is_to_be_silent(ledger):
    ledger.down = 0
    assert mail.send_mail("s", "b", "f@x.org", ["t@x.org"], fail_silently=True) == 0


def test_what_was_accepted_before_counts(ledger):
    ledger.down = 200
    assert EmailBackend(fail_silently=True).send_messages(map(message, itertools.count())) == 200
    ledger.down = 400
    with pytest.raises(BrokerUnavailable) as caught:
        EmailBackend().send_messages(map(message, itertools.count()))
    assert caught.value.accepted == 200
    assert caught.value.__notes__ == ["mailqueue: 200 messages before it are accepted"]


@pytest.mark.parametrize("login", [{"username": "u"}, {"password": "p"}])
def test_a_login_cannot_travel_and_the_remedy_is_told(login):
    with pytest.raises(ImproperlyConfigured, match="OPTIONS of an alias of MAILERS"):
        EmailBackend(**login)


def test_nor_can_that_of_a_helper():
    with pytest.raises(ImproperlyConfigured, match="cannot travel"):
        mail.send_mail("s", "b", "f@x.org", ["t@x.org"], auth_user="u", auth_password="p")
    assert mail.send_mail("s", "b", "f@x.org", ["t@x.org"], auth_user=None, auth_password="") == 1


def test_no_credential_is_on_the_wire(broker):
    conf.configure(
        EMAIL_HOST_USER="the-user",
        EMAIL_HOST_PASSWORD="the-password",
        MAILERS={
            "default": {"BACKEND": QUEUE, "OPTIONS": {"deliver_with": "smtp"}},
            "smtp": {"BACKEND": conf.SMTP_BACKEND, "OPTIONS": {"host": "h", "username": "u1", "password": "p1"}},
        },
    )
    message().send()
    wire = json.dumps([parcel.to_wire() for parcel in broker.parcels])
    assert not any(secret in wire for secret in ("the-user", "the-password", "u1", "p1"))


# -- aliases and lanes


def test_an_alias_names_the_one_that_delivers_and_the_lane(broker, ledger):
    conf.configure(
        MAILERS={
            "default": {"BACKEND": QUEUE},
            "news": {"BACKEND": QUEUE, "OPTIONS": {"deliver_with": "smtp", "lane": "bulk"}},
            "smtp": {"BACKEND": conf.SMTP_BACKEND, "OPTIONS": {"host": "h"}},
        }
    )
    sent = message()
    assert sent.send(using="news") == 1
    entry = ledger.get(sent.receipt.id)
    assert (entry.lane, entry.relay) == ("bulk", "smtp")
    assert broker.parcels[0].lane == "bulk"
    assert message().send() == 1
    assert broker.parcels[1].lane == "default"


def test_any_other_alias_sends_inline(queued):
    conf.configure(
        MAILERS={"default": {"BACKEND": QUEUE}, "here": {"BACKEND": "mailqueue.mail.backends.locmem.EmailBackend"}}
    )
    assert message().send(using="here") == 1
    assert (len(mail.outbox), queued()) == (1, [])


def test_a_backend_by_its_path_takes_the_options(broker):
    mail.get_connection(QUEUE, lane="urgent").send_messages([message()])
    assert broker.parcels[0].lane == "urgent"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"deliver_with": "absent"}, MailerDoesNotExist),
        ({"deliver_with": "default"}, InvalidMailer),
        ({"lane": "fast"}, InvalidMessage),
    ],
)
def test_options_that_cannot_work_are_told_when_the_backend_is_made(options, error):
    conf.configure(MAILERS={"default": {"BACKEND": QUEUE}, "odd": {"BACKEND": QUEUE, "OPTIONS": options}})
    with pytest.raises(error):
        mail.mailers["odd"]


# -- from Django


def test_djangos_own_helpers_enqueue_through_it(override_settings, queued):
    from django.core import mail as django_mail  # noqa: PLC0415 - when Django is configured

    with override_settings(EMAIL_BACKEND=QUEUE, DEFAULT_FROM_EMAIL="django@x.org"):
        assert django_mail.send_mail("Grüße", "b", None, ["t@x.org"]) == 1
        assert django_mail.send_mass_mail([("s", "b", None, ["t@x.org"])] * 3) == 3
    first, *_ = queued()
    assert isinstance(first, mail.EmailMessage)
    assert (first.subject, first.from_email) == ("Grüße", "django@x.org")
