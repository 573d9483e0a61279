"""What a relay receives from us is what it receives from a synchronous Django send of the same message."""

from __future__ import annotations

import re

import pytest

from mailqueue.testing.scripted import ScriptedServer

PINNED = {"Date": "Fri, 20 Nov 2026 16:00:00 -0000", "Message-ID": "<1@example.com>"}
PIXEL = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))

MESSAGES = {
    "plain": {},
    "leading-dots": {"body": ".\n..\n.x\n\n.\nend\n.\n"},
    "no-final-newline": {"body": "end"},
    "empty": {"body": ""},
    "crlf-and-cr": {"body": "a\r\nb\rc\nd"},
    "eight-bit": {"body": "Grüße, 你好 🎉\n.\n"},
    "long-eight-bit-line": {"body": "ü" * 600},
    "long-line": {"body": "x" * 2000},
    "latin-1": {"body": "Grüße", "encoding": "iso-8859-1"},
    "from-line": {"body": "From me\nFrom you\n"},
    "subject-beyond-ascii": {"subject": "Grüße an alle, die das hier lesen, und an alle anderen, sehr lang"},
    "long-subject": {"subject": "word " * 40},
    "display-names": {"from_email": "Jürgen <from@example.com>", "to": ['"Doe, Jane" <jane@example.com>']},
    "domains-beyond-ascii": {
        "from_email": "from@bücher.example",
        "to": ["to@bücher.example"],
        "cc": ["c@xn--fa-hia.de"],
    },
    "local-part-beyond-ascii": {"to": ["jürgen@example.com"]},
    "quoted-local-part": {"to": ['"a@b"@example.com'], "bcc": ['"john smith"@example.com']},
    "no-domain": {"from_email": "root", "to": ["postmaster"]},
    "many-recipients": {"to": ["a@example.com", "b@example.com"], "cc": ["c@example.com"], "bcc": ["d@example.com"]},
    "sender-in-header": {"headers": {"From": "Other <other@example.com>", "X-Text": "grüße"}},
    "reply-to": {"reply_to": ["Réponse <r@example.com>"]},
    "attachments": {
        "attachments": [
            ("dots.txt", ".\n..\n.\n", "text/plain"),
            ("pixel.png", PIXEL, "image/png"),
            ("grüße.bin", b"\r\n.\r\n", None),
        ]
    },
    "alternatives": {"alternatives": [("<p>.Grüße</p>\n.\n", "text/html")]},
}


def make(api, changes):
    changes = dict(changes)
    encoding = changes.pop("encoding", None)
    alternatives = changes.pop("alternatives", ())
    headers = PINNED | changes.pop("headers", {})
    kind = api.EmailMultiAlternatives if alternatives else api.EmailMessage
    usual = {"subject": "Subject", "body": "Body\n", "from_email": "from@example.com", "to": ["to@example.com"]}
    message = kind(**(usual | changes), headers=headers)
    if encoding is not None:
        message.encoding = encoding
    for content, mimetype in alternatives:
        message.attach_alternative(content, mimetype)
    return message


def received(server):
    """What arrived, with its boundaries pinned, and how it was announced."""
    content = server.messages[0].content
    for number, boundary in enumerate(dict.fromkeys(re.findall(rb'boundary="([^"]+)"', content))):
        content = content.replace(boundary, b"boundary-%d" % number)
    return server.messages[0].sender, server.messages[0].recipients, content


@pytest.mark.parametrize("name", MESSAGES)
def test_the_relay_receives_what_django_would_have_sent(ours, theirs, name):
    arrived = []
    for api in (ours, theirs):
        with ScriptedServer() as server:
            backend = api.EmailBackend(host=server.host, port=server.port, timeout=10)
            assert backend.send_messages([make(api, MESSAGES[name])]) == 1
            arrived.append(received(server))
    assert arrived[0] == arrived[1]


@pytest.mark.parametrize("name", MESSAGES)
def test_deliver_sends_the_same_bytes_as_send_messages(ours, name):
    arrived = []
    for send in (lambda backend, ms: backend.send_messages(ms), lambda backend, ms: list(backend.deliver(ms))):
        with ScriptedServer() as server:
            backend = ours.EmailBackend(host=server.host, port=server.port, timeout=10)
            send(backend, [make(ours, MESSAGES[name])])
            backend.close()
            arrived.append(received(server))
    assert arrived[0] == arrived[1]


def test_like_django_we_ask_for_smtputf8_for_no_message(ours):
    with ScriptedServer() as server:
        backend = ours.EmailBackend(host=server.host, port=server.port, timeout=10)
        backend.send_messages(make(ours, changes) for changes in MESSAGES.values())
        assert len(server.messages) == len(MESSAGES)
        assert not [each for each in server.messages if "SMTPUTF8" in each.parameters]


def test_an_eight_bit_body_is_announced_as_such(ours):
    with ScriptedServer() as server:
        backend = ours.EmailBackend(host=server.host, port=server.port, timeout=10)
        backend.send_messages([make(ours, MESSAGES["plain"]), make(ours, MESSAGES["eight-bit"])])
        assert ["BODY=8BITMIME" in each.parameters for each in server.messages] == [False, True]
