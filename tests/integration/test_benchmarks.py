"""The benchmarks run: their sink counts, their long link delays bytes and not commands, a tiny scenario goes through."""

from __future__ import annotations

import dataclasses
import json
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.delay import DelayProxy
from benchmarks.helper import ROOT, HelperTrouble
from benchmarks.letters import SENDER, expected, letter
from benchmarks.measure import RunTrouble, run
from benchmarks.plan import Case
from benchmarks.sink import Sink, SinkTimeout
from benchmarks.systems import SYSTEMS, System
from mailqueue.mail import EmailMultiAlternatives
from mailqueue.testing.environment import clean_environment

RTT = 0.05  # s; what a link without delay takes is far below


@pytest.fixture
def sink():
    with Sink() as server:
        yield server


def connect(server) -> socket.socket:
    link = socket.create_connection((server.host, server.port), 10)
    assert link.recv(1000).startswith(b"220 ")
    return link


def say(link: socket.socket, words: bytes, replies: int = 1) -> bytes:
    link.sendall(words)
    heard = b""
    while heard.count(b"\n") < replies:
        heard += link.recv(1000)
    return heard


def content(number: int) -> bytes:
    item = letter(number)
    message = EmailMultiAlternatives(item.subject, item.text, SENDER, [item.recipient])
    message.attach_alternative(item.html, "text/html")
    return message.message().as_bytes(linesep="\r\n")


# -- The sink


def test_the_sink_remembers_who_got_what_and_when(sink):
    before = time.monotonic()
    with smtplib.SMTP(sink.host, sink.port) as relay:
        relay.sendmail("a@example.com", ["b@example.com", "c@example.com"], b"Subject: 1\r\n\r\nOne\r\n")
        relay.sendmail("a@example.com", ["d@example.com"], b"Subject: 2\r\n\r\nTwo\r\n")
    assert sink.wait_for(2) == 2
    assert [arrival.recipients for arrival in sink.arrivals()] == [
        ("b@example.com", "c@example.com"),
        ("d@example.com",),
    ]
    first, last = sink.span()
    assert before < first <= last
    assert sink.connections == 1
    sink.clear()
    assert sink.count == 0
    assert sink.span() == (0.0, 0.0)


def test_the_sink_says_how_many_it_has_when_it_was_waited_for_in_vain(sink):
    with pytest.raises(SinkTimeout, match="0 of 1 messages"):
        sink.wait_for(1, timeout=0)


def test_it_offers_what_it_was_told_to():
    for offer, known in ((("pipelining",), True), ((), False)):
        with Sink(offer=offer) as server, smtplib.SMTP(server.host, server.port) as relay:
            relay.ehlo()
            assert relay.has_extn("pipelining") is known
            assert not relay.has_extn("chunking")


def test_a_sink_that_does_not_start_is_told():
    with pytest.raises(HelperTrouble, match="has ended"), Sink(offer=("teleporting",)):
        pass


def test_content_that_comes_in_pieces_ends_where_its_dot_is():
    with Sink(record=True) as server, connect(server) as link:
        for number, cut in ((1, 1), (2, 3), (3, 4)):
            say(link, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", replies=3)
            whole = content(number) + b".\r\n"
            link.sendall(whole[:-cut])
            assert server.count == number - 1
            assert say(link, whole[-cut:]).startswith(b"250 ")
        assert [arrival.digest for arrival in server.arrivals()] == [expected(letter(n)) for n in (1, 2, 3)]


def test_a_line_of_a_dot_within_the_content_does_not_end_it():
    with Sink(record=True) as server, smtplib.SMTP(server.host, server.port) as relay:
        for text in ("One\r\n.\r\nTwo\r\n", ".\r\n", "..\r\n"):
            relay.sendmail("a@b", ["c@d"], f"Subject: s\r\n\r\n{text}".encode())
        assert relay.noop()[0] == 250
        assert server.count == 3
        assert len({arrival.digest for arrival in server.arrivals()}) == 3


def test_chunks_are_counted_by_their_octets():
    with Sink(record=True) as server, connect(server) as link:
        whole = content(4)
        begin = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
        say(link, begin, replies=2)
        say(link, b"BDAT 100\r\n" + whole[:100])
        assert server.count == 0
        say(link, b"BDAT %d LAST\r\n" % (len(whole) - 100) + whole[100:])
        say(link, begin + b"BDAT %d\r\n" % len(whole) + whole + b"BDAT 0 LAST\r\n", replies=4)
        assert [arrival.digest for arrival in server.arrivals()] == [expected(letter(4))] * 2
        assert say(link, b"NOOP\r\nWHAT\r\nQUIT\r\n", replies=3).split()[0] == b"250"


# -- The long link


def test_the_link_delays_bytes_and_not_commands(sink):
    with DelayProxy(sink.port, RTT) as far:
        assert far.measured(3) >= RTT
        with connect(far) as link:
            began = time.monotonic()
            say(link, b"NOOP\r\n" * 100, replies=100)
            took = time.monotonic() - began
    assert RTT <= took < 100 * RTT / 4


def test_a_connection_takes_the_time_of_its_handshake_and_ends_when_the_server_ends_it(sink):
    with DelayProxy(sink.port, RTT) as far:
        began = time.monotonic()
        with connect(far) as link:
            assert time.monotonic() - began >= 2 * RTT
            say(link, b"QUIT\r\n")
            assert link.recv(100) == b""


def test_a_link_to_nobody_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with DelayProxy(port, 0.001) as far, socket.create_connection((far.host, far.port), 10) as link:
        try:
            rest = link.recv(100)
        except ConnectionResetError:  # an end as well
            rest = b""
    assert rest == b""


# -- A tiny scenario


@pytest.mark.store
@pytest.mark.parametrize("shape", ["one", "mass"])
def test_our_own_mail_is_enqueued_drained_and_compared(shape):
    row = run(Case("one", "mailqueue", 50, shape, record=True), SYSTEMS["mailqueue"], Path(sys.executable))
    assert row["enqueue"]["timed"] == 30
    assert row["enqueue"]["store_bytes"] > 0
    assert row["drain"]["rate"] > 0


@pytest.mark.parametrize("floor", ["smtplib", "pipelined"])
@pytest.mark.parametrize("offer", [("pipelining", "chunking"), ("pipelining",)])
def test_a_floor_goes_through_a_long_link(floor, offer):
    row = run(Case("far", floor, 30, rtt=2, offer=offer), SYSTEMS[floor], Path(sys.executable))
    assert row["rtt_measured"] >= 2
    assert row["drain"]["rate"] > 0


@pytest.mark.store
def test_the_floor_of_enqueueing_only_enqueues():
    row = run(Case("one", "lpush", 200, drained=False), SYSTEMS["lpush"], Path(sys.executable))
    assert "drain" not in row
    assert row["enqueue"]["timed"] == 200


def test_a_run_that_loses_mail_fails():
    thief = System("thief", "thief", drain=("-c", "print('gone')"), store=False)
    with pytest.raises(RunTrouble, match="0 of 5 messages have arrived at its end"):
        run(Case("one", "thief", 5), thief, Path(sys.executable))


def test_a_producer_that_fails_is_quoted():
    broken = System("broken", "broken", enqueue=("-c", "raise SystemExit('no mail today')"), store=False)
    with pytest.raises(RunTrouble, match="no mail today"):
        run(Case("one", "broken", 5), broken, Path(sys.executable))


@pytest.mark.store
def test_a_ledger_that_says_something_else_than_the_sink_fails_the_run():
    liar = dataclasses.replace(SYSTEMS["smtplib"], store=True, ledger=True)
    with pytest.raises(RunTrouble, match="all of 5 messages have arrived, and the ledger has"):
        run(Case("one", "liar", 5), liar, Path(sys.executable))


def test_the_account_finds_every_step():
    """It puts its clocks into the workers' modules by name, and these move."""
    command = [sys.executable, "-m", "benchmarks.account", "--json", "--runs", "1", "--messages", "100"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for steps in json.loads(done.stdout).values():
        spent = {name for name, microseconds in steps.items() if microseconds > 0}
        assert {"fetch", "claim", "decode", "render", "begin", "transmit", "record", "worker"} <= spent
