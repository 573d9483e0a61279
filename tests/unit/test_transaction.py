from __future__ import annotations

import pytest
from django.apps import apps
from django.db import transaction
from django.db.utils import ConnectionHandler

from mailqueue import conf
from mailqueue.transaction import on_commit


@pytest.fixture
def database(django_settings, monkeypatch):
    """A default database in memory, which ``transaction.atomic`` and we ask for alike."""
    apps.populate(())  # without applications; Django warns of a database in use before
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    monkeypatch.setattr(transaction, "get_connection", lambda using=None: handler[using or "default"])
    yield handler["default"]
    if handler["default"].connection is not None:
        handler["default"].connection.close()  # Django's own close() leaves a database in memory open


@pytest.mark.usefixtures("django_settings")
def test_with_django_but_without_a_database_nothing_waits():
    assert on_commit(lambda: pytest.fail("called")) is False


@pytest.mark.usefixtures("database")
def test_outside_of_a_transaction_nothing_waits():
    assert on_commit(lambda: pytest.fail("called")) is False


@pytest.mark.usefixtures("database")
def test_inside_of_one_it_waits_for_the_commit_of_the_outermost():
    seen = []
    with transaction.atomic():
        with transaction.atomic():
            assert on_commit(lambda: seen.append("done")) is True
        assert seen == []
    assert seen == ["done"]


@pytest.mark.usefixtures("database")
def test_a_rollback_forgets_it():
    with transaction.atomic():
        assert on_commit(lambda: pytest.fail("called")) is True
        transaction.set_rollback(True)
    with transaction.atomic():
        pass


@pytest.mark.usefixtures("database")
def test_the_setting_turns_it_off():
    conf.configure(MAILQUEUE_ON_COMMIT=False)
    with transaction.atomic():
        assert on_commit(lambda: pytest.fail("called")) is False


def test_without_autocommit_and_outside_of_a_transaction_nothing_waits(database):
    database.set_autocommit(False)
    assert on_commit(lambda: pytest.fail("called")) is False
