"""The content that an idempotency key stands for: what recipients get, however and whenever it was built."""

from __future__ import annotations

from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from django.core.mail import EmailMessage as DjangoMessage

from mailqueue.digest import check_key, digest
from mailqueue.envelope import pack
from mailqueue.errors import InvalidMessage
from mailqueue.ids import new_id
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives

BIG = bytes(range(256)) * 200


class Own(EmailMultiAlternatives):
    """A class of the caller's own, which travels as bytes."""

    def message(self):
        message = super().message()
        message["X-Own"] = "yes"
        return message


def part(content="nested"):
    inner = MIMEMultipart("related", None, [MIMEText(content)])
    inner.as_string()  # which gives it a boundary
    return inner


def message(kind=EmailMultiAlternatives, **fields):
    built = kind(
        **{
            "subject": "Invoice",
            "body": "text",
            "from_email": "f@example.com",
            "to": ["t@example.com"],
            "cc": ["c@example.com"],
            "headers": {"X-Order": "7"},
            "attachments": [
                ("a.bin", BIG, "application/octet-stream"),
                ("original.eml", EmailMessage("Before", "b", "f@example.com"), "message/rfc822"),
                part(),
            ],
            **fields,
        }
    )
    if isinstance(built, EmailMultiAlternatives):
        built.attach_alternative("<p>text</p>", "text/html")
    return built


def told(mail, **options):
    envelope, blobs = pack(mail, **{"id": new_id(0), "now": 0.0, **options})
    return digest(envelope, blobs)


@pytest.mark.usefixtures("django_settings")
@pytest.mark.parametrize("kind", [EmailMessage, EmailMultiAlternatives, Own, DjangoMessage])
def test_two_builds_of_one_message_are_the_same(kind):
    assert told(message(kind)) == told(message(kind))
    same = message(kind)
    assert told(same) == told(same)


def test_how_and_when_it_is_queued_does_not_matter():
    options = {"now": 9.0, "lane": "bulk", "relay": "r", "on_unknown": "hold", "labels": {"a": 1}, "expires_at": 99.0}
    assert told(message()) == told(message(), **options)


def test_date_and_message_id_do_not_matter_even_if_they_were_given():
    given = {"X-Order": "7", "Date": "Thu, 1 Jan 2026 12:00:00 -0000", "message-id": "<1@x>"}
    assert told(message()) == told(message(headers=given))


@pytest.mark.parametrize(
    "other",
    [
        {"subject": "Reminder"},
        {"body": "other"},
        {"from_email": "g@example.com"},
        {"to": ["u@example.com"]},
        {"cc": []},
        {"bcc": ["b@example.com"]},
        {"reply_to": ["r@example.com"]},
        {"headers": {"X-Order": "8"}},
        {"attachments": []},
        {"attachments": [("a.bin", BIG + b"1", "application/octet-stream")]},
        {"attachments": [part("other")]},
    ],
    ids=lambda other: next(iter(other)),
)
@pytest.mark.parametrize("kind", [EmailMultiAlternatives, Own])
def test_what_recipients_see_matters_and_who_they_are(kind, other):
    base = {"attachments": [part()]} if other.get("attachments") and len(other["attachments"]) == 1 else {}
    assert told(message(kind, **base)) != told(message(kind, **other))


def test_a_part_that_is_another_matters():
    one, two = MIMEBase("image", "png"), MIMEBase("image", "png")
    for each, name in ((one, "<a>"), (two, "<b>")):
        each.set_payload("x")
        each["Content-ID"] = name
    assert told(message(attachments=[one])) != told(message(attachments=[two]))


@pytest.mark.parametrize("key", ["order-7", "Bestellung 7/ä", "x" * 255])
def test_a_key_is_any_short_text(key):
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_a_key_that_cannot_be_one_is_refused(key):
    with pytest.raises(InvalidMessage, match="1 to 255 printable"):
        check_key(key)


@pytest.mark.parametrize("key", [7, b"key", None])
def test_a_key_is_text(key):
    with pytest.raises(TypeError, match="is a str"):
        check_key(key)
