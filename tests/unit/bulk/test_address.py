"""One address in one form, its digest, and names beside it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.bulk.address import bare, digest, mailbox, normalise
from mailqueue.errors import RecipientError
from mailqueue.mail.address import envelope_address, sanitize_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("jane@example.org", "jane@example.org"),
        (" jane@example.org\n", "jane@example.org"),
        ("Jane Doe <JANE@Example.org>", "jane@example.org"),
        ("jane@Bücher.example", "jane@xn--bcher-kva.example"),
        ("jane@xn--BCHER-kva.example", "jane@xn--bcher-kva.example"),
        ('"a b"@example.org', '"a b"@example.org'),
        ("root@localhost", "root@localhost"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@b_c.example", "a@b_c.example"),
    ],
)
def test_the_form_by_which_two_are_the_same(address, expected):
    assert normalise(address) == expected
    assert normalise(expected) == expected


def test_a_bare_address_keeps_its_case():
    assert bare("Jane <Jane.Doe@Example.org>") == "Jane.Doe@Example.org"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "not one mailbox"),
        ("tester", "no domain"),
        ("a@b@c", "not one mailbox"),
        ("a@gmail..com", "not one mailbox"),
        ("a@gmail,com", "not one mailbox"),
        ("a@x.org, b@x.org", "not one mailbox"),
        ("to@", "not one mailbox"),
        ("a b@x.org", "blank or a stray dot"),
        (".a@x.org", "blank or a stray dot"),
        ("a.@x.org", "blank or a stray dot"),
        ("a@-x.org", "is no domain"),
        ("a\0b@x.org", "control characters"),
        ("jané@x.org", "RFC 6531"),
        ("a" * 65 + "@x.org", "at most 254"),
        ("a@" + ".".join(["x" * 60] * 5), "at most 254"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(address, why):
    with pytest.raises(RecipientError, match=why):
        bare(address)


def test_a_long_text_is_not_shown_whole():
    with pytest.raises(RecipientError) as caught:
        bare("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ['"' * 100_000, "a. " * 40_000, "a" + " " * 100_000, "x@" + "a." * 50_000])
def test_no_text_keeps_the_reader_busy(text):
    begun = time.perf_counter()
    with pytest.raises(RecipientError, match="characters"):
        bare(text)
    assert time.perf_counter() - begun < 1.0


def test_the_digest_is_of_the_address_alone_and_stays_what_it_is():
    """It is in the ids of the ledger: another release must find what this one wrote."""
    assert digest("Jane Doe <JANE@Example.org>") == digest("jane@example.org") == "E9hVzpMQc9SS"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("jane@x.org", "jane@x.org"),
        ("<jane@x.org>", "jane@x.org"),
        ("Jane Doe <jane@x.org>", "Jane Doe <jane@x.org>"),
        ("Zoë <jane@x.org>", "Zoë <jane@x.org>"),
        ("Doe, Jane <jane@x.org>", '"Doe, Jane" <jane@x.org>'),
        ('"Doe, Jane" <jane@x.org>', '"Doe, Jane" <jane@x.org>'),
        ('Jane "J" Doe <jane@x.org>', r'"Jane \"J\" Doe" <jane@x.org>'),
        ("Eve <eve@x.org> <jane@x.org>", '"Eve <eve@x.org>" <jane@x.org>'),
        ("Jane (at home) <jane@x.org>", '"Jane (at home)" <jane@x.org>'),
    ],
)
def test_a_name_is_quoted_if_it_has_to_be(text, shown):
    assert mailbox(text) == (shown, "jane@x.org")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30))
def test_whatever_the_name_the_mail_goes_to_the_address(name):
    shown, address = mailbox(f"{name} <jane@x.org>")
    assert address == "jane@x.org"
    assert envelope_address(shown) == "jane@x.org"
    assert sanitize_address(shown, "utf-8").isascii()
