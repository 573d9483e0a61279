"""Writing and reading at once: no side waits for the other's buffers, and what went out is counted."""

from __future__ import annotations

import smtplib
import socket
import threading
import time

import pytest

from mailqueue.smtp.duplex import Duplex
from mailqueue.smtp.reader import ReplyReader


def over_tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]


@pytest.fixture(params=[over_tcp, socket.socketpair])
def pair(request):
    """A connection, and its other end."""
    ours, theirs = request.param()
    connection = smtplib.SMTP()
    connection.sock = ours
    connection.file = ReplyReader(ours)
    yield connection, theirs
    ours.close()
    theirs.close()


def until(duplex, holds, timeout=10.0):
    """Turn until ``holds``; the replies that came."""
    replies = []
    deadline = time.monotonic() + timeout
    while not holds(replies):
        assert time.monotonic() < deadline
        replies += duplex.turn(0.05)
    return replies


def test_two_sides_that_both_write_do_not_wait_for_each_other(pair):
    connection, theirs = pair
    reply = b"250-" + b"x" * 996 + b"\r\n" + b"250 end\r\n"

    def relay():
        theirs.sendall(reply * 20_000)  # reads nothing before that is out: 20 MB
        left = 20_000_000
        while left:
            left -= len(theirs.recv(65536))
        theirs.sendall(b"250 all\r\n")

    thread = threading.Thread(target=relay)
    thread.start()
    duplex = Duplex(connection)
    duplex.put([b"y" * 1000] * 20_000)
    replies = until(duplex, lambda found: len(found) == 20_001, timeout=60)
    thread.join()
    assert replies[-1] == (250, b"all")
    assert (duplex.handed, duplex.queued, duplex.busy) == (20_000_000, 20_000_000, False)
    duplex.close()


def test_what_the_network_takes_goes_out_at_once(pair):
    connection, theirs = pair
    duplex = Duplex(connection)
    duplex.put([b"RSET\r\n"])
    assert (duplex.handed, duplex.busy) == (6, False)
    theirs.settimeout(10)
    assert theirs.recv(100) == b"RSET\r\n"


def test_what_was_handed_over_is_counted(pair):
    connection, theirs = pair
    duplex = Duplex(connection)
    duplex.put([b"x" * 50_000_000])
    for _ in range(20):
        assert duplex.turn(0.01) == []
    assert 0 < duplex.handed < duplex.queued == 50_000_000
    assert duplex.busy
    theirs.close()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        until(duplex, lambda _: False)
    assert duplex.handed < 50_000_000


def test_what_was_said_before_the_end_is_heard(pair):
    connection, theirs = pair
    duplex = Duplex(connection)
    duplex.put([b"x" * 3000])
    duplex.turn(0.0)
    theirs.sendall(b"250 ok\r\n421 4.3.2 bye\r\n")
    theirs.close()  # with octets unread: what we write from now on is refused
    replies = until(duplex, lambda found: len(found) == 2)
    assert replies == [(250, b"ok"), (421, b"4.3.2 bye")]
    duplex.put([b"more"])
    with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
        until(duplex, lambda _: False)
    assert isinstance(caught.value.__cause__, OSError)


def test_nothing_is_read_behind_what_is_no_reply(pair):
    connection, theirs = pair
    duplex = Duplex(connection)
    theirs.sendall(b"250 ok\r\nwhat?\r\n250 ok\r\n")
    replies = until(duplex, lambda found: len(found) >= 2)
    assert replies[:2] == [(250, b"ok"), (-1, b"what?")]


def test_the_socket_is_given_back_as_it_was(pair):
    connection, _ = pair
    connection.sock.settimeout(7)
    duplex = Duplex(connection)
    assert connection.sock.gettimeout() == 0
    assert duplex.usual == 7
    duplex.close()
    assert connection.sock.gettimeout() == 7


def test_waiting_ends_with_its_time(pair):
    connection, _ = pair
    duplex = Duplex(connection)
    began = time.monotonic()
    assert duplex.turn(0.05) == []
    assert 0.04 < time.monotonic() - began < 5
