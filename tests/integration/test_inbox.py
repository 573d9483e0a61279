"""The inbox is a real SMTP server that keeps what it took and refuses whom it should."""

from __future__ import annotations

import gc
import smtplib
import socket
import threading

import pytest

from mailqueue.testing.inbox import Arrival, Inbox, InboxUnavailable

MESSAGE = b"Subject: hello\r\nMessage-ID: <1@example.com>\r\n\r\n.dots\r\n..more\r\nend\r\n"


def send(inbox: Inbox, *recipients: str, content: bytes = MESSAGE) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP(inbox.host, inbox.port, timeout=5) as client:
        return client.sendmail("from@example.com", recipients, content, ["BODY=8BITMIME"])


def test_keeps_envelope_and_bytes_as_they_were_sent():
    with Inbox() as inbox:
        send(inbox, "a@example.com", "b@example.com")
        (arrival,) = inbox.wait_for(1)
    assert arrival.sender == "from@example.com"
    assert arrival.recipients == ("a@example.com", "b@example.com")
    assert arrival.content == MESSAGE
    assert arrival.message_id == "<1@example.com>"
    assert arrival.message["Subject"] == "hello"
    assert arrival.arrived_at > 0


def test_refuses_a_recipient_for_good_and_takes_the_others():
    with Inbox(refuse=["Gone@example.com"]) as inbox:
        refused = send(inbox, "gone@example.com", "b@example.com")
        assert refused == {"gone@example.com": (550, b"5.1.1 No such user here")}
        assert inbox.wait_for(1)[0].recipients == ("b@example.com",)
        inbox.refuse("b@example.com")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(inbox, "b@example.com")


def test_greylists_a_recipient_as_often_as_it_was_told():
    with Inbox(greylist={"slow@example.com": 2}) as inbox:
        for _ in range(2):
            with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
                send(inbox, "slow@example.com")
            assert caught.value.recipients["slow@example.com"][0] == 451
        send(inbox, "slow@example.com")
        assert inbox.tries("slow@example.com") == 3
        assert inbox.count == 1


def test_keeps_nothing_of_what_it_is_not_to_keep():
    """`mailqueue inbox` runs for weeks."""
    with Inbox(keep=0, greylist={"slow@example.com": 1}) as inbox:
        for number in range(3):
            send(inbox, f"{number}@example.com")
        with smtplib.SMTP(inbox.host, inbox.port, timeout=5) as client:
            for _ in range(2):
                client.sendmail("from@example.com", ["a@example.com"], MESSAGE)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(inbox, "slow@example.com")
        assert (inbox.count, inbox.connections, inbox.tries("slow@example.com")) == (5, 4, 1)
        assert list(inbox._tried) == ["slow@example.com"]
    gc.collect()
    assert len(inbox._served) == 0
    inbox.clear()
    assert (inbox.count, inbox.connections) == (0, 0)


def test_offers_the_extensions_that_mail_needs():
    with Inbox() as inbox, smtplib.SMTP(inbox.host, inbox.port, timeout=5) as client:
        client.ehlo()
        assert {"smtputf8", "8bitmime", "size"} <= set(client.esmtp_features)
        client.command_encoding = "utf-8"
        assert client.mail("from@example.com", ["SMTPUTF8"])[0] == 250
        assert client.rcpt("jürgen@example.com")[0] == 250


def test_tells_of_an_arrival_before_the_client_is_answered():
    seen: list[tuple[Arrival, int]] = []
    with Inbox(on_arrival=lambda arrival: seen.append((arrival, len(seen)))) as inbox:
        send(inbox, "a@example.com")
        assert [number for _, number in seen] == [0]


def test_keeps_only_the_latest_when_told_so():
    with Inbox(keep=2) as inbox:
        for number in range(3):
            send(inbox, f"{number}@example.com")
        assert [arrival.recipients[0] for arrival in inbox.arrivals] == ["1@example.com", "2@example.com"]
        assert inbox.count == 3
        assert inbox.connections == 3
        inbox.clear()
        assert (inbox.arrivals, inbox.count, inbox.connections) == ([], 0, 0)


def test_waiting_ends_with_the_message_it_waits_for():
    with Inbox() as inbox:
        sender = threading.Thread(target=send, args=(inbox, "a@example.com"))
        sender.start()
        assert len(inbox.wait_for(1, timeout=5)) == 1
        sender.join()
        with pytest.raises(TimeoutError, match="1 of 2 messages"):
            inbox.wait_for(2, timeout=0.05)


def test_a_port_that_is_taken_is_an_error_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InboxUnavailable, match=f"127.0.0.1:{port}"):
            Inbox(port=port).start()


def test_stopping_closes_open_connections_and_the_port():
    with Inbox() as inbox:
        client = smtplib.SMTP(inbox.host, inbox.port, timeout=5)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP(inbox.host, inbox.port, timeout=5)
