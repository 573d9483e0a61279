"""The thorough check: every problem at once, each with its remedy."""

from __future__ import annotations

import sys
import types

import pytest

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured


def problems(role=None) -> list[str]:
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.check(role)
    return list(caught.value.problems)


def only(role=None) -> str:
    (problem,) = problems(role)
    return problem


@pytest.mark.parametrize("role", [None, "producer", "worker"])
def test_the_defaults_pass(role):
    conf.check(role)


def test_all_problems_are_told_at_once(monkeypatch):
    monkeypatch.setenv("EMAIL_PORT", "0")
    monkeypatch.setenv("MAILQUEUE_DEADLINE", "soon")
    monkeypatch.setenv("MAILQUEUE_LEASE_SECOND", "3")
    monkeypatch.setenv("MAILERS", "{")
    conf.configure(EMAIL_USE_TLS=True, EMAIL_USE_SSL=True)
    found = problems()
    assert len(found) == 5
    for start in (
        "EMAIL_PORT (from the environment): ",
        "MAILQUEUE_DEADLINE (from the environment): ",
        "MAILQUEUE_LEASE_SECOND (from the environment) is no setting; did you mean MAILQUEUE_LEASE_SECONDS?",
        "MAILERS (from the environment): it is no JSON",
        "EMAIL_USE_TLS and EMAIL_USE_SSL exclude each other",
    ):
        assert any(problem.startswith(start) for problem in found), start


def test_a_problem_is_told_once(monkeypatch):
    monkeypatch.setenv("MAILQUEUE_BROKER_URL", "reddis://h")
    assert only() == (
        "MAILQUEUE_BROKER_URL (from the environment): its scheme reddis:// is not one of redis://, rediss://, "
        "redis+socket://, unix://, sentinel://, amqp://, amqps://, pyamqp://, memory://; did you mean redis?"
    )


@pytest.mark.parametrize(
    "name",
    [
        "MAILQUEUE_PORT",
        "MAILQUEUE_PORT_6379_TCP",
        "MAILQUEUE_PORT_6379_TCP_ADDR",
        "MAILQUEUE_SERVICE_HOST",
        "MAILQUEUE_VALKEY_SERVICE_PORT_CLIENT",
    ],
)
def test_what_kubernetes_says_of_a_service_called_mailqueue_is_no_misspelt_setting(name, monkeypatch):
    monkeypatch.setenv(name, "tcp://10.0.0.1:6379")
    conf.check()


def test_a_broker_that_cannot_hold_the_ledger(monkeypatch):
    monkeypatch.setenv("MAILQUEUE_BROKER_URL", "amqp://mq.example//")
    assert only().startswith("MAILQUEUE_LEDGER_URL is not set")


def test_a_key_without_a_certificate():
    conf.configure(EMAIL_SSL_KEYFILE=__file__)
    assert "without EMAIL_SSL_CERTFILE; set both, or neither" in only()


def test_workers_can_read_the_certificates(tmp_path):
    conf.configure(EMAIL_SSL_CERTFILE=tmp_path / "cert.pem")
    assert "cert.pem', which cannot be read; correct the path" in only("worker")
    conf.check("producer")  # it has no use for the file
    (tmp_path / "cert.pem").touch()
    conf.check("worker")


def test_the_charset_is_known():
    conf.configure(DEFAULT_CHARSET="utf-9")
    assert only() == "DEFAULT_CHARSET (from configure()): 'utf-9' is no charset that Python knows; use utf-8"


def test_people_are_addresses_or_pairs():
    conf.configure(ADMINS="ann@example.org", MANAGERS=["ann@example.org", ("Bob", "bob@example.org")])
    assert only().startswith(
        "ADMINS (from configure()): it must be a list of addresses or of pairs of name and address"
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"MAILQUEUE_TICK_SECONDS": 4, "MAILQUEUE_LEASE_SECONDS": 3},
            "MAILQUEUE_LEASE_SECONDS (3 s) must be more than MAILQUEUE_TICK_SECONDS (4 s)",
        ),
        (
            {"MAILQUEUE_RETENTION": 20},
            "MAILQUEUE_RETENTION (20 s) must be more than MAILQUEUE_LEASE_SECONDS (30 s)",
        ),
        (
            {"MAILQUEUE_MAX_AGE": 1.5},
            "MAILQUEUE_MAX_AGE (1.5 s) must be more than MAILQUEUE_LEASE_SECONDS (30 s)",
        ),
    ],
)
def test_durations_fit_each_other(settings, told):
    conf.configure(**settings)
    assert only().startswith(told)


class TestSpool:
    def test_one_that_can_be_made_or_is_there_passes(self, tmp_path):
        for path in (tmp_path / "spool.db", str(tmp_path / "spool.db")):
            conf.configure(MAILQUEUE_SPOOL=path)
            conf.check()
        (tmp_path / "spool.db").touch()
        conf.check()

    @pytest.mark.parametrize("role", ["producer", "worker"])
    def test_its_directory_is_there(self, tmp_path, role):
        conf.configure(MAILQUEUE_SPOOL=tmp_path / "absent" / "spool.db")
        assert "whose directory is not there; make it" in only(role)

    def test_its_path_is_a_full_one(self):
        conf.configure(MAILQUEUE_SPOOL="spool.db")
        assert "look for in its own directory; give a full path" in only()

    def test_it_is_a_file(self, tmp_path):
        conf.configure(MAILQUEUE_SPOOL=tmp_path)
        assert "is no file that can be written" in only()

    def test_its_directory_can_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr("os.access", lambda path, _mode: str(path) != str(tmp_path))
        conf.configure(MAILQUEUE_SPOOL=tmp_path / "spool.db")
        assert "whose directory cannot be written" in only("producer")


class TestBackends:
    def test_delivering_to_the_queue_is_refused(self, monkeypatch):
        monkeypatch.setenv("MAILQUEUE_DELIVERY_BACKEND", conf.QUEUE_BACKEND)
        assert "enqueue for ever" in only("producer")
        assert conf.SMTP_BACKEND in only("worker")

    def test_so_is_a_kind_of_queue_backend(self, monkeypatch):
        base = type("EmailBackend", (), {"__module__": conf.QUEUE_BACKEND.rpartition(".")[0]})
        module = types.ModuleType("a_project")
        module.Custom = type("Custom", (base,), {})
        monkeypatch.setitem(sys.modules, "a_project", module)
        conf.configure(MAILQUEUE_DELIVERY_BACKEND="a_project.Custom")
        assert "a kind of queue backend" in only("worker")

    def test_a_workers_backend_can_be_imported(self):
        conf.configure(MAILQUEUE_DELIVERY_BACKEND="no_such_package.Backend")
        assert "whose import fails (ModuleNotFoundError: No module named 'no_such_package')" in only("worker")
        conf.check("producer")

    def test_a_backend_is_in_its_module(self):
        conf.configure(EMAIL_BACKEND="mailqueue.errors.Backend")
        assert "the module mailqueue.errors has no Backend; correct the path" in only("producer")
        conf.check("worker")

    def test_a_module_whose_import_fails_is_told_with_the_others(self, tmp_path, monkeypatch):
        (tmp_path / "broken_backend.py").write_text("raise RuntimeError('half\\nconfigured')")
        monkeypatch.syspath_prepend(tmp_path)
        conf.configure(MAILERS={"x": {"BACKEND": "broken_backend.Backend"}})
        assert "BACKEND of MAILERS['x'] is 'broken_backend.Backend'" in only("worker")
        assert "(RuntimeError: half)" in only("worker")


class TestMailers:
    def test_entries_have_backend_and_options(self, override_settings):
        entries = {"a": "smtp", "b": {"BACKEND": "smtplib.SMTP", "TIMEOUT": 3}, "c": {"OPTIONS": []}}
        with override_settings(MAILERS=entries):
            found = problems("producer")
        assert len(found) == 3
        assert all(problem.startswith("MAILERS (from Django's settings): ") for problem in found)

    def test_a_queue_delivers_with_an_alias_that_sends(self):
        queue = {"BACKEND": conf.QUEUE_BACKEND, "OPTIONS": {"deliver_with": "outside"}}
        conf.configure(MAILERS={"default": queue, "outsid": {"BACKEND": "smtplib.SMTP"}})
        assert only("producer") == (
            "MAILERS['default'] delivers with 'outside', which MAILERS does not have; did you mean outsid?"
        )
        conf.configure(MAILERS={"default": queue, "outside": {"BACKEND": "smtplib.SMTP"}})
        conf.check()
        conf.configure(MAILERS={"default": queue, "outside": queue | {"OPTIONS": {}}})
        assert "enqueues in its turn" in only()


def test_ticks_further_apart_than_an_outage_are_a_problem():
    with pytest.raises(ImproperlyConfigured, match=r"MAILQUEUE_TICK_SECONDS .* is more than 5"):
        conf.configure(MAILQUEUE_TICK_SECONDS=6)
