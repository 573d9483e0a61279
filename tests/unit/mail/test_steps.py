"""Whether a message makes its bytes in the steps of its class, so that they can be told without it."""

from __future__ import annotations

import pytest

from mailqueue.mail import message as ours
from mailqueue.mail.steps import APART_FROM_BYTES, APART_FROM_MAIL, DJANGO, OURS, keeps_steps
from mailqueue.rendered import RenderedMessage


def keeps(message, homes=(OURS, DJANGO), apart=APART_FROM_MAIL):
    return keeps_steps(message, homes, apart)


@pytest.mark.parametrize("name", ["EmailMessage", "EmailMultiAlternatives"])
def test_the_classes_themselves_do(api, name):
    assert keeps(getattr(api, name)())


def test_only_those_of_the_homes_do(theirs):
    assert not keeps(theirs.EmailMessage(), homes=(OURS,))
    assert not keeps(object())


@pytest.mark.parametrize("name", ["message", "_create_attachments", "_create_message"])
def test_a_subclass_with_a_step_of_its_own_does_not(api, name):
    own = type("Own", (api.EmailMessage,), {name: lambda self, *_: None})
    assert not keeps(own())
    assert not keeps(type("Further", (own,), {})())


def test_a_mixin_s_step_counts_as_well(api):
    class Mixin:
        def message(self):
            raise AssertionError

    assert not keeps(type("Own", (Mixin, api.EmailMessage), {})())


def test_a_subclass_with_other_methods_and_values_does(api):
    own = type(
        "Own", (api.EmailMultiAlternatives,), {"content_subtype": "html", "send": lambda _: 0, "more": lambda _: 0}
    )
    assert keeps(own())


def test_an_object_with_a_step_of_its_own_does_not(api):
    message = api.EmailMessage()
    message.message = lambda: None
    assert not keeps(message)


def test_bytes_do_not_depend_on_the_recipients(api):
    message = api.EmailMessage()
    message.recipients = list
    assert not keeps(message)
    assert keeps(message, apart=APART_FROM_BYTES)


def test_a_rendered_message_is_not_made_in_steps():
    assert not keeps(RenderedMessage(b"Subject: x\r\n\r\n", ["a@x.org"]))


def test_each_class_of_ours_has_its_steps_in_its_home():
    assert {ours.EmailMessage.__module__, ours.EmailMultiAlternatives.__module__} == {OURS}
