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
