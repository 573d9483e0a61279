"""Where mail goes for the time of a test, and that it goes nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mailqueue
from mailqueue import conf, mail, producer
from mailqueue.mail.backends.queue import EmailBackend as QueueBackend
from mailqueue.testing import outbox, queued_at, sent_to
from mailqueue.testing.environment import clean_environment, settings_in_environment
from mailqueue.testing.settings import applied

SMTP = "mailqueue.mail.backends.smtp.EmailBackend"
LOCMEM = "mailqueue.mail.backends.locmem.EmailBackend"
QUEUE = "mailqueue.mail.backends.queue.EmailBackend"

#: What a project may have: an alias that enqueues, one that sends by our backend, one by another's.
MAILERS = {
    "default": {"BACKEND": QUEUE, "OPTIONS": {"deliver_with": "office", "lane": "urgent"}},
    "office": {"BACKEND": SMTP, "OPTIONS": {"host": "mail.example.com", "username": "u", "password": "p"}},
    "news": {"BACKEND": "anymail.backends.amazon_ses.EmailBackend"},
}


class Somewhere:
    host, port = "127.0.0.1", 2525


class AuditedQueue(QueueBackend):
    """A queue backend of the project's own."""


def send(**options):
    mailqueue.send_mail("Subject", "Body", "shop@example.com", ["ann@example.com"], **options)


def backend(alias):
    return conf.get("MAILERS")[alias]["BACKEND"]


# -- the outbox


def test_what_is_sent_lies_in_the_outbox():
    with outbox() as messages:
        send()
        assert [message.to for message in messages] == [["ann@example.com"]]
        assert mail.outbox is messages


def test_every_alias_leads_to_the_outbox():
    conf.configure(MAILERS=MAILERS)
    with outbox() as messages:
        for alias in MAILERS:
            send(using=alias)
        assert [message.sent_using for message in messages] == list(MAILERS)


def test_afterwards_all_is_as_before():
    mail.outbox = before = ["of an outer test"]
    conf.configure(EMAIL_BACKEND="shop.mail.Backend", EMAIL_TIMEOUT=7)
    with outbox(EMAIL_TIMEOUT=1):
        assert conf.get("EMAIL_TIMEOUT") == 1
        send()
    assert mail.outbox is before
    assert (conf.get("EMAIL_BACKEND"), conf.get("EMAIL_TIMEOUT")) == ("shop.mail.Backend", 7)


def test_an_outbox_that_was_not_there_is_gone_again():
    with outbox():
        send()
    assert "outbox" not in vars(mail)


def test_an_outbox_may_be_rebound():
    with outbox():
        send()
        mail.outbox = []
        send()
        assert len(mail.outbox) == 1


# -- a server


def test_mail_for_a_server_needs_no_queue_and_no_login():
    conf.configure(EMAIL_HOST_USER="u", EMAIL_HOST_PASSWORD="p", EMAIL_USE_TLS=True)
    with sent_to(Somewhere()):
        connection = mail.get_connection()
        assert f"{type(connection).__module__}.{type(connection).__name__}" == SMTP
        assert (connection.host, connection.port, connection.username, connection.use_tls) == (
            "127.0.0.1",
            2525,
            "",
            False,
        )


def test_no_alias_leads_to_the_host_it_names():
    conf.configure(MAILERS=MAILERS)
    with sent_to(Somewhere()):
        for alias in MAILERS:
            connection = mail.mailers[alias]
            assert (connection.host, connection.port, connection.username) == ("127.0.0.1", 2525, "")


# -- the queue


def test_aliases_that_enqueue_stay_and_those_that_send_are_led_away():
    conf.configure(MAILERS=MAILERS)
    with queued_at("memory://", ledger_url="memory://settings", server=Somewhere()):
        assert conf.get("MAILERS")["default"] == MAILERS["default"]
        assert backend("office") == backend("news") == SMTP
        assert mail.mailers["news"].host == "127.0.0.1"
        conf.check()


def test_without_a_server_what_is_sent_goes_to_the_outbox():
    conf.configure(MAILERS=MAILERS)
    with queued_at("memory://", ledger_url="memory://settings"):
        assert conf.get("MAILQUEUE_DELIVERY_BACKEND") == backend("office") == backend("news") == LOCMEM


@pytest.mark.parametrize("configured", [SMTP, LOCMEM, "django.core.mail.backends.locmem.EmailBackend"])
def test_mail_is_enqueued_whatever_the_project_does(configured):
    conf.configure(EMAIL_BACKEND=configured)
    with queued_at("memory://", ledger_url="memory://settings"):
        assert conf.get("EMAIL_BACKEND") == QUEUE


def test_a_queue_backend_of_the_projects_own_stays():
    path = f"{__name__}.AuditedQueue"
    sys.modules.setdefault(__name__, sys.modules[AuditedQueue.__module__])
    conf.configure(EMAIL_BACKEND=path)
    with queued_at("memory://", ledger_url="memory://settings"):
        assert conf.get("EMAIL_BACKEND") == path


def test_nothing_of_the_host_is_used(tmp_path):
    with queued_at("memory://", ledger_url="memory://settings"):
        assert conf.get("MAILQUEUE_SPOOL") is None
        assert conf.get("MAILQUEUE_ON_COMMIT") is False  # a test's transaction never commits


def test_each_block_has_a_producer_of_its_own():
    with queued_at("memory://", ledger_url="memory://settings"):
        first = producer.get_producer()
        with applied(EMAIL_TIMEOUT=1):
            assert producer.get_producer() is not first


# -- Django


@pytest.mark.filterwarnings("ignore:The EMAIL_BACKEND setting is deprecated")  # by Django 6.1
@pytest.mark.usefixtures("django_settings")
def test_djangos_own_mail_goes_the_same_way(override_settings):
    from django.core.mail import send_mail  # noqa: PLC0415 - after its settings

    with override_settings(EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend"):
        with outbox() as messages:
            send_mail("Subject", "Body", "shop@example.com", ["ann@example.com"])
            assert [message.to for message in messages] == [["ann@example.com"]]
        assert send_mail("Subject", "Body", "shop@example.com", ["ann@example.com"]) == 1
        assert "outbox" not in vars(mail)


def in_django(code, tmp_path, settings=""):
    """Run ``code`` in a Django project, after Django's test runner has set up its environment."""
    (tmp_path / "site_settings.py").write_text(f"SECRET_KEY = 'x'\n{settings}\n")
    code = (
        "import django\ndjango.setup()\n"
        "from django.test.utils import setup_test_environment\nsetup_test_environment()\n"
        "import mailqueue\nfrom mailqueue import conf\nfrom mailqueue.testing import MemoryQueue, outbox\n"
        f"{code}"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean_environment(DJANGO_SETTINGS_MODULE="site_settings", PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_backend_that_djangos_test_runner_has_replaced_is_found(tmp_path):
    """Under it every alias sends into Django's outbox; in the queue's tests those that enqueue do so again."""
    code = """
from django.core.mail import send_mail
with MemoryQueue() as queue:
    send_mail("Subject", "Body", "shop@example.com", ["ann@example.com"])
    mailqueue.send_mail("Subject", "Body", "shop@example.com", ["ann@example.com"])
    print(*[f"{r.status().lane}:{r.status().relay}" for r in queue.receipts])
print(conf.get("EMAIL_BACKEND") if not conf.is_set("MAILERS") else conf.get("MAILERS")["default"]["BACKEND"])
"""
    import django  # noqa: PLC0415

    locmem = "django.core.mail.backends.locmem.EmailBackend"
    if django.VERSION < (6, 1):
        assert in_django(code, tmp_path) == ["default:", "default:", locmem]
        return
    news = f"MAILERS = {MAILERS!r}"
    assert in_django(code, tmp_path, news) == ["urgent:office", "urgent:office", locmem]


# -- for another process


def test_settings_reach_another_process_as_they_are(monkeypatch):
    said = {
        "MAILQUEUE_BROKER_URL": "redis://:p%40ss@127.0.0.1:6379/0",
        "EMAIL_HOST_PASSWORD": "pä ss",
        "EMAIL_USE_TLS": True,
        "EMAIL_TIMEOUT": 0.5,
        "MAILQUEUE_RETRY_DELAYS": [1, 2.5],
        "MAILERS": MAILERS,
        "ADMINS": [("Ann", "ann@example.com")],
        "EMAIL_SUBJECT_PREFIX": "",
        "EMAIL_SSL_CERTFILE": None,
    }
    conf.configure(**said)
    here = {name: conf.get(name) for name in said}
    environment = settings_in_environment()
    assert "EMAIL_PORT" not in environment
    conf.reset()
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert {name: conf.get(name) for name in said} == here
