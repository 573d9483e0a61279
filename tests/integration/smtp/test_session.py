"""The transaction loop: what goes over the wire, and that every reply is accounted for."""

from __future__ import annotations

import re
import select
import smtplib

import pytest

from mailqueue.outcome import Ending, Verdict
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.connection import Connection
from mailqueue.smtp.session import Mail, Session
from mailqueue.smtp.timeouts import RFC_5321, Timeouts
from mailqueue.testing.script import Drip, Hang, drip, drop, endless, hang, raw, reply
from mailqueue.testing.scripted import ScriptedServer

TO = ("a@example.com", "b@example.com", "c@example.com")
MAIL = Mail("from@example.com", TO[:1], b"Subject: x\r\n\r\nbody\r\n")
MAIL_3 = Mail("from@example.com", TO, b"Subject: x\r\n\r\nbody\r\n")


class Wire(Connection):
    """A connection that keeps what it sends."""

    def __init__(self, *args, **kwargs):
        self.sent = b""
        super().__init__(*args, **kwargs)

    def send(self, s):
        self.sent += s.encode(self.command_encoding) if isinstance(s, str) else bytes(s)
        super().send(s)


@pytest.fixture
def session():
    """Opens sessions with a scripted server."""
    opened = []

    def open_session(server, kind=Wire, timeouts=None):
        connection = kind(server.host, server.port, local_hostname="client.example", timeout=10)
        opened.append(connection)
        found = Session(connection, timeouts or Timeouts.uniform(10))
        found.hello()
        return found

    yield open_session
    for connection in opened:
        connection.close()


# -- what goes out


CONTENTS = {
    "plain": b"Subject: x\r\n\r\nbody\r\n",
    "empty": b"",
    "no-end": b"Subject: x\r\n\r\nbody",
    "half-an-end": b"Subject: x\r\n\r\nbody\r",
    "lf-end": b"Subject: x\r\n\r\nbody\n",
    "dot-first": b".Subject: x\r\n",
    "dots": b"Subject: x\r\n\r\n.\r\n..\r\n...\r\n.x\r\nx.\r\n",
    "dot-alone": b".\r\n",
    "bare-lf-dot": b"Subject: x\r\n\r\na\n.\nb\n.\r\nc\r\n",
    "bare-cr-dot": b"Subject: x\r\n\r\na\r.\rb\r\n",
    "eight-bit": "Subject: x\r\n\r\ngrüße\r\n".encode(),
    "every-octet": bytes(range(256)) * 4,
    "from-line": b"Subject: x\r\n\r\nFrom me\r\n",
    "several-blocks": b"Subject: x\r\n\r\n" + b".0123456789abcde\r\n" * 20_000,
    "one-block-exactly": b"x" * (65536 - 5) + b"\r\n",
    "dot-at-a-blocks-edge": b"x" * 65534 + b"\r\n.\r\n" + b"y" * 65536,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_content_goes_out_as_smtplib_sends_it(session, name):
    content = CONTENTS[name]
    with ScriptedServer() as server:
        ours = session(server)
        assert ours.transact(Mail("from@example.com", TO, content)).ending is Ending.ANSWERED
        theirs = session(server).connection
        theirs.sendmail("from@example.com", TO, content)
        own, smtplibs = (wire.sent.partition(b"data\r\n")[2] for wire in (ours.connection, theirs))
        assert own == smtplibs
        assert server.messages[0].content == server.messages[1].content


def test_commands_are_those_of_smtplib(session):
    with ScriptedServer() as server:
        ours = session(server)
        ours.transact(MAIL_3)
        theirs = session(server).connection
        theirs.sendmail(MAIL_3.sender, MAIL_3.recipients, MAIL_3.content)
        assert ours.connection.sent.lower() == theirs.sent.lower()


@pytest.mark.parametrize(
    ("offers", "content", "parameters"),
    [
        ([], b"ascii\r\n", ""),
        ([], b"\xc3\xbc\r\n", ""),
        (["SIZE"], b"ascii\r\n", "SIZE=7"),
        (["SIZE 1000"], b".dot\r\n", "SIZE=6"),
        (["8BITMIME"], b"ascii\r\n", ""),
        (["8BITMIME"], b"\xc3\xbc\r\n", "BODY=8BITMIME"),
        (["SIZE 1000", "8BITMIME", "SMTPUTF8"], b"\xc3\xbc\r\n", "SIZE=4 BODY=8BITMIME"),
    ],
)
def test_extensions_are_used_when_offered_and_needed(session, offers, content, parameters):
    with ScriptedServer(offers=offers) as server:
        session(server).transact(Mail("from@example.com", TO, content))
        assert server.messages[0].parameters == parameters
        assert server.messages[0].content == content


def test_smtputf8_is_used_for_addresses_beyond_ascii(session):
    with ScriptedServer(offers=["SMTPUTF8", "8BITMIME"]) as server:
        found = session(server)
        answer = found.transact(Mail("frøm@example.com", ("tø@example.com", "a@example.com"), b"x\r\n"))
        assert {result.verdict for result in answer.results.values()} == {Verdict.ACCEPTED}
        found.transact(MAIL)
        first, second = server.messages
        assert (first.sender, first.recipients) == ("frøm@example.com", ("tø@example.com", "a@example.com"))
        assert first.parameters == "SMTPUTF8"
        assert second.parameters == ""


def test_without_smtputf8_those_who_need_it_are_refused_and_the_others_get_it(session):
    with ScriptedServer(offers=["8BITMIME"]) as server:
        answer = session(server).transact(Mail("from@example.com", ("tø@example.com", "a@example.com"), b"x\r\n"))
        assert answer.results["tø@example.com"].verdict is Verdict.REFUSED
        assert answer.results["tø@example.com"].reply.enhanced == "5.6.7"
        assert answer.results["a@example.com"].verdict is Verdict.ACCEPTED
        assert server.messages[0].recipients == ("a@example.com",)


@pytest.mark.parametrize(
    ("sender", "recipients"), [("frøm@example.com", ("a@example.com",)), ("from@example.com", ("tø@example.com",))]
)
def test_without_smtputf8_a_message_that_nobody_can_get_is_not_offered(session, sender, recipients):
    with ScriptedServer(offers=[]) as server:
        answer = session(server).transact(Mail(sender, recipients, b"x\r\n"))
        assert [result.reply.enhanced for result in answer.results.values()] == ["5.6.7"]
        assert server.reached("mail") == 0


# -- what comes back


def test_accepted_recipients_have_the_reply_to_the_content(session):
    with ScriptedServer(reply("final", "250 2.0.0 queued as 4F")) as server:
        answer = session(server).transact(MAIL_3)
        assert answer.ending is Ending.ANSWERED
        assert {str(result.reply) for result in answer.results.values()} == {"250 2.0.0 queued as 4F"}
        assert tuple(answer.results) == TO


def test_refused_recipients_have_the_reply_to_their_rcpt(session):
    steps = reply("rcpt", "550 5.1.1 unknown", to=TO[0]), reply("rcpt", "450 4.2.1 later", to=TO[2])
    with ScriptedServer(*steps) as server:
        answer = session(server).transact(MAIL_3)
        verdicts = {recipient: result.verdict for recipient, result in answer.results.items()}
        assert verdicts == {TO[0]: Verdict.REFUSED, TO[1]: Verdict.ACCEPTED, TO[2]: Verdict.DEFERRED}
        assert [answer.results[TO[n]].reply.enhanced for n in (0, 2)] == ["5.1.1", "4.2.1"]


@pytest.mark.parametrize("stage", ["mail", "data", "final"])
@pytest.mark.parametrize(("code", "verdict"), [(550, Verdict.REFUSED), (451, Verdict.DEFERRED)])
def test_a_refused_message_is_refused_for_everyone(session, stage, code, verdict):
    with ScriptedServer(reply(stage, f"{code} no", nth=1)) as server:
        found = session(server)
        answer = found.transact(MAIL_3)
        assert answer.ending is Ending.ANSWERED
        assert [result.verdict for result in answer.results.values()] == [verdict] * 3
        assert answer.trouble is None
        assert found.transact(MAIL).ending is Ending.ANSWERED
        assert len(server.messages) == 1


def test_a_recipient_refused_at_rcpt_keeps_that_reply_when_the_message_is_refused(session):
    with ScriptedServer(reply("rcpt", "550 5.1.1 unknown", to=TO[0]), reply("final", "451 4.3.0 later")) as server:
        answer = session(server).transact(MAIL_3)
        assert [answer.results[to].reply.code for to in TO] == [550, 451, 451]


def test_when_all_recipients_are_refused_no_content_is_offered(session):
    with ScriptedServer(reply("rcpt", "550 5.1.1 unknown", times=3)) as server:
        found = session(server)
        answer = found.transact(MAIL_3)
        assert [result.verdict for result in answer.results.values()] == [Verdict.REFUSED] * 3
        assert (server.reached("data"), server.reached("rset")) == (0, 1)
        assert found.transact(MAIL).ending is Ending.ANSWERED


def test_too_many_recipients_leaves_the_rest(session):
    with ScriptedServer(recipients_per_message=2) as server:
        found = session(server)
        answer = found.transact(MAIL_3)
        assert (answer.ending, tuple(answer.results), answer.rest) == (Ending.PROGRESS, TO[:2], TO[2:])
        assert found.transact(Mail(MAIL_3.sender, answer.rest, MAIL_3.content)).ending is Ending.ANSWERED
        assert [each.recipients for each in server.messages] == [TO[:2], TO[2:]]


def test_too_many_recipients_at_the_first_one_defers_it(session):
    with ScriptedServer(reply("rcpt", "452 4.5.3 too many", times=1)) as server:
        answer = session(server).transact(MAIL_3)
        assert [answer.results[to].verdict for to in TO] == [Verdict.DEFERRED, Verdict.ACCEPTED, Verdict.ACCEPTED]
        assert (answer.ending, answer.rest) == (Ending.ANSWERED, ())


def test_a_refused_message_is_refused_for_the_rest_as_well(session):
    with ScriptedServer(reply("final", "554 5.7.1 spam"), recipients_per_message=1) as server:
        answer = session(server).transact(MAIL_3)
        assert (answer.ending, answer.rest) == (Ending.ANSWERED, ())
        assert [answer.results[to].verdict for to in TO] == [Verdict.REFUSED] * 3


# -- surprises


def is_silence(step):
    """Whether the relay does not answer in time: another connection would be left waiting as well."""
    return isinstance(step.action, Hang | Drip)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(drop, id="drop"),
        pytest.param(lambda stage: reply(stage, "421 4.3.2 closing"), id="421"),
        pytest.param(lambda stage: raw(stage, b"what?\r\n"), id="garbage"),
        pytest.param(lambda stage: reply(stage, "250 ok" if stage == "data" else "354 go on"), id="out-of-protocol"),
        pytest.param(endless, id="endless"),
        pytest.param(hang, id="hang"),
        pytest.param(lambda stage: drip(stage, "250 " + "x" * 100, interval=0.02), id="drip"),
    ],
)
def test_before_the_content_a_surprise_leaves_the_message_unsent(session, stage, step):
    with ScriptedServer(step(stage)) as server:
        found = session(server, timeouts=Timeouts.uniform(0.3))
        answer = found.transact(MAIL_3)
        assert (answer.ending, answer.results, answer.stage) == (Ending.UNSENT, {}, stage)
        assert found.closed
        assert answer.trouble.stage == stage
        assert answer.trouble.reconnect == (not is_silence(step(stage)))
        assert server.messages == []


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(drop("final", keep=True), id="drop-accepted"),
        pytest.param(drop("final"), id="drop"),
        pytest.param(raw("final", b"what?\r\n"), id="garbage"),
        pytest.param(reply("final", "354 more"), id="out-of-protocol"),
        pytest.param(endless("final"), id="endless"),
        pytest.param(hang("final"), id="hang"),
        pytest.param(drip("final", "250 " + "x" * 100, interval=0.02), id="drip"),
    ],
)
def test_after_the_content_a_surprise_leaves_the_message_unknown(session, step):
    with ScriptedServer(reply("rcpt", "550 5.1.1 unknown", to=TO[0]), step) as server:
        found = session(server, timeouts=Timeouts.uniform(0.3))
        answer = found.transact(MAIL_3)
        assert answer.ending is Ending.UNKNOWN
        assert list(answer.results) == [TO[0]], "who was refused before is settled"
        assert found.closed
        assert answer.trouble.reconnect == (not is_silence(step))


def test_421_to_the_content_is_an_answer_and_the_end_of_the_connection(session):
    with ScriptedServer(reply("final", "421 4.3.2 closing")) as server:
        found = session(server)
        answer = found.transact(MAIL_3)
        assert answer.ending is Ending.ANSWERED
        assert [result.verdict for result in answer.results.values()] == [Verdict.DEFERRED] * 3
        assert answer.trouble.code == 421
        assert found.closed


def test_a_link_that_breaks_within_the_content_leaves_it_unsent(session):
    content = b"x" * 998 + b"\r\n"
    with ScriptedServer(drop("content", after=100_000)) as server:
        answer = session(server).transact(Mail("from@example.com", TO, content * 30_000))
        assert answer.ending is Ending.UNSENT
        assert answer.trouble.reconnect
        assert server.messages == []


def test_a_relay_that_refuses_in_the_midst_of_the_content_is_heard(session):
    # It hangs up as well, and would otherwise be taken for a link that broke: the message would be tried for days.
    content = b"x" * 998 + b"\r\n"
    with ScriptedServer(reply("content", "552 5.3.4 too large", close=True)) as server:
        answer = session(server).transact(Mail("from@example.com", TO[:1], content * 30_000))
        assert answer.ending is Ending.ANSWERED
        assert answer.results[TO[0]].reply.code == 552
        assert answer.stage is Stage.CONTENT
        assert answer.trouble.reconnect


def test_a_reply_before_the_final_dot_is_not_the_reply_to_it(session):
    # Taken for that, it would lose the message: the real answer is a refusal.
    content = b"x" * 998 + b"\r\n"
    with ScriptedServer(reply("content", "250 2.0.0 ok"), reply("final", "554 5.6.0 no")) as server:
        found = session(server)
        answer = found.transact(Mail("from@example.com", TO, content * 30_000))
        assert (answer.ending, answer.stage) == (Ending.UNSENT, Stage.CONTENT)
        assert answer.trouble.reconnect
        assert found.closed


def test_a_relay_that_closes_in_the_midst_of_the_content_with_a_421_leaves_it_unsent(session):
    content = b"x" * 998 + b"\r\n"
    with ScriptedServer(reply("content", "421 4.3.2 closing")) as server:
        answer = session(server).transact(Mail("from@example.com", TO, content * 30_000))
        assert (answer.ending, answer.trouble.code) == (Ending.UNSENT, 421)


def test_login_required_is_trouble_that_a_new_connection_does_not_end(session):
    with ScriptedServer(login_required=True) as server:
        answer = session(server).transact(MAIL)
        assert answer.ending is Ending.UNSENT
        assert (answer.trouble.code, answer.trouble.reconnect) == (530, False)


def test_a_reply_too_many_is_not_taken_for_the_next_ones(session):
    # Taken for the reply to the next command, an early "250" would one day say that a lost message was accepted.
    with ScriptedServer(raw("final", b"250 ok\r\n250 ok again\r\n", nth=1)) as server:
        found = session(server)
        assert found.transact(MAIL).ending is Ending.ANSWERED
        answer = found.transact(MAIL)
        assert (answer.ending, answer.stage) == (Ending.UNSENT, Stage.MAIL)
        assert answer.trouble.reconnect
        assert found.closed
        assert server.reached("mail") == 1


def test_an_answer_to_content_that_was_not_sent_is_a_surprise(session):
    with ScriptedServer(raw("data", b"354 go on\r\n250 got it\r\n")) as server:
        answer = session(server).transact(MAIL)
        assert answer.ending is Ending.UNSENT
        assert server.messages == []


def test_a_refusal_that_nobody_asked_for_is_a_surprise(session):
    with ScriptedServer(raw("rcpt", b"250 ok\r\n550 5.1.1 no\r\n")) as server:
        answer = session(server).transact(MAIL)
        assert (answer.ending, answer.results, answer.stage) == (Ending.UNSENT, {}, Stage.DATA)
        assert answer.trouble.reconnect
        assert server.reached("data") == 0


def test_what_a_relay_says_between_two_messages_is_heard_before_the_second(session):
    with ScriptedServer() as server:
        found = session(server)
        found.transact(MAIL)
        with server._changed:
            [sock] = server._sockets.values()
        sock.sendall(b"421 4.4.2 idle too long\r\n")
        select.select([found.connection.sock], [], [], 10)
        answer = found.transact(MAIL)
        assert (answer.ending, answer.trouble.code) == (Ending.UNSENT, 421)
        assert server.reached("mail") == 1


def test_a_second_greeting_is_not_taken_for_the_reply_to_ehlo(session):
    with ScriptedServer(raw("greeting", b"220 hello\r\n220 hello\r\n")) as server:
        with pytest.raises(smtplib.SMTPServerDisconnected, match="out of turn"):
            session(server)
        assert server.wait_for_hangup().commands == []


def test_a_farewell_without_being_asked_is_heard(session):
    with ScriptedServer(raw("final", b"250 ok\r\n421 4.4.2 idle too long\r\n", nth=1)) as server:
        found = session(server)
        assert found.transact(MAIL).ending is Ending.ANSWERED
        answer = found.transact(MAIL)
        assert (answer.ending, answer.trouble.code) == (Ending.UNSENT, 421)


# -- begin


def test_begin_is_asked_right_before_data(session):
    with ScriptedServer() as server:
        seen = []
        session(server).transact(MAIL, lambda: seen.extend(server.connections[0].verbs) or True)
        assert seen == ["EHLO", "MAIL", "RCPT"]
        assert server.connections[0].verbs == ["EHLO", "MAIL", "RCPT", "DATA"]


def test_begin_is_not_asked_when_there_is_nothing_to_begin(session):
    with ScriptedServer(reply("rcpt", "550 no", times=1), reply("mail", "550 no", nth=2)) as server:
        found = session(server)
        for _ in range(2):
            found.transact(MAIL, lambda: pytest.fail("asked"))


def test_a_message_that_is_not_begun_is_withdrawn_and_the_connection_is_clean(session):
    with ScriptedServer() as server:
        found = session(server)
        answer = found.transact(MAIL, lambda: False)
        assert (answer.withdrawn, answer.results, answer.trouble) == (True, {}, None)
        assert found.transact(MAIL).ending is Ending.ANSWERED
        assert server.connections[0].verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]


def test_what_begin_raises_is_passed_on_and_the_connection_is_clean(session):
    with ScriptedServer() as server:
        found = session(server)

        def begin():
            raise LookupError("no ledger")

        with pytest.raises(LookupError, match="no ledger"):
            found.transact(MAIL, begin)
        assert not found.closed
        assert found.transact(MAIL).ending is Ending.ANSWERED


def test_an_interruption_elsewhere_closes_the_connection(session):
    class Interrupted(Wire):
        def send(self, s):
            if self.sent.endswith(b"data\r\n"):
                raise KeyboardInterrupt
            super().send(s)

    with ScriptedServer() as server:
        found = session(server, kind=Interrupted)
        with pytest.raises(KeyboardInterrupt):
            found.transact(MAIL)
        assert found.closed


@pytest.mark.parametrize("step", [drop("rset"), reply("rset", "500 no"), raw("rset", b"?\r\n")])
def test_a_transaction_that_cannot_be_ended_closes_the_connection(session, step):
    with ScriptedServer(reply("data", "451 4.3.0 later"), step) as server:
        found = session(server)
        answer = found.transact(MAIL)
        assert answer.results[TO[0]].verdict is Verdict.DEFERRED, "the message has its answer all the same"
        assert answer.trouble.stage == Stage.RSET
        assert found.closed


# -- probing


def test_a_live_connection_passes_the_probe_and_goes_on(session):
    with ScriptedServer() as server:
        found = session(server)
        before = found.connection.sock.gettimeout()
        assert found.probe()
        assert found.connection.sock.gettimeout() == before
        assert found.transact(MAIL).ending is Ending.ANSWERED


@pytest.mark.parametrize("step", [drop("rset"), reply("rset", "421 4.4.2 bye"), raw("rset", b"?\r\n")])
def test_any_other_fails_it_and_is_closed(session, step):
    with ScriptedServer(step) as server:
        found = session(server)
        assert not found.probe()
        assert found.closed
        assert not found.probe()


def test_a_connection_that_the_relay_closed_meanwhile_fails_the_probe(session):
    with ScriptedServer(raw("final", b"250 ok\r\n421 4.4.2 idle too long\r\n")) as server:
        found = session(server)
        found.transact(MAIL)
        assert not found.probe()


# -- time


def test_each_stage_has_the_time_of_rfc_5321():
    minutes = {stage: RFC_5321.reply(stage) / 60 for stage in Stage if stage not in (Stage.RSET, Stage.QUIT)}
    assert minutes.pop(Stage.DATA) == 2
    assert minutes.pop(Stage.FINAL) == 10
    assert set(minutes.values()) == {5}
    assert RFC_5321.block == 180


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "final"])
def test_each_stage_has_a_time_of_its_own(session, stage):
    short = {"command" if stage in ("mail", "rcpt") else stage: 0.1}
    limits = dict.fromkeys(("connect", "command", "data", "block", "final", "reset", "quit"), 60) | short
    with ScriptedServer(hang(stage)) as server:
        answer = session(server, timeouts=Timeouts(**limits)).transact(MAIL)
        assert answer.stage == stage
        assert isinstance(answer.trouble.__cause__.__cause__, TimeoutError)


def test_any_smtplib_connection_will_do(session):
    with ScriptedServer() as server:
        found = session(server, kind=smtplib.SMTP)
        assert found.transact(MAIL).ending is Ending.ANSWERED
        assert found.connection.noop()[0] == 250
        assert found.transact(MAIL).ending is Ending.ANSWERED
        assert found.connection.quit()[0] == 221


def test_the_conversation_can_be_watched(session, capsys):
    with ScriptedServer() as server:
        found = session(server)
        found.connection.set_debuglevel(1)
        found.transact(MAIL)
    watched = capsys.readouterr().err
    assert re.search(r"send: 'mail FROM:<from@example\.com>", watched)
    assert "retcode (354)" in watched
