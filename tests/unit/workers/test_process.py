"""What a process of a worker holds: its way to the queues, and whose it is."""

from __future__ import annotations

import gc
import os
import time
from types import SimpleNamespace

import pytest
from celery import Celery

from mailqueue import conf
from workers import lifecycle
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


@pytest.mark.parametrize(
    ("for_each", "relays", "messages"),
    [
        (100, {}, 100),
        (100, {"a": {"connections": 4}, "b": {"connections": 8}, "c": {"window": 1}}, 800),
        (100, {"a": {"connections": 64}}, process_module.MOST_MESSAGES),
        (5000, {"a": {"connections": 2}}, 5000),
    ],
)
def test_a_batch_has_as_many_messages_for_each_connection(app, for_each, relays, messages):
    conf.configure(MAILQUEUE_LEDGER_URL="memory://process", MAILQUEUE_BATCH_MESSAGES=for_each, MAILQUEUE_RELAYS=relays)
    process = Process(app)
    assert process.batch_messages == messages
    process.close()


# -- whose it is


@pytest.fixture
def applications(monkeypatch):
    """Two applications that carry mail, in one process."""
    conf.configure(MAILQUEUE_LEDGER_URL="memory://process")
    applications = [Celery(name, broker="memory://", set_as_current=False) for name in ("one", "two")]
    monkeypatch.setattr(lifecycle, "_connected", applications)
    monkeypatch.setattr(process_module, "_workers", {})
    yield applications
    process_module.close()


def begin(app, hostname):
    """As Celery tells that it makes a worker."""
    lifecycle._begin(sender=hostname, instance=SimpleNamespace(app=app))


def test_two_workers_in_one_process_have_a_name_and_a_stop_of_their_own(applications):
    one, two = applications
    begin(one, "one@host")
    begin(two, "two@host")
    assert process_module.current(one).worker.name != process_module.current(two).worker.name
    assert process_module.current(one) is process_module.current(one)
    lifecycle._stop_taking(sender="one@host", sig="TERM")
    assert process_module.current(one).stopping
    assert not process_module.current(two).stopping
    lifecycle._stop(sender=SimpleNamespace(app=one))
    assert process_module.current(two) is process_module.current(two)


def test_a_worker_that_follows_another_in_its_process_is_not_stopped_as_well(applications):
    [app, _] = applications
    begin(app, "one@host")
    first = process_module.current(app).worker
    lifecycle._stop_taking(sender="one@host")
    begin(app, "one@host")
    assert process_module.current(app).worker.name != first.name
    assert not process_module.current(app).stopping


def test_a_worker_of_an_application_that_carries_no_mail_stops_nobody(applications):
    [app, _] = applications
    begin(app, "one@host")
    begin(Celery("other", broker="memory://", set_as_current=False), "other@host")
    lifecycle._stop_taking(sender="other@host")
    assert not process_module.current(app).stopping


def test_a_process_that_delivers_looks_for_cycles_less_often_and_not_among_what_was_there_before(applications):
    gc.set_threshold(700, 10, 10)
    process_module.current(applications[0])
    assert gc.get_threshold() == (process_module.GC_THRESHOLD, 10, 10)
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("first", [0, 50_000])
def test_a_collector_that_is_off_or_set_higher_stays_so(applications, first):
    gc.set_threshold(first, 10, 10)
    process_module.current(applications[0])
    assert gc.get_threshold()[0] == first


def in_a_child(act):
    """What ``act`` returns in a fork of this process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, act().encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()


def test_workers_forked_from_one_process_share_nothing(applications):
    [app, _] = applications

    def main():
        begin(app, "one@host")
        lifecycle._stop_taking(sender="one@host")
        return f"{process_module.current(app).owner} {process_module.current(app).stopping}"

    first, second = in_a_child(main), in_a_child(main)
    assert first.endswith(" True")
    assert first.partition(":")[0] != second.partition(":")[0]
    begin(app, "one@host")
    assert not process_module.current(app).stopping


def test_a_worker_and_its_children_share_name_and_stop(applications):
    [app, _] = applications
    begin(app, "one@host")
    main = process_module.current(app)
    owner = in_a_child(lambda: process_module.current(app).owner)
    assert owner.startswith(f"{main.worker.name}:")
    assert owner != main.owner
    in_a_child(lambda: lifecycle._stop_taking(sender="one@host") or "")
    assert main.stopping
