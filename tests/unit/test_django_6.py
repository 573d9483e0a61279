"""Messages of Django 6, which lack attributes that 5.2's have: they are enqueued as those are."""

from __future__ import annotations

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives

from mailqueue.envelope import pack, unpack
from mailqueue.mail.render import render

# Undocumented, and removed in 6.0 (its release notes, "Miscellaneous").
GONE = {EmailMessage: "mixed_subtype", EmailMultiAlternatives: "alternative_subtype"}


@pytest.mark.usefixtures("django_settings")
@pytest.mark.parametrize("made", [EmailMessage, EmailMultiAlternatives])
def test_messages_without_subtypes_are_enqueued_too(made, monkeypatch):
    for cls, name in GONE.items():
        if name in vars(cls):
            monkeypatch.delattr(cls, name)
    message = made("Subject", "Body", "shop@example.com", ["ann@example.com"])
    message.attach("a.pdf", b"%PDF", "application/pdf")
    envelope, blobs = pack(message, id="1", now=1.0)
    arrived = unpack(envelope, blobs)
    assert arrived.mixed_subtype == "mixed"
    assert b"Content-Type: multipart/mixed;" in render(arrived)
