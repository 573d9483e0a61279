"""The SMTP backend as Django's users know it, against a server (behaviours 42-50)."""

from __future__ import annotations

import contextlib
import pickle
import smtplib
import socket
import ssl
from unittest import mock

import pytest


def make(api, subject="Subject", to=("to@example.com",), **changes):
    return api.EmailMessage(subject, "Content\nLine", "from@example.com", list(to), **changes)


def backend_for(api, relay, **options):
    return api.get_connection(api.backend("smtp"), **(relay.options | options))


@pytest.fixture
def nowhere():
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield {"host": "127.0.0.1", "port": taken.getsockname()[1]}


# -- sending


def test_b42_nothing_to_send_is_zero_without_a_connection(api, nowhere):
    assert api.get_connection(api.backend("smtp"), **nowhere).send_messages([]) == 0


@pytest.mark.parametrize("nobody", [[], [""], [None]])
def test_b42_a_message_without_recipients_is_not_sent_nor_counted(api, relay, nobody):
    backend = backend_for(api, relay)
    assert backend.send_messages([make(api, "1"), make(api, "2", nobody), make(api, "3")]) == 2
    assert len(relay.messages) == 2


@pytest.mark.parametrize("nobody", [[], [""], [None]])
def test_b42_its_own_send_makes_no_connection(api, nobody):
    with api.settings(EMAIL_BACKEND="no.such.Backend"):
        message = make(api, to=nobody)
        assert message.send() == 0
        assert message.send(fail_silently=True) == 0


def test_b42_several_go_over_one_connection(api, relay):
    backend = backend_for(api, relay)
    assert backend.send_messages(make(api, str(n)) for n in range(3)) == 3
    assert (relay.connections, len(relay.messages)) == (1, 3)
    assert relay.commands[-1].upper() == "QUIT"
    assert backend.connection is None


def test_b42_an_open_connection_stays_open(api, relay):
    with backend_for(api, relay) as backend:
        connection = backend.connection
        backend.send_messages([make(api)])
        backend.send_messages([make(api)])
        assert backend.connection is connection
    assert (relay.connections, len(relay.messages)) == (1, 2)


def test_b42_the_envelope(api, relay):
    message = make(api, to=["To <to@éxample.com>"], cc=["cc@example.com"], bcc=["bcc@example.com"])
    message.from_email = '"Me, Myself" <from@example.com>'
    backend_for(api, relay).send_messages([message])
    ((sender, recipients, content),) = relay.messages
    assert sender == "from@example.com"
    assert recipients == ["to@xn--xample-9ua.com", "cc@example.com", "bcc@example.com"]
    assert b"bcc@example.com" not in content


# -- opening


def test_b43_open_says_what_it_did(api, relay, nowhere):
    backend = backend_for(api, relay)
    assert backend.open() is True
    assert backend.open() is False
    backend.close()
    assert backend.open() is True
    backend.close()
    silent = api.get_connection(api.backend("smtp"), fail_silently=True, **nowhere)
    assert silent.open() is None
    assert silent.send_messages([make(api)]) == 0


def test_b43_a_failed_open_sends_nothing_even_with_a_connection(api, relay):
    backend = backend_for(api, relay, fail_silently=True)
    backend.connection = mock.Mock(spec=object())
    backend.open = lambda: None
    assert backend.send_messages([make(api)]) == 0
    assert relay.messages == []


def test_b43_otherwise_it_raises(api, nowhere):
    backend = api.get_connection(api.backend("smtp"), **nowhere)
    with pytest.raises(ConnectionRefusedError):
        backend.open()
    with pytest.raises(ConnectionRefusedError):
        backend.send_messages([make(api)])


def test_b44_fail_silently_may_be_set_later(api, nowhere):
    backend = api.get_connection(api.backend("smtp"), **nowhere)
    backend.fail_silently = True
    assert backend.open() is None
    assert backend.send_messages([make(api)]) == 0


def test_b44_it_silences_what_the_relay_refuses(api, relay):
    relay.replies["RCPT"] = "550 nobody"
    backend = backend_for(api, relay)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        backend.send_messages([make(api)])
    backend.fail_silently = True
    assert backend.send_messages([make(api)]) == 0


def test_b44_but_not_bad_messages(api, relay):
    backend = backend_for(api, relay, fail_silently=True)
    with pytest.raises(api.BadHeaderError):
        backend.send_messages([make(api, "a\nb")])
    assert backend.connection is None


# -- a connection that is not safe to use


@pytest.mark.parametrize(
    ("options", "replies", "error"),
    [
        ({"use_tls": True}, {"STARTTLS": "454 not now"}, smtplib.SMTPResponseException),
        ({"username": "u", "password": "p"}, {"AUTH": "535 wrong"}, smtplib.SMTPAuthenticationError),
    ],
)
@pytest.mark.parametrize("silently", [False, True])
def test_b45_a_failed_starttls_or_login_is_not_kept_as_the_connection(api, relay, options, replies, error, silently):
    relay.keywords += ["STARTTLS", "AUTH PLAIN"]
    relay.replies.update(replies)
    backend = backend_for(api, relay, fail_silently=silently, **options)
    with contextlib.nullcontext() if silently else pytest.raises(error):
        assert backend.open() is None
    assert backend.connection is None
    partial = backend._partial_connection
    assert partial is not None
    with contextlib.nullcontext() if silently else pytest.raises(error):
        assert backend.send_messages([make(api)]) == 0
    assert (relay.connections, relay.messages) == (2, [])
    assert partial.sock is None  # closed and replaced
    assert backend._partial_connection is not partial
    backend.close()
    assert backend._partial_connection is None


def test_b45_without_starttls_nothing_is_sent_in_clear(api, relay):
    backend = backend_for(api, relay, use_tls=True, username="u", password="p")
    with pytest.raises(smtplib.SMTPNotSupportedError):
        backend.send_messages([make(api)])
    assert not any(command.upper().startswith(("AUTH", "MAIL")) for command in relay.commands)
    assert backend.connection is None
    backend.close()


# -- closing


def test_b46_closing_what_was_never_open(api):
    backend = api.get_connection(api.backend("smtp"))
    backend.close()
    assert (backend.connection, backend._partial_connection) == (None, None)


@pytest.mark.parametrize("error", [smtplib.SMTPServerDisconnected(), ssl.SSLError()])
def test_b46_closing_what_the_relay_closed(api, relay, error):
    relay.replies["QUIT"] = ""
    backend = backend_for(api, relay)
    backend.open()
    backend.close()
    assert (backend.connection, backend._partial_connection) == (None, None)
    for name in ("connection", "_partial_connection"):
        dead = mock.Mock()
        dead.quit.side_effect = error
        setattr(backend, name, dead)
        backend.close()
        dead.close.assert_called()
        assert (backend.connection, backend._partial_connection) == (None, None)


# -- settings


SETTINGS = {
    "host": ("EMAIL_HOST", "relay.example.com", "localhost"),
    "port": ("EMAIL_PORT", 2525, 25),
    "username": ("EMAIL_HOST_USER", "not empty username", ""),
    "password": ("EMAIL_HOST_PASSWORD", "not empty password", ""),
    "use_tls": ("EMAIL_USE_TLS", True, False),
    "use_ssl": ("EMAIL_USE_SSL", True, False),
    "timeout": ("EMAIL_TIMEOUT", 7, None),
    "ssl_keyfile": ("EMAIL_SSL_KEYFILE", "foo.key", None),
    "ssl_certfile": ("EMAIL_SSL_CERTFILE", "foo.crt", None),
}


@pytest.mark.parametrize("option", SETTINGS)
def test_b47_settings_are_read_at_construction(api, option):
    name, value, default = SETTINGS[option]
    backend_class = api.backend_class("smtp")
    assert getattr(backend_class(), option) == default
    with api.settings(**{name: value}):
        backend = backend_class()
        assert getattr(backend, option) == value
        assert getattr(backend_class(**{option: None}), option) == value
    assert getattr(backend, option) == value
    assert getattr(backend_class(**{option: value}), option) == value


def test_b47_empty_and_false_mean_themselves(api):
    with api.settings(
        EMAIL_HOST_USER="u",
        EMAIL_HOST_PASSWORD="p",
        EMAIL_USE_TLS=True,
        EMAIL_SSL_CERTFILE="foo",
        EMAIL_SSL_KEYFILE="bar",
    ):
        backend = api.backend_class("smtp")(
            username="", password="", use_tls=False, ssl_certfile="", ssl_keyfile="", use_ssl=True
        )
    assert (backend.username, backend.password, backend.use_tls) == ("", "", False)
    assert (backend.ssl_certfile, backend.ssl_keyfile) == ("", "")
    assert backend.use_ssl is True


def test_b47_no_login_without_both(api, relay):
    relay.keywords.append("AUTH PLAIN")
    with api.settings(EMAIL_HOST_USER="u", EMAIL_HOST_PASSWORD="p"):
        backend_for(api, relay, username="", password="").send_messages([make(api)])
        backend_for(api, relay, password="").send_messages([make(api)])
        assert not any(command.startswith("AUTH") for command in relay.commands)
        relay.replies["AUTH"] = "235 in"
        backend_for(api, relay).send_messages([make(api)])
    assert sum(command.startswith("AUTH") for command in relay.commands) == 1


def test_b47_auth_of_the_helpers_goes_to_the_backend(api, relay):
    relay.keywords.append("AUTH PLAIN")
    relay.replies["AUTH"] = "235 in"
    host, port = relay.options.values()
    with api.settings(EMAIL_BACKEND=api.backend("smtp"), EMAIL_HOST=host, EMAIL_PORT=port):
        assert api.send_mail("Subject", "x", None, ["to@example.com"], auth_user="u", auth_password="p") == 1
        assert api.send_mass_mail([("Subject", "x", None, ["to@example.com"])], auth_user="u", auth_password="p") == 1
    assert sum(command.startswith("AUTH") for command in relay.commands) == 2


def test_b48_both_kinds_of_tls_are_refused(api):
    text = r"^EMAIL_USE_TLS/EMAIL_USE_SSL are mutually exclusive, so only set one of those settings to True\.$"
    with pytest.raises(ValueError, match=text):
        api.backend_class("smtp")(use_ssl=True, use_tls=True)
    with api.settings(EMAIL_USE_SSL=True, EMAIL_USE_TLS=True), pytest.raises(ValueError, match=text):
        api.get_connection(api.backend("smtp"))


def connecting(api, **options):
    """The keyword arguments with which the backend connects."""
    seen = {}

    class Backend(api.backend_class("smtp")):
        @property
        def connection_class(self):
            def connect(*_, **given):
                seen.update(given)
                raise OSError("enough")

            return connect

    with contextlib.suppress(OSError):
        Backend(**options).open()
    return seen


def test_b49_no_timeout_is_not_passed_on(api):
    assert "timeout" not in connecting(api)
    assert connecting(api, timeout=5)["timeout"] == 5
    with api.settings(EMAIL_TIMEOUT=10):
        assert connecting(api)["timeout"] == 10
        assert connecting(api)["local_hostname"] == api.DNS_NAME.get_fqdn()


def test_b49_the_timeout_reaches_the_socket(api, relay):
    with backend_for(api, relay, timeout=3.5) as backend:
        assert backend.connection.timeout == 3.5


def test_b49_a_subclass_may_set_a_default(api, relay):
    class Patient(api.backend_class("smtp")):
        def __init__(self, *args, **kwargs):
            kwargs.setdefault("timeout", 42)
            super().__init__(*args, **kwargs)

    with Patient(**relay.options) as backend:
        assert backend.connection.timeout == 42
    assert Patient(timeout=3).timeout == 3


def test_b49_tls_from_the_first_byte_is_another_class(api):
    smtp = api.backend_class("smtp")
    assert issubclass(smtp(use_ssl=True).connection_class, smtplib.SMTP_SSL)
    assert issubclass(smtp().connection_class, smtplib.SMTP)
    assert not issubclass(smtp().connection_class, smtplib.SMTP_SSL)
    assert smtp().ssl_context.verify_mode == ssl.CERT_REQUIRED
    assert smtp().ssl_context.check_hostname is True


def test_b50_message_data_use_crlf_only(api, relay):
    message = make(api)
    message.body = "a\nb\rc\r\nd\n.dot\n"
    message.attach("a.eml", "Subject: x\n\nText\n", "message/rfc822")
    message.attach("a.txt", "text\ntext", "text/plain")
    backend_for(api, relay).send_messages([message])
    ((_, _, content),) = relay.messages
    assert b"\r\n" in content
    rest = content.replace(b"\r\n", b"")
    assert b"\n" not in rest
    assert b"\r" not in rest


def test_b50_django_messages_and_ours_may_go_through_either(ours, theirs, relay):
    pinned = {"headers": {"Date": "d", "Message-ID": "<m>"}}
    for api in (ours, theirs):
        backend_for(api, relay).send_messages([make(ours, **pinned), make(theirs, **pinned)])
    assert len({content for _, _, content in relay.messages}) == 1
    assert len(relay.messages) == 4


def test_b50_what_is_sent_is_what_is_rendered(ours, relay):
    from mailqueue.mail.render import render  # noqa: PLC0415

    message = make(ours, headers={"Date": "d", "Message-ID": "<m>"})
    backend_for(ours, relay).send_messages([pickle.loads(pickle.dumps(message))])
    assert relay.messages[0][2] == render(message) + b"\r\n"  # the last line had no end of its own
