"""The fields that say of a message that it is one of many."""

from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header

import pytest

from mailqueue import EmailMessage
from mailqueue.bulk.listheaders import bulk_headers, feedback_id, list_id
from mailqueue.errors import InvalidMessage
from mailqueue.mail.render import render


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("", "<news.example.com>"),
        ("Our news", '"Our news" <news.example.com>'),
        ('The "best"\nof it', '"The \\"best\\" of it" <news.example.com>'),
    ],
)
def test_a_list_has_an_identifier_and_perhaps_a_title(title, value):
    assert list_id("news", "Example.com", title) == value


def test_a_title_beyond_ascii_is_encoded_and_the_identifier_is_not():
    value = list_id("news", "example.com", "Neuigkeiten für alle, " * 5)
    message = EmailMessage("s", "b", "a@example.com", ["b@example.com"], headers={"List-Id": value})
    parsed = message_from_bytes(render(message))["List-Id"]
    assert parsed.endswith("<news.example.com>")
    assert str(make_header(decode_header(parsed.rpartition(" ")[0]))).startswith("Neuigkeiten für alle, Neuigkeiten")


@pytest.mark.parametrize(
    ("name", "domain"), [("", "example.com"), ("news", ""), ("news", "a b"), ("News", "example.com")]
)
def test_one_without_list_or_domain_is_none(name, domain):
    with pytest.raises(InvalidMessage):
        list_id(name, domain)


def test_feedback_names_campaign_list_kind_and_sender():
    assert feedback_id("spring-42", "news", "example") == "spring-42:news:bulk:example"


@pytest.mark.parametrize(
    "parts",
    [
        ("a:b", "news", "example"),
        ("a", "b c", "example"),
        ("a", "b", "exam"),
        ("a", "b", "x" * 16),
        ("a", "b", "e:xample"),
    ],
)
def test_what_would_break_it_is_refused(parts):
    with pytest.raises(InvalidMessage):
        feedback_id(*parts)


def test_all_that_can_be_made_of_what_is_given():
    assert bulk_headers() == {"Precedence": "bulk", "Auto-Submitted": "auto-generated"}
    assert bulk_headers("news", domain="example.com", title="News", campaign="c1", sender="example") == {
        "Precedence": "bulk",
        "Auto-Submitted": "auto-generated",
        "List-Id": '"News" <news.example.com>',
        "Feedback-ID": "c1:news:bulk:example",
    }
