"""Many messages unanswered at once, over relays that offer PIPELINING, with CHUNKING and without."""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from dataclasses import replace

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.mail import turn
from mailqueue.outcome import Ending, Verdict
from mailqueue.smtp.session import Mail
from mailqueue.smtp.timeouts import Timeouts
from mailqueue.testing.incoming import Incoming
from mailqueue.testing.script import drip, drop, endless, hang, raw, reply
from mailqueue.testing.scripted import ScriptedServer

ACCEPTED, DEFERRED, REFUSED = Verdict.ACCEPTED, Verdict.DEFERRED, Verdict.REFUSED
USUAL = ("SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "PIPELINING")
CHUNKING = (*USUAL, "CHUNKING")
BOTH = pytest.mark.parametrize("offers", [pytest.param(CHUNKING, id="chunking"), pytest.param(USUAL, id="pipelining")])


class Run:
    """A delivery to its end, over as many connections as it takes, as a worker would have it."""

    def __init__(self, backend, messages, *, tries=40, on_begin=None, on_wait=None):
        self.outcomes = []
        self.troubles = []
        self.begun = []
        self.waits = 0
        self._on_begin = on_begin
        waiting = dict.fromkeys(messages)
        for _ in range(tries):
            try:
                for outcome in backend.deliver(list(waiting), self.begin, on_wait):
                    self.outcomes.append(outcome)
                    if outcome.ending in (Ending.ANSWERED, Ending.UNKNOWN):
                        waiting.pop(outcome.message)
            except RelayTrouble as trouble:
                self.troubles.append(trouble)
            else:
                break
        self.left = list(waiting)

    def begin(self, messages):
        self.begun.append(list(messages))
        return [True] * len(messages) if self._on_begin is None else self._on_begin(messages)

    @property
    def endings(self):
        return Counter(outcome.ending for outcome in self.outcomes)

    def of(self, message):
        return [outcome for outcome in self.outcomes if outcome.message is message]

    def verdicts(self, message):
        [outcome] = [each for each in self.of(message) if each.ending is not Ending.UNSENT]
        return {to: result.verdict for to, result in outcome.results.items()}


@pytest.fixture
def warm(connect, message):
    """A backend whose window has grown, over a connection to a relay; what it did until then is forgotten."""

    def make(server, count=40, **options):
        backend = connect(server, **options)
        run = Run(backend, [message(n) for n in range(1000, 1000 + count)])
        assert run.endings == {Ending.ANSWERED: count}
        assert len(server.connections) == 1
        with server._changed:
            server._messages.clear()
            server._reached.clear()
            server._conversations[0].commands.clear()
        return backend

    return make


def arrived(server):
    """How often each recipient's message was accepted."""
    return Counter(to for each in server.messages for to in each.recipients)


def with_little_room(server, backend):
    """Let little be on its way between the two that the other has not read."""
    with server._changed:
        [sock] = server._sockets.values()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    backend.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)


# -- what goes out


@BOTH
def test_every_message_arrives_whole_and_once(connect, message, offers):
    with ScriptedServer(offers=offers) as server:
        messages = [message(n, body=f"Body {n}\n.\n..\n.x\n") for n in range(200)]
        run = Run(connect(server), messages)
        assert run.endings == {Ending.ANSWERED: 200}
        assert [outcome.message for outcome in run.outcomes] == messages
        assert all(run.verdicts(each) == {each.to[0]: ACCEPTED} for each in messages)
        assert [each.recipients for each in server.messages] == [tuple(each.to) for each in messages]
        for each in server.messages:
            number = each.recipients[0][2:].split("@")[0]
            assert each.content.endswith(f"\r\n\r\nBody {number}\r\n.\r\n..\r\n.x\r\n".encode())
        assert len(server.connections) == 1


@BOTH
def test_the_first_message_on_a_connection_goes_alone_and_the_window_grows(connect, message, offers):
    with ScriptedServer(offers=offers) as server:
        run = Run(connect(server), [message(n) for n in range(60)])
        sizes = [len(group) for group in run.begun]
        assert sizes[0] == 1
        assert sizes[1] <= 2
        assert sum(sizes) == 60
        data = "BDAT" if "CHUNKING" in offers else "DATA"
        verbs = server.connections[0].verbs
        assert verbs[:6] == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP"]
        assert verbs[6:] == ["MAIL", "RCPT", data, "RSET"] * 59


def test_a_window_goes_out_without_waiting_for_replies(warm, message):
    begun = []
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server, timeout=0.5)
        server.play(hang("mail", nth=1))
        feed = iter([message(n) for n in range(1000)])
        outcomes = []
        with pytest.raises(RelayTrouble):
            outcomes.extend(backend.deliver(feed, lambda group: begun.extend(group) or [True] * len(group)))
        assert begun == [outcome.message for outcome in outcomes]
        assert len(begun) > 10
        assert {outcome.ending for outcome in outcomes} == {Ending.UNKNOWN}
        assert next(feed).subject == f"Message {len(begun)}", "no more was taken than went out"


CONTENTS = {
    "empty": b"",
    "no-end": b"Subject: x\r\n\r\nbody",
    "half-an-end": b"Subject: x\r\n\r\nbody\r",
    "dots": b"Subject: x\r\n\r\n.\r\n..\r\n...\r\n.x\r\nx.\r\n",
    "dot-first": b".Subject: x\r\n",
    "dot-alone": b".\r\n",
    "every-octet": bytes(range(256)) * 4,
    "several-blocks": b"Subject: x\r\n\r\n" + b".0123456789abcde\r\n" * 30_000,
    "eight-bit": "Subject: x\r\n\r\ngrüße\r\n".encode(),
    "looks-like-commands": b"Subject: x\r\n\r\nRSET\r\nQUIT\r\nMAIL FROM:<>\r\n",
    "too-large-for-company": b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 100_000,
}


@BOTH
@pytest.mark.parametrize("name", CONTENTS)
def test_content_arrives_as_it_does_by_plain_commands(connect, message, monkeypatch, name, offers):
    content = CONTENTS[name]
    monkeypatch.setattr("mailqueue.mail.letter.render", lambda each: content if each.subject == "It" else b"x\r\n")
    with ScriptedServer(offers=offers) as server, ScriptedServer() as plain:
        messages = [message(n, subject="It" if n == 2 else "x", to=[f"{n}@example.com"]) for n in range(5)]
        for each in (server, plain):
            assert Run(connect(each), messages).endings == {Ending.ANSWERED: 5}
        assert [(each.content, each.parameters) for each in server.messages] == [
            (each.content, each.parameters) for each in plain.messages
        ]


@BOTH
def test_addresses_beyond_ascii(connect, message, monkeypatch, offers):
    both = ["tø@example.com", "a@example.com"]

    def plainly(address, _encoding=None):
        return str(address)

    monkeypatch.setattr("mailqueue.mail.letter.envelope_address", plainly)
    with ScriptedServer(offers=offers) as server:
        messages = [message(n, to=both if n % 2 else ["b@example.com"]) for n in range(6)]
        assert Run(connect(server), messages).endings == {Ending.ANSWERED: 6}
        assert [each.parameters.endswith("SMTPUTF8") for each in server.messages] == [False, True] * 3
    without = tuple(each for each in offers if each != "SMTPUTF8")
    with ScriptedServer(offers=without) as server:
        messages = [message(n, to=both if n % 2 else ["tø@example.com"]) for n in range(6)]
        run = Run(connect(server), messages)
        assert run.endings == {Ending.ANSWERED: 6}
        assert run.verdicts(messages[1]) == {"tø@example.com": REFUSED, "a@example.com": ACCEPTED}
        assert run.verdicts(messages[2]) == {"tø@example.com": REFUSED}
        assert arrived(server) == {"a@example.com": 3}


@BOTH
def test_over_tls(connect, message, authority, offers):
    with ScriptedServer(offers=offers, tls=authority.valid()) as server:
        backend = connect(server, use_tls=True)
        backend.ssl_context = authority.client()
        bodies = ["x" * 70 + "\n", ("y" * 70 + "\n") * 3000]
        messages = [message(n, body=bodies[n % 2]) for n in range(60)]
        assert Run(backend, messages).endings == {Ending.ANSWERED: 60}
        assert len(server.messages) == 60
        assert server.connections[0].tls


def test_a_window_of_one_sends_one_message_at_a_time(connect, message):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = connect(server)
        backend.window = 1
        run = Run(backend, [message(n) for n in range(5)])
        assert [len(group) for group in run.begun] == [1] * 5
        assert "BDAT" not in server.connections[0].verbs


@pytest.mark.parametrize(("accepts", "resets"), [("2.0.0 ok", "2.0.0 ok"), ("2.0.0 ok id1", "2.0.0 ok id2")])
def test_a_relay_that_accepts_in_the_words_of_its_reply_to_rset_is_met_plainly(connect, message, accepts, resets):
    """Were its replies out of step, with one too many, nothing would show it: a refusal would be the next one's."""
    steps = reply("final", f"250 {accepts}"), reply("rset", f"250 {resets}")
    with ScriptedServer(*steps, offers=CHUNKING) as server:
        run = Run(connect(server), [message(n) for n in range(5)])
        assert run.endings == {Ending.ANSWERED: 5}
        assert "BDAT" not in server.connections[0].verbs
        assert len(server.connections) == 1


@pytest.mark.parametrize("window", [2, 3, 7])
def test_no_more_than_the_window_is_taken_ahead_of_what_is_answered(connect, message, window):
    taken, answered = [], []

    def feed():
        for n in range(80):
            taken.append(n)
            assert len(taken) - len(answered) <= window
            yield message(n)

    with ScriptedServer(offers=CHUNKING) as server:
        backend = connect(server)
        backend.window = window
        answered.extend(backend.deliver(feed()))  # one by one, as they come
        assert len(server.messages) == 80


# -- begin


@BOTH
def test_nothing_is_accepted_before_it_has_begun(connect, message, offers):
    begun = set()
    with ScriptedServer(offers=offers) as server:

        def on_begin(messages):
            begun.update(each.to[0] for each in messages)
            assert set(arrived(server)) <= begun
            return [True] * len(messages)

        Run(connect(server), [message(n) for n in range(100)], on_begin=on_begin)
        assert len(begun) == 100


@BOTH
def test_the_relay_has_what_has_begun_while_the_next_begins(warm, message, offers):
    """The ledger's calls take no time of the way there and back."""
    recipients = []
    with ScriptedServer(offers=offers) as server:

        def on_begin(messages):
            if recipients:
                last = f"rcpt TO:<{recipients[-1]}>"
                server.wait_until(lambda: last in server.commands, last)
            recipients.extend(each.to[0] for each in messages)
            return [True] * len(messages)

        run = Run(warm(server), [message(n) for n in range(30)], on_begin=on_begin)
        assert run.endings == {Ending.ANSWERED: 30}


@BOTH
def test_messages_that_are_not_ours_any_more_are_left_out(connect, message, offers):
    def odd(messages):
        return [int(each.subject.split()[1]) % 2 == 1 for each in messages]

    with ScriptedServer(offers=offers) as server:
        messages = [message(n) for n in range(100)]
        run = Run(connect(server), messages, on_begin=odd)
        assert [outcome.message for outcome in run.outcomes] == messages[1::2]
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(1, 100, 2)}
        assert len(server.connections) == 1


@BOTH
def test_what_on_begin_raises_comes_through(warm, message, offers):
    def on_begin(_messages):
        raise LookupError("no ledger")

    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        with pytest.raises(LookupError, match="no ledger"):
            list(backend.deliver([message(1)], on_begin))
        assert Run(backend, [message(2)]).endings == {Ending.ANSWERED: 1}
        assert len(server.connections) == 1
        assert arrived(server) == {"to2@example.com": 1}


@BOTH
def test_messages_that_are_no_mail_harm_nobody_else(connect, message, offers):
    with ScriptedServer(offers=offers) as server:
        messages = [message(n, **({"subject": "a\nb"} if n % 3 == 0 else {})) for n in range(30)]
        run = Run(connect(server), messages)
        assert run.endings == {Ending.ANSWERED: 30}
        assert [run.verdicts(each)[each.to[0]] for each in messages] == [REFUSED, ACCEPTED, ACCEPTED] * 10


# -- refusals


@BOTH
def test_recipients_are_refused_one_by_one(connect, message, offers):
    steps = [
        reply("rcpt", "550 5.1.1 unknown", to="b@example.com"),
        reply("rcpt", "451 4.2.1 wait", to="c@example.com"),
    ]
    with ScriptedServer(*steps, offers=offers) as server:
        to = ["a@example.com", "b@example.com", "c@example.com"]
        messages = [message(n, to=to) for n in range(30)]
        run = Run(connect(server), messages)
        for each in messages:
            assert run.verdicts(each) == dict(zip(to, [ACCEPTED, REFUSED, DEFERRED], strict=True))
        assert {each.recipients for each in server.messages} == {("a@example.com",)}
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("offers", "step"),
    [
        *(
            pytest.param(offers, step, id=f"{name}-{how}")
            for how, offers in (("chunking", CHUNKING), ("pipelining", USUAL))
            for name, step in (
                ("its-only-recipient", reply("rcpt", "550 5.1.1 unknown", to="bad@example.com")),
                ("its-sender", reply("mail", "550 5.1.8 no", nth=1)),
                ("its-content", reply("final", "550 5.6.0 no", to="bad@example.com")),
            )
        ),
        pytest.param(USUAL, reply("data", "550 5.6.0 no", to="bad@example.com"), id="at-data"),
    ],
)
def test_a_refused_message_takes_no_other_with_it(warm, message, offers, step):
    """It lies among others that are on their way already; none is put into its transaction."""
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(step)
        messages = [message(0, to=["bad@example.com"])] + [message(n) for n in range(1, 30)]
        run = Run(backend, messages)
        assert run.verdicts(messages[0]) == {"bad@example.com": REFUSED}
        assert [run.verdicts(each)[each.to[0]] for each in messages[1:]] == [ACCEPTED] * 29
        assert run.troubles == []
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(1, 30)}
        assert {each.sender for each in server.messages} == {"from@example.com"}


def test_content_that_is_wanted_for_nobody_gets_a_lone_dot(warm, message):
    with ScriptedServer(offers=USUAL) as server:
        backend = warm(server)
        server.play(reply("rcpt", "550 5.1.1 unknown", to="bad@example.com"), reply("data", "354 go on", nth=1))
        messages = [message(0, to=["bad@example.com"]), message(1)]
        run = Run(backend, messages)
        assert run.verdicts(messages[0]) == {"bad@example.com": REFUSED}
        assert run.verdicts(messages[1]) == {"to1@example.com": ACCEPTED}
        assert all(b"Message 0" not in each.content for each in server.messages)
        assert len(server.connections) == 1


def test_a_chunk_accepted_for_nobody_changes_nothing(warm, message):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(reply("rcpt", "550 5.1.1 unknown", to="bad@example.com"), reply("data", "250 2.0.0 fine", nth=1))
        messages = [message(0, to=["bad@example.com"]), message(1)]
        run = Run(backend, messages)
        assert run.verdicts(messages[0]) == {"bad@example.com": REFUSED}
        assert run.verdicts(messages[1]) == {"to1@example.com": ACCEPTED}


@BOTH
def test_too_many_recipients_go_on_in_another_transaction(connect, message, offers):
    everyone = [f"r{n}@example.com" for n in range(5)]
    with ScriptedServer(offers=offers, recipients_per_message=2) as server:
        messages = [message(n, to=everyone) for n in range(10)]
        run = Run(connect(server), messages)
        assert run.endings == {Ending.PROGRESS: 20, Ending.ANSWERED: 10}
        for each in messages:
            results = {}
            for outcome in run.of(each):
                assert results.keys().isdisjoint(outcome.results)
                results |= outcome.results
            assert {to: result.verdict for to, result in results.items()} == dict.fromkeys(everyone, ACCEPTED)
        assert arrived(server) == dict.fromkeys(everyone, 10)
        assert run.troubles == []
        assert Counter(each for group in run.begun for each in group) == dict.fromkeys(messages, 3)


def test_a_message_above_the_announced_size_is_refused_before_it_goes_out(connect, message):
    offers = ("SIZE 10000", "PIPELINING", "CHUNKING")
    with ScriptedServer(offers=offers, size_limit=10000) as server:
        messages = [message(n, body="x" * 60 + "\n" * (300 if n == 5 else 1)) for n in range(10)]
        messages[5] = message(5, body=("x" * 60 + "\n") * 300)
        run = Run(connect(server), messages)
        assert [set(run.verdicts(each).values()) for each in messages] == [{ACCEPTED}] * 5 + [{REFUSED}] + [
            {ACCEPTED}
        ] * 4
        assert run.of(messages[5])[0].reason == "mail: 552 5.3.4"
        assert len(server.connections) == 1


# -- 421


@pytest.mark.parametrize(
    ("offers", "stage"),
    [(CHUNKING, "mail"), (CHUNKING, "rcpt"), (USUAL, "mail"), (USUAL, "rcpt"), (USUAL, "data")],
)
def test_what_lies_behind_a_421_is_unsent(warm, message, offers, stage):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(reply(stage, "421 4.3.2 closing", nth=5))
        messages = [message(n) for n in range(30)]
        run = Run(backend, messages)
        assert set(run.endings) == {Ending.ANSWERED, Ending.UNSENT}
        assert run.endings[Ending.ANSWERED] == 30
        assert next(each.message for each in run.outcomes if each.ending is Ending.UNSENT) is messages[4]
        assert [(trouble.stage, trouble.code, trouble.reconnect) for trouble in run.troubles] == [(stage, 421, True)]
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(30)}


@pytest.mark.parametrize("data", ["554 5.5.1 no valid recipients", "354 go ahead"])
def test_a_421_that_comes_unasked_together_with_the_reply_to_data(warm, message, data):
    """Postfix at its smtpd_hard_error_limit: DATA is one error too many."""
    with ScriptedServer(offers=USUAL) as server:
        backend = warm(server)
        both = f"{data}\r\n421 4.7.0 Error: too many errors\r\n".encode()
        server.play(reply("rcpt", "550 5.1.1 unknown", to="bad@example.com"), raw("data", both, close=True, nth=2))
        bad = message(0, to=["bad@example.com"])
        messages = [message(1), bad, message(2), message(3)]
        run = Run(backend, messages)
        assert run.verdicts(bad) == {"bad@example.com": REFUSED}
        assert len(run.of(bad)) == 1
        assert run.left == []
        assert Ending.UNKNOWN not in run.endings
        assert arrived(server) == {f"to{n}@example.com": 1 for n in (1, 2, 3)}
        assert [(trouble.code, trouble.reconnect) for trouble in run.troubles] == [(421, True)]
        assert not backend._habits.plain


def test_a_reply_to_content_that_was_not_sent_is_out_of_step(warm, message):
    with ScriptedServer(offers=USUAL) as server:
        backend = warm(server)
        server.play(raw("data", b"354 go ahead\r\n250 2.0.0 ok: queued\r\n", nth=2))
        messages = [message(n) for n in range(5)]
        run = Run(backend, messages, tries=1)
        assert [outcome.ending for outcome in run.outcomes[:2]] == [Ending.ANSWERED, Ending.UNSENT]
        assert backend._habits.plain


@BOTH
def test_421_to_the_content_defers_that_message_alone(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(reply("final", "421 4.3.2 closing", nth=3))
        messages = [message(n) for n in range(20)]
        run = Run(backend, messages)
        verdicts = [run.verdicts(each)[each.to[0]] for each in messages]
        assert verdicts == [ACCEPTED] * 2 + [DEFERRED] + [ACCEPTED] * 17
        assert Ending.UNKNOWN not in run.endings
        assert len(server.messages) == 19


@BOTH
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_a_limit_of_messages_a_connection_costs_no_unknown(connect, message, offers, limit):
    with ScriptedServer(offers=offers, messages_per_connection=limit) as server:
        messages = [message(n) for n in range(30)]
        run = Run(connect(server), messages)
        assert run.left == []
        assert Ending.UNKNOWN not in run.endings
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(30)}
        assert len(server.connections) == -(-30 // limit)


@BOTH
def test_a_relay_that_goes_on_after_its_limit_of_messages_costs_no_unknown(warm, message, offers):
    """Exim's smtp_accept_max_per_connection: 421 to MAIL, 503 to what depends on it, 250 to RSET, and so on."""
    with ScriptedServer(offers=offers, messages_per_connection=50, lingers=True) as server:
        backend = warm(server)
        run = Run(backend, [message(n) for n in range(110)])
        assert run.left == []
        assert Ending.UNKNOWN not in run.endings
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(110)}
        assert len(server.connections) == 3
        assert [trouble.code for trouble in run.troubles] == [421] * 2
        assert backend._habits.limit == 50
        begun_in_vain = sum(map(len, run.begun)) - 110
        assert begun_in_vain == run.endings[Ending.UNSENT] - 1, "the limit is known on the second connection"


@pytest.mark.parametrize("close", [True, False])
def test_a_recipient_turned_away_by_421_among_messages_on_their_way(warm, message, close):
    """An access list of Exim's may give that code ("defer message = 421 ..."), and then it goes on."""
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(reply("rcpt", "421 4.7.0 not you", to="b@example.com", close=close, times=1))
        both = message(0, to=["a@example.com", "b@example.com"])
        messages = [message(1), both, *[message(n) for n in range(2, 20)]]
        run = Run(backend, messages)
        assert run.left == []
        assert run.verdicts(both) == {"a@example.com": ACCEPTED, "b@example.com": ACCEPTED if close else DEFERRED}
        assert Ending.UNKNOWN not in run.endings
        assert arrived(server) == {to: 1 for each in messages for to in each.to if close or to != "b@example.com"}
        assert [(trouble.stage, trouble.code) for trouble in run.troubles] == [("rcpt", 421)]


def test_a_chunk_of_which_a_part_went_out_before_a_421_is_not_waited_for(warm, message):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(reply("mail", "421 4.3.2 closing", nth=2, close=False))
        with_little_room(server, backend)
        body = ("x" * 70 + "\n") * 1300
        began = time.monotonic()
        run = Run(backend, [message(n, body=body) for n in range(30)], tries=1)
        assert time.monotonic() - began < 4, "nothing was waited for that cannot come"
        assert Ending.UNKNOWN not in run.endings
        answered = {outcome.message.to[0] for outcome in run.outcomes if outcome.ending is Ending.ANSWERED}
        assert arrived(server) == dict.fromkeys(answered, 1)
        assert run.endings[Ending.UNSENT] >= 1


@BOTH
def test_rset_refused_and_the_end_is_no_loss_of_step(warm, message, offers):
    """Exim's smtp_accept_max_nonmail counts the RSET behind a message that nobody is to get."""
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(
            reply("rcpt", "550 5.1.1 unknown", to="bad@example.com"),
            reply("rset", "554 5.7.0 too many nonmail commands", nth=3, close=True),
        )
        bad = message(0, to=["bad@example.com"])
        messages = [message(1), message(2), bad, *[message(n) for n in range(3, 20)]]
        run = Run(backend, messages)
        assert run.left == []
        assert run.verdicts(bad) == {"bad@example.com": REFUSED}
        assert len(run.of(bad)) == 1
        assert Ending.UNKNOWN not in run.endings
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(1, 20)}
        assert not backend._habits.plain


def test_a_421_that_is_not_followed_by_an_end_leaves_it_open_what_became_of_the_others(warm, message, monkeypatch):
    monkeypatch.setattr("mailqueue.smtp.stream._FAREWELL", 0.05)
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(reply("mail", "421 4.3.2 closing", nth=3, close=False), hang("rcpt", nth=3))
        outcomes = []
        with pytest.raises(RelayTrouble):
            outcomes.extend(backend.deliver([message(n) for n in range(10)]))
        endings = [outcome.ending for outcome in outcomes]
        assert endings[:3] == [Ending.ANSWERED, Ending.ANSWERED, Ending.UNSENT]
        assert set(endings[3:]) == {Ending.UNKNOWN}


# -- lost connections


@BOTH
@pytest.mark.parametrize("keep", [True, False])
def test_a_link_lost_leaves_unknown_what_is_out_and_unsent_what_is_not(warm, message, offers, keep):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(drop("final", nth=3, keep=keep))
        messages = [message(n) for n in range(30)]
        run = Run(backend, messages, tries=1)
        assert [outcome.ending for outcome in run.outcomes[:2]] == [Ending.ANSWERED] * 2
        assert run.outcomes[2].ending is Ending.UNKNOWN
        endings = {outcome.ending for outcome in run.outcomes[3:]}
        assert endings <= ({Ending.UNKNOWN} if "CHUNKING" in offers else {Ending.UNSENT})
        assert len(run.outcomes) == sum(map(len, run.begun))
        assert run.troubles[0].reconnect


def test_a_link_lost_within_a_large_window_tells_what_went_out(warm, message):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server, timeout=0.5)
        server.play(hang("content"))
        # 92 kB: a window of 1 MB, of which the sockets take a part, as nobody reads.
        with_little_room(server, backend)
        body = ("x" * 70 + "\n") * 1300
        outcomes = []
        with pytest.raises(RelayTrouble):
            outcomes.extend(backend.deliver([message(n, body=body) for n in range(30)]))
        kinds = [ending for ending, _ in itertools.groupby(outcome.ending for outcome in outcomes)]
        assert kinds == [Ending.UNKNOWN, Ending.UNSENT], "what went out, went out in order"


def test_who_is_refused_already_stays_so_when_the_link_is_lost(warm, message):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(reply("rcpt", "550 5.1.1 unknown", to="b@example.com"), drop("final", nth=1))
        some, none = message(1, to=["a@example.com", "b@example.com"]), message(2, to=["b@example.com"])
        run = Run(backend, [none, some, message(3)], tries=1)
        assert run.verdicts(none) == {"b@example.com": REFUSED}
        assert [outcome.ending for outcome in run.of(some)] == [Ending.UNKNOWN]
        assert run.verdicts(some) == {"b@example.com": REFUSED}


@BOTH
def test_a_relay_that_hangs_up_after_so_many_messages_costs_unknowns_once(connect, message, offers):
    with ScriptedServer(offers=offers, hangs_up_after=20) as server:
        messages = [message(n) for n in range(200)]
        run = Run(connect(server), messages)
        assert run.left == []
        unknown = [outcome.message for outcome in run.outcomes if outcome.ending is Ending.UNKNOWN]
        assert len(unknown) <= (24 if "CHUNKING" in offers else 0)
        expected = {f"to{n}@example.com": 1 for n in range(200)}
        lost = {each.to[0] for each in unknown}
        assert arrived(server) == {to: 1 for to in expected if to not in lost}
        assert len(run.troubles) == len(server.connections) - 1


@BOTH
def test_a_relay_that_closes_right_behind_so_many_acceptances_costs_unknowns_once(connect, message, offers):
    with ScriptedServer(offers=offers, closes_after=20) as server:
        backend = connect(server)
        run = Run(backend, [message(n) for n in range(200)])
        assert run.left == []
        assert backend._habits.limit == 20
        assert not backend._habits.plain
        unknown = {outcome.message.to[0] for outcome in run.outcomes if outcome.ending is Ending.UNKNOWN}
        assert len(unknown) <= (24 if "CHUNKING" in offers else 0)
        copies = arrived(server)
        assert len(unknown & copies.keys()) <= 1  # who closes with octets unread may take back the last thing it said
        assert len(unknown | copies.keys()) == copies.total() + len(unknown - copies.keys()) == 200


def test_a_connection_lost_once_is_no_habit(connect, message):
    with ScriptedServer(drop("mail", nth=30), offers=CHUNKING) as server:
        backend = connect(server)
        Run(backend, [message(n) for n in range(200)])
        assert len(server.connections) == 2
        assert backend._habits.limit is None
        assert server.connections[1].verbs.count("BDAT") > 100


@BOTH
def test_silence_within_a_window(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server, timeout=0.5)
        server.play(hang("final", nth=3, keep=True))
        run = Run(backend, [message(n) for n in range(10)], tries=1)
        assert [outcome.ending for outcome in run.outcomes[:3]] == [Ending.ANSWERED] * 2 + [Ending.UNKNOWN]
        assert (run.troubles[0].stage, run.troubles[0].reconnect) == ("final", False)
        assert not backend._habits.plain, "it has kept its word before"


@pytest.mark.parametrize("step", [drip("rcpt", "250 " + "x" * 200, interval=0.02, nth=2), endless("rcpt", nth=2)])
def test_a_reply_without_end_within_a_window(warm, message, step):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server, timeout=0.5)
        server.play(step)
        run = Run(backend, [message(n) for n in range(10)], tries=1)
        assert run.outcomes[0].ending is Ending.ANSWERED
        assert {outcome.ending for outcome in run.outcomes[1:]} == {Ending.UNKNOWN}


# -- out of step


EXTRA = [
    pytest.param(raw("mail", b"250 2.1.0 ok\r\n250 2.1.0 ok\r\n", nth=3), id="to-mail"),
    pytest.param(raw("rcpt", b"250 2.1.5 ok\r\n250 2.1.5 ok\r\n", nth=3), id="to-rcpt"),
    pytest.param(raw("rcpt", b"250 2.1.5 ok\r\n550 5.1.1 no\r\n", nth=3), id="a-refusal-to-rcpt"),
    pytest.param(raw("rset", b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n", nth=3), id="to-rset"),
    pytest.param(raw("rset", b"250 2.0.0 ok\r\n250 2.0.0 ok: queued\r\n", nth=2), id="late-acceptance"),
]


@BOTH
@pytest.mark.parametrize("step", EXTRA)
def test_a_reply_too_many_is_not_taken_for_another_messages(warm, message, offers, step):
    """All content is refused: whoever takes a reply for the next one's will say that a message was accepted."""
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(step, reply("final", "554 5.6.0 no"))
        run = Run(backend, [message(n) for n in range(20)], tries=1)
        for outcome in run.outcomes:
            assert all(result.verdict is not ACCEPTED for result in outcome.results.values())
        assert len(run.troubles) == 1
        assert backend._habits.unchunked if "CHUNKING" in offers else backend._habits.plain


@BOTH
def test_an_acceptance_too_many_is_not_taken_for_the_next_message(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        twice = raw("final", b"250 2.0.0 ok: queued\r\n250 2.0.0 ok: queued\r\n", nth=3)
        server.play(twice, reply("final", "554 5.6.0 no"))
        run = Run(backend, [message(n) for n in range(20)], tries=1)
        accepted = [o for o in run.outcomes if any(r.verdict is ACCEPTED for r in o.results.values())]
        assert len(accepted) <= len(server.messages) == 1
        assert all(o.message.to == list(server.messages[0].recipients) for o in accepted)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(raw("mail", b"what?\r\n", nth=3), id="garbage"),
        pytest.param(reply("rcpt", "354 go on", nth=3), id="out-of-protocol"),
        pytest.param(reply("rset", "500 no", nth=3), id="no-rset"),
        pytest.param(reply("final", "354 more", nth=3), id="wants-more"),
    ],
)
def test_after_a_surprise_nothing_is_believed_and_nothing_goes_by_chunks(warm, message, step):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(step)
        messages = [message(n) for n in range(300)]
        run = Run(backend, messages)
        assert run.left == []
        assert run.endings[Ending.UNKNOWN] >= 1
        assert "BDAT" not in server.connections[1].verbs
        counted = arrived(server)
        for each in messages:
            if run.of(each)[-1].ending is Ending.ANSWERED:
                assert counted[each.to[0]] == 1


def test_a_relay_that_takes_a_refused_chunk_for_commands_is_sent_none_after_the_first(warm, message):
    with ScriptedServer(offers=CHUNKING, discards_chunks=False) as server:
        backend = warm(server)
        server.play(reply("rcpt", "550 5.1.1 unknown", to="bad@example.com"))
        messages = [message(0, to=["bad@example.com"]) if n % 9 == 5 else message(n) for n in range(60)]
        run = Run(backend, messages)
        assert run.left == []
        assert len(server.connections) == 2
        unknown = {outcome.message for outcome in run.outcomes if outcome.ending is Ending.UNKNOWN}
        assert all(run.verdicts(each) for each in messages if each not in unknown)
        assert not backend._habits.plain
        assert set(server.connections[1].verbs) == {"EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP"}


def test_out_of_step_without_chunks_as_well_is_met_plainly(warm, message):
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        server.play(*(raw("mail", b"what?\r\n", nth=3, connection=number) for number in (1, 2)))
        run = Run(backend, [message(n) for n in range(300)])
        assert run.left == []
        assert (backend._habits.unchunked, backend._habits.plain) == (True, True)
        assert "BDAT" not in server.connections[1].verbs
        assert len(server.connections) == 3


@pytest.mark.parametrize("loses", ["ALL", "RSET", "NOOP"])
@BOTH
def test_a_relay_that_loses_what_comes_together_costs_no_message_its_answer(connect, message, offers, loses):
    with ScriptedServer(offers=offers, loses=loses) as server:
        backend = connect(server, timeout=0.5)
        messages = [message(n) for n in range(10)]
        run = Run(backend, messages)
        assert run.endings == {Ending.ANSWERED: 10}
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(10)}
        if loses != "NOOP":  # there is nothing behind it
            assert backend._habits.plain
            assert len(server.connections) == 2


@BOTH
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(reply("rset", "421 4.3.2 closing", nth=1), id="closing"),
        pytest.param(drop("rset", nth=1), id="gone"),
        pytest.param(hang("rset", nth=1), id="silent"),
    ],
)
def test_bad_timing_costs_an_acquaintance_neither_messages_nor_its_name(warm, message, offers, step):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server, timeout=0.3)
        backend.close()
        server.play(step)
        run = Run(backend, [message(n) for n in range(30)], tries=1)
        assert run.endings == {Ending.ANSWERED: 30}
        assert not backend._habits.plain
        data = "BDAT" if "CHUNKING" in offers else "DATA"
        verbs = server.connections[2].verbs
        assert verbs[:7] == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "MAIL"]
        assert verbs.count(data) >= 29


@pytest.mark.parametrize(
    ("offers", "loses"), [(CHUNKING, "BDAT"), (CHUNKING, "MAIL"), (USUAL, "MAIL"), (USUAL, "RCPT")]
)
def test_a_relay_that_loses_what_comes_behind_a_command_is_met_plainly_then(connect, message, offers, loses):
    with ScriptedServer(offers=offers, loses=loses) as server:
        backend = connect(server, timeout=0.5)
        messages = [message(n) for n in range(10)]
        run = Run(backend, messages)
        assert run.left == []
        assert run.endings[Ending.UNKNOWN] <= 2, "the first window is small"
        assert backend._habits.plain
        unknown = {outcome.message for outcome in run.outcomes if outcome.ending is Ending.UNKNOWN}
        assert arrived(server) == {each.to[0]: 1 for each in messages if each not in unknown}


# -- waiting


@BOTH
def test_on_wait_is_called_when_there_is_news_and_the_relay_is_silent(warm, message, offers):
    order = []
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(drip("final", "250 2.0.0 ok: queued", interval=0.01, nth=5))
        messages = [message(n) for n in range(8)]
        order.extend(each.message for each in backend.deliver(messages, None, lambda: order.append("wait")))
        assert [each for each in order if each != "wait"] == messages
        assert order[order.index(messages[3]) + 1] == "wait", "the fifth reply takes its time"


@BOTH
def test_time_that_others_took_is_not_the_relays(warm, message, offers):
    """The ledger cannot be reached for a while; the relay has answered everything meanwhile."""

    def on_begin(messages):
        if server.reached("final") == 3:  # it is being answered
            time.sleep(0.3)
        return [True] * len(messages)

    with ScriptedServer(offers=offers) as server:
        backend = warm(server, timeout=0.2)
        backend.window = 4
        server.play(drip("final", "250 2.0.0 ok: queued", interval=0.005, nth=3))
        run = Run(backend, [message(n) for n in range(20)], on_begin=on_begin)
        assert run.endings == {Ending.ANSWERED: 20}
        assert run.troubles == []


LARGE = ("x" * 70 + "\n") * 12_000


@BOTH
def test_a_content_may_take_longer_to_go_out_than_its_answer(warm, message, monkeypatch, offers):
    read = Incoming._fill

    def slowly(incoming):
        time.sleep(0.05)
        return read(incoming)

    with ScriptedServer(offers=offers) as server:
        backend = warm(server, timeout=0.3)
        with_little_room(server, backend)
        monkeypatch.setattr(Incoming, "_fill", slowly)
        assert Run(backend, [message(1, body=LARGE)]).endings == {Ending.ANSWERED: 1}


def test_a_reply_that_may_be_kept_back_until_the_content_is_dealt_with_has_as_long_as_that(warm, message):
    """A server that writes when it has read all that came: MAIL's reply may come with that to the last chunk."""
    with ScriptedServer(offers=CHUNKING) as server:
        backend = warm(server)
        backend._session.timeouts = replace(Timeouts.uniform(0.2), final=10)
        server.play(drip("mail", "250 2.1.0 ok", interval=0.03, nth=2))
        assert Run(backend, [message(n) for n in range(5)]).endings == {Ending.ANSWERED: 5}


@BOTH
def test_a_relay_that_reads_nothing_and_drips_is_left_in_time(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server, timeout=0.3)
        with_little_room(server, backend)
        server.play(drip("content", "250-" + "x" * 200, interval=0.05))
        began = time.monotonic()
        run = Run(backend, [message(1, body=LARGE)], tries=1)
        assert time.monotonic() - began < 3
        assert run.endings == {Ending.UNSENT: 1}


def test_plain_commands_wait_as_well(connect, message):
    waits = []
    with ScriptedServer(hang("rcpt", nth=2)) as server:
        outcomes = connect(server, timeout=0.2).deliver(
            [message(1), message(2)], None, lambda: waits.append(server.reached("rcpt"))
        )
        with pytest.raises(RelayTrouble):
            list(outcomes)
    assert waits[-1] == 2


@BOTH
def test_closing_the_iterator_early_closes_a_connection_with_answers_on_their_way(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(hang("final", nth=3, connection=1))
        outcomes = backend.deliver(message(n) for n in range(50))
        next(outcomes)
        outcomes.close()
        assert run_of(backend, message(99)) is Ending.ANSWERED
        assert len(server.connections) == 2


def run_of(backend, message):
    [outcome] = Run(backend, [message]).outcomes
    return outcome.ending


@BOTH
def test_the_connection_is_clean_afterwards(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(reply("rcpt", "550 5.1.1 unknown", to="bad@example.com"))
        Run(backend, [message(1, to=["bad@example.com"])])
        assert backend.send_messages([message(2)]) == 1
        assert backend.probe()
        assert len(server.connections) == 1


def test_a_turn_keeps_what_is_left_of_it(message):
    found = turn.Turn.of(message(1, to=["a@example.com", "b@example.com"]))
    assert found.mail == Mail("from@example.com", ("a@example.com", "b@example.com"), found.mail.content)


@BOTH
def test_a_login_that_is_asked_for_in_the_midst_of_a_window(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(*(reply("mail", "530 5.7.0 authentication required", nth=n) for n in range(4, 60)))
        messages = [message(n) for n in range(10)]
        run = Run(backend, messages, tries=1)
        assert [run.verdicts(each)[each.to[0]] for each in messages[:3]] == [ACCEPTED] * 3
        begun = [each for group in run.begun for each in group]
        assert [each.ending for each in run.outcomes[3:]] == [Ending.UNSENT] * (len(begun) - 3)
        assert [(each.stage, each.code, each.reconnect) for each in run.troubles] == [("mail", 530, False)]
        assert len(server.messages) == 3


@BOTH
def test_a_connection_lost_at_the_first_window_of_a_later_delivery_is_no_broken_promise(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        server.play(drop("rcpt", nth=1))
        run = Run(backend, [message(n) for n in range(5)])
        assert run.left == []
        assert not backend._habits.plain


@BOTH
def test_without_any_timeout_a_large_message_still_goes_out(connect, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = connect(server, timeout=None)
        messages = [message(n, body=("x" * 70 + "\n") * (40_000 if n % 3 == 2 else 1)) for n in range(9)]
        assert Run(backend, messages).endings == {Ending.ANSWERED: 9}
        assert arrived(server) == {f"to{n}@example.com": 1 for n in range(9)}
        assert len(server.connections) == 1


@BOTH
def test_an_acquaintance_is_met_with_one_message_in_fewer_round_trips(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        backend.close()
        run = Run(backend, [message(n) for n in range(30)])
        assert run.endings == {Ending.ANSWERED: 30}
        assert [len(group) for group in run.begun][:1] == [1]
        data = "BDAT" if "CHUNKING" in offers else "DATA"
        assert server.connections[1].verbs[:7] == ["EHLO", "RSET", "NOOP", "MAIL", "RCPT", data, "RSET"]


@BOTH
def test_an_acquaintance_that_hangs_up_on_a_new_connection_costs_one_unknown_at_most(warm, message, offers):
    with ScriptedServer(offers=offers) as server:
        backend = warm(server)
        backend.close()
        server.play(drop("mail", nth=1))
        run = Run(backend, [message(n) for n in range(30)])
        assert run.left == []
        assert run.endings[Ending.UNKNOWN] <= 1
