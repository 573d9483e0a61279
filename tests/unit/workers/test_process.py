"""What a process of a worker holds: its way to the queues, and whose it is."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from mailqueue import conf
from workers import process as process_module
from workers.process import Process


class Tap:
    def close(self):
        raise ConnectionError("a goodbye over a connection that has failed")


@pytest.fixture
def opened(monkeypatch):
    opened = []

    def open_tap(connection, *_):
        opened.append(connection)
        if connection == "refused":
            raise ConnectionRefusedError
        return Tap()

    monkeypatch.setattr(process_module, "open_tap", open_tap)
    return opened


@pytest.fixture
def app():
    return SimpleNamespace(connection_for_read=lambda: "connection")


@pytest.fixture
def process(app):
    conf.configure(MAILQUEUE_LEDGER_URL="memory://process")
    process = Process(app)
    yield process
    process.close()


def test_a_tap_that_has_failed_is_left_alone_for_a_while(process, opened, monkeypatch):
    process.tap()
    process.drop_tap()
    for _ in range(3):
        with pytest.raises(ConnectionError, match="a moment ago"):
            process.tap()
        process.drop_tap()  # as whoever meets that error does: it must not put the next look off
    assert len(opened) == 1
    later = time.monotonic() + process_module.TAP_PAUSE + 0.1
    monkeypatch.setattr(process_module.time, "monotonic", lambda: later)
    process.tap()
    assert len(opened) == 2


def test_a_broker_that_refuses_is_left_alone_as_well(process, app, opened):
    app.connection_for_read = lambda: "refused"
    with pytest.raises(ConnectionRefusedError):
        process.tap()
    process.drop_tap()
    with pytest.raises(ConnectionError, match="a moment ago"):
        process.tap()
    assert len(opened) == 1
