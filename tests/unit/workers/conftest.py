"""A worker's process on the in-memory ledger, with a backend that does what its test says."""

from __future__ import annotations

import gc
import itertools
import time
from types import SimpleNamespace

import pytest

from mailqueue import codec, conf
from mailqueue.envelope import pack
from mailqueue.errors import RelayTrouble
from mailqueue.ledger.base import Submission
from mailqueue.outcome import Ending, Outcome, Result, Verdict
from mailqueue.smtp.reply import Reply
from workers import backends
from workers.process import Process, Worker
from workers.stop import StopFlag

_number = itertools.count(1)

OK = Result(Verdict.ACCEPTED, Reply(250, "2.0.0 ok"))


@pytest.fixture(autouse=True)
def _collector():
    """Leave Python's collector as it was."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


@pytest.fixture
def ok():
    return OK


@pytest.fixture
def grey():
    """A result that says "later", with an address in its text as relays write it."""
    return Result(Verdict.DEFERRED, Reply(451, "4.7.1 try again, someone@example.com"))


@pytest.fixture
def gone():
    return Result(Verdict.REFUSED, Reply(550, "5.1.1 no someone@example.com here"))


class StubBackend:
    """Answers each recipient by ``answers``; ``script`` holds exceptions or endings for the next messages."""

    def __init__(self):
        self.answers = {}
        self.script = []
        self.before_begin = lambda _message: None
        self.sent = []
        self.opened = self.closed = 0
        self.connected = False

    def open(self):
        if self.connected:
            return False
        self.connected = True
        self.opened += 1
        return True

    def close(self):
        self.connected = False
        self.closed += 1

    def deliver(self, messages, on_begin):
        self.open()
        for message in messages:
            step = self.script.pop(0) if self.script else None
            if callable(step):
                step = step(message)
            if isinstance(step, Exception):
                raise step
            if (early := self.before_begin(message)) is not None:
                ending, trouble = early
                yield Outcome(message, ending, reason=str(trouble))
                raise trouble
            if not on_begin([message])[0]:
                continue
            if step is Ending.UNSENT or step is Ending.UNKNOWN:
                yield Outcome(message, step, reason="link lost")
                stage = "content" if step is Ending.UNSENT else "final"
                raise RelayTrouble("link lost", stage=stage, reconnect=True)
            recipients = message.recipients()
            self.sent.append((message.subject, tuple(recipients)))
            if step is Ending.PROGRESS:
                yield Outcome(message, step, {recipients[0]: OK})
                recipients = message.recipients()
            yield Outcome(message, Ending.ANSWERED, {r: self.answers.get(r, OK) for r in recipients})


class WindowBackend(StubBackend):
    """Takes ``window`` messages at a time, begins them together, and answers one after the other.

    ``script`` has a step per message of a window: None answers it; an ending is that of it and of all behind it, their
    connection lost; "wait" waits for the relay first.
    """

    def __init__(self, window=3):
        super().__init__()
        self.window = window
        self.groups = []

    def deliver(self, messages, on_begin, on_wait=None):
        self.open()
        messages = iter(messages)
        while group := list(itertools.islice(messages, self.window)):
            self.groups.append([message.subject for message in group])
            group = [message for message, ours in zip(group, on_begin(group), strict=True) if ours]
            for place, message in enumerate(group):
                step = self.script.pop(0) if self.script else None
                if callable(step):
                    step = step(message)
                if isinstance(step, Ending):
                    yield from self._lose(group[place:], step)
                if step == "wait":
                    on_wait()
                recipients = message.recipients()
                self.sent.append((message.subject, tuple(recipients)))
                yield Outcome(message, Ending.ANSWERED, {r: self.answers.get(r, OK) for r in recipients})

    def _lose(self, group, ending):
        for message in group:
            yield Outcome(message, ending, reason="link lost")
        raise RelayTrouble("link lost", stage="content" if ending is Ending.UNSENT else "final", reconnect=True)


class StubTap:
    """A lane's queue as a list of parcels, and lanes that have mail."""

    hands_out_ahead = False

    def __init__(self):
        self.parcels = []
        self.full = set()
        self.asked = []

    def take(self, lane, room, size):
        self.asked.append((lane, room, size))
        taken, self.parcels = self.parcels, []
        return taken

    def waiting(self, lanes):
        return bool(self.full & set(lanes))

    def close(self):
        pass


@pytest.fixture
def backend(monkeypatch):
    backend = StubBackend()
    monkeypatch.setattr(backends, "build", lambda _relay: backend)
    return backend


@pytest.fixture
def window(monkeypatch):
    """A backend that sends three messages at a time; to be asked for before ``process``."""
    backend = WindowBackend()
    monkeypatch.setattr(backends, "build", lambda _relay: backend)
    return backend


@pytest.fixture
def tap():
    return StubTap()


@pytest.fixture
def stop():
    return StopFlag()


@pytest.fixture
def process(request, tap, stop, monkeypatch):
    if "window" not in request.fixturenames:
        request.getfixturevalue("backend")
    conf.configure(MAILQUEUE_LEDGER_URL=f"memory://workers-{next(_number)}", MAILQUEUE_RETRY_DELAYS=[60])
    queues = SimpleNamespace(consume_from={"mailqueue.urgent": None, "mailqueue.default": None, "mailqueue.bulk": None})
    process = Process(SimpleNamespace(amqp=SimpleNamespace(queues=queues)), worker=Worker(stop=stop))
    monkeypatch.setattr(process, "tap", lambda: tap)
    monkeypatch.setattr(process, "sleep", lambda _seconds: None)
    yield process
    process.close()


@pytest.fixture
def queue(process):
    """Accept messages and return their parcel, as the producer would publish it."""

    def queue(*messages, lane="default", relay="", alone=False):
        items, submissions = [], []
        for message in messages:
            message_id = f"m{next(_number)}"
            envelope, _blobs = pack(message, id=message_id, lane=lane, relay=relay, now=time.time())
            encoded = codec.encode(envelope)
            items.append((message_id, encoded))
            submissions.append(Submission(message_id, encoded, relay=relay))
        acceptance = process.ledger.accept(lane, submissions)
        return codec.Parcel(lane, acceptance.number, tuple(items), alone=alone)

    return queue
