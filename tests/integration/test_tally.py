"""The tally takes mail in a process of its own, by DATA and by BDAT, and knows afterwards who got what."""

from __future__ import annotations

import smtplib
import socket

import pytest

from mailqueue import conf
from mailqueue.mail import EmailMessage, get_connection
from mailqueue.testing.helper import HelperTrouble
from mailqueue.testing.likeness import likeness
from mailqueue.testing.tally import Tally


@pytest.fixture(scope="module")
def tally():
    with Tally(refuse=["gone.example"]) as server:
        yield server


def seen(tally, first):
    return [(arrival.recipients, arrival.likeness) for arrival in tally.arrivals(first)]


def test_knows_who_got_what_and_when(tally):
    first = tally.count
    with get_connection(conf.SMTP_BACKEND, host=tally.host, port=tally.port) as connection:
        for name in ("ann", "bob"):
            EmailMessage(
                "Hi", f"Hello {name}\n", "me@example.com", [f"{name}@example.com"], connection=connection
            ).send()
    assert seen(tally, first) == [
        (("ann@example.com",), likeness("Hi", [("text/plain", b"Hello ann")])),
        (("bob@example.com",), likeness("Hi", [("text/plain", b"Hello bob")])),
    ]
    times = [arrival.at for arrival in tally.arrivals(first)]
    assert times == sorted(times)


def test_takes_data_with_its_dots(tally):
    first = tally.count
    with smtplib.SMTP(tally.host, tally.port, timeout=5) as client:
        client.sendmail("me@example.com", ["a@example.com", "b@example.com"], b"\r\n.one\r\n..two\r\n")
    assert seen(tally, first) == [(("a@example.com", "b@example.com"), likeness("", [("text/plain", b".one\n..two")]))]


def test_refuses_the_recipients_of_a_domain(tally):
    first = tally.count
    with smtplib.SMTP(tally.host, tally.port, timeout=5) as client:
        refused = client.sendmail("me@example.com", ["x@Gone.example", "b@example.com"], b"Subject: x\r\n\r\nx")
        assert refused == {"x@Gone.example": (550, b"5.1.1 No such user here")}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("me@example.com", ["x@gone.example"], b"Subject: x\r\n\r\nx")
    assert [recipients for recipients, _ in seen(tally, first)] == [("b@example.com",)]


def test_chunks_for_nobody_are_read_and_refused(tally):
    first = tally.count
    with socket.create_connection((tally.host, tally.port), timeout=5) as link, link.makefile("rb") as replies:
        link.sendall(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@gone.example>\r\nBDAT 4 LAST\r\nQUITQUIT\r\n")
        codes = [line[:3] for line in replies if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"550", b"554", b"221"]
    assert tally.count == first


def test_says_when_it_is_not_running():
    with pytest.raises(HelperTrouble, match="not running"):
        _ = Tally().count
