"""Secrets: usable as text, shown by no repr and no error."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from mailqueue import conf
from mailqueue.conf.secret import Secret, SecretURL
from mailqueue.errors import ImproperlyConfigured

WORD = "hunter2"


def test_a_secret_is_text_whose_repr_hides_it():
    secret = Secret(WORD)
    assert secret == WORD
    assert f"{secret}" == WORD
    assert len(secret) == 7
    assert WORD not in repr(secret)
    assert WORD not in repr({"password": [secret]})
    assert repr(Secret("")) == "''"


@pytest.mark.parametrize("kind", [Secret, SecretURL])
def test_copies_and_pickles_hide_it_as_well(kind):
    secret = kind("redis://:hunter2@h")
    for same in (copy.copy(secret), copy.deepcopy(secret), pickle.loads(pickle.dumps(secret))):
        assert same == secret
        assert WORD not in repr(same)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:hunter2@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://user:hunter2@h/0", "redis://user:***@h/0"),
        ("redis://user:hunt/er2@h/0", "redis://user:***@h/0"),
        ("redis://user:hunt@er2@h/0", "redis://user:***@h/0"),
        ("redis://user:hunt;er2@h/0", "redis://user:***@h/0"),
        ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
        ("amqp://a:hunter2@one//;amqp://b:hunter2@two//", "amqp://a:***@one//;amqp://b:***@two//"),
        ("unix://:hunter2@/run/v.sock", "unix://:***@/run/v.sock"),
        ("hunter2", "***"),
    ],
)
def test_passwords_in_urls_are_masked(url, shown):
    assert SecretURL(url).masked == shown
    assert repr(SecretURL(url)) == repr(shown)
    assert str(SecretURL(url)) == url


def test_settings_that_are_secret_are_hidden_in_a_repr(monkeypatch):
    monkeypatch.setenv("EMAIL_HOST_PASSWORD", WORD)
    monkeypatch.setenv("MAILQUEUE_BROKER_URL", f"redis://:{WORD}@h/0")
    monkeypatch.setenv("MAILERS", f'{{"x": {{"BACKEND": "a.B", "OPTIONS": {{"password": "{WORD}", "host": "h"}}}}}}')
    for name in ("EMAIL_HOST_PASSWORD", "MAILQUEUE_BROKER_URL", "MAILQUEUE_LEDGER_URL", "MAILERS"):
        assert WORD not in repr(conf.get(name))
    assert conf.get("EMAIL_HOST_PASSWORD") == WORD
    assert conf.get("MAILERS")["x"]["OPTIONS"] == {"password": WORD, "host": "h"}
    assert "'host': 'h'" in repr(conf.get("MAILERS"))


@pytest.mark.parametrize("option", ["password", "smtp_password", "api_key", "apikey", "secret_key", "access_token"])
def test_options_that_sound_secret_are_hidden(option):
    conf.configure(MAILERS={"x": {"BACKEND": "a.B", "OPTIONS": {"deep": {option: WORD}}}})
    assert WORD not in repr(conf.get("MAILERS"))
    assert conf.get("MAILERS")["x"]["OPTIONS"]["deep"][option] == WORD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAILQUEUE_BROKER_URL", "http://user:hunter2@h/0"),
        ("MAILQUEUE_BROKER_URL", "redis:/user:hunter2@h/0"),
        ("MAILQUEUE_BROKER_URL", "redis://user:hunter2@h:port/0"),
        ("MAILQUEUE_BROKER_URL", "redis://user:hunter2/0"),
        ("MAILQUEUE_BROKER_URL", "hunter2"),
        ("MAILQUEUE_LEDGER_URL", "amqp://user:hunter2@h/0"),
        ("MAILERS", '{"x": {"OPTIONS": {"password": "hunter2", }}}'),
        ("MAILERS", '["hunter2"]'),
    ],
)
def test_no_error_shows_one(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    for call in (lambda: conf.get(name), conf.check):
        with pytest.raises(ImproperlyConfigured) as caught:
            call()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert WORD not in shown
        assert all(WORD not in str(vars(error)) for error in chain(caught.value))


def chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *chain(error.__cause__ or error.__context__)]


def test_a_password_that_is_no_text_is_not_shown_either():
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.configure(EMAIL_HOST_PASSWORD=b"hunter2")
    assert WORD not in str(caught.value)
