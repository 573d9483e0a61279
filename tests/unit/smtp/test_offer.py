"""What EHLO offers, and the MAIL command that follows from it."""

from __future__ import annotations

import smtplib

import pytest

from mailqueue.smtp.offer import Offer, beyond_ascii
from mailqueue.smtp.session import Mail


def heard(**features):
    connection = smtplib.SMTP()
    connection.esmtp_features = features
    return Offer.of(connection)


@pytest.mark.parametrize(
    ("features", "offer"),
    [
        ({}, Offer()),
        ({"size": ""}, Offer(size=0)),
        ({"size": "1000"}, Offer(size=1000)),
        ({"size": "1000 2000"}, Offer(size=1000)),
        ({"size": "many"}, Offer(size=0)),
        ({"size": "9" * 5000}, Offer(size=0)),
        ({"pipelining": "", "chunking": ""}, Offer(pipelining=True, chunking=True)),
        ({"8bitmime": "", "smtputf8": ""}, Offer(eight_bit=True, utf8=True)),
    ],
)
def test_it_is_what_the_relay_said(features, offer):
    assert heard(**features) == offer


def test_mail_tells_what_was_asked_for():
    mail = Mail("a@example.com", ("b@example.com",), b"\xc3\xbc\r\n")
    assert Offer().mail(mail, international=False) == "mail FROM:<a@example.com>"
    everything = Offer(size=0, eight_bit=True, utf8=True)
    assert everything.mail(mail, international=True) == "mail FROM:<a@example.com> SIZE=4 BODY=8BITMIME SMTPUTF8"


def test_the_announced_size_is_a_limit():
    assert Offer(size=10).takes(10)
    assert not Offer(size=10).takes(11)
    assert Offer(size=0).takes(10**9)
    assert Offer().takes(10**9)


def test_addresses_beyond_ascii():
    assert not beyond_ascii(Mail("a@example.com", ("b@example.com",), b"\xff"))
    assert beyond_ascii(Mail("ä@example.com", ("b@example.com",), b""))
    assert beyond_ascii(Mail("a@example.com", ("b@example.com", "ß@example.com"), b""))
