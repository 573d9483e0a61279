"""The likeness of a message is that of what a reader sees, whatever way it was encoded and sent."""

from __future__ import annotations

import pytest

from mailqueue.mail import EmailMessage, EmailMultiAlternatives
from mailqueue.testing.likeness import likeness, likeness_of

PDF = bytes(range(256)) * 200


def wire(message) -> bytes:
    return message.message().as_bytes(linesep="\r\n")


def letter(text="Dear Zoë,\n\nnews.\n", subject="Grüße", pdf=PDF):
    message = EmailMultiAlternatives(subject, text, "a@example.com", ["b@example.com"])
    message.attach_alternative("<p>news</p>", "text/html")
    message.attach("terms.pdf", pdf, "application/pdf")
    return message


SEEN = [
    ("text/plain", "Dear Zoë,\n\nnews.\n".encode()),
    ("text/html", b"<p>news</p>"),
    ("application/pdf", PDF),
]


def test_what_was_written_is_what_is_seen():
    assert likeness_of(wire(letter())) == likeness("Grüße", SEEN)


def test_two_sends_of_the_same_are_alike():
    assert likeness_of(wire(letter())) == likeness_of(wire(letter()))


@pytest.mark.parametrize(
    "other", [letter(text="Dear Bob,\n\nnews.\n"), letter(subject="News"), letter(pdf=PDF[:-1] + b"x")]
)
def test_anything_else_is_not(other):
    assert likeness_of(wire(other)) != likeness("Grüße", SEEN)


def test_a_plain_message_has_one_part():
    message = EmailMessage("Hi", "Hello\n", "a@example.com", ["b@example.com"])
    assert likeness_of(wire(message)) == likeness("Hi", [("text/plain", b"Hello")])


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
def test_the_transfer_encoding_makes_no_difference(encoding):
    bodies = {"quoted-printable": b"Gr=C3=BC=C3=9Fe\r\n", "base64": b"R3LDvMOfZQ==\r\n"}
    head = f"Subject: x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    assert likeness_of(head.encode() + bodies[encoding]) == likeness("x", [("text/plain", "Grüße".encode())])


def test_a_subject_may_be_folded_and_encoded():
    folded = b"Subject: one\r\n two\r\n\r\nx"
    assert likeness_of(folded) == likeness("one two", [("text/plain", b"x")])
    encoded = b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n\r\nx"
    assert likeness_of(encoded) == likeness("Grüße", [("text/plain", b"x")])


@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Type: multipart/mixed\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nno end",
        b"Content-Transfer-Encoding: base64\r\n\r\nR3",
    ],
)
def test_what_cannot_be_read_is_like_nothing_else(broken):
    assert likeness_of(broken).startswith("unreadable ")


def test_a_part_without_headers_is_text():
    content = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b--\r\n"
    assert likeness_of(content) == likeness("x", [("text/plain", b"hello")])
