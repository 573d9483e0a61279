"""Every badly behaved relay of the catalogue, met by the real delivery path: what the ledger says afterwards.

A task goes through ``workers.drain`` with a real Process, the smtp backend and real sockets, on the ledger in memory
and on Valkey. Then time is moved to when what was deferred is due, and the relay has recovered.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from mailqueue import codec, conf
from mailqueue.envelope import pack
from mailqueue.ledger.base import Submission
from mailqueue.ledger.open import open_ledger
from mailqueue.ledger.states import FINAL, State
from mailqueue.mail import EmailMessage
from mailqueue.testing.catalogue import CATALOGUE
from mailqueue.testing.certificates import Authority
from mailqueue.testing.script import Drip, Drop, Endless, Hang, Say
from workers.drain import drain
from workers.process import Process

_number = itertools.count(1)
_REPLY = re.compile(rb"(?:\d{3}-[^\r\n]*\r\n)*(\d{3}) [^\r\n]*\r\n")
_PUBLISHED = {State.SENT, State.PARTIAL, State.FAILED, State.DEFERRED, State.HELD, State.UNKNOWN}


@pytest.fixture(scope="session")
def authority():
    return Authority()


@pytest.fixture(scope="session")
def trusted(authority, tmp_path_factory):
    """The file of the CA that the sending side trusts."""
    return authority.root(tmp_path_factory.mktemp("ca"))


class Sender:
    """A worker's process whose time can be moved, and the messages that it was given."""

    def __init__(self, ledger_url, settings, monkeypatch):
        self.moved = 0.0  # s
        self.ids = []
        conf.configure(MAILQUEUE_RETRY_DELAYS=[60], **settings)
        self.ledger = open_ledger(ledger_url, clock_offset=lambda: self.moved)
        lanes = SimpleNamespace(consume_from={"mailqueue.default": None})
        app = SimpleNamespace(amqp=SimpleNamespace(queues=lanes))
        self.process = Process(app, ledger=self.ledger, now=lambda: time.time() + self.moved)
        self.process.relays._clock = lambda: time.monotonic() + self.moved
        monkeypatch.setattr(self.process, "sleep", lambda _seconds: None)
        nothing = SimpleNamespace(take=lambda _lane, _room, _size: [], waiting=lambda _lanes: False, close=lambda: None)
        monkeypatch.setattr(self.process, "tap", lambda: nothing)

    def send(self, messages):
        """Accept ``messages`` and run the task that carries them."""
        items, submissions = [], []
        for position, message in enumerate(messages):
            body = ("x" * 99 + "\n") * (message.octets // 100)
            mail = EmailMessage(f"Number {position}", body, "app@example.com", list(message.to))
            message_id = f"catalogue-{next(_number)}"
            self.ids.append(message_id)
            envelope, blobs = pack(mail, id=message_id, now=time.time(), on_unknown=message.on_unknown)
            self.ledger.put_blobs(blobs)
            items.append((message_id, codec.encode(envelope)))
            submissions.append(
                Submission(message_id, items[-1][1], blobs=envelope.blobs(), on_unknown=message.on_unknown)
            )
        acceptance = self.ledger.accept("default", submissions)
        drain(codec.Parcel("default", acceptance.number, tuple(items)), self.process)

    def send_again(self):
        """Move time to when all that is deferred is due, and run the tasks that the tick publishes."""
        due = max((entry.due_at for entry in self.entries() if entry.state is State.DEFERRED), default=0.0)
        self.moved = max(self.moved, due - time.time() + 1)
        for each in self.ledger.tick().publications:
            drain(codec.Parcel(each.lane, each.number, each.items, each.alone), self.process)

    def be_patient(self):
        """From here on the relay behaves well, and may be slow on a busy machine."""
        for connection in self.process.connections._all():
            connection.backend.timeout = 10

    def take_latches_off(self):
        """What an operator does who has mended the relay's side of credentials that it refused."""
        for relay, mark in self.ledger.relay_states().items():
            if mark.latched:
                self.ledger.relay_recovered(relay, by_hand=True)

    def entries(self):
        return [self.ledger.get(message_id) for message_id in self.ids]


@pytest.fixture(params=["memory", "valkey"])
def sender(request, monkeypatch, trusted):
    """Makes the sending side for a relay; at the end it says QUIT and leaves."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    made = []

    def make(case, server):
        if request.param == "memory":
            url = f"memory://catalogue-{next(_number)}"
        else:
            url = request.getfixturevalue("valkey_url")
        settings = {"EMAIL_HOST": server.host, "EMAIL_PORT": server.port, "EMAIL_TIMEOUT": 10} | dict(case.settings)
        made.append(Sender(url, settings, monkeypatch))
        return made[-1]

    yield make
    for each in made:
        each.process.close()


@pytest.mark.store
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CATALOGUE.items()])
def test_the_ledger_accounts_for_what_the_relay_did(case, sender, authority, caplog):
    caplog.set_level(logging.INFO)
    with case.server(authority) as server:
        sending = sender(case, server)
        sending.send(case.messages)
        if case.rounds == 1:
            assert (sending.process.relays.wait("") > 0) == bool(case.trouble)
        for _ in range(case.rounds - 1):
            sending.send_again()
    assert_accounts(case, case.first, sending.entries(), [server])
    assert len(server.connections) == case.connections
    assert_no_connection_was_used_after_a_surprise(case, server)

    with case.recovered_server(authority, port=server.port) as recovered:
        sending.be_patient()
        sending.take_latches_off()
        sending.send_again()
    accounts = case.then or case.first
    assert_accounts(case, accounts, sending.entries(), [server, recovered])
    assert case.then or recovered.messages == []
    assert_no_connection_was_used_after_a_surprise(case, recovered)
    assert_nothing_private_is_logged(case, caplog)


def assert_accounts(case, accounts, entries, servers):
    """The ledger says what the case says it must, and it agrees with what the relay has accepted."""
    copies = accepted(servers)
    for position, (message, account, entry) in enumerate(zip(case.messages, accounts, entries, strict=True)):
        replies = {to: f"{result.verdict} {result.reply.code}" for to, result in entry.results.items()}
        said = (entry.state, entry.attempts, entry.unknowns, replies)
        expected = {to: account.reply(to) for to in message.to if account.reply(to)}
        assert said == (account.state, account.attempts, account.unknowns, expected), f"message {position}"
        found = {to: copies[position, to] for to in message.to}
        assert found == {to: account.copies_for(to) for to in message.to}, f"copies of message {position}"
        assert_nothing_is_lost_or_unaccounted_for(message, entry, found)
        if entry.state is State.DEFERRED and not entry.attempts:
            assert entry.reason == f"relay trouble at {case.trouble}"


def assert_nothing_is_lost_or_unaccounted_for(message, entry, copies):
    assert entry.state in _PUBLISHED
    assert entry.state in FINAL or entry.envelope is not None
    for to in message.to:
        result = entry.results.get(to)
        assert copies[to] - 1 <= entry.unknowns
        assert result is not None or entry.state not in FINAL
        if result is not None and result.verdict == "accepted":
            assert copies[to] >= 1
        elif copies[to]:
            assert entry.unknowns, "a copy that nobody knows of"


def accepted(servers):
    """How often each message was accepted, by its position and recipient."""
    copies = Counter()
    for received in itertools.chain.from_iterable(server.messages for server in servers):
        position = int(re.search(rb"^Subject: Number (\d+)\r$", received.content, re.MULTILINE)[1])
        copies.update((position, to) for to in received.recipients)
    return copies


def assert_no_connection_was_used_after_a_surprise(case, server):
    if "PIPELINING" in server.offers:
        return  # what the server reads after it was on its way before
    # What is said in the clear before TLS begins is forgotten when it begins.
    forgotten = [step.action for step in case.steps if step.stage == "starttls"]
    for conversation in server.connections:
        for action, heard in conversation.played:
            if is_surprise(action) and not (conversation.tls and action in forgotten):
                further = [verb for verb in conversation.verbs[heard:] if verb != "QUIT"]
                assert further == [], f"after {action}"


def is_surprise(action):
    """Whether a client must not go on: silence, an end, or what is not one well-formed reply."""
    match action:
        case Hang() | Drop() | Drip() | Endless():
            return True
        case Say(octets, close):
            reply = _REPLY.fullmatch(octets)
            return close or reply is None or reply[1] == b"421"


def assert_nothing_private_is_logged(case, caplog):
    for private in ("app@example.com", "Number", "secret", *itertools.chain.from_iterable(m.to for m in case.messages)):
        assert private not in caplog.text
