"""The settings of consent: each is read from the environment and from Python, and says what is wrong with it."""

from __future__ import annotations

import pytest

from mailqueue import conf
from mailqueue.conf.consent import HARD_REFUSALS, Signing
from mailqueue.errors import ImproperlyConfigured

KEY = "never-shown-never-shown-never-shown"


def problem(**settings):
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.configure(**settings)
    return str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.com", "https://example.com/mail/u/", "http://localhost:8000/u", "http://[::1]/"]
)
def test_a_page_is_https_but_on_this_host(url):
    conf.configure(MAILQUEUE_UNSUBSCRIBE_URL=url)
    assert conf.get("MAILQUEUE_UNSUBSCRIBE_URL") == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/u", "https"),
        ("example.com/u", "no URL"),
        ("https://", "no URL"),
        ("https://example.com/?u=", "tokens are added"),
        ("https://example.com/#u", "tokens are added"),
        ("https://example.com/a b", "no URL"),
        ("https://[::1/u", "no URL"),
    ],
)
def test_what_is_no_page_is_refused(url, why):
    assert why in problem(MAILQUEUE_UNSUBSCRIBE_URL=url)


@pytest.mark.parametrize("text", [f"{KEY},{KEY}2", f" {KEY} , {KEY}2", f'["{KEY}", "{KEY}2"]'])
def test_keys_come_from_the_environment(monkeypatch, text):
    monkeypatch.setenv("MAILQUEUE_UNSUBSCRIBE_KEYS", text)
    assert conf.get("MAILQUEUE_UNSUBSCRIBE_KEYS") == (KEY, f"{KEY}2")


def test_one_key_is_a_list_of_one():
    conf.configure(MAILQUEUE_UNSUBSCRIBE_KEYS=KEY)
    assert conf.get("MAILQUEUE_UNSUBSCRIBE_KEYS") == (KEY,)
    assert KEY not in repr(conf.get("MAILQUEUE_UNSUBSCRIBE_KEYS"))


@pytest.mark.parametrize("keys", [[], ["short"], [KEY, "never-shown"], [KEY, 3], {"a": KEY}])
def test_keys_that_could_be_guessed_are_refused_and_not_shown(keys):
    text = problem(MAILQUEUE_UNSUBSCRIBE_KEYS=keys)
    assert "token_urlsafe" in text
    assert "never-shown" not in text


def test_a_mailbox_is_a_bare_address():
    conf.configure(MAILQUEUE_UNSUBSCRIBE_MAILTO="leave@example.com")
    assert "no address" in problem(MAILQUEUE_UNSUBSCRIBE_MAILTO="Leave <leave@example.com>")


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ("hard", HARD_REFUSALS),
        ("off", ()),
        (["5.1.1", 550], ("5.1.1", "550")),
        (["5.4.1", "hard"], ("5.4.1", *HARD_REFUSALS)),
        ([], ()),
    ],
)
def test_refusals_are_codes_or_a_word(given, codes):
    conf.configure(MAILQUEUE_SUPPRESS_REFUSED=given)
    assert conf.get("MAILQUEUE_SUPPRESS_REFUSED") == codes


def test_refusals_come_from_the_environment(monkeypatch):
    assert conf.get("MAILQUEUE_SUPPRESS_REFUSED") == HARD_REFUSALS
    monkeypatch.setenv("MAILQUEUE_SUPPRESS_REFUSED", "hard, 5.4.1")
    assert conf.get("MAILQUEUE_SUPPRESS_REFUSED") == (*HARD_REFUSALS, "5.4.1")


@pytest.mark.parametrize("codes", ["soft", ["4.2.2"], ["450"], ["hard", "off"], {"a": 1}, 7])
def test_what_is_no_permanent_refusal_is_refused(codes):
    assert "MAILQUEUE_SUPPRESS_REFUSED" in problem(MAILQUEUE_SUPPRESS_REFUSED=codes)


def test_a_relays_signature_has_domain_selector_and_key():
    dkim = {"domain": "Example.com", "selector": "mail", "key": KEY, "headers": ["X-Campaign"]}
    conf.configure(MAILQUEUE_RELAYS={"news": {"dkim": dkim}})
    (signing,) = conf.get("MAILQUEUE_RELAYS")["news"]["dkim"]
    assert signing == Signing("example.com", "mail", KEY, "", ("x-campaign",))
    assert KEY not in repr(signing)


@pytest.mark.parametrize(
    ("dkim", "why"),
    [
        ("example.com", "it must be like"),
        ({"domain": "example.com", "selector": "s"}, "it needs a key"),
        ({"domain": "example.com", "selector": "s", "key": KEY, "key_file": "/k"}, "it needs a key"),
        ({"domain": "example.com", "selector": "s", "keyfile": "/k"}, "key_file"),
        ({"domain": "a b", "selector": "s", "key": KEY}, "domain"),
        ({"domain": "example.com", "key": KEY}, "selector"),
        ({"domain": "example.com", "selector": "s", "key": KEY, "headers": "X-A"}, "list of names"),
        ({"domain": "example.com", "selector": "s", "key": KEY, "headers": ["X A"]}, "no name"),
        ({"domain": "example.com", "selector": "s", "key": 5}, "quotes"),
    ],
)
def test_what_lacks_or_is_wrong_in_it_is_told_and_no_key(dkim, why):
    text = problem(MAILQUEUE_RELAYS={"news": {"dkim": dkim}})
    assert why in text
    assert "dkim of the relay 'news'" in text
    assert KEY not in text
