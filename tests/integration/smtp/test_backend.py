"""The SMTP backend as Django has it (behaviours 42 to 53), and its exceptions, compared with Django's own."""

from __future__ import annotations

import logging
import smtplib
import socket

import pytest

from mailqueue import conf
from mailqueue.errors import InvalidMailer
from mailqueue.mail.backends.smtp import EmailBackend
from mailqueue.smtp.connection import Connection, TLSConnection
from mailqueue.testing.script import drop, endless, hang, raw, reply
from mailqueue.testing.scripted import ScriptedServer


@pytest.fixture
def nowhere():
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def to(server, **options):
    return {"host": server.host, "port": server.port, "timeout": 10} | options


# -- sending


def test_b42_an_empty_list_is_zero_without_connecting(api, nowhere):
    assert api.EmailBackend(host="127.0.0.1", port=nowhere).send_messages([]) == 0


def test_b42_a_message_without_recipients_is_neither_sent_nor_counted(api):
    with ScriptedServer() as server:
        messages = [api.message(1, to=[]), api.message(2), api.message(3, to=[], cc=[""])]
        assert api.EmailBackend(**to(server)).send_messages(messages) == 1
        assert [each.recipients for each in server.messages] == [("to2@example.com",)]


def test_b41_send_messages_takes_an_iterator(api):
    with ScriptedServer() as server:
        assert api.EmailBackend(**to(server)).send_messages(api.message(n) for n in range(3)) == 3
        assert len(server.messages) == 3
        assert len(server.connections) == 1


def test_b20_the_envelope_has_to_cc_and_bcc_in_that_order(api):
    with ScriptedServer() as server:
        message = api.message(to=["A <a@example.com>"], cc=["c@example.com"], bcc=["b@bücher.example"])
        api.EmailBackend(**to(server)).send_messages([message])
        assert server.messages[0].recipients == ("a@example.com", "c@example.com", "b@xn--bcher-kva.example")


def test_b22_an_invalid_address_that_no_header_shows_is_refused(api):
    with ScriptedServer() as server, pytest.raises(ValueError, match="Invalid address"):
        api.EmailBackend(**to(server)).send_messages([api.message(bcc=["to@other.com>\r\nRCPT TO:<x@example.com"])])
    assert server.messages == []


def test_b50_message_data_use_crlf_only(api):
    with ScriptedServer() as server:
        api.EmailBackend(**to(server)).send_messages([api.message(body="one\ntwo\r\nthree\rfour\n")])
        rest = server.messages[0].content.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest


# -- opening and closing


def test_b43_open_tells_whether_it_connected(api):
    with ScriptedServer() as server:
        backend = api.EmailBackend(**to(server))
        assert backend.open() is True
        assert backend.open() is False
        assert backend.connection
        backend.close()
        assert len(server.connections) == 1


def test_b43_a_silent_failure_is_none_and_sends_nothing(api, nowhere):
    backend = api.EmailBackend(host="127.0.0.1", port=nowhere, fail_silently=True)
    assert backend.open() is None
    assert backend.send_messages([api.message()]) == 0


def test_b43_nothing_is_sent_if_open_failed_silently_even_with_a_connection(api):
    backend = api.EmailBackend()
    backend.connection = object()
    backend.open = lambda: None
    assert backend.send_messages([api.message()]) == 0


def test_b43_an_open_connection_stays_open(api):
    with ScriptedServer() as server:
        backend = api.EmailBackend(**to(server))
        backend.open()
        backend.send_messages([api.message(1)])
        backend.send_messages([api.message(2)])
        assert backend.connection
        backend.close()
        assert len(server.connections) == 1
        assert server.wait_for_hangup().verbs.count("QUIT") == 1


def test_b43_a_connection_that_sending_opened_is_closed(api):
    with ScriptedServer() as server:
        backend = api.EmailBackend(**to(server))
        backend.send_messages([api.message()])
        assert backend.connection is None
        assert server.wait_for_hangup().verbs[-1] == "QUIT"


def test_b44_fail_silently_set_after_construction_is_honoured(api, nowhere):
    backend = api.EmailBackend(host="127.0.0.1", port=nowhere)
    with pytest.raises(ConnectionRefusedError):
        backend.open()
    backend.fail_silently = True
    assert backend.open() is None


@pytest.mark.parametrize("broken", ["starttls", "login"])
def test_b45_a_connection_that_is_not_safe_yet_is_not_kept(api, broken, authority):
    # CVE-2026-7666: after a failure that was caught, the next message went out in clear text, or without login.
    options = {"use_tls": True} if broken == "starttls" else {"username": "u", "password": "wrong"}
    with ScriptedServer(tls=authority.valid("elsewhere.example"), users={"u": "right"}) as server:
        backend = api.EmailBackend(**to(server, **options))
        backend.ssl_context = authority.client()
        with pytest.raises(OSError, match=r"certificate verify failed|bad credentials"):
            backend.open()
        assert backend.connection is None
        first = backend._partial_connection
        assert first is not None
        with pytest.raises(OSError, match=r"certificate verify failed|bad credentials"):
            backend.send_messages([api.message()])
        assert first.sock is None
        assert backend._partial_connection is not first
        backend.close()
        assert backend._partial_connection is None
        assert server.messages == []


def test_b46_closing_what_was_never_opened_does_nothing(api):
    backend = api.EmailBackend()
    backend.close()
    assert (backend.connection, backend._partial_connection) == (None, None)


def test_b46_closing_does_not_mind_a_server_that_is_gone(api):
    with ScriptedServer() as server:
        backend = api.EmailBackend(**to(server))
        backend.open()
    backend.close()
    assert (backend.connection, backend._partial_connection) == (None, None)


def test_b46_closing_does_not_mind_a_server_that_hangs_up_at_quit(api):
    with ScriptedServer(drop("quit")) as server:
        backend = api.EmailBackend(**to(server))
        backend.open()
        backend.close()
        assert (backend.connection, backend._partial_connection) == (None, None)


# -- construction


def test_b47_settings_are_read_at_construction(api):
    names = {
        "HOST": "relay.example",
        "PORT": 2525,
        "HOST_USER": "u",
        "HOST_PASSWORD": "p",
        "USE_TLS": True,
        "TIMEOUT": 7,
    }
    names |= {"SSL_CERTFILE": "/cert", "SSL_KEYFILE": "/key"}
    with api.settings(**{f"EMAIL_{name}": value for name, value in names.items()}):
        backend = api.EmailBackend()
    assert (backend.host, backend.port, backend.username, backend.password) == ("relay.example", 2525, "u", "p")
    assert (backend.use_tls, backend.use_ssl, backend.timeout) == (True, False, 7)
    assert (str(backend.ssl_certfile), str(backend.ssl_keyfile)) == ("/cert", "/key")


def test_b47_none_means_the_settings_and_other_empty_values_mean_themselves(api):
    with api.settings(EMAIL_HOST_USER="u", EMAIL_HOST_PASSWORD="p", EMAIL_USE_TLS=True, EMAIL_TIMEOUT=7):
        from_settings = api.EmailBackend(username=None, password=None, use_tls=None)
        own = api.EmailBackend(username="", password="", use_tls=False, timeout=3)
    assert (from_settings.username, from_settings.password, from_settings.use_tls) == ("u", "p", True)
    assert (own.username, own.password, own.use_tls, own.timeout) == ("", "", False, 3)


def test_b47_the_arguments_have_djangos_order(api):
    backend = api.EmailBackend("h", 1, "u", "p", False, True, True, 5, "key", "cert")
    assert (backend.host, backend.port, backend.username, backend.password) == ("h", 1, "u", "p")
    assert (backend.use_tls, backend.fail_silently, backend.use_ssl, backend.timeout) == (False, True, True, 5)
    assert (backend.ssl_keyfile, backend.ssl_certfile) == ("key", "cert")


def test_b48_both_kinds_of_tls_are_an_error_at_construction(api):
    text = "EMAIL_USE_TLS/EMAIL_USE_SSL are mutually exclusive, so only set one of those settings to True."
    with pytest.raises(ValueError, match=f"^{text}$"):
        api.EmailBackend(use_tls=True, use_ssl=True)


class Recorder:
    """A connection class that only says how it was called."""

    def __init__(self, *args, **kwargs):
        self.called = (args, kwargs)


@pytest.mark.parametrize(("timeout", "passed"), [(None, {}), (5, {"timeout": 5})])
def test_b49_a_timeout_of_none_is_not_passed_on(api, timeout, passed):
    class Backend(api.EmailBackend):
        connection_class = Recorder

    backend = Backend(host="relay.example", port=25, timeout=timeout)
    backend.open()
    args, kwargs = backend.connection.called
    assert args == ("relay.example", 25)
    assert kwargs.keys() == {"local_hostname"} | passed.keys()
    assert kwargs | passed == kwargs


def test_b49_a_subclass_may_have_a_timeout_of_its_own(api):
    class Backend(api.EmailBackend):
        def __init__(self, *args, **kwargs):
            kwargs.setdefault("timeout", 42)
            super().__init__(*args, **kwargs)

    with ScriptedServer() as server:
        backend = Backend(host=server.host, port=server.port)
        backend.open()
        assert backend.connection.timeout == 42
        backend.close()


def test_b51_unknown_arguments_are_swallowed(api):
    assert api.get_connection(api.path, no_such_option=1).fail_silently is False


def test_b53_backends_are_context_managers(api):
    with ScriptedServer() as server:
        with api.EmailBackend(**to(server)) as backend:
            assert backend.connection
        assert backend.connection is None


def test_b53_open_and_close_replaced_on_the_instance_are_used(api):
    with ScriptedServer() as server:
        backend = api.EmailBackend(**to(server))
        calls = []
        original_open, original_close = backend.open, backend.close
        backend.open = lambda: calls.append("open") or original_open()
        backend.close = lambda: calls.append("close") or original_close()
        backend.send_messages([api.message()])
        assert calls == ["open", "close"]


def test_the_connection_is_one_of_smtplibs(ours):
    assert issubclass(ours.EmailBackend().connection_class, smtplib.SMTP)
    assert issubclass(ours.EmailBackend(use_ssl=True).connection_class, smtplib.SMTP_SSL)
    assert (EmailBackend().connection_class, EmailBackend(use_ssl=True).connection_class) == (Connection, TLSConnection)


def test_a_connection_class_of_ones_own_is_used():
    class Own(smtplib.SMTP):
        pass

    class Backend(EmailBackend):
        connection_class = Own

    with ScriptedServer() as server, Backend(**to(server)) as backend:
        assert type(backend.connection) is Own
        assert backend.send_messages([]) == 0
        assert backend.probe()


def test_secrets_are_in_no_repr():
    backend = EmailBackend(username="u", password="sesame", oauth2_token="open")
    assert "sesame" not in repr(vars(backend))
    assert "'open'" not in repr(vars(backend))
    assert backend.password == "sesame"


# -- with an alias


def test_alias_settings_are_not_read():
    conf.configure(EMAIL_HOST="h", EMAIL_HOST_USER="u", EMAIL_HOST_PASSWORD="p", EMAIL_USE_TLS=True, EMAIL_TIMEOUT=7)
    backend = EmailBackend(alias="news", host="relay.example")
    assert (backend.alias, backend.host, backend.port) == ("news", "relay.example", 25)
    assert (backend.username, backend.password, backend.use_tls, backend.use_ssl) == ("", "", False, False)
    assert (backend.timeout, backend.ssl_certfile, backend.ssl_keyfile) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "port"), [({}, 25), ({"use_ssl": True}, 465), ({"use_tls": True}, 587), ({"port": 26}, 26)]
)
def test_alias_the_port_follows_from_the_kind_of_tls(options, port):
    assert EmailBackend(alias="news", host="relay.example", **options).port == port


@pytest.mark.parametrize("options", [{}, {"host": ""}])
def test_alias_the_host_is_required(options):
    with pytest.raises(InvalidMailer, match=r"MAILERS\['news'\]: OPTIONS must define 'host'"):
        EmailBackend(alias="news", **options)


def test_alias_unknown_options_are_refused():
    with pytest.raises(InvalidMailer, match=r"MAILERS\['news'\]: Unknown options 'hots'"):
        EmailBackend(alias="news", host="relay.example", hots="x")


def test_alias_both_kinds_of_tls_are_refused():
    with pytest.raises(InvalidMailer, match="exclude each other"):
        EmailBackend(alias="news", host="relay.example", use_tls=True, use_ssl=True)


# -- exceptions


REFUSALS = {
    "sender": (reply("mail", "550 5.1.0 not from you", times=1), smtplib.SMTPSenderRefused),
    "sender-for-now": (reply("mail", "451 4.3.0 later", times=1), smtplib.SMTPSenderRefused),
    "closing-at-mail": (reply("mail", "421 4.3.2 closing", times=1), smtplib.SMTPSenderRefused),
    "login-required": (reply("mail", "530 5.7.0 authentication required", times=1), smtplib.SMTPSenderRefused),
    "only-recipient": (reply("rcpt", "550 5.1.1 unknown", to="to1@example.com"), smtplib.SMTPRecipientsRefused),
    "closing-at-rcpt": (reply("rcpt", "421 4.3.2 closing", times=1), smtplib.SMTPRecipientsRefused),
    "too-many-at-once": (reply("rcpt", "452 4.5.3 too many", times=1), smtplib.SMTPRecipientsRefused),
    "data": (reply("data", "554 5.5.1 no", times=1), smtplib.SMTPDataError),
    "closing-at-data": (reply("data", "421 4.3.2 closing", times=1), smtplib.SMTPDataError),
    "content": (reply("final", "550-5.7.1 spam", "550 5.7.1 we think", times=1), smtplib.SMTPDataError),
    "content-for-now": (reply("final", "451 4.7.1 greylisted", times=1), smtplib.SMTPDataError),
    "closing-at-dot": (reply("final", "421 4.3.2 closing", times=1), smtplib.SMTPDataError),
    "out-of-protocol-at-data": (reply("data", "250 ok", times=1), smtplib.SMTPDataError),
    "out-of-protocol-at-dot": (reply("final", "354 more", times=1), smtplib.SMTPDataError),
    "dropped-at-mail": (drop("mail", times=1), smtplib.SMTPServerDisconnected),
    "dropped-at-rcpt": (drop("rcpt", times=1), smtplib.SMTPServerDisconnected),
    "dropped-at-data": (drop("data", times=1), smtplib.SMTPServerDisconnected),
    "dropped-at-dot": (drop("final", times=1), smtplib.SMTPServerDisconnected),
    "dropped-at-ehlo": (drop("ehlo", times=1), smtplib.SMTPServerDisconnected),
    "dropped-at-greeting": (drop("greeting", times=1), smtplib.SMTPServerDisconnected),
    "greeting": (reply("greeting", "554 5.3.2 not today", times=1), smtplib.SMTPConnectError),
    "greeting-closing": (reply("greeting", "421 4.3.2 busy", times=1), smtplib.SMTPConnectError),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_the_exceptions_are_those_of_a_synchronous_django_send(ours, theirs, name):
    step, kind = REFUSALS[name]
    raised = []
    for api in (ours, theirs):
        with ScriptedServer(step) as server:
            with pytest.raises(smtplib.SMTPException) as caught:
                api.EmailBackend(**to(server)).send_messages([api.message()])
            raised.append(caught.value)
    own, djangos = raised
    assert type(own) is type(djangos) is kind
    if kind is not smtplib.SMTPServerDisconnected:
        assert own.args == djangos.args


def test_ehlo_and_helo_refused_is_a_helo_error(api):
    with (
        ScriptedServer(reply("ehlo", "550 no"), reply("helo", "550 no")) as server,
        pytest.raises(smtplib.SMTPHeloError),
    ):
        api.EmailBackend(**to(server)).send_messages([api.message()])


def test_a_relay_that_knows_only_helo_gets_plain_smtp(api):
    with ScriptedServer(reply("ehlo", "502 5.5.1 no such command")) as server:
        assert api.EmailBackend(**to(server)).send_messages([api.message(body="grüße")]) == 1
        assert server.messages[0].parameters == ""


def test_one_accepted_recipient_is_enough(api):
    with ScriptedServer(reply("rcpt", "550 5.1.1 unknown", to="b@example.com")) as server:
        message = api.message(to=["a@example.com", "b@example.com"])
        assert api.EmailBackend(**to(server)).send_messages([message]) == 1
        assert server.messages[0].recipients == ("a@example.com",)


def test_refused_recipients_of_a_sent_message_are_logged_without_addresses(ours, caplog):
    with (
        ScriptedServer(reply("rcpt", "550 5.1.1 unknown", to="b@example.com")) as server,
        caplog.at_level(logging.INFO),
    ):
        ours.EmailBackend(**to(server)).send_messages([ours.message(to=["a@example.com", "b@example.com"])])
    assert "action=recipients_refused refused=1 of=2" in caplog.text
    assert "example.com" not in caplog.text


@pytest.mark.parametrize("stage", ["mail", "rcpt", "final"])
def test_silently_a_refused_message_is_not_counted_and_the_next_is_sent(api, stage):
    refuse_the_first_of_two(api, stage)


def test_silently_a_message_refused_at_data_does_not_harm_the_next(ours):
    """smtplib leaves the transaction open there, and Django's next message fails in it."""
    refuse_the_first_of_two(ours, "data")


def refuse_the_first_of_two(api, stage):
    with ScriptedServer(reply(stage, "550 5.0.0 no", nth=1)) as server:
        backend = api.EmailBackend(**to(server, fail_silently=True))
        assert backend.send_messages([api.message(1), api.message(2)]) == 1
        assert [each.recipients for each in server.messages] == [("to2@example.com",)]
        assert len(server.connections) == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "final"])
def test_silently_a_dropped_link_costs_one_message(ours, stage):
    """Django keeps the dead connection, and loses the rest of the batch to it."""
    with ScriptedServer(drop(stage, nth=2)) as server:
        backend = ours.EmailBackend(**to(server, fail_silently=True))
        assert backend.send_messages(ours.message(n) for n in range(1, 6)) == 4
        assert [each.recipients[0] for each in server.messages] == [f"to{n}@example.com" for n in (1, 3, 4, 5)]
        assert len(server.connections) == 2
        assert backend.connection is None
        assert server.wait_for_hangup(2).verbs[-1] == "QUIT"


def test_silently_a_relay_that_does_not_come_back_ends_the_batch(ours):
    with ScriptedServer(drop("final", nth=2), drop("greeting", connection=2)) as server:
        backend = ours.EmailBackend(**to(server, fail_silently=True))
        assert backend.send_messages(ours.message(n) for n in range(1, 6)) == 1


def test_after_an_exception_an_open_connection_is_usable_again(api):
    with ScriptedServer(reply("final", "550 5.0.0 no", nth=1)) as server:
        backend = api.EmailBackend(**to(server))
        backend.open()
        with pytest.raises(smtplib.SMTPDataError):
            backend.send_messages([api.message(1)])
        assert backend.send_messages([api.message(2)]) == 1
        backend.close()


def test_after_a_dropped_link_the_next_call_connects_anew(ours):
    with ScriptedServer(drop("mail", nth=2)) as server:
        backend = ours.EmailBackend(**to(server))
        backend.open()
        assert backend.send_messages([ours.message(1)]) == 1
        with pytest.raises(smtplib.SMTPServerDisconnected):
            backend.send_messages([ours.message(2)])
        assert backend.connection is None
        assert backend.send_messages([ours.message(2)]) == 1


def test_more_recipients_than_a_transaction_holds_go_into_several(ours):
    """A synchronous Django send would drop them in silence."""
    everyone = [f"to{n}@example.com" for n in range(7)]
    with ScriptedServer(recipients_per_message=3) as server:
        assert ours.EmailBackend(**to(server)).send_messages([ours.message(to=everyone)]) == 1
        assert [len(each.recipients) for each in server.messages] == [3, 3, 1]
        assert [one for each in server.messages for one in each.recipients] == everyone


# -- bounds


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "final"])
def test_the_timeout_holds_at_every_stage(ours, stage):
    with ScriptedServer(hang(stage)) as server, pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        ours.EmailBackend(**to(server, timeout=0.1)).send_messages([ours.message()])


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "helo", "mail", "final"])
def test_a_reply_without_end_ends(ours, stage):
    steps = [endless(stage)]
    if stage == "helo":
        steps.append(reply("ehlo", "502 no"))
    with ScriptedServer(*steps) as server, pytest.raises(smtplib.SMTPException):
        ours.EmailBackend(**to(server)).send_messages([ours.message()])


def test_another_protocol_is_no_relay(ours):
    with ScriptedServer(raw("greeting", b"SSH-2.0-OpenSSH_9.9\r\n")) as server:
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            ours.EmailBackend(**to(server)).open()
        assert caught.value.smtp_code == -1
