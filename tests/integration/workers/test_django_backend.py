"""Django's own SMTP backend as the delivery backend of a worker, on relays that drop the line or fall silent."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from mailqueue import codec, conf
from mailqueue.envelope import pack
from mailqueue.ledger.base import Submission
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.testing.script import drop, hang, reply
from mailqueue.testing.scripted import ScriptedServer
from workers.drain import drain
from workers.process import Process

_number = itertools.count(1)


@pytest.fixture
def django_settings():
    """Sets Django's settings for one test."""
    pytest.importorskip("django")
    from django.conf import settings  # noqa: PLC0415 - skipped where Django is not installed
    from django.test.utils import override_settings  # noqa: PLC0415 - likewise

    if not settings.configured:
        settings.configure()
    changed = []

    def change(**values):
        changed.append(override_settings(**values))
        changed[-1].enable()

    yield change
    for each in reversed(changed):
        each.disable()


@pytest.fixture
def worker(django_settings, monkeypatch):
    """Makes a worker's process that delivers to a server by Django's backend, and a call that gives it mail."""
    made = []

    def make(server, timeout=10.0):
        django_settings(EMAIL_HOST=server.host, EMAIL_PORT=server.port, EMAIL_TIMEOUT=timeout)
        conf.configure(
            MAILQUEUE_LEDGER_URL=f"memory://django-{next(_number)}",
            MAILQUEUE_DELIVERY_BACKEND="django.core.mail.backends.smtp.EmailBackend",
        )
        lanes = SimpleNamespace(consume_from={"mailqueue.bulk": None})
        process = Process(SimpleNamespace(amqp=SimpleNamespace(queues=lanes)))
        nothing = SimpleNamespace(take=lambda *_: [], waiting=lambda _lanes: False, close=lambda: None)
        monkeypatch.setattr(process, "tap", lambda: nothing)
        monkeypatch.setattr(process, "sleep", lambda _seconds: None)
        made.append(process)
        return process

    yield make
    for each in made:
        each.close()


def send(process, count):
    """Run the task of ``count`` messages whose unknown outcomes are held; the ids."""
    items = []
    for position in range(count):
        message_id = f"django-{next(_number)}"
        mail = EmailMessage(f"Number {position}", "Body", "app@example.com", ["ann@example.com"])
        envelope, _ = pack(mail, id=message_id, now=time.time(), lane="bulk", on_unknown="hold")
        items.append((message_id, codec.encode(envelope)))
    submissions = [Submission(message_id, encoded, on_unknown="hold") for message_id, encoded in items]
    acceptance = process.ledger.accept("bulk", submissions)
    drain(codec.Parcel("bulk", acceptance.number, tuple(items)), process)
    return [message_id for message_id, _ in items]


def states(process, ids):
    return Counter(process.ledger.get(message_id).state for message_id in ids)


def test_a_link_dropped_between_two_messages_costs_one_answer(worker):
    with ScriptedServer(drop("mail", nth=4)) as server:
        process = worker(server)
        ids = send(process, 8) + send(process, 4)
        assert states(process, ids) == {State.SENT: 11, State.UNKNOWN: 1}
        assert len(server.messages) == 11
        assert len(server.connections) == 2


def test_a_relay_that_falls_silent_keeps_nobody_waiting_and_is_left_alone(worker):
    with ScriptedServer(hang("mail", nth=2)) as server:
        process = worker(server, timeout=0.3)
        ids = send(process, 4)
        assert states(process, ids)[State.UNKNOWN] == 1
        assert states(process, ids)[State.SENDING] == 0
        assert len(server.messages) == states(process, ids)[State.SENT]


def test_silence_ends_even_where_django_would_wait_for_ever(worker):
    with ScriptedServer(hang("mail", nth=2)) as server:
        process = worker(server, timeout=None)
        ids = send(process, 1)
        assert states(process, ids) == {State.SENT: 1}
        with process.connections.use("") as connection:
            assert connection.backend.connection.sock.gettimeout() == 600


def test_a_relay_that_wants_a_pause_costs_no_message_an_attempt(worker):
    with ScriptedServer(reply("rcpt", "421 4.7.0 <ann@example.com>: come back later")) as server:
        process = worker(server)
        ids = send(process, 3)
        assert [process.ledger.get(message_id).attempts for message_id in ids] == [0, 0, 0]
        assert process.relays.wait("") > 0
