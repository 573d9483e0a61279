"""The crash proof's own judgement: what its audit calls a breach, what it excuses, and what it reads from a store."""

from __future__ import annotations

import asyncio
import json
import subprocess

import pytest

from mailqueue.ledger import scripts
from mailqueue.ledger.base import Entry
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply
from tests.crashproof.ambush import Ambush
from tests.crashproof.audit import Relayed, audit
from tests.crashproof.cuts import CASES, TELLTALES
from tests.crashproof.faults import KILLS
from tests.crashproof.history import BulkHistory, commands
from tests.crashproof.proof import Journal
from tests.crashproof.relay import Relay
from tests.crashproof.rollback import concerned
from tests.crashproof.round import Plan, Report
from tests.crashproof.sabotage import SABOTAGES, TAKES_AWAY, sabotage
from tests.crashproof.table import Sabotaged, table, verdicts
from tests.crashproof.writer import Mail

ANN, BOB = "ann0@example.com", "bob0@example.com"
OK = Result(Verdict.ACCEPTED, Reply(250, "ok"))
NO = Result(Verdict.REFUSED, Reply(550, "no"))


def mail(*recipients, **more):
    return Mail(0, recipients or (ANN,), "default", **{"ids": ["a"], "accepted": True, **more})


def entry(state=State.SENT, *, unknowns=0, results=None, message_id="a", reason=""):
    return Entry(
        id=message_id,
        state=state,
        lane="default",
        relay="",
        attempts=1,
        crashes=0,
        unknowns=unknowns,
        accepted_at=0.0,
        updated_at=0.0,
        due_at=None,
        reason=reason,
        results={ANN: OK} if results is None else results,
        envelope=None,
    )


def relayed(*copies, digests=("same",), dates=("now",), at=100.0, no=()):
    found = Relayed(refused_recipients=set(no))
    for recipient in copies:
        found.copies[0][recipient] += 1
        found.digests[0].update(digests)
        found.dates[0].update(dates)
        found.first[0] = at
    return found


def kinds(mail, *entries, relay, cut=None):
    findings = audit([mail], {each.id: each for each in entries}, relay, cut)
    return [breach.kind for breach in findings.breaches]


def test_a_message_that_was_sent_once_is_in_order():
    findings = audit([mail()], {"a": entry()}, relayed(ANN))
    assert not findings.breaches
    assert (findings.accepted, findings.copies, findings.repeated, findings.states) == (1, 1, 0, {"sent": 1})


@pytest.mark.parametrize(
    ("expected", "entries", "copies"),
    [
        pytest.param("lost", [], [], id="not in the ledger"),
        pytest.param("lost", [entry(State.QUEUED, results={})], [], id="never settled"),
        pytest.param("missing", [entry()], [], id="sent, and not at the relay"),
        pytest.param("repeated", [entry()], [ANN, ANN], id="two copies, never counted unknown"),
        pytest.param("repeated", [entry(unknowns=1)], [ANN] * 3, id="three copies, counted once"),
        pytest.param("uncounted", [entry(State.FAILED, results={})], [ANN], id="a copy of what has failed"),
        pytest.param(
            "uncounted", [entry(State.HELD, results={}, unknowns=1)], [ANN] * 2, id="more copies than counted"
        ),
        pytest.param("unaccounted", [entry(results={})], [ANN], id="sent without a word about its recipient"),
        pytest.param("unaccounted", [entry(State.FAILED, results={ANN: NO})], [], id="refused, and not by the relay"),
    ],
)
def test_each_broken_promise_is_a_breach(expected, entries, copies):
    assert expected in kinds(mail(), *entries, relay=relayed(*copies))


def test_a_copy_for_each_time_that_it_was_counted_unknown_is_in_order():
    assert not kinds(mail(), entry(unknowns=2), relay=relayed(ANN, ANN, ANN))
    assert not kinds(mail(), entry(State.UNKNOWN, unknowns=1, results={}), relay=relayed(ANN))


def test_recipients_are_counted_one_by_one():
    both = entry(State.SENT, results={ANN: OK, BOB: OK})
    assert kinds(mail(ANN, BOB), both, relay=relayed(ANN, ANN, BOB)) == ["repeated"]
    partial = entry(State.PARTIAL, results={ANN: OK, BOB: NO})
    assert not kinds(mail(ANN, BOB), partial, relay=relayed(ANN, no=[BOB]))


def test_copies_that_differ_are_a_breach():
    assert kinds(mail(), entry(unknowns=1), relay=relayed(ANN, ANN, digests=("one", "other"))) == ["altered"]
    assert kinds(mail(), entry(unknowns=1), relay=relayed(ANN, ANN, dates=("now", "then"))) == ["altered"]


def test_a_copy_before_its_time_is_a_breach():
    assert kinds(mail(not_before=100.5), entry(), relay=relayed(ANN)) == ["early"]
    assert not kinds(mail(not_before=99.5), entry(), relay=relayed(ANN))


def test_what_was_refused_to_the_caller_may_be_there_or_not_but_not_at_the_relay_alone():
    refused = mail(accepted=False)
    assert not kinds(refused, relay=relayed())
    assert not kinds(refused, entry(), relay=relayed(ANN))
    assert kinds(refused, relay=relayed(ANN)) == ["uncounted"]


def test_one_message_under_one_key_is_in_the_ledger_once():
    tried = mail(ids=["a", "b"])
    assert kinds(tried, entry(), entry(message_id="b"), relay=relayed(ANN)) == ["twice"]
    findings = audit([tried], {"a": entry(), "b": entry()}, relayed(ANN))  # the second id leads to the first
    assert not findings.breaches


def test_what_was_cancelled_stays_so():
    cancelled = mail(cancelled="cancelled")
    assert kinds(cancelled, entry(), relay=relayed(ANN)) == ["cancelled"]
    assert not kinds(cancelled, entry(State.CANCELLED, results={}), relay=relayed())


def test_a_stranger_at_the_relay_is_a_breach():
    findings = audit([], {}, relayed(ANN))
    assert [breach.kind for breach in findings.breaches] == ["strange"]


@pytest.mark.parametrize(
    ("steps", "entries", "copies", "left"),
    [
        ({"accept"}, [], [], []),
        ({"begin"}, [], [], ["lost"]),
        ({"begin"}, [entry()], [ANN, ANN], []),
        ({"record"}, [entry(State.FAILED, results={})], [ANN], []),
        ({"accept", "begin", "record"}, [entry()], [], ["missing"]),
        (set(), [entry()], [ANN, ANN], ["repeated"]),
    ],
)
def test_a_store_that_rolled_back_excuses_only_what_it_forgot(steps, entries, copies, left):
    assert kinds(mail(), *entries, relay=relayed(*copies), cut={"a": steps}) == left


def test_the_relays_file_is_read():
    lines = [
        '{"at": 5.0, "what": "kept", "number": 1, "to": ["ann1@example.com"], "digest": "d", "date": "now", "datum": ""}',
        '{"at": 6.0, "what": "kept", "number": 1, "to": ["ann1@example.com"], "digest": "d", "date": "now", "datum": ""}',
        '{"at": 7.0, "what": "no", "to": ["nobody2@example.com"]}',
        '{"at": 8.0, "what": "refused", "number": 3, "to": ["ann3@example.com"], "digest": "d"}',
    ]
    found = Relayed.read(lines)
    assert found.copies == {1: {"ann1@example.com": 2}}
    assert found.first == {1: 5.0}
    assert found.refused_recipients == {"nobody2@example.com"}
    assert found.refused_messages == {3}


def resp(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def test_a_cut_inside_a_transaction_goes_back_to_its_beginning():
    begin = resp(b"HSET", b"{mailqueue}:m:a", b"p", b"begun", b"b", b"1")
    file = resp(b"SELECT", b"0") + resp(b"MULTI") + begin + resp(b"EXEC")
    whole = resp(b"SELECT", b"0")
    assert [end for end, _words in commands(file)] == [len(whole), len(file)]
    assert [end for end, _words in commands(file[:-5])] == [len(whole)]


def test_the_steps_that_lie_in_a_cut_are_told_from_each_other():
    def step(*fields):
        return concerned(resp(b"HSET", b"{mailqueue}:m:a", *fields)).get("a", set())

    assert step(b"s", b"queued", b"l", b"default", b"t", b"1") == {"accept"}
    assert step(b"p", b"begun", b"b", b"1") == {"begin"}
    assert step(b"s", b"sent", b"p", b"answered", b"x", b"...") == {"record"}
    assert step(b"s", b"sending", b"f", b"token", b"p", b"claimed") == set()
    assert step(b"s", b"cancelled") == {"cancel"}
    assert not concerned(resp(b"HSET", b"{mailqueue}:counts", b"x", b"1"))


@pytest.mark.parametrize(
    ("command", "concerns"),
    [
        ((b"HSET", b"c:spring", b"spec", b"...", b"state", b"loading"), {"spring": {"create"}}),
        ((b"HSET", b"c:spring", b"state", b"paused"), {"spring": {"turn"}}),
        ((b"HSET", b"c:spring", b"ended", b"1"), {}),
        ((b"HSETNX", b"c:spring:i:ab", b"cdef", b"w"), {"spring~abcdef": {"add"}}),
        ((b"HSETNX", b"c:spring:i:", b"abcdef", b"w"), {"spring~abcdef": {"add"}}),
        ((b"HSET", b"c:spring:i:ab", b"cdef", b"s250 ok"), {}),
        ((b"HSET", b"m:spring~abcdef", b"p", b"begun", b"b", b"1"), {"spring~abcdef": {"begin"}}),
        ((b"HSETNX", b"suppressed:news", b"ann@example.com", b"1 m"), {"ann@example.com": {"suppress"}}),
    ],
)
def test_a_cut_tells_what_it_has_of_campaigns(command, concerns):
    name, key, *rest = command
    assert concerned(resp(name, b"{mailqueue}:" + key, *rest)) == concerns


def test_how_often_an_answer_was_lost_is_known_when_the_record_is_gone():
    lost = (b"q", b"1", b"a", b"1", b"p", b"unknown")
    file = (
        resp(b"SELECT", b"0")
        + resp(b"HSET", b"{mailqueue}:m:spring~abc", *lost)
        + resp(b"HSET", b"{mailqueue}:m:spring~abc", b"s", b"sent", b"w", b"q")
        + resp(b"HSET", b"{mailqueue}:m:spring~abc", *lost)
        + resp(b"HSET", b"{mailqueue}:m:a", *lost)
    )
    assert +BulkHistory.read(file).unknowns == {"spring~abc": 2}


@pytest.mark.parametrize(
    ("state", "stopped"), [("running", set()), ("paused", {"spring~abc"}), ("cancelled", {"spring~abc"})]
)
def test_what_was_begun_while_its_campaign_was_stopped_is_known(state, stopped):
    begin = resp(b"HSET", b"{mailqueue}:m:spring~abc", b"p", b"begun", b"b", b"1")
    turned = resp(b"HSET", b"{mailqueue}:c:spring", b"state", state.encode())
    started = resp(b"HSET", b"{mailqueue}:c:spring", b"spec", b"...", b"state", b"loading")
    file = started + turned + resp(b"HSET", b"{mailqueue}:c:spring", b"total", b"1")
    assert BulkHistory.read(file + begin).stopped == stopped
    assert not BulkHistory.read(started + begin + turned).stopped


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_sabotage_changes_what_it_says_and_can_be_undone(name):
    genuine = scripts.load()
    undo = sabotage(name)
    try:
        changed = {name for name, script in scripts.load().items() if script != genuine[name]}
        assert changed == set(SABOTAGES[name])
    finally:
        undo()
    assert scripts.load() == genuine


@pytest.mark.parametrize(
    ("found", "row"),
    [
        (Sabotaged("fence", 1, 3, 2, 4), ["1", "3", "2 of 4", "noticed"]),
        (Sabotaged("fence", 1, 0, 0, 4), ["1", "0", "0 of 4", "UNNOTICED"]),
        (Sabotaged("fence", 0, 3, 2, 4), ["0", "3", "2 of 4", "UNNOTICED"]),
        (Sabotaged("fence", 1, 0), ["1", "-", "-", "noticed"]),
    ],
)
def test_a_sabotage_is_noticed_by_the_step_cut_and_by_the_rounds_if_there_are_any(found, row):
    assert [column._cells[0] for column in verdicts([found], TAKES_AWAY).columns][1:] == row
    assert str(found).endswith(f": {row[-1]}")
    assert found.noticed is (row[-1] == "noticed")


def test_every_sabotage_has_a_cut_that_tells_and_words_for_its_row():
    assert set(SABOTAGES) == set(TAKES_AWAY) == set(TELLTALES)
    assert set(TELLTALES.values()) <= {case.name for case in CASES}


def test_a_relay_keeps_both_copies_of_a_message_back_until_it_is_told(tmp_path):
    async def play(relay):
        await relay.handle("trap", how="final", number=7)
        await relay.hold("final", 8)  # another's answer, and one at another stage, go their way
        await relay.hold("rcpt", 7)
        held = [asyncio.create_task(relay.hold("final", 7)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await relay.handle("caught", how="final") == [7, 7]
        await relay.handle("open")
        await asyncio.gather(*held)
        assert await relay.handle("caught", how="final") == []

    asyncio.run(play(Relay(str(tmp_path / "record"), "seed", 0.0)))


def test_a_relay_keeps_back_the_first_that_comes_and_nobody_after_it(tmp_path):
    async def play(relay):
        await relay.handle("trap", how="rcpt")
        held = asyncio.create_task(relay.hold("rcpt", 3))
        await asyncio.sleep(0)
        await relay.hold("rcpt", 4)
        assert await relay.handle("caught", how="rcpt") == [3]
        await relay.handle("open", how="rcpt")
        await held

    asyncio.run(play(Relay(str(tmp_path / "record"), "seed", 0.0)))


def test_a_relay_takes_commands_and_content_that_come_together(tmp_path):
    content = b"X-Crashproof: 7\r\n\r\nHello\r\n"
    commands = (
        b"EHLO me\r\nMAIL FROM:<f@x>\r\nRCPT TO:<t7@x>\r\nBDAT %d LAST\r\n%sRSET\r\n"
        b"MAIL FROM:<f@x>\r\nRCPT TO:<nobody8@x>\r\nBDAT %d LAST\r\n%sQUIT\r\n"
    ) % (len(content), content, len(content), content)

    async def play(relay):
        server = await asyncio.start_server(relay.talk, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(commands)
            said = await reader.read()
            writer.close()
        return [line[:4] for line in said.decode().splitlines()]

    relay = Relay(str(tmp_path / "record"), "seed", 0.0, "PIPELINING CHUNKING", 0.01)
    ehlo = ["250-"] * 4 + ["250 "]
    assert asyncio.run(play(relay)) == ["220 ", *ehlo, *["250 "] * 3, "250 ", "250 ", "550 ", "554 ", "221 "]
    assert [json.loads(line)["what"] for line in (tmp_path / "record").read_text().splitlines()] == ["kept", "no"]


class Ambushed:
    """A rig whose relay and store say what they are told to; the process that is frozen is a real one."""

    timeout = 1.0

    def __init__(self, pid, caught, *, state=b"sending", fenced=(0, 0)):
        self.relay = self.direct = self
        self._pid, self._caught, self._state, self._fenced = pid, caught, state, iter(fenced)
        self.said = []

    def senders(self):
        return [self._pid]

    def ask(self, do, how="", number=None):
        if do != "caught":
            self.said.append((do, how))
            return None
        return self._caught[how].pop(0) if len(self._caught[how]) > 1 else self._caught[how][0]

    def hget(self, key, field):
        match field:
            case "o":
                return b"worker:%d" % self._pid
            case "s":
                return self._state
        return next(self._fenced)


def lie_in_wait(stage, caught, **more):
    """What an ambush comes to, what it told the relay last, and whether its victim runs again."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as victim:
        rig = Ambushed(victim.pid, caught, **more)
        came_to = Ambush(rig, lambda _number: ("a",), lambda look, _seconds: look()).lay(stage)
        victim.stdin.close()
        assert victim.wait(20) == 0  # which one that is still frozen never comes to
    return came_to, rig.said[-1]


def test_an_ambush_wakes_its_victim_when_the_other_has_come_so_far_and_sees_it_refused():
    caught = {"rcpt": [[0]], "final": [[0]]}
    expected = "message 0, at the other's final: refused"
    assert lie_in_wait("final", caught, fenced=(0, 1, 1)) == (expected, ("open", ""))


def test_an_ambush_tells_of_the_copy_that_nobody_refused():
    caught = {"rcpt": [[0]], "final": [[0], [0], [0], [0], [0, 0]]}
    assert lie_in_wait("final", caught) == ("message 0, at the other's final: 2 copies", ("open", ""))


@pytest.mark.parametrize("state", [b"sending", b"cancelled"])
def test_an_ambush_that_nobody_walks_into_lets_its_victim_go(state):
    assert lie_in_wait("final", {"rcpt": [[0]], "final": [[]]}, state=state) == (None, ("open", ""))
    assert lie_in_wait("rcpt", {"rcpt": [[]], "final": [[]]}) == (None, ("open", ""))


def test_a_finished_round_is_not_played_again_unless_its_plan_is_another(tmp_path):
    plan, report = Plan(1, 5, rollback=True), Report(5, "always", faults={"kill a child": 3})
    Journal(tmp_path / "journal").add(plan, report)
    journal = Journal(tmp_path / "journal")
    assert journal.get(plan) == report
    assert journal.get(Plan(1, 5, rollback=True, keep="elsewhere")) == report
    assert journal.get(Plan(2, 5, rollback=True)) is None
    assert journal.get(Plan(1, 5, faults=10, rollback=True)) is None


def test_the_table_adds_up_what_the_rounds_have_found():
    breach = {"kind": "repeated", "number": 1, "text": ""}
    reports = [
        Report(1, "always", faults={KILLS[0]: 2, "relay: final-421": 1}, states={"sent": 5}, accepted=5),
        Report(
            2, "always", faults={KILLS[0]: 1, "relay: mail-421": 1}, states={"sent": 4}, accepted=5, breaches=[breach]
        ),
    ]
    found = table(reports)
    rows = dict(zip(found.columns[0]._cells, found.columns[1]._cells, strict=True))
    assert rows["kill a child"] == rows["of these kills"] == "3"
    assert rows["relay: 421"] == "2"
    assert rows["**faults**"] == "5"
    assert (rows["sent"], rows["**repeated uncounted**"], rows["**lost**"]) == ("9", "1", "0")
