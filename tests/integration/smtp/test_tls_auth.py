"""TLS that verifies, and the methods to log in."""

from __future__ import annotations

import select
import smtplib
import ssl

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.mail.backends.smtp import EmailBackend
from mailqueue.outcome import Ending
from mailqueue.smtp.connection import reader_of
from mailqueue.testing.script import drop, hang, raw, reply
from mailqueue.testing.scripted import ScriptedServer

KINDS = ["use_tls", "use_ssl"]


def trusting(backend, authority):
    backend.ssl_context = authority.client()
    return backend


def trouble_of(backend, message):
    with pytest.raises(RelayTrouble) as caught:
        list(backend.deliver([message()]))
    assert (backend.connection, backend._partial_connection) == (None, None)
    return caught.value


# -- TLS


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_certificate_is_accepted_and_the_mail_goes_encrypted(connect, message, authority, kind):
    with ScriptedServer(tls=authority.valid(), implicit_tls=kind == "use_ssl") as server:
        backend = trusting(connect(server, **{kind: True}), authority)
        assert [outcome.ending for outcome in backend.deliver([message()])] == [Ending.ANSWERED]
        assert server.connections[0].tls
        assert len(server.messages) == 1
        backend.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("certificate", "complaint"),
    [
        pytest.param(lambda authority: authority.expired(), "expired", id="expired"),
        pytest.param(lambda authority: authority.valid("mail.example.org"), "IP address mismatch", id="wrong-host"),
    ],
)
def test_a_bad_certificate_is_refused(connect, message, authority, kind, certificate, complaint):
    with ScriptedServer(tls=certificate(authority), implicit_tls=kind == "use_ssl") as server:
        trouble = trouble_of(trusting(connect(server, **{kind: True}), authority), message)
        assert (trouble.stage, trouble.reconnect) == ("starttls", False)
        assert isinstance(trouble.__cause__, ssl.SSLCertVerificationError)
        assert complaint in str(trouble)
        assert server.messages == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_ca_is_refused_by_default(connect, message, authority, kind):
    with ScriptedServer(tls=authority.valid(), implicit_tls=kind == "use_ssl") as server:
        trouble = trouble_of(connect(server, **{kind: True}), message)
        assert isinstance(trouble.__cause__, ssl.SSLCertVerificationError)
        assert not trouble.reconnect
        assert server.messages == []


def test_starttls_that_is_not_offered_is_no_reason_to_go_on_in_the_clear(connect, message):
    with ScriptedServer() as server:
        trouble = trouble_of(connect(server, use_tls=True), message)
        assert (trouble.stage, trouble.reconnect) == ("starttls", False)
        assert isinstance(trouble.__cause__, smtplib.SMTPNotSupportedError)
        assert server.reached("mail") == 0


@pytest.mark.parametrize(("refusal", "reconnect"), [("454 4.7.0 not now", True), ("502 5.5.1 no", False)])
def test_starttls_that_is_refused_is_no_reason_to_go_on_in_the_clear(connect, message, authority, refusal, reconnect):
    with ScriptedServer(reply("starttls", refusal), tls=authority.valid()) as server:
        trouble = trouble_of(trusting(connect(server, use_tls=True), authority), message)
        assert (trouble.stage, trouble.code, trouble.reconnect) == ("starttls", int(refusal[:3]), reconnect)
        assert server.reached("mail") == 0


def test_what_was_said_before_tls_is_not_taken_for_what_is_said_in_it(connect, message, authority):
    # CVE-2011-0411 the other way round: replies injected in the clear, before the handshake.
    injected = b"220 2.0.0 go ahead\r\n250-evil.example\r\n250 AUTH PLAIN\r\n"
    with ScriptedServer(raw("starttls", injected), tls=authority.valid()) as server:
        backend = trusting(connect(server, use_tls=True, username="u", password="p"), authority)
        trouble = trouble_of(backend, message)
        assert isinstance(trouble.__cause__, smtplib.SMTPNotSupportedError), "the true server offers no AUTH"
        assert "AUTH" not in server.connections[0].verbs


def test_a_server_without_tls_is_no_tls_server(connect, message):
    with ScriptedServer() as server:
        trouble = trouble_of(connect(server, use_ssl=True), message)
        assert (trouble.stage, trouble.reconnect) == ("starttls", False)


def test_a_handshake_that_hangs_ends_in_time(connect, message, authority):
    with ScriptedServer(
        raw("starttls", b"220 2.0.0 go ahead\r\n"), hang("ehlo", nth=2), tls=authority.valid()
    ) as server:
        trouble = trouble_of(trusting(connect(server, use_tls=True, timeout=0.5), authority), message)
        assert trouble.stage in ("starttls", "ehlo")


def test_a_link_that_drops_in_tls_after_the_last_byte_is_unknown(connect, message, authority):
    with ScriptedServer(drop("final"), tls=authority.valid()) as server:
        backend = trusting(connect(server, use_tls=True), authority)
        outcomes = backend.deliver([message()])
        assert next(outcomes).ending is Ending.UNKNOWN
        with pytest.raises(RelayTrouble):
            next(outcomes)


def test_what_tls_says_by_itself_is_nothing_that_the_relay_said(connect, message, authority):
    # TLS 1.3 sends tickets after the handshake: octets to be read, that hold no reply.
    with ScriptedServer(tls=authority.valid()) as server:
        backend = trusting(connect(server, use_tls=True), authority)
        backend.open()
        reader = reader_of(backend.connection)
        select.select([backend.connection.sock], [], [], 0.5)
        assert not reader.unasked()
        assert backend.send_messages([message(1), message(2)]) == 2


def test_a_large_message_goes_through_tls_whole(connect, message, authority):
    with ScriptedServer(tls=authority.valid()) as server:
        backend = trusting(connect(server, use_tls=True), authority)
        body = "".join(f".{n} line\n" for n in range(100_000))
        assert backend.send_messages([message(body=body)]) == 1
        assert server.messages[0].content.endswith(body.replace("\n", "\r\n").encode())


def test_the_context_verifies_by_default_and_is_made_once():
    backend = EmailBackend(use_tls=True)
    assert backend.ssl_context is backend.ssl_context
    assert backend.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert backend.ssl_context.check_hostname


def test_a_key_without_its_certificate_is_a_clear_error(connect, message):
    with ScriptedServer() as server:
        trouble = trouble_of(connect(server, use_ssl=True, ssl_keyfile="/key"), message)
        assert "ssl_certfile" in str(trouble)
        assert not trouble.reconnect


def test_certificate_files_that_are_missing_are_trouble(connect, message, tmp_path):
    with ScriptedServer() as server:
        missing = str(tmp_path / "none.pem")
        trouble = trouble_of(connect(server, use_ssl=True, ssl_certfile=missing), message)
        assert isinstance(trouble.__cause__, FileNotFoundError)
        assert not trouble.reconnect


def test_a_client_certificate_is_presented(connect, message, authority, tmp_path):
    certificate, key = authority.files(tmp_path, "client.example")
    context = authority.valid()
    authority.demand(context)
    with ScriptedServer(tls=context) as server:
        backend = connect(server, use_tls=True, ssl_certfile=certificate, ssl_keyfile=key)
        authority.trust(backend.ssl_context)
        assert [outcome.ending for outcome in backend.deliver([message()])] == [Ending.ANSWERED]
        backend.close()


# -- AUTH


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN", "LOGIN"])
def test_logging_in_with_a_password(connect, message, authority, mechanism):
    with ScriptedServer(
        tls=authority.valid(), users={"ann": "sesame"}, mechanisms=[mechanism], login_required=True
    ) as server:
        backend = trusting(connect(server, use_tls=True, username="ann", password="sesame"), authority)
        assert [outcome.ending for outcome in backend.deliver([message()])] == [Ending.ANSWERED]
        assert server.connections[0].user == "ann"
        backend.close()


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN", "LOGIN"])
def test_bad_credentials_are_trouble_that_a_new_connection_does_not_end(connect, message, mechanism):
    with ScriptedServer(users={"ann": "sesame"}, mechanisms=[mechanism]) as server:
        trouble = trouble_of(connect(server, username="ann", password="guess"), message)
        assert (trouble.stage, trouble.code, trouble.reconnect) == ("auth", 535, False)
        assert "guess" not in str(trouble)
        assert server.messages == []


def test_a_login_that_fails_for_now_is_worth_another_connection(connect, message):
    with ScriptedServer(reply("auth", "454 4.7.0 temporary failure"), users={"ann": "sesame"}) as server:
        trouble = trouble_of(connect(server, username="ann", password="sesame"), message)
        assert (trouble.stage, trouble.code, trouble.reconnect) == ("auth", 454, True)


def test_a_link_dropped_at_login_is_worth_another_connection(connect, message):
    with ScriptedServer(drop("auth"), users={"ann": "sesame"}, mechanisms=["PLAIN"]) as server:
        trouble = trouble_of(connect(server, username="ann", password="sesame"), message)
        assert (trouble.stage, trouble.reconnect) == ("auth", True)


def test_a_relay_without_auth_is_not_sent_to_without_login(connect, message):
    with ScriptedServer() as server:
        trouble = trouble_of(connect(server, username="ann", password="sesame"), message)
        assert (trouble.stage, trouble.reconnect) == ("auth", False)


def test_a_relay_without_a_common_method_is_trouble(connect, message):
    with ScriptedServer(users={"ann": "sesame"}, mechanisms=["GSSAPI"]) as server:
        trouble = trouble_of(connect(server, username="ann", password="sesame"), message)
        assert (trouble.stage, trouble.reconnect) == ("auth", False)


def test_a_password_that_is_not_ascii_is_trouble_and_not_shown(connect, message):
    with ScriptedServer(users={"ann": "sesame"}, mechanisms=["PLAIN"]) as server:
        trouble = trouble_of(connect(server, username="ann", password="sésame"), message)
        assert (trouble.stage, trouble.reconnect) == ("auth", False)
        assert "sésame" not in str(trouble)


@pytest.mark.parametrize(("username", "password"), [("", "sesame"), ("ann", ""), ("", "")])
def test_without_both_of_them_there_is_no_login(connect, message, username, password):
    with ScriptedServer(users={"ann": "sesame"}) as server:
        list(connect(server, username=username, password=password).deliver([message()]))
        assert server.reached("auth") == 0


def test_xoauth2_with_a_token(connect, message):
    with ScriptedServer(users={"ann": "token"}) as server:
        backend = connect(server, username="ann", oauth2_token="token")
        assert [outcome.ending for outcome in backend.deliver([message()])] == [Ending.ANSWERED]
        assert server.connections[0].user == "ann"
        assert [command.split()[1] for command in server.commands if command.startswith("AUTH")] == ["XOAUTH2"]


def test_xoauth2_asks_for_a_fresh_token_at_each_login(connect, message):
    tokens = iter(["old", "new"])
    with ScriptedServer(users={"ann": "new"}) as server:
        backend = connect(server, username="ann", oauth2_token=lambda: next(tokens))
        trouble = trouble_of(backend, message)
        assert (trouble.stage, trouble.code, trouble.reconnect) == ("auth", 535, False)
        assert [outcome.ending for outcome in backend.deliver([message()])] == [Ending.ANSWERED]


def test_xoauth2_that_is_not_offered_is_trouble(connect, message):
    with ScriptedServer(users={"ann": "token"}, mechanisms=["PLAIN"]) as server:
        trouble = trouble_of(connect(server, username="ann", oauth2_token="token", password="token"), message)
        assert (trouble.stage, trouble.reconnect) == ("auth", False)
        assert server.reached("auth") == 0


def test_a_token_that_cannot_be_had_is_trouble_that_may_pass(connect, message):
    def no_token():
        raise ConnectionError("the token server is down")

    with ScriptedServer(users={"ann": "token"}) as server:
        trouble = trouble_of(connect(server, username="ann", oauth2_token=no_token), message)
        assert (trouble.stage, trouble.reconnect) == ("auth", True)
        assert isinstance(trouble.__cause__, ConnectionError)


def test_login_comes_after_tls(connect, message, authority):
    with ScriptedServer(tls=authority.valid(), users={"ann": "sesame"}) as server:
        list(trusting(connect(server, use_tls=True, username="ann", password="sesame"), authority).deliver([message()]))
        verbs = server.connections[0].verbs
        assert verbs.index("STARTTLS") < verbs.index("AUTH") < verbs.index("MAIL")
        assert verbs.count("EHLO") == 2
