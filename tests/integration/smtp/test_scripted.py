"""The scripted server itself: it records, it signals, and it ends whatever its clients do."""

from __future__ import annotations

import smtplib
import socket
import threading
import time

import pytest

from mailqueue.testing.script import drop, endless, hang, reply
from mailqueue.testing.scripted import Received, ScriptedServer

TO = ["a@example.com", "b@example.com"]


def client(server):
    return smtplib.SMTP(server.host, server.port, local_hostname="client.example", timeout=10)


def test_accepted_messages_are_kept_with_their_envelope():
    with ScriptedServer() as server:
        with client(server) as smtp:
            smtp.sendmail("from@example.com", TO, b"Subject: x\r\n\r\n.dot\r\n", mail_options=["BODY=8BITMIME"])
        content = b"Subject: x\r\n\r\n.dot\r\n"
        expected = Received("from@example.com", tuple(TO), f"size={len(content)} BODY=8BITMIME", content, 1)
        assert server.messages == [expected]
        assert server.wait_for_hangup().verbs == ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "QUIT"]


def test_refused_messages_are_not_kept():
    with ScriptedServer(reply("final", "554 5.7.1 spam")) as server, client(server) as smtp:
        with pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail("from@example.com", TO, b"x\r\n")
        assert server.messages == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_message_may_be_kept_without_saying_so(keep):
    with ScriptedServer(drop("final", keep=keep)) as server, client(server) as smtp:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.sendmail("from@example.com", TO, b"x\r\n")
        server.wait_for_hangup()
        assert len(server.messages) == keep


def test_waiting_ends_with_the_message():
    with ScriptedServer() as server:

        def send():
            with client(server) as smtp:
                smtp.sendmail("from@example.com", TO, b"x\r\n")

        sending = threading.Thread(target=send)
        sending.start()
        assert len(server.wait_for(1)) == 1
        sending.join()


def test_waiting_in_vain_says_how_far_things_came():
    with ScriptedServer() as server, client(server):
        server.wait_for_stage("greeting")
        with pytest.raises(TimeoutError, match=r"2 messages; reached \{'greeting': 1"):
            server.wait_for(2, timeout=0.01)


def test_the_first_step_that_is_due_is_played():
    steps = reply("rcpt", "550 5.1.1 one", to=TO[0], nth=2), reply("rcpt", "451 4.2.1 two", times=3)
    with ScriptedServer(*steps) as server, client(server) as smtp:
        smtp.ehlo()
        smtp.mail("from@example.com")
        assert [smtp.rcpt(TO[0])[0] for _ in range(4)] == [451, 550, 451, 250]


def test_steps_may_be_for_one_connection():
    with ScriptedServer(reply("mail", "451 4.3.0 later", connection=2)) as server:
        codes = []
        for _ in range(3):
            with client(server) as smtp:
                smtp.ehlo()
                codes.append(smtp.mail("from@example.com")[0])
        assert codes == [250, 451, 250]


@pytest.mark.parametrize("step", [hang("greeting"), endless("greeting")])
def test_it_ends_at_once_whatever_hangs(step):
    with ScriptedServer(step) as server:
        sock = socket.create_connection((server.host, server.port))
        server.wait_for_stage("greeting")
        before = time.monotonic()
    assert time.monotonic() - before < 2
    assert not [thread for thread in server._threads if thread.is_alive()]
    sock.close()


def test_it_ends_at_once_when_a_client_says_nothing():
    with ScriptedServer() as server:
        sock = socket.create_connection((server.host, server.port))
        server.wait_for_stage("greeting")
        before = time.monotonic()
    assert time.monotonic() - before < 2
    sock.close()
