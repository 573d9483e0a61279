"""The pytest plugin in a user's test suite; what needs servers is in tests/integration."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import mailqueue

ROOT = Path(mailqueue.__file__).parent.parent
HEAVY = ("celery", "kombu", "redis", "click", "rich", "tenacity", "msgspec", "aiosmtpd", "django")

#: The entry point is blocked, for it may be installed or not.
PLUGINS = ("no:mailqueue", "mailqueue.testing.plugin", "no:randomly", "no:cacheprovider")
OPTIONS = [*(f"-p{plugin}" for plugin in PLUGINS), "-Werror", "--strict-markers", "-q"]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a test suite with the plugin as if it was installed; its settings are those of a project in production."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(
        shop="""
        import mailqueue

        def reset_password(address):
            mailqueue.send_mail("Reset your password", "...", "shop@example.com", [address])
        """,
        conftest="""
        import mailqueue

        mailqueue.configure(MAILQUEUE_BROKER_URL="redis://broker.invalid/0", EMAIL_HOST="relay.invalid")
        """,
    )

    def run(suite, **outcomes):
        pytester.makepyfile(test_shop=suite)
        result = pytester.runpytest_subprocess(*OPTIONS)
        result.assert_outcomes(**outcomes)
        return result

    return run


def test_it_is_an_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"mailqueue": "mailqueue.testing.plugin"}


def test_a_project_that_does_not_use_it_is_not_disturbed(run):
    run(
        f"""
        import os
        import sys

        def test_nothing_was_loaded():
            assert [name for name in {HEAVY!r} if name in sys.modules] == []

        def test_nothing_was_set():
            from mailqueue import conf, mail
            assert conf.get("MAILQUEUE_BROKER_URL") == "redis://broker.invalid/0"
            assert "outbox" not in vars(mail)

        def test_no_fixture_is_used(request):
            assert [name for name in request.fixturenames if "mailqueue" in name] == []
        """,
        passed=3,
    )


def test_the_fixtures_lead_the_mail_and_put_everything_back(run):
    run(
        """
        import mailqueue
        import pytest
        import shop
        from mailqueue import conf

        def test_sent_at_once(mailqueue_outbox):
            shop.reset_password("ann@example.com")
            assert [message.to for message in mailqueue_outbox] == [["ann@example.com"]]

        def test_another_tests_mail_is_gone(mailqueue_outbox):
            assert mailqueue_outbox == []

        def test_enqueued_and_sent(mailqueue_memory):
            shop.reset_password("ann@example.com")
            mailqueue_memory.run()
            assert [message.to for message in mailqueue_memory.outbox] == [["ann@example.com"]]

        def test_the_outbox_is_the_one_of_the_queue(mailqueue_outbox, mailqueue_memory):
            shop.reset_password("ann@example.com")
            assert mailqueue_outbox == []
            mailqueue_memory.run()
            assert mailqueue_outbox is mailqueue_memory.outbox
            assert len(mailqueue_outbox) == 1

        def test_to_the_relay_at_once(mailqueue_relay):
            shop.reset_password("ann@example.com")
            assert [message.recipients for message in mailqueue_relay.messages] == [("ann@example.com",)]

        def test_to_the_relay_by_the_worker(mailqueue_memory, mailqueue_relay):
            shop.reset_password("ann@example.com")
            assert mailqueue_relay.messages == []
            mailqueue_memory.run()
            assert [message.recipients for message in mailqueue_relay.messages] == [("ann@example.com",)]

        def test_to_the_inbox(mailqueue_inbox):
            mailqueue_inbox.refuse("gone@example.com")
            shop.reset_password("ann@example.com")
            assert [arrival.recipients for arrival in mailqueue_inbox.arrivals] == [("ann@example.com",)]

        @pytest.mark.mailqueue(MAILQUEUE_RETRY_DELAYS=[7], MAILQUEUE_LEASE_SECONDS=9)
        class TestMarked:
            @pytest.mark.mailqueue(MAILQUEUE_LEASE_SECONDS=11)
            def test_settings_of_the_nearest_marker_count(self, mailqueue_memory):
                assert conf.get("MAILQUEUE_RETRY_DELAYS") == (7,)
                assert conf.get("MAILQUEUE_LEASE_SECONDS") == 11

        def test_afterwards_all_is_as_before():
            assert conf.get("MAILQUEUE_BROKER_URL") == "redis://broker.invalid/0"
            assert conf.get("EMAIL_HOST") == "relay.invalid"
            assert not conf.is_set("EMAIL_BACKEND") and not conf.is_set("MAILQUEUE_RETRY_DELAYS")
        """,
        passed=9,
    )


def test_contradictions_are_told_in_words(run):
    result = run(
        """
        import pytest

        def test_two_servers(mailqueue_inbox, mailqueue_relay): ...

        def test_two_queues(mailqueue_memory, mailqueue_store): ...

        def test_a_list_in_another_process(mailqueue_outbox, mailqueue_worker): ...

        @pytest.mark.mailqueue(MAILQUEUE_LEASE_SECOND=5)
        def test_a_misspelt_setting(mailqueue_memory): ...

        @pytest.mark.mailqueue("MAILQUEUE_LEASE_SECONDS")
        def test_a_setting_without_a_value(mailqueue_memory): ...
        """,
        errors=5,
    )
    result.stdout.fnmatch_lines_random(
        [
            "mailqueue_inbox and mailqueue_relay exclude each other: mail goes one way in a test",
            "mailqueue_memory and mailqueue_store exclude each other: *",
            "mailqueue_outbox and mailqueue_store exclude each other: *",
            "*did you mean MAILQUEUE_LEASE_SECONDS?",
            "the marker mailqueue takes settings by name: *",
        ]
    )
