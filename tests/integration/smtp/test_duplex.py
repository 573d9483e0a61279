"""What is counted as handed over is never less than what the relay can have read."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading

import pytest

from mailqueue.smtp.duplex import Duplex
from mailqueue.testing.certificates import Authority

MESSAGES = [b"%05d" % number * 400 for number in range(200)]  # 2,000 octets each, joined before they are written


@pytest.fixture(params=["plain", "tls"])
def ends(request):
    """A connection with little room on its way, as smtplib has it, and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    ours.settimeout(10)
    theirs.settimeout(10)
    if request.param == "tls":
        authority = Authority()
        wrapped = []
        thread = threading.Thread(
            target=lambda: wrapped.append(authority.valid().wrap_socket(theirs, server_side=True))
        )
        thread.start()
        ours = authority.client().wrap_socket(ours, server_hostname="127.0.0.1")
        thread.join()
        [theirs] = wrapped
    connection = smtplib.SMTP()
    connection.sock = ours
    with ours, theirs:
        yield connection, theirs


def test_what_the_relay_can_read_was_counted_though_not_all_of_it_was_taken(ends):
    connection, theirs = ends
    duplex = Duplex(connection)
    duplex.put(MESSAGES)
    duplex.turn(0)
    assert duplex.busy
    # The link breaks here: what has arrived is all that the relay will ever have.
    socket.socket.shutdown(connection.sock, socket.SHUT_WR)
    read = 0
    with contextlib.suppress(OSError):  # no end that TLS would call one
        while octets := theirs.recv(65536):
            read += len(octets)
    assert 0 < read <= duplex.handed


def test_what_was_not_taken_at_once_goes_out_whole_and_in_order(ends):
    connection, theirs = ends
    duplex = Duplex(connection)
    duplex.put(MESSAGES)
    wanted = b"".join(MESSAGES)
    read = bytearray()

    def relay():
        while len(read) < len(wanted):
            read.extend(theirs.recv(65536))

    thread = threading.Thread(target=relay)
    thread.start()
    while duplex.busy:
        duplex.turn(0.1)
    thread.join()
    assert read == wanted
    assert duplex.handed == duplex.queued == len(wanted)
    assert not duplex.busy
