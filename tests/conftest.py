"""What every test stands on: clean settings, and a real store for those that ask for it."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from mailqueue import conf
from mailqueue.testing.environment import is_setting
from mailqueue.testing.store import EmbeddedValkey, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = ["pytester"]  # the pytest plugin is tested in test suites of its own


# How fast a machine happens to be is no property of the code, nor how large the examples are that it takes.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile("laptop", _UNHURRIED, max_examples=50)
settings.register_profile("ci", _UNHURRIED, max_examples=400, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Say that a server is not there: skips on a laptop, fails under CI, where nobody would notice a skip."""

    def end(what: str) -> NoReturn:
        if os.environ.get("CI"):
            pytest.fail(f"{what}, and CI is set")
        pytest.skip(what)

    return end


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the settings of the shell or of another test, nor another test's outbox."""
    for name in tuple(os.environ):
        if is_setting(name):
            monkeypatch.delenv(name)
    _forget()
    yield
    _forget()


def _forget() -> None:
    conf.reset()
    producer = sys.modules.get("mailqueue.producer")
    if producer is not None:
        producer.close()
    mail = sys.modules.get("mailqueue.mail")
    if mail is not None and "outbox" in vars(mail):
        del mail.outbox


@pytest.fixture(autouse=True)
def clean_logging() -> Iterator[None]:
    """No test changes what is logged: a Celery worker in this process sets the level of the root logger."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


@pytest.fixture(scope="session")
def valkey_server(missing: Callable[[str], NoReturn]) -> Iterator[EmbeddedValkey]:
    """The session's store, with AOF. Tests that freeze or kill a store start one of their own."""
    store = EmbeddedValkey()
    try:
        store.start()
    except StoreUnavailable as trouble:
        missing(str(trouble))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def valkey_url(valkey_server: EmbeddedValkey) -> str:
    """URL of the session's store, emptied for this test."""
    with socket.create_connection(("127.0.0.1", valkey_server.port), timeout=5) as link:
        link.sendall(b"FLUSHALL\r\n")
        assert link.recv(64) == b"+OK\r\n"
    return valkey_server.url
