"""The demo's own judgement can fail: each thing that it promises to check is seen when it is wrong."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import struct
import zlib
from types import SimpleNamespace

import pytest

from mailqueue.cli.demo import documents
from mailqueue.cli.demo.killing import Killer, holder_of
from mailqueue.cli.demo.scenario import REFUSED, Case
from mailqueue.cli.demo.screen import duration, quantile
from mailqueue.cli.demo.verdict import Story, judge, pinned
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply
from mailqueue.testing.inbox import Arrival

HEAD = b"Subject: x\r\nDate: %b\r\nMessage-ID: %b\r\nTo: b@example.com\r\n"


def content(date=b"Fri, 20 Nov 2026 16:00:00 -0000", message_id=b"<1@example.com>", body=b"hello\r\n"):
    return HEAD % (date, message_id) + b"\r\n" + body


def arrival(octets=None, sender="a@example.com", recipients=("b@example.com",)):
    return Arrival(sender, recipients, octets or content(), 10.0, ("127.0.0.1", 1))


def status(state=State.SENT, attempts=1, unknowns=0, crashes=0, verdicts=None):
    results = {
        recipient: Result(verdict, Reply(250, "ok"))
        for recipient, verdict in (verdicts or {"b@example.com": Verdict.ACCEPTED}).items()
    }
    return SimpleNamespace(
        state=state, attempts=attempts, unknowns=unknowns, crashes=crashes, recipients=results, reason=""
    )


GOOD = Story(
    case=Case("text", lambda _: 1),
    message_id="<1@example.com>",
    recipients=["b@example.com"],
    called_at=9.0,
    status=status(),
    arrivals=[arrival()],
    reference=arrival(content(b"Fri, 20 Nov 2026 16:00:09 -0000", b"<2@example.com>")),
)


def but(**changes):
    return judge(dataclasses.replace(GOOD, **changes))


def test_nothing_is_wrong_when_all_is_right():
    assert judge(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"status": status(State.QUEUED)}, "is queued, not sent"),
        ({"status": status(attempts=2)}, "took 2 attempts, not 1"),
        ({"status": status(attempts=0)}, "took 0 attempts"),
        ({"status": status(verdicts={"b@example.com": Verdict.DEFERRED})}, "accounted for"),
        ({"recipients": ["b@example.com", "c@example.com"]}, "each of its 2 recipients"),
        ({"arrivals": []}, "never arrived"),
        ({"arrivals": [arrival(), arrival()]}, "arrived 2 times, with 0 lost answers"),
        ({"arrivals": [arrival(content(message_id=b"<3@example.com>"))]}, "not under the Message-ID of its receipt"),
        ({"arrivals": [arrival(content(body=b"hallo\r\n"))]}, "differs from a synchronous send at octet"),
        ({"arrivals": [arrival(content(body=b"hello\n"))]}, "differs from a synchronous send"),
        ({"arrivals": [arrival(sender="c@example.com")]}, "another envelope"),
        ({"arrivals": [arrival(recipients=("c@example.com",))]}, "another envelope"),
        ({"reference": None}, "cannot be compared"),
    ],
)
def test_what_is_wrong_is_told(changes, complaint):
    problems = but(**changes)
    assert len(problems) == 1
    assert complaint in problems[0]


def test_a_copy_whose_lost_answer_is_on_record_is_no_fault():
    assert but(arrivals=[arrival(), arrival()], status=status(attempts=2, unknowns=1)) == []


def test_a_refused_message_must_not_arrive():
    refused = {
        "case": Case("refused", lambda _: 1, state=State.FAILED),
        "recipients": [REFUSED],
        "status": status(State.FAILED, verdicts={REFUSED: Verdict.REFUSED}),
    }
    assert but(**refused, arrivals=[], reference=None) == []
    assert "the relay had refused it" in but(**refused)[0]


def test_pinning_keeps_all_but_date_message_id_and_the_names_of_boundaries():
    outer, inner = (b"=" * 15 + digits + b"==" for digits in (b"1111", b"2222"))
    body = b"--%b\r\n--%b\r\n--%b--\r\n--%b--\r\nDate: in the text\r\n" % (outer, inner, inner, outer)
    assert pinned(content(body=body)) == (
        b"Subject: x\r\nDate: pinned\r\nMessage-ID: <pinned>\r\nTo: b@example.com\r\n\r\n"
        b"--boundary-0\r\n--boundary-1\r\n--boundary-1--\r\n--boundary-0--\r\nDate: in the text\r\n"
    )


def test_pinning_sees_boundaries_that_are_swapped():
    first, second = (b"=" * 15 + digits + b"==" for digits in (b"1111", b"2222"))
    assert pinned(content(body=first + second + first)) != pinned(content(body=first + second + second))


def test_the_png_is_a_png():
    data = documents.png(3, 2)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    kinds, at, pixels = [], 8, b""
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        pixels += body if kind == b"IDAT" else b""
        kinds.append(kind)
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(pixels)) == 2 * (1 + 3 * 3)


def test_the_pdf_has_a_cross_reference_that_finds_its_objects():
    data = documents.pdf()
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])
    assert data[start:].startswith(b"xref\n0 7\n0000000000 65535 f \n")
    offsets = [int(line[:10]) for line in data[start:].splitlines(keepends=True)[3:9]]
    for number, offset in enumerate(offsets, 1):
        assert data[offset:].startswith(b"%d 0 obj\n" % number)
    for match in re.finditer(rb"/Length (\d+) >>\nstream\n", data):
        assert data[match.end() + int(match[1]) :].startswith(b"\nendstream")
    assert len(data) > 32 * 1024


def test_finds_the_process_that_holds_a_connection():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as link:
        port = link.getsockname()[1]
        assert holder_of(port, [os.getpid()]) == os.getpid()
        assert holder_of(port, []) is None


def test_kills_once_at_the_right_arrival_and_only_what_it_aims_at(monkeypatch):
    killed = []
    monkeypatch.setattr("os.kill", lambda pid, _signal: killed.append(pid))
    killer = Killer(lambda arrived: arrived.sender == "mass", after=2)
    killer.aim(lambda: [4711])
    for sender in ("mass", "other", "other"):
        killer(arrival(sender=sender))
    assert killed == []
    for _ in range(3):
        killer(arrival(sender="mass"))
    assert killed == [4711]
    assert killer.killed == 4711


def test_numbers_for_people():
    assert [duration(value) for value in (0.00031, 0.0042, 1.534)] == ["310 us", "4.2 ms", "1.53 s"]
    values = [float(number) for number in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50.0, 99.0, 7.0)
