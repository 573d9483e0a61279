"""Replies as values, and a relay's words as text."""

from __future__ import annotations

import pytest

from mailqueue.smtp.reply import Reply, reply_text


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [
        ("2.0.0 Ok: queued as 4ABC", "2.0.0"),
        ("4.7.1 Greylisted", "4.7.1"),
        ("5.1.1", "5.1.1"),
        ("5.7.509 Access denied", "5.7.509"),
        ("5.1.1\n5.1.1 several lines", "5.1.1"),
        ("", None),
        ("Ok 2.0.0", None),
        ("2.0.0Ok", None),
        ("3.0.0 no such class", None),
        ("5.1 half of one", None),
        ("5.1234.1 too long a subject", None),
        ("5.1.1.1 one too many", None),
    ],
)
def test_the_enhanced_code_is_what_the_text_begins_with(text, enhanced):
    assert Reply(250, text).enhanced == enhanced


@pytest.mark.parametrize(("reply", "shown"), [(Reply(250, "ok"), "250 ok"), (Reply(354), "354")])
def test_it_reads_as_on_the_wire(reply, shown):
    assert str(reply) == shown


def test_equal_replies_are_equal():
    assert Reply(250, "ok") == Reply(250, "ok")
    assert len({Reply(250, "ok"), Reply(250, "ok")}) == 1


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"2.0.0 ok", "2.0.0 ok"),
        (b"first\nsecond", "first\nsecond"),
        ("grüße".encode(), "grüße"),
        (b"gr\xfc\xdfe", "gr\ufffd\ufffde"),
        (b"a\tb", "a b"),
        (b"\x1b[2Jcleared", "\ufffd[2Jcleared"),
        (b"nul\0", "nul\ufffd"),
        ("already text", "already text"),
    ],
)
def test_a_relays_words_can_be_stored_and_shown(octets, text):
    assert reply_text(octets) == text
