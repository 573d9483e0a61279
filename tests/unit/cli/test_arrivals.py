"""Arriving mail is shown on a line, and nothing in it may drive the terminal."""

from __future__ import annotations

import pytest

from mailqueue.cli.arrivals import Printer, one_line
from mailqueue.testing.inbox import Arrival


def arrival(content: bytes, recipients: tuple[str, ...] = ("b@example.com",)) -> Arrival:
    return Arrival("a@example.com", recipients, content, 0.0, ("127.0.0.1", 1))


def test_one_line_tells_envelope_subject_and_size():
    line = one_line(arrival(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhi\r\n"))
    assert line.endswith("a@example.com -> b@example.com  Grüße  (44 B)")


def test_many_recipients_are_counted():
    line = one_line(arrival(b"\r\n", tuple(f"{n}@example.com" for n in range(10))))
    assert "0@example.com, 1@example.com, 2@example.com and 7 more  (no subject)" in line


@pytest.mark.parametrize("subject", [b"a\x1b[2Jb", b"=?utf-8?q?a=1B=5B2Jb?=", b"a\x07b"])
def test_control_characters_do_not_reach_the_terminal(subject):
    line = one_line(arrival(b"Subject: " + subject + b"\r\n\r\n"))
    assert line.isprintable()


def test_a_header_that_is_none_does_not_stop_the_inbox():
    assert one_line(arrival(b"Subject: =?x?\r\nFrom: @\r\n\r\n"))


def test_full_shows_the_whole_message(capsys):
    printer = Printer(full=True)
    printer(arrival(b"Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe \x1b[2J\r\n"))
    out = capsys.readouterr().out
    assert out.startswith("    1  ")
    assert "Grüße \N{REPLACEMENT CHARACTER}[2J\n" in out


def test_without_full_the_body_is_not_shown(capsys):
    Printer(full=False)(arrival(b"Subject: x\r\n\r\nsecret\r\n"))
    assert "secret" not in capsys.readouterr().out
