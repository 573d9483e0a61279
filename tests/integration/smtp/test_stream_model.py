"""Random relays against the stream of messages: what is reported is what the relay did, whatever it did."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mailqueue.errors import RelayTrouble
from mailqueue.mail import EmailMessage
from mailqueue.mail.backends.smtp import EmailBackend
from mailqueue.outcome import Ending, Verdict
from mailqueue.testing.script import drop, raw, reply
from mailqueue.testing.scripted import ScriptedServer

OFFERS = ("SIZE", "8BITMIME", "PIPELINING", "CHUNKING")
GARBAGE = b"what?\r\n"

REFUSALS = {
    "mail": ["550 5.1.8 no", "451 4.3.0 later", "421 4.3.2 bye"],
    "rcpt": ["550 5.1.1 no", "451 4.2.1 later", "452 4.5.3 too many", "421 4.3.2 bye"],
    "data": ["554 5.6.0 no", "451 4.3.0 later", "421 4.3.2 bye"],
    "final": ["554 5.6.0 no", "451 4.3.0 later", "421 4.3.2 bye"],
    "rset": ["421 4.3.2 bye", "500 5.5.1 no"],
}
USUAL = {"mail": b"250 2.1.0 ok\r\n", "rcpt": b"250 2.1.5 ok\r\n", "final": b"250 2.0.0 ok: queued\r\n"}
USUAL["rset"] = b"250 2.0.0 ok\r\n"

LIMITS = [
    {},
    {"messages_per_connection": 3},
    {"messages_per_connection": 3, "lingers": True},
    {"hangs_up_after": 4},
    {"closes_after": 4},
    {"recipients_per_message": 2},
]

nth = st.integers(1, 24)
refusals = st.sampled_from([(stage, text) for stage, texts in REFUSALS.items() for text in texts])
steps = st.one_of(
    st.builds(
        lambda what, n, close: reply(*what, nth=n, close=close), refusals, nth, st.sampled_from([None, False, True])
    ),
    st.builds(lambda stage, n: raw(stage, GARBAGE, nth=n), st.sampled_from(list(USUAL)), nth),
    st.builds(lambda stage, n, keep: drop(stage, nth=n, keep=keep), st.sampled_from(list(USUAL)), nth, st.booleans()),
    st.builds(lambda n, after: drop("content", nth=n, after=after), nth, st.integers(0, 300)),
)
# One reply too many: there is no telling then what a lost connection has left.
extras = st.builds(
    lambda stage, other, n: raw(stage, USUAL[stage] + other, nth=n),
    st.sampled_from(list(USUAL)),
    st.sampled_from([*USUAL.values(), b"550 5.1.1 no\r\n", b"354 go on\r\n", b"421 4.3.2 bye\r\n"]),
    nth,
)
scripts = st.one_of(
    st.lists(steps, max_size=5),
    st.builds(
        lambda extra, others: [extra, *others],
        extras,
        st.lists(st.builds(lambda what, n: reply(*what, nth=n), refusals, nth), max_size=4),
    ),
)


class Report:
    """What was said of each message and recipient, over as many connections as it took."""

    def __init__(self, backend, messages):
        self.accepted = Counter()
        self.answered = {}
        self.unknown = Counter()
        self.endings = []
        begun = set()
        waiting = dict.fromkeys(messages)
        for _ in range(12):
            begun.clear()
            try:
                for outcome in backend.deliver(list(waiting), lambda group: begun.update(group) or [True] * len(group)):
                    self.take(outcome)
                    if outcome.ending is not Ending.PROGRESS:
                        begun.discard(outcome.message)
                    if outcome.ending in {Ending.ANSWERED, Ending.UNKNOWN}:
                        del waiting[outcome.message]
                    elif outcome.ending is Ending.PROGRESS:
                        begun.discard(outcome.message)
                        settled = {to for each, to in self.answered if each is outcome.message}
                        outcome.message.to = [to for to in outcome.message.to if to not in settled]
            except RelayTrouble:
                assert not begun, "every message that had begun has an outcome"
            else:
                break

    def take(self, outcome):
        number = outcome.message.subject
        if outcome.ending is Ending.UNSENT:
            assert outcome.results == {}
        if outcome.ending is Ending.UNKNOWN:
            for to in outcome.message.to:
                if to not in outcome.results:
                    self.unknown[number, to] += 1
        for to, result in outcome.results.items():
            assert (outcome.message, to) not in self.answered, "one answer each"
            self.answered[outcome.message, to] = result.verdict
            self.accepted[number, to] += result.verdict is Verdict.ACCEPTED


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    script=scripts,
    chunking=st.booleans(),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=14),
    limits=st.sampled_from(LIMITS),
    grown=st.sampled_from([2, 5, 128]),
)
@example(
    script=[raw("rcpt", b"250 2.1.5 ok\r\n550 5.1.1 no\r\n", nth=3)], chunking=True, sizes=[1] * 6, limits={}, grown=128
)
def test_what_is_reported_is_what_the_relay_did(script, chunking, sizes, limits, grown):
    offers = OFFERS if chunking else OFFERS[:-1]
    messages = [
        EmailMessage(str(n), "body\n.\n", "from@example.com", [f"{to}.{n}@example.com" for to in range(size)])
        for n, size in enumerate(sizes)
    ]
    with ScriptedServer(*script, offers=offers, **limits) as server:
        backend = EmailBackend(host=server.host, port=server.port, timeout=10)
        backend._habits.window._grown = grown
        try:
            report = Report(backend, messages)
        finally:
            backend._abandon()
        for number in range(len(server.connections)):
            server.wait_for_hangup(number + 1)
    copies = Counter()
    for each in server.messages:
        number = each.content.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode()
        copies.update((number, to) for to in each.recipients)
    for number, to in copies.keys() | report.accepted.keys():
        reported, unknown, true = report.accepted[number, to], report.unknown[number, to], copies[number, to]
        assert reported <= true <= reported + unknown, (number, to, reported, unknown, true)
