"""What a client has sent: in lines, in octets, or lost."""

from __future__ import annotations

import socket

import pytest

from mailqueue.testing.incoming import Incoming


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Incoming(theirs)


def test_lines_and_octets_in_any_pieces(pair):
    ours, incoming = pair
    ours.sendall(b"MAIL\r\nBDAT 5 LA")
    assert incoming.readline() == b"MAIL\r\n"
    ours.sendall(b"ST\r\nhe\nloRSET\r\n")
    assert incoming.readline() == b"BDAT 5 LAST\r\n"
    assert incoming.read(5) == b"he\nlo"
    assert incoming.readline() == b"RSET\r\n"


def test_the_end_cuts_short(pair):
    ours, incoming = pair
    ours.sendall(b"half a li")
    ours.close()
    assert incoming.readline() == b"half a li"
    assert incoming.readline() == b""
    assert incoming.read(3) == b""


def test_what_has_come_can_be_lost(pair):
    ours, incoming = pair
    ours.sendall(b"RSET\r\nNOOP\r\nMAIL")
    incoming.readline()
    assert incoming.lose() == 10
    assert incoming.lose() == 0
    ours.sendall(b"QUIT\r\n")
    assert incoming.readline() == b"QUIT\r\n"
