"""Tokens to unsubscribe: short, signed, unreadable for others; and the fields that carry them."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue import conf
from mailqueue.bulk.address import bare, normalise
from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.errors import ImproperlyConfigured, InvalidMessage, InvalidToken, RecipientError
from mailqueue.ledger.suppressions import key_of

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
    local_part=st.text("ab.c+'\" -", min_size=1, max_size=64),
    domain=st.sampled_from(["example.com", "Bücher.example", ".".join(["x" * 60] * 3)]),
)
def test_whatever_the_address(name, local_part, domain):
    unsubscribe = Unsubscribe("https://example.com", [KEY])
    try:
        expected = bare(f"{local_part}@{domain}")
    except RecipientError:
        with pytest.raises(RecipientError):
            unsubscribe.token(name, f"{local_part}@{domain}")
    else:
        assert unsubscribe.read(unsubscribe.token(name, f"{local_part}@{domain}")) == (name, expected)


@pytest.mark.parametrize(
    "spelling",
    [
        "Ann <ann@bücher.example>",
        '"ann"@BÜCHER.example',
        "ANN@xn--bcher-kva.example",
        "ann(at home)@bu\u0308cher.example",
        " ann@bücher。example\n",
        "ann@\uff42\u00fccher.example",
    ],
)
def test_who_leaves_is_who_is_written_to_in_whatever_spelling(unsubscribe, spelling):
    """A token, the suppression list, and the look at double addresses go by one form."""
    address = unsubscribe.read(unsubscribe.token("news", spelling)).address
    assert address == bare(spelling)
    assert key_of(address) == key_of(bare(spelling)) == normalise(spelling) == "ann@xn--bcher-kva.example"


@pytest.mark.parametrize(("name", "address"), [("Our News", ADDRESS), ("a\0b", ADDRESS), ("news", "@example.com")])
def test_for_what_is_no_list_or_no_address_there_is_no_token(unsubscribe, name, address):
    with pytest.raises(InvalidMessage):
        unsubscribe.headers(name, address)


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


@pytest.mark.parametrize(
    ("keys", "why"), [([], "no key"), ([KEY, ""], "key 2 has 0 characters"), (["x" * 21], "could be guessed")]
)
def test_without_good_keys_there_are_no_tokens(keys, why):
    with pytest.raises(ImproperlyConfigured, match=why):
        Unsubscribe("https://example.com", keys)


def test_one_key_may_stand_for_itself(unsubscribe):
    """As text it is not taken for as many keys as it has characters."""
    assert Unsubscribe("https://example.com/u", KEY).token("", ADDRESS) == unsubscribe.token("", ADDRESS)


def test_it_costs_a_recipient_next_to_nothing(unsubscribe):
    """Some 5 us (measured); the limit leaves room for a busy machine."""
    best = min(_time_of(lambda: unsubscribe.headers("news", ADDRESS)) for _ in range(50))
    assert best < 50e-6


def _time_of(call, times=100):
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times
