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


def client(server, timeout=10):
    return smtplib.SMTP(server.host, server.port, local_hostname="client.example", timeout=timeout)


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


@pytest.mark.parametrize("end", [drop, hang])
@pytest.mark.parametrize("keep", [True, False])
def test_a_message_may_be_kept_without_saying_so(keep, end):
    with ScriptedServer(end("final", keep=keep)) as server, client(server, timeout=0.3) as smtp:
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.sendmail("from@example.com", TO, b"x\r\n")
        server.wait_for_hangup()
        assert len(server.messages) == keep


def test_a_step_may_be_for_the_messages_of_one_recipient():
    with ScriptedServer(reply("final", "554 5.7.1 no", to=TO[1])) as server, client(server) as smtp:
        assert smtp.sendmail("from@example.com", TO[:1], b"x\r\n") == {}
        with pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail("from@example.com", TO, b"x\r\n")
        assert len(server.messages) == 1


@pytest.mark.parametrize("offers", [(), ("SIZE",)])
def test_messages_above_its_limit_are_refused(offers):
    with ScriptedServer(size_limit=10, offers=offers) as server, client(server) as smtp:
        refusal = smtplib.SMTPSenderRefused if offers else smtplib.SMTPDataError
        with pytest.raises(refusal) as caught:
            smtp.sendmail("from@example.com", TO, b"0123456789\r\n")
        assert caught.value.smtp_code == 552
        assert smtp.esmtp_features == ({"size": "10"} if offers else {})
        assert smtp.sendmail("from@example.com", TO, b"01234567\r\n") == {}
        assert len(server.messages) == 1


def test_a_server_may_refuse_connections():
    with ScriptedServer(drop("connect")) as server, pytest.raises(ConnectionRefusedError):
        client(server)


def test_a_server_may_leave_connections_without_an_answer():
    with ScriptedServer(hang("connect")) as server, pytest.raises(TimeoutError):
        client(server, timeout=0.3)


def test_another_server_can_take_its_port():
    with ScriptedServer(hang("connect")) as server:
        pass
    with ScriptedServer(port=server.port) as heir, client(heir) as smtp:
        assert smtp.noop()[0] == 250


def test_it_can_speak_in_the_midst_of_the_content():
    with ScriptedServer(reply("content", "552 5.3.4 enough", close=True)) as server, client(server) as smtp:
        smtp.ehlo()
        smtp.mail("from@example.com")
        smtp.rcpt(TO[0])
        smtp.docmd("DATA")
        smtp.send("Subject: x\r\n")
        assert smtp.getreply() == (552, b"5.3.4 enough")
        assert server.wait_for_hangup().verbs == ["EHLO", "MAIL", "RCPT", "DATA"]
        assert server.messages == []


def test_what_was_played_is_told_and_what_is_said_to_silence_is_heard():
    step = hang("mail")
    with ScriptedServer(step) as server, client(server, timeout=0.3) as smtp:
        smtp.ehlo()
        smtp.send("MAIL FROM:<from@example.com>\r\nRSET\r\n")
        server.wait_until(lambda: len(server._conversations[0].commands) == 3, "RSET")
        assert server.connections[0].played == [(step.action, 2)]
        assert server.connections[0].verbs == ["EHLO", "MAIL", "RSET"]


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


def test_a_new_script_is_played_from_the_next_command_on():
    with ScriptedServer(reply("mail", "451 4.7.1 later")) as server, client(server) as smtp:
        assert smtp.mail("from@example.com")[0] == 451
        server.play(reply("mail", "550 5.7.1 never", times=1))
        assert [smtp.mail("from@example.com")[0] for _ in range(2)] == [550, 250]
        smtp.rset()
        server.play()
        assert smtp.mail("from@example.com")[0] == 250
        with pytest.raises(ValueError, match="stop"):
            server.play(drop("connect"))


def test_a_server_that_was_stopped_listens_again_on_its_port():
    with ScriptedServer() as server:
        with client(server) as smtp:
            smtp.sendmail("from@example.com", TO, b"x\r\n")
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            client(server)
        server.start()
        with client(server) as smtp:
            smtp.sendmail("from@example.com", TO, b"x\r\n")
        assert [message.connection for message in server.messages] == [1, 2]
