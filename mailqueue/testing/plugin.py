"""The pytest plugin: fixtures for an application that sends mail. Loaded by the entry point; see docs/testing.md.

Nothing heavy is imported, nothing started and no setting touched before a test asks for one of the fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from mailqueue import testing
from mailqueue.testing.environment import settings_in_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.testing import EmbeddedValkey, Inbox, MemoryQueue, ScriptedServer, Worker

__all__ = [
    "mailqueue_inbox",
    "mailqueue_memory",
    "mailqueue_outbox",
    "mailqueue_relay",
    "mailqueue_store",
    "mailqueue_worker",
]

#: A real worker that a test waits for: retries after a second, and claims of a killed worker that are free in five.
_HASTE: Final = {"MAILQUEUE_RETRY_DELAYS": [1], "MAILQUEUE_LEASE_SECONDS": 5, "MAILQUEUE_TICK_SECONDS": 0.2}

_STOP: Final = 5.0  # s that a worker has to end in good order: it may be waiting for a relay that says nothing


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "mailqueue(**settings): settings of mailqueue for a test that uses one of its fixtures"
    )


@pytest.fixture
def mailqueue_outbox(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """The messages that were sent, a list. Alone it needs no queue; with ``mailqueue_memory`` its worker sends."""
    if _asked(request, "mailqueue_memory"):
        yield request.getfixturevalue("mailqueue_memory").outbox
        return
    _refuse(request, "mailqueue_store", "mailqueue_relay", "mailqueue_inbox", to="mailqueue_outbox")
    with testing.outbox(**_marked(request)) as messages:
        yield messages


@pytest.fixture
def mailqueue_memory(request: pytest.FixtureRequest) -> Iterator[MemoryQueue]:
    """The queue in memory: mail is enqueued for real, and sent when ``run()`` says so; time passes by ``advance()``.

    It goes to the relay or the inbox, if the test uses one of them, or else to ``mailqueue_outbox``.
    """
    _refuse(request, "mailqueue_store", to="mailqueue_memory")
    with testing.MemoryQueue(_server(request), **_marked(request)) as queue:
        yield queue


@pytest.fixture
def mailqueue_relay(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    """A relay that behaves as its script says (``play()``). Mail goes to it: at once, or by the test's worker."""
    _refuse(request, "mailqueue_inbox", to="mailqueue_relay")
    with testing.ScriptedServer() as server:
        yield from _reached(server, request)


@pytest.fixture
def mailqueue_inbox(request: pytest.FixtureRequest) -> Iterator[Inbox]:
    """An SMTP inbox that takes all mail, but what it is told to refuse. Mail goes to it: at once, or by the worker."""
    _refuse(request, "mailqueue_relay", to="mailqueue_inbox")
    with testing.Inbox() as server:
        yield from _reached(server, request)


@pytest.fixture
def mailqueue_store(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, which it may freeze and kill; mail is enqueued there."""
    _refuse(request, "mailqueue_memory", to="mailqueue_store")
    haste = _HASTE if _asked(request, "mailqueue_worker") else {}
    with (
        testing.EmbeddedValkey() as store,
        testing.queued_at(store.url, server=_server(request), **{**haste, **_marked(request)}),
    ):
        yield store


@pytest.fixture
def mailqueue_worker(mailqueue_store: EmbeddedValkey) -> Iterator[Worker]:  # noqa: ARG001 - its settings
    """A real worker with one child, running; sends what is enqueued to the relay or else to the inbox."""
    with testing.Worker(settings_in_environment(), concurrency=1, stop_timeout=_STOP) as worker:
        yield worker


# -- what the fixtures know of each other


def _asked(request: pytest.FixtureRequest, name: str) -> bool:
    return name in request.fixturenames


def _refuse(request: pytest.FixtureRequest, *others: str, to: str) -> None:
    """Fail for fixtures that contradict each other: each would lead the mail elsewhere."""
    for other in others:
        if _asked(request, other):
            pytest.fail(f"{to} and {other} exclude each other: mail goes one way in a test", pytrace=False)


def _server(request: pytest.FixtureRequest) -> Any:
    """The server of this test, if it has one; that of a real worker is the inbox unless told."""
    name = "mailqueue_relay" if _asked(request, "mailqueue_relay") else "mailqueue_inbox"
    if _asked(request, name) or _asked(request, "mailqueue_worker"):
        return request.getfixturevalue(name)
    return None


def _reached(server: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield ``server``, and lead the mail there, unless a queue of this test does that."""
    if _asked(request, "mailqueue_memory") or _asked(request, "mailqueue_store"):
        yield server
        return
    with testing.sent_to(server, **_marked(request)):
        yield server


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of the test's markers; of several the nearest counts."""
    settings: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("mailqueue"))):
        if marker.args:
            pytest.fail("the marker mailqueue takes settings by name: mailqueue(EMAIL_TIMEOUT=1)", pytrace=False)
        settings |= marker.kwargs
    return settings
