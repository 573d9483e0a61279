"""Connections in parallel to one relay: what they share, and what the trouble of one costs the others."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from mailqueue import conf
from mailqueue.errors import LedgerUnavailable, RelayTrouble
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply
from workers import backends
from workers.drain import drain

COUNT = 3
OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))
TOO_MANY = RelayTrouble("421 too many connections", stage="greeting", code=421, reconnect=True)


class Backend:
    """One message at a time; ``fleet`` decides what becomes of it."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.sent = []
        self.greeted = False

    def close(self):
        self.greeted = False

    def deliver(self, messages, on_begin):
        for message in messages:
            if not self.greeted:
                self.fleet.greet(self)
                self.greeted = True
            on_begin([message])
            ending = self.fleet.send(self, message)
            self.sent.append(message.subject)
            if ending is not Ending.ANSWERED:
                yield Outcome(message, ending)
                raise RelayTrouble("link lost", stage="final", reconnect=True)
            yield Outcome(message, ending, dict.fromkeys(message.recipients(), OK))


class Fleet:
    """All backends of a process. Messages go out when as many are on their way as there are connections."""

    def __init__(self):
        self.backends = []
        self.meet = threading.Barrier(COUNT)

    def build(self, _relay):
        self.backends.append(Backend(self))
        return self.backends[-1]

    def greet(self, backend):
        pass

    def send(self, _backend, _message):
        self.meet.wait(10)
        return Ending.ANSWERED

    def number(self, backend):
        return self.backends.index(backend)


@pytest.fixture
def backend(monkeypatch):
    conf.configure(MAILQUEUE_RELAYS={"default": {"connections": COUNT}})
    fleet = Fleet()
    monkeypatch.setattr(backends, "build", fleet.build)
    return fleet


def mails(count):
    return [EmailMessage(str(number), "Body", "app@example.com", ["ann@example.com"]) for number in range(count)]


def states(process, parcel):
    return Counter(process.ledger.get(message_id).state for message_id, _ in parcel.items)


def test_connections_send_at_the_same_time_and_are_used_again(process, backend, queue):
    for _ in range(2):
        parcel = queue(*mails(2 * COUNT))
        drain(parcel, process)
        assert states(process, parcel) == {State.SENT: 2 * COUNT}
    assert len(backend.backends) == COUNT


def test_a_lone_message_needs_one(process, backend, queue):
    backend.send = lambda *_: Ending.ANSWERED
    drain(queue(*mails(1)), process)
    assert len(backend.backends) == 1


def test_a_slow_connection_does_not_keep_the_others_waiting(process, backend, queue):
    done = threading.Event()
    sent = []

    def send(one, message):
        if backend.number(one) == 0:
            assert done.wait(10)
        else:
            sent.append(message.subject)
            if len(sent) == 8:
                done.set()
        return Ending.ANSWERED

    backend.send = send
    parcel = queue(*mails(9))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 9}
    assert len(backend.backends[0].sent) == 1


def test_no_connection_takes_more_than_its_share_while_the_others_may_want_some(process, backend, queue):
    shares = []

    def deliver(self, messages, on_begin):
        group = list(messages)
        shares.append(len(group))
        backend.meet.wait(10)
        on_begin(group)
        for message in group:
            yield Outcome(message, Ending.ANSWERED, dict.fromkeys(message.recipients(), OK))

    class Greedy(Backend):
        pass

    Greedy.deliver = deliver
    backend.build = lambda _relay: Greedy(backend)
    process.connections._build = backend.build
    parcel = queue(*mails(9))
    drain(parcel, process)
    assert shares == [3, 3, 3]
    assert states(process, parcel) == {State.SENT: 9}


def test_what_one_connection_loses_is_neither_charged_to_the_others_nor_repeated(process, backend, queue):
    lost = []
    lock = threading.Lock()

    def send(_one, message):
        with lock:
            if not lost:
                lost.append(message.subject)
                return Ending.UNKNOWN
        return Ending.ANSWERED

    backend.send = send
    parcel = queue(*mails(12))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 11, State.DEFERRED: 1}
    found = [process.ledger.get(message_id) for message_id, _ in parcel.items]
    assert sum(each.unknowns for each in found) == 1
    sent = Counter(subject for each in backend.backends for subject in each.sent)
    assert set(sent.values()) == {1}


def test_a_relay_that_takes_fewer_connections_is_served_by_those_and_not_in_trouble(process, backend, queue, caplog):
    refused = threading.Event()

    def greet(one):
        if backend.number(one) == 0:
            assert refused.wait(10)
        else:
            refused.set()
            raise TOO_MANY

    backend.greet = greet
    backend.send = lambda *_: Ending.ANSWERED
    parcel = queue(*mails(9))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 9}
    assert process.relays.wait("") == 0
    assert process.connections.at_once("") < COUNT
    assert "action=fewer_connections relay=default" in caplog.text


def test_a_relay_that_takes_none_is_in_trouble_and_costs_the_messages_nothing(process, backend, queue):
    def greet(_one):
        raise RelayTrouble("refused", stage="connect")

    backend.greet = greet
    parcel = queue(*mails(9))
    drain(parcel, process)
    found = [process.ledger.get(message_id) for message_id, _ in parcel.items]
    assert {(each.state, each.attempts) for each in found} == {(State.DEFERRED, 0)}
    assert process.relays.wait("") > 0


def test_a_stop_ends_all_of_them_with_what_they_are_at(process, backend, queue, stop):
    def send(_one, _message):
        backend.meet.wait(10)
        stop.set()
        return Ending.ANSWERED

    backend.send = send
    parcel = queue(*mails(30))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: COUNT, State.DEFERRED: 30 - COUNT}


def test_mail_in_a_higher_lane_ends_all_of_them(process, backend, tap, queue, monkeypatch):
    monkeypatch.setattr("workers.lookout.LOOK_EVERY", 0.0)
    looked = threading.Event()

    def waiting(_lanes):
        looked.set()
        return True

    tap.waiting = waiting

    def send(_one, _message):
        assert looked.wait(10)
        return Ending.ANSWERED

    backend.send = send
    parcel = queue(*mails(300), lane="bulk")
    drain(parcel, process)
    found = states(process, parcel)
    assert 0 < found[State.SENT] < 300
    assert found[State.DEFERRED] == 300 - found[State.SENT]


def test_a_bug_in_one_of_them_costs_the_others_nothing(process, backend, queue, caplog):
    broken = []
    lock = threading.Lock()

    def send(_one, message):
        with lock:
            if not broken:
                broken.append(message.subject)
                raise ZeroDivisionError
        return Ending.ANSWERED

    backend.send = send
    parcel = queue(*mails(9))
    drain(parcel, process)
    assert states(process, parcel) == {State.SENT: 8, State.DEFERRED: 1}
    [unknown] = [each for each in (process.ledger.get(i) for i, _ in parcel.items) if each.unknowns]
    assert unknown.state is State.DEFERRED
    assert "ZeroDivisionError" in caplog.text


def test_a_ledger_that_is_away_at_a_shutdown_ends_them_all(process, backend, queue, stop, monkeypatch, caplog):
    process.lease = 0.0

    def record(*_):
        stop.set()
        raise LedgerUnavailable("away")

    monkeypatch.setattr(process.ledger, "record", record)
    drain(queue(*mails(6)), process)
    assert "action=batch_left" in caplog.text


def test_a_relay_that_is_being_probed_is_asked_over_one_connection(process, backend, queue, monkeypatch):
    monkeypatch.setattr(process.relays, "is_probed", lambda _relay: True)
    backend.send = lambda *_: Ending.ANSWERED
    drain(queue(*mails(9)), process)
    assert len(backend.backends) == 1
