"""``mailqueue check`` tells every problem of the settings at once."""

from __future__ import annotations

from click.testing import CliRunner

from mailqueue.cli import main


def run(*args: str):
    return CliRunner().invoke(main, ["check", *args])


def test_settings_in_order():
    result = run()
    assert (result.exit_code, result.stdout) == (0, "The settings are in order.\n")


def test_all_problems_at_once_on_stderr(monkeypatch):
    monkeypatch.setenv("EMAIL_PORT", "none")
    monkeypatch.setenv("MAILQUEUE_BROKER_URI", "redis://localhost")
    result = run()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert all(line.startswith("mailqueue: ") for line in result.stderr.splitlines())
    assert "EMAIL_PORT" in result.stderr
    assert "MAILQUEUE_BROKER_URI" in result.stderr
    assert "MAILQUEUE_BROKER_URL" in result.stderr


def test_a_role_leaves_out_what_the_other_side_needs(monkeypatch):
    monkeypatch.setenv("EMAIL_SSL_CERTFILE", "/nowhere.pem")
    assert run("--role", "worker").exit_code == 1
    assert run("--role", "producer").exit_code == 0


def test_bulk_mail_without_a_way_out_of_it_is_noted(monkeypatch):
    monkeypatch.setenv(
        "MAILERS", '{"news": {"BACKEND": "mailqueue.mail.backends.queue.EmailBackend", "OPTIONS": {"lane": "bulk"}}}'
    )
    result = run()
    assert (result.exit_code, result.stdout) == (0, "The settings are in order.\n")
    assert result.stderr.startswith("mailqueue: note: MAILERS['news'] is for bulk mail")
    assert "MAILQUEUE_UNSUBSCRIBE_URL" in result.stderr
    monkeypatch.setenv("MAILQUEUE_UNSUBSCRIBE_URL", "https://example.com/u")
    assert "MAILQUEUE_UNSUBSCRIBE_URL is of no use without MAILQUEUE_UNSUBSCRIBE_KEYS" in run().stderr
    monkeypatch.setenv("MAILQUEUE_UNSUBSCRIBE_KEYS", "k" * 40)
    assert run().stderr == ""


def test_a_key_that_mail_cannot_be_signed_with_is_a_problem(monkeypatch):
    monkeypatch.setenv(
        "MAILQUEUE_RELAYS", '{"default": {"dkim": {"domain": "example.com", "selector": "s", "key": "never-shown"}}}'
    )
    result = run("--role", "worker")
    assert result.exit_code == 1
    assert "dkim of the relay 'default': the key is no private key" in result.stderr
    assert "never-shown" not in result.stderr
    assert run("--role", "producer").exit_code == 0
