"""The one door to a message's bytes; how often they are made."""

from __future__ import annotations

import copy
import os

import pytest

from mailqueue.mail import encoded, render
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives
from mailqueue.mail.render import fix
from mailqueue.rendered import RenderedMessage

PINNED = {"Date": "d", "Message-ID": "<i@example.com>"}


def usual(**options):
    return EmailMultiAlternatives("s", "b", "f@example.com", ["t@example.com"], headers=PINNED, **options)


@pytest.fixture
def made(monkeypatch):
    """The messages whose bytes were made."""
    made = []
    write = render.write
    monkeypatch.setattr(render, "write", lambda message: made.append(message) or write(message))
    return made


def test_a_message_is_rendered_as_it_is_now(made):
    message = usual()
    before = render.render(message)
    message.subject = "another"
    assert render.render(message) == before.replace(b"Subject: s", b"Subject: another")
    assert made == [message, message]


def test_a_fixed_message_is_rendered_once(made):
    message = usual(attachments=[("a.bin", b"\0", None)])
    fix(message)
    assert made == []
    assert render.render(message) is render.render(message)
    assert made == [message]


def test_a_fixed_message_that_the_reference_writes_is_written_once(monkeypatch):
    message = EmailMessage("s", "b", headers=PINNED)
    message.encoding = "latin-1"
    fix(message)
    octets = render.render(message)
    monkeypatch.delattr(render, "_reference")
    assert render.render(message) is octets


def test_a_fixed_message_keeps_no_large_bytes_and_its_file_is_encoded_once(made, monkeypatch):
    message = usual(attachments=[("a.bin", os.urandom(300_000), None)])
    fix(message)
    octets = render.render(message)
    monkeypatch.setattr(encoded, "encode_lines", lambda content: pytest.fail("again") if len(content) > 4096 else ())
    assert len(render.render(message)) > 400_000
    assert made == [message, message]
    assert len(octets) > 400_000
    assert all(len(value) < 400_000 for value in vars(message).values() if isinstance(value, bytes))


def test_bytes_that_are_given_stay():
    message = usual()
    fix(message, b"Subject: x\r\n\r\n")
    assert render.render(message) == b"Subject: x\r\n\r\n"


def test_a_rendered_message_is_not_parsed_to_be_rendered(monkeypatch):
    octets = b"Subject: x\r\n\r\nFrom a\r\n"
    message = RenderedMessage(octets, ["t@example.com"])
    monkeypatch.delattr(render, "_reference")
    assert render.render(message) is octets
    assert render.render(copy.deepcopy(message)) == octets


def test_a_message_that_cannot_be_rendered_is_refused_each_time():
    message = usual()
    message.subject = "a\nb"
    fix(message)
    for _ in range(2):
        with pytest.raises(ValueError, match="newlines"):
            render.render(message)
