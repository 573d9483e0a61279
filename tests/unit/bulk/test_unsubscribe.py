"""Tokens to unsubscribe: short, signed, unreadable for others; and the fields that carry them."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue import conf
from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.errors import ImproperlyConfigured, InvalidToken

KEY, OLD = "k" * 30, "o" * 30
ADDRESS = "firstname.lastname@example.com"


@pytest.fixture
def unsubscribe():
    return Unsubscribe("https://example.com/u/", [KEY])


def test_a_token_tells_list_and_address(unsubscribe):
    assert unsubscribe.read(unsubscribe.token("news", ADDRESS)) == ("news", ADDRESS)
    assert unsubscribe.read(unsubscribe.token("", ADDRESS)) == ("", ADDRESS)


@given(
    name=st.sampled_from(["", "a", "news.example.com", "x" * 64]),
    address=st.text("ab.c@ü+'\" -", min_size=1, max_size=254),
)
def test_whatever_the_address(name, address):
    unsubscribe = Unsubscribe("https://example.com", [KEY])
    token = unsubscribe.token(name, address)
    if len(token) <= 480:
        assert unsubscribe.read(token) == (name, address)


def test_it_is_the_same_each_time_and_short(unsubscribe):
    token = unsubscribe.token("news", ADDRESS)
    assert token == unsubscribe.token("news", ADDRESS)
    assert len(token) <= 4 * (17 + len("news") + 1 + len(ADDRESS)) / 3 + 1
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_nobody_reads_the_address_out_of_it(unsubscribe):
    octets = base64.urlsafe_b64decode(unsubscribe.token("news", ADDRESS) + "==")
    assert b"example" not in octets
    assert b"news" not in octets
    alike = base64.urlsafe_b64decode(unsubscribe.token("news", ADDRESS[:-1] + "n") + "==")
    assert octets[17:30] != alike[17:30]


def test_what_is_changed_in_it_anywhere_is_found_out(unsubscribe):
    token = unsubscribe.token("news", ADDRESS)
    for place in range(len(token) - 1):  # the last character may have bits that count for nothing
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(InvalidToken):
            unsubscribe.read(token[:place] + other + token[place + 1 :])
    for length in range(len(token)):
        with pytest.raises(InvalidToken):
            unsubscribe.read(token[:length])


@pytest.mark.parametrize("token", ["", "x", "!" * 40, "é", "A" * 22, "A" * 481, "../../etc", "AQ" + "A" * 60])
def test_what_is_no_token_is_none(unsubscribe, token):
    with pytest.raises(InvalidToken):
        unsubscribe.read(token)


def test_blanks_and_padding_that_a_client_adds_do_not_matter(unsubscribe):
    token = unsubscribe.token("news", ADDRESS)
    assert unsubscribe.read(f" {token}\r\n").address == ADDRESS
    assert unsubscribe.read(f"{token}==").address == ADDRESS


def test_keys_are_changed_without_a_break():
    before = Unsubscribe("https://example.com", [OLD])
    during = Unsubscribe("https://example.com", [KEY, OLD])
    after = Unsubscribe("https://example.com", [KEY])
    token = before.token("news", ADDRESS)
    assert during.read(token).address == ADDRESS
    assert after.read(during.token("news", ADDRESS)).address == ADDRESS
    with pytest.raises(InvalidToken, match="no key"):
        after.read(token)


def test_fields_are_those_of_rfc_8058(unsubscribe):
    token = unsubscribe.token("news", ADDRESS)
    assert unsubscribe.headers("news", ADDRESS) == {
        "List-Unsubscribe": f"<https://example.com/u/{token}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert unsubscribe.url("news", ADDRESS) == f"https://example.com/u/{token}"


def test_a_mailbox_that_takes_requests_is_named_after_the_url():
    unsubscribe = Unsubscribe("https://example.com/u", [KEY], mailto="leave@example.com")
    token = unsubscribe.token("news", ADDRESS)
    assert unsubscribe.headers("news", ADDRESS)["List-Unsubscribe"] == (
        f"<https://example.com/u/{token}>, <mailto:leave@example.com?subject={token}>"
    )


def test_no_repr_shows_a_key(unsubscribe):
    assert KEY not in repr(unsubscribe)
    assert KEY not in repr(conf.get("MAILQUEUE_UNSUBSCRIBE_KEYS"))


def test_it_comes_of_the_settings():
    conf.configure(
        MAILQUEUE_UNSUBSCRIBE_URL="https://example.com/u/",
        MAILQUEUE_UNSUBSCRIBE_KEYS=[KEY, OLD],
        MAILQUEUE_UNSUBSCRIBE_MAILTO="leave@example.com",
    )
    unsubscribe = Unsubscribe.from_settings()
    assert unsubscribe.read(Unsubscribe("x", [OLD]).token("", ADDRESS)).address == ADDRESS
    assert "<mailto:leave@example.com?" in unsubscribe.headers("", ADDRESS)["List-Unsubscribe"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "MAILQUEUE_UNSUBSCRIBE_URL"),
        ({"MAILQUEUE_UNSUBSCRIBE_URL": "https://example.com"}, "MAILQUEUE_UNSUBSCRIBE_KEYS"),
        ({"MAILQUEUE_UNSUBSCRIBE_KEYS": [KEY]}, "MAILQUEUE_UNSUBSCRIBE_URL"),
    ],
)
def test_settings_that_lack_are_named(settings, named):
    conf.configure(**settings)
    with pytest.raises(ImproperlyConfigured, match=named):
        Unsubscribe.from_settings()


def test_without_a_key_there_are_no_tokens():
    with pytest.raises(ImproperlyConfigured, match="no key"):
        Unsubscribe("https://example.com", [])


def test_it_costs_a_recipient_next_to_nothing(unsubscribe):
    """Some 5 us (measured); the limit leaves room for a busy machine."""
    best = min(_time_of(lambda: unsubscribe.headers("news", ADDRESS)) for _ in range(50))
    assert best < 50e-6


def _time_of(call, times=100):
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times
