"""Parallel connections of one process to a relay that is far away."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.delay import DelayProxy
from mailqueue import codec, conf
from mailqueue.envelope import pack
from mailqueue.ledger.base import Submission
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.script import drop
from mailqueue.testing.scripted import ScriptedServer
from workers.drain import drain
from workers.process import Process

_number = itertools.count(1)
CONNECTIONS = 4


@pytest.fixture
def worker(monkeypatch):
    """Makes a worker's process that delivers to a port over several connections."""
    made = []

    def make(port, **options):
        conf.configure(
            MAILQUEUE_LEDGER_URL=f"memory://lines-{next(_number)}",
            EMAIL_HOST="127.0.0.1",
            EMAIL_PORT=port,
            MAILQUEUE_RELAYS={"default": {"connections": CONNECTIONS, **options}},
        )
        lanes = SimpleNamespace(consume_from={"mailqueue.default": None})
        process = Process(SimpleNamespace(amqp=SimpleNamespace(queues=lanes)))
        nothing = SimpleNamespace(take=lambda *_: [], waiting=lambda _lanes: False, close=lambda: None)
        monkeypatch.setattr(process, "tap", lambda: nothing)
        made.append(process)
        return process

    yield make
    for each in made:
        each.close()


def send(process, count):
    """Run the task of ``count`` messages; their ids."""
    items = []
    for position in range(count):
        message_id = f"line-{next(_number)}"
        mail = EmailMessage(f"Number {position}", "Body", "app@example.com", ["ann@example.com"])
        items.append((message_id, codec.encode(pack(mail, id=message_id, now=time.time())[0])))
    acceptance = process.ledger.accept("default", [Submission(*item) for item in items])
    drain(codec.Parcel("default", acceptance.number, tuple(items)), process)
    return [message_id for message_id, _ in items]


def states(process, ids):
    return Counter(process.ledger.get(message_id).state for message_id in ids)


def test_a_relay_far_away_is_served_by_all_of_them_and_they_stay_open(worker):
    with Inbox() as inbox, DelayProxy(inbox.port, 0.02) as link:
        process = worker(link.port)
        ids = send(process, 24) + send(process, 24)
        assert states(process, ids) == {State.SENT: 48}
        arrivals = inbox.wait_for(48)
        assert inbox.connections == CONNECTIONS
        assert Counter(arrival.message["Subject"] for arrival in arrivals) == {f"Number {n}": 2 for n in range(24)}
        by_connection = Counter(arrival.peer for arrival in arrivals)
        assert min(by_connection.values()) >= 48 / CONNECTIONS / 2


def test_a_connection_that_drops_costs_the_others_nothing(worker):
    with ScriptedServer(drop("mail", nth=3)) as server, DelayProxy(server.port, 0.02) as link:
        process = worker(link.port, window=1)
        ids = send(process, 24)
        assert states(process, ids) == {State.SENT: 24}
        assert len(server.messages) == 24
        assert all(process.ledger.get(message_id).attempts == 1 for message_id in ids)


def test_a_lost_answer_is_one_unknown_and_nothing_is_sent_twice(worker):
    with ScriptedServer(drop("final", nth=3)) as server, DelayProxy(server.port, 0.02) as link:
        process = worker(link.port, window=1)
        ids = send(process, 24)
        assert sum(process.ledger.get(message_id).unknowns for message_id in ids) == 1
        assert states(process, ids) == {State.SENT: 23, State.DEFERRED: 1}
        assert len({message.content for message in server.messages}) == len(server.messages) == 23
