"""What an exception from opening a connection says about the relay."""

from __future__ import annotations

import smtplib
import socket
import ssl

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.trouble import trouble_of


def timed_out():
    error = smtplib.SMTPServerDisconnected("Connection unexpectedly closed: timed out")
    error.__cause__ = TimeoutError("timed out")
    return error


@pytest.mark.parametrize(
    ("error", "at", "stage", "reconnect"),
    [
        pytest.param(ConnectionRefusedError(111, "refused"), Stage.CONNECT, Stage.CONNECT, True, id="refused"),
        pytest.param(OSError(113, "no route"), Stage.CONNECT, Stage.CONNECT, True, id="unreachable"),
        pytest.param(TimeoutError("timed out"), Stage.CONNECT, Stage.CONNECT, False, id="connect-timed-out"),
        pytest.param(socket.gaierror(socket.EAI_AGAIN, ""), Stage.CONNECT, Stage.CONNECT, True, id="resolver-busy"),
        pytest.param(socket.gaierror(socket.EAI_NONAME, ""), Stage.CONNECT, Stage.CONNECT, False, id="no-such-host"),
        pytest.param(smtplib.SMTPConnectError(421, b"busy"), Stage.CONNECT, Stage.GREETING, True, id="421-greeting"),
        pytest.param(smtplib.SMTPConnectError(554, b"no"), Stage.CONNECT, Stage.GREETING, False, id="554-greeting"),
        pytest.param(smtplib.SMTPConnectError(-1, b"SSH"), Stage.CONNECT, Stage.GREETING, False, id="not-smtp"),
        pytest.param(smtplib.SMTPServerDisconnected("x"), Stage.CONNECT, Stage.GREETING, True, id="dropped-greeting"),
        pytest.param(timed_out(), Stage.CONNECT, Stage.GREETING, False, id="silent-greeting"),
        pytest.param(smtplib.SMTPHeloError(550, b"who?"), Stage.AUTH, Stage.EHLO, False, id="helo-refused"),
        pytest.param(smtplib.SMTPServerDisconnected("x"), Stage.AUTH, Stage.AUTH, True, id="dropped-login"),
        pytest.param(smtplib.SMTPAuthenticationError(535, b"no"), Stage.AUTH, Stage.AUTH, False, id="bad-credentials"),
        pytest.param(smtplib.SMTPAuthenticationError(454, b"later"), Stage.AUTH, Stage.AUTH, True, id="login-later"),
        pytest.param(smtplib.SMTPNotSupportedError("no AUTH"), Stage.AUTH, Stage.AUTH, False, id="no-auth"),
        pytest.param(smtplib.SMTPException("no method"), Stage.AUTH, Stage.AUTH, False, id="no-common-method"),
        pytest.param(UnicodeEncodeError("ascii", "ü", 0, 1, ""), Stage.AUTH, Stage.AUTH, False, id="odd-password"),
        pytest.param(
            smtplib.SMTPResponseException(454, b"no TLS now"), Stage.STARTTLS, Stage.STARTTLS, True, id="tls-later"
        ),
        pytest.param(smtplib.SMTPNotSupportedError("no"), Stage.STARTTLS, Stage.STARTTLS, False, id="no-starttls"),
        pytest.param(ssl.SSLCertVerificationError(1, "bad"), Stage.STARTTLS, Stage.STARTTLS, False, id="certificate"),
        pytest.param(ssl.SSLError(1, "wrong version"), Stage.CONNECT, Stage.STARTTLS, False, id="no-tls-there"),
        pytest.param(ssl.SSLEOFError(8, "EOF"), Stage.CONNECT, Stage.STARTTLS, True, id="dropped-handshake"),
        pytest.param(FileNotFoundError(2, "cert.pem"), Stage.CONNECT, Stage.CONNECT, False, id="no-certificate-file"),
    ],
)
def test_stage_and_whether_a_new_connection_may_help(error, at, stage, reconnect):
    trouble = trouble_of(error, at)
    assert (trouble.stage, trouble.reconnect) == (stage, reconnect)


def test_the_relays_reply_is_kept():
    trouble = trouble_of(smtplib.SMTPAuthenticationError(535, b"5.7.8 bad credentials"), Stage.AUTH)
    assert (trouble.code, trouble.text) == (535, "5.7.8 bad credentials")
    assert str(trouble) == "auth: 535 5.7.8 bad credentials"


def test_trouble_stays_what_it_is():
    trouble = RelayTrouble("x", stage="auth", reconnect=True)
    assert trouble_of(trouble) is trouble
