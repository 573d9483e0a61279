"""Reading replies off a socket: what is one, what is none, and that no relay can keep us for ever."""

from __future__ import annotations

import smtplib
import socket
import threading

import pytest

from mailqueue.smtp.reader import GARBAGE, ReplyReader


@pytest.fixture
def link():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ReplyReader(ours), theirs


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250 ok\r\n", (250, b"ok")),
        (b"250\r\n", (250, b"")),
        (b"250 \r\n", (250, b"")),
        (b"250 ok\n", (250, b"ok")),
        (b"250-first\r\n250-second\r\n250 third\r\n", (250, b"first\nsecond\nthird")),
        (b"250-\r\n250 \r\n", (250, b"\n")),
        (b"250-first\r\n550 last\r\n", (550, b"first\nlast")),
        (b"550  padded \t\r\n", (550, b"padded")),
        (b"250 \xff\x00\r\n", (250, b"\xff\x00")),
    ],
)
def test_replies(link, octets, reply):
    reader, relay = link
    relay.sendall(octets)
    assert reader.read(5) == reply
    assert not reader.pending


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"ok\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"250ok\r\n",
        b"250\tok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b" 250 ok\r\n",
        b"-50 ok\r\n",
        "٢٥٠ ok\r\n".encode(),
        b"HTTP/1.1 400 Bad Request\r\n",
        b"250-first\r\nnonsense\r\n",
    ],
)
def test_what_is_no_reply_is_garbage_and_so_is_what_follows(link, octets):
    reader, relay = link
    relay.sendall(octets + b"250 ok\r\n")
    assert reader.read(5)[0] == GARBAGE
    assert reader.read(5)[0] == GARBAGE


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"250 " + b"x" * 9000 + b"\r\n", id="a-long-line"),
        pytest.param(b"2" * 9000, id="a-line-without-end"),
        pytest.param(b"250-x\r\n" * 300, id="many-lines"),
        pytest.param((b"250-" + b"x" * 2000 + b"\r\n") * 40, id="much-text"),
    ],
)
def test_a_reply_without_end_is_garbage(link, octets):
    reader, relay = link
    sender = threading.Thread(target=relay.sendall, args=(octets,))
    sender.start()
    try:
        assert reader.read(5)[0] == GARBAGE
    finally:
        relay.shutdown(socket.SHUT_RDWR)
        sender.join()


def test_a_long_reply_within_bounds_is_read(link):
    reader, relay = link
    relay.sendall(b"250-" + b"x" * 500 + b"\r\n" + b"250-x\r\n" * 200 + b"250 end\r\n")
    code, text = reader.read(5)
    assert (code, text.count(b"\n")) == (250, 201)


def test_replies_that_come_together_are_read_one_by_one(link):
    reader, relay = link
    relay.sendall(b"250 one\r\n421 two\r\n")
    assert reader.read(5) == (250, b"one")
    assert reader.pending
    assert reader.read(5) == (421, b"two")


def test_a_reply_that_comes_in_pieces_is_put_together(link):
    reader, relay = link
    relay.sendall(b"25")
    threading.Timer(0.02, relay.sendall, [b"0 ok\r\n"]).start()
    assert reader.read(5) == (250, b"ok")


def test_the_end_of_the_connection_is_a_disconnection(link):
    reader, relay = link
    relay.sendall(b"250 half a li")
    relay.shutdown(socket.SHUT_WR)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        reader.read(5)


def test_silence_is_a_disconnection_caused_by_a_timeout(link):
    reader, _ = link
    with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
        reader.read(0.02)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_the_time_is_for_the_whole_reply_not_for_each_octet(link):
    reader, relay = link
    stop = threading.Event()

    def drip():
        while not stop.wait(0.01):
            relay.sendall(b"2")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
            reader.read(0.1)
    finally:
        stop.set()
        dripping.join()
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_the_sockets_timeout_is_the_stages_again_after_a_slow_reply():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"250-a\r\n")
        threading.Timer(0.02, theirs.sendall, [b"250 b\r\n"]).start()
        ReplyReader(ours).read(5)
        assert ours.gettimeout() == 5


def test_it_reads_lines_for_those_who_know_no_replies(link):
    reader, relay = link
    relay.sendall(b"221 bye\r\n" + b"x" * 20 + b"\nrest")
    relay.shutdown(socket.SHUT_WR)
    assert reader.readline(10) == b"221 bye\r\n"
    assert reader.readline(10) == b"x" * 10
    assert reader.readline(100) == b"x" * 10 + b"\n"
    assert reader.readline(100) == b"rest"
    assert reader.readline(100) == b""


def test_it_tells_without_waiting_whether_something_was_said_unasked(link):
    reader, relay = link
    reader._sock.settimeout(7)
    assert not reader.unasked()
    relay.sendall(b"421 bye\r\n")
    assert reader.unasked()
    assert reader.unasked()
    assert reader.read(5) == (421, b"bye")
    assert not reader.unasked()
    assert reader._sock.gettimeout() == 5


def test_a_link_that_was_hung_up_is_something_said(link):
    reader, relay = link
    relay.close()
    assert reader.unasked()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        reader.read(5)


def test_without_poll_it_tries_to_read(link, monkeypatch):
    monkeypatch.delattr("select.poll")
    reader, relay = link
    reader._sock.settimeout(7)
    assert not reader.unasked()
    assert reader._sock.gettimeout() == 7
    relay.sendall(b"421 bye\r\n")
    assert reader.unasked()
