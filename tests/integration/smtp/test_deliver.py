"""deliver(): an outcome for every message and recipient, and trouble that is the relay's apart from them."""

from __future__ import annotations

import gc
import re
import smtplib

import pytest

from mailqueue.errors import RelayTrouble
from mailqueue.outcome import Ending, Verdict
from mailqueue.testing.script import drop, hang, raw, reply
from mailqueue.testing.scripted import ScriptedServer

ACCEPTED, DEFERRED, REFUSED = Verdict.ACCEPTED, Verdict.DEFERRED, Verdict.REFUSED


def run(backend, messages, on_begin=None):
    """Deliver all there is to deliver; the outcomes, and the trouble that ended it."""
    outcomes = []
    try:
        outcomes.extend(backend.deliver(messages, on_begin))  # extend keeps what came before an exception
    except RelayTrouble as trouble:
        return outcomes, trouble
    return outcomes, None


def verdicts(outcome):
    return {recipient: result.verdict for recipient, result in outcome.results.items()}


def test_each_message_has_an_outcome_as_its_reply_is_read(connect, message):
    with ScriptedServer() as server:
        messages = [message(n) for n in range(3)]
        for number, outcome in enumerate(connect(server).deliver(messages)):
            assert outcome.message is messages[number]
            assert outcome.ending is Ending.ANSWERED
            assert verdicts(outcome) == {f"to{number}@example.com": ACCEPTED}
            assert len(server.messages) == number + 1
        assert len(server.connections) == 1


def test_messages_are_taken_one_by_one(connect, message):
    taken = []

    def feed():
        for n in range(3):
            taken.append(n)
            yield message(n)

    with ScriptedServer() as server:
        outcomes = connect(server).deliver(feed())
        next(outcomes)
        assert taken == [0]


def test_two_accepted_one_refused_gives_exactly_that(connect, message):
    with ScriptedServer(reply("rcpt", "550 5.1.1 unknown", to="b@example.com")) as server:
        to = ["a@example.com", "b@example.com", "c@example.com"]
        [outcome], trouble = run(connect(server), [message(to=to)])
        assert (outcome.ending, trouble) == (Ending.ANSWERED, None)
        assert verdicts(outcome) == {"a@example.com": ACCEPTED, "b@example.com": REFUSED, "c@example.com": ACCEPTED}
        assert str(outcome.results["b@example.com"].reply) == "550 5.1.1 unknown"
        assert server.messages[0].recipients == ("a@example.com", "c@example.com")


def test_results_go_by_the_recipients_as_the_message_names_them(connect, message):
    with ScriptedServer() as server:
        to = ["Ann <ann@example.com>", "bob@bücher.example"]
        [outcome], _ = run(connect(server), [message(to=to, cc=["ann@example.com"], bcc=["bob@bücher.example"])])
        assert verdicts(outcome) == dict.fromkeys([*to, "ann@example.com"], ACCEPTED)
        assert server.messages[0].recipients == ("ann@example.com", "bob@xn--bcher-kva.example")


def test_a_message_without_recipients_is_answered_without_connecting(connect, message):
    with ScriptedServer() as server:
        [outcome], _ = run(connect(server), [message(to=[])])
        assert (outcome.ending, outcome.results) == (Ending.ANSWERED, {})
        assert server.connections == []


def test_djangos_own_messages_are_delivered(connect, theirs):
    with ScriptedServer() as server:
        [outcome], _ = run(connect(server), [theirs.message(7)])
        assert verdicts(outcome) == {"to7@example.com": ACCEPTED}


# -- messages that are no mail


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"subject": "a\nBcc: x@example.com"}, id="header-injection"),
        pytest.param({"bcc": ["a@b@c"]}, id="invalid-address"),
        pytest.param({"bcc": ["a\0@example.com"]}, id="control-character"),
        pytest.param({"from_email": "nobody@"}, id="invalid-sender"),
        pytest.param({"encoding": "no-such-charset", "subject": "ü"}, id="unknown-charset"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_harms_nobody_else(connect, message, changes):
    with ScriptedServer() as server:
        encoding = changes.get("encoding")
        bad = message(2, **{name: value for name, value in changes.items() if name != "encoding"})
        bad.encoding = encoding
        outcomes, trouble = run(connect(server), [message(1), bad, message(3)])
        assert trouble is None
        assert [set(verdicts(outcome).values()) for outcome in outcomes] == [{ACCEPTED}, {REFUSED}, {ACCEPTED}]
        assert set(verdicts(outcomes[1])) == set(bad.recipients())
        for result in outcomes[1].results.values():
            assert (result.reply.code, result.reply.enhanced) == (554, "5.6.0")
            assert re.fullmatch(r"5\.6\.0 \w+Error: [^\n]+", result.reply.text)
        assert "@" not in outcomes[1].reason
        assert len(server.messages) == 2
        assert len(server.connections) == 1


def test_an_interruption_is_not_taken_for_a_bad_message(connect, message):
    class SoftTimeLimitExceeded(Exception):  # noqa: N818 - Celery's name
        """Celery's is a plain Exception as well, raised wherever the code happens to be."""

    bad = message()
    bad.message = lambda: (_ for _ in ()).throw(SoftTimeLimitExceeded)
    with ScriptedServer() as server, pytest.raises(SoftTimeLimitExceeded):
        list(connect(server).deliver([bad]))


# -- on_begin


def test_on_begin_comes_right_before_data(connect, message):
    with ScriptedServer() as server:
        seen = []

        def on_begin(messages):
            seen.append((messages[0].subject, server.connections[0].verbs[-1]))
            return [True]

        run(connect(server), [message(1), message(2)], on_begin)
        assert seen == [("Message 1", "RCPT"), ("Message 2", "RCPT")]


def test_a_message_that_is_not_ours_any_more_is_not_sent_and_has_no_outcome(connect, message):
    with ScriptedServer() as server:
        outcomes, trouble = run(connect(server), [message(1), message(2)], lambda ms: [ms[0].subject == "Message 2"])
        assert trouble is None
        assert [outcome.message.subject for outcome in outcomes] == ["Message 2"]
        assert [each.recipients for each in server.messages] == [("to2@example.com",)]
        assert len(server.connections) == 1


def test_what_on_begin_raises_comes_through_and_the_connection_stays_usable(connect, message):
    def on_begin(_messages):
        raise LookupError("no ledger")

    with ScriptedServer() as server:
        backend = connect(server)
        with pytest.raises(LookupError, match="no ledger"):
            list(backend.deliver([message(1)], on_begin))
        assert [outcome.ending for outcome in backend.deliver([message(2)])] == [Ending.ANSWERED]
        assert len(server.connections) == 1
        assert len(server.messages) == 1


# -- the connection


def test_the_connection_is_kept_and_used_again(connect, message):
    with ScriptedServer() as server:
        backend = connect(server)
        for n in range(3):
            run(backend, [message(n)])
        assert len(server.connections) == 1
        assert backend.probe()
        backend.close()
        assert server.wait_for_hangup().verbs.count("QUIT") == 1


def test_closing_the_iterator_early_leaves_a_clean_connection(connect, message):
    with ScriptedServer() as server:
        backend = connect(server)
        outcomes = backend.deliver(message(n) for n in range(5))
        next(outcomes)
        outcomes.close()
        del outcomes
        gc.collect()
        assert backend.probe()
        assert run(backend, [message(9)])[0][0].ending is Ending.ANSWERED
        assert len(server.messages) == 2
        assert len(server.connections) == 1


def test_open_replaced_on_the_instance_is_used(connect, message):
    with ScriptedServer() as server:
        backend = connect(server)
        opened, original = [], backend.open
        backend.open = lambda: opened.append(1) or original()
        run(backend, [message()])
        assert opened


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_a_link_dropped_before_the_last_byte_leaves_the_message_unsent(connect, message, stage):
    with ScriptedServer(drop(stage, nth=2)) as server:
        messages = [message(n) for n in range(1, 5)]
        backend = connect(server)
        outcomes, trouble = run(backend, messages)
        assert [outcome.ending for outcome in outcomes] == [Ending.ANSWERED, Ending.UNSENT]
        assert outcomes[1].message is messages[1]
        assert outcomes[1].results == {}
        assert (trouble.stage, trouble.reconnect) == (stage, True)
        assert backend.connection is None
        outcomes, trouble = run(backend, messages[1:])
        assert [outcome.ending for outcome in outcomes] == [Ending.ANSWERED] * 3
        assert [each.recipients[0] for each in server.messages] == [f"to{n}@example.com" for n in range(1, 5)]
        assert len(server.connections) == 2


@pytest.mark.parametrize("kept", [True, False])
def test_a_link_dropped_after_the_last_byte_leaves_the_message_unknown(connect, message, kept):
    with ScriptedServer(drop("final", nth=2, keep=kept)) as server:
        messages = [message(n) for n in range(1, 4)]
        backend = connect(server)
        outcomes, trouble = run(backend, messages)
        assert [outcome.ending for outcome in outcomes] == [Ending.ANSWERED, Ending.UNKNOWN]
        assert (trouble.stage, trouble.reconnect) == ("final", True)
        assert run(backend, messages[2:])[0][0].ending is Ending.ANSWERED
        assert len(server.messages) == (3 if kept else 2)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_421_leaves_the_message_unsent(connect, message, stage):
    with ScriptedServer(reply(stage, "421 4.3.2 closing", nth=2)) as server:
        backend = connect(server)
        outcomes, trouble = run(backend, [message(1), message(2), message(3)])
        assert [outcome.ending for outcome in outcomes] == [Ending.ANSWERED, Ending.UNSENT]
        assert (trouble.stage, trouble.code, trouble.text) == (stage, 421, "4.3.2 closing")
        assert trouble.reconnect
        assert backend.connection is None


def test_421_to_the_content_defers_the_message(connect, message):
    with ScriptedServer(reply("final", "421 4.3.2 closing", nth=1)) as server:
        [outcome], trouble = run(connect(server), [message(1), message(2)])
        assert outcome.ending is Ending.ANSWERED
        assert verdicts(outcome) == {"to1@example.com": DEFERRED}
        assert (trouble.code, trouble.reconnect) == (421, True)


def test_a_relay_that_limits_messages_per_connection_is_followed(connect, message):
    with ScriptedServer(messages_per_connection=2) as server:
        backend, pending = connect(server), [message(n) for n in range(7)]
        while pending:
            outcomes, _ = run(backend, pending)
            pending = pending[sum(outcome.ending is Ending.ANSWERED for outcome in outcomes) :]
        assert [each.recipients[0] for each in server.messages] == [f"to{n}@example.com" for n in range(7)]
        assert [each.connection for each in server.messages] == [1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("stage", ["mail", "data", "final"])
def test_after_a_refusal_the_next_message_goes_over_the_same_connection(connect, message, stage):
    with ScriptedServer(reply(stage, "550 5.0.0 no", nth=1)) as server:
        outcomes, trouble = run(connect(server), [message(1), message(2)])
        assert [list(verdicts(outcome).values()) for outcome in outcomes] == [[REFUSED], [ACCEPTED]]
        assert outcomes[0].reason == f"{stage}: 550 5.0.0"
        assert trouble is None
        assert len(server.connections) == 1


@pytest.mark.parametrize("step", [hang("mail", nth=2), raw("mail", b"hm?\r\n", nth=2), reply("mail", "354 x", nth=2)])
def test_after_a_surprise_the_connection_is_not_used_again(connect, message, step):
    with ScriptedServer(step) as server:
        backend = connect(server, timeout=0.3)
        _, trouble = run(backend, [message(1), message(2)])
        assert trouble.stage == "mail"
        assert backend.connection is None
        assert run(backend, [message(2)])[0][0].ending is Ending.ANSWERED
        assert [conversation.verbs.count("MAIL") for conversation in server.connections] == [2, 1]


@pytest.mark.parametrize(("step", "reconnect"), [(drop("rset"), True), (hang("rset"), False)])
def test_a_link_lost_while_resetting_still_tells_what_became_of_the_message(connect, message, step, reconnect):
    with ScriptedServer(reply("data", "451 4.3.0 later", nth=1), step) as server:
        [outcome], trouble = run(connect(server, timeout=0.3), [message(1), message(2)])
        assert verdicts(outcome) == {"to1@example.com": DEFERRED}
        assert (trouble.stage, trouble.reconnect) == ("rset", reconnect)


# -- too many recipients


def test_too_many_recipients_go_on_in_another_transaction(connect, message):
    everyone = [f"r{n}@example.com" for n in range(5)]
    begun = []
    with ScriptedServer(recipients_per_message=2) as server:
        many = message(to=everyone)
        outcomes, trouble = run(connect(server), [many, message(9)], lambda ms: begun.append(ms) or [True])
        assert trouble is None
        assert [outcome.ending for outcome in outcomes] == [
            Ending.PROGRESS,
            Ending.PROGRESS,
            Ending.ANSWERED,
            Ending.ANSWERED,
        ]
        assert [list(outcome.results) for outcome in outcomes[:3]] == [everyone[:2], everyone[2:4], everyone[4:]]
        assert begun[:3] == [[many]] * 3
        assert len(server.connections) == 1


def test_trouble_between_the_transactions_leaves_the_rest_unsent(connect, message):
    everyone = [f"r{n}@example.com" for n in range(3)]
    with ScriptedServer(drop("mail", nth=2), recipients_per_message=2) as server:
        outcomes, trouble = run(connect(server), [message(to=everyone)])
        assert [outcome.ending for outcome in outcomes] == [Ending.PROGRESS, Ending.UNSENT]
        assert list(outcomes[0].results) == everyone[:2]
        assert trouble.reconnect


def test_a_message_withdrawn_between_the_transactions_ends_there(connect, message):
    with ScriptedServer(recipients_per_message=1) as server:
        answers = iter([[True], [False]])
        outcomes, trouble = run(
            connect(server), [message(to=["a@example.com", "b@example.com"])], lambda _: next(answers)
        )
        assert [outcome.ending for outcome in outcomes] == [Ending.PROGRESS]
        assert trouble is None


# -- trouble with the relay


def test_a_relay_that_refuses_connections(connect, message):
    with ScriptedServer() as server:
        pass
    outcomes, trouble = run(connect(server), [message()])
    assert outcomes == []
    assert (trouble.stage, trouble.reconnect) == ("connect", True)
    assert isinstance(trouble.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize(
    ("step", "stage", "reconnect"),
    [
        pytest.param(reply("greeting", "554 5.3.2 no"), "greeting", False, id="greeting-refused"),
        pytest.param(reply("greeting", "421 4.3.2 busy"), "greeting", True, id="greeting-busy"),
        pytest.param(drop("greeting"), "greeting", True, id="greeting-dropped"),
        pytest.param(hang("greeting"), "greeting", False, id="greeting-hangs"),
        pytest.param(raw("greeting", b"HTTP/1.1 400 Bad Request\r\n"), "greeting", False, id="greeting-garbage"),
        pytest.param(drop("ehlo"), "ehlo", True, id="ehlo-dropped"),
        pytest.param(hang("ehlo"), "ehlo", False, id="ehlo-hangs"),
        pytest.param(reply("ehlo", "421 4.3.2 busy"), "ehlo", True, id="ehlo-closing"),
    ],
)
def test_trouble_before_the_first_message_costs_no_message(connect, message, step, stage, reconnect):
    with ScriptedServer(step) as server:
        backend = connect(server, timeout=0.3)
        outcomes, trouble = run(backend, [message()])
        assert outcomes == []
        assert (trouble.stage, trouble.reconnect) == (stage, reconnect)
        assert (backend.connection, backend._partial_connection) == (None, None)


def test_a_login_that_is_required_costs_no_message(connect, message):
    with ScriptedServer(login_required=True) as server:
        outcomes, trouble = run(connect(server), [message()])
        assert outcomes == []
        assert (trouble.stage, trouble.code, trouble.reconnect) == ("mail", 530, False)


def test_fail_silently_means_nothing_here(connect, message):
    with ScriptedServer(reply("greeting", "554 5.3.2 no")) as server:
        outcomes, trouble = run(connect(server, fail_silently=True), [message()])
        assert (outcomes, trouble.stage) == ([], "greeting")


# -- probing and time


def test_a_probe_that_fails_makes_room_for_a_new_connection(connect, message):
    with ScriptedServer(drop("rset")) as server:
        backend = connect(server)
        run(backend, [message(1)])
        assert not backend.probe()
        backend.close()
        assert run(backend, [message(2)])[0][0].ending is Ending.ANSWERED
        assert len(server.connections) == 2


def test_there_is_nothing_to_probe_before_opening(connect):
    with ScriptedServer() as server:
        assert not connect(server).probe()


def test_with_stage_timeouts_every_stage_has_its_own(connect, message):
    with ScriptedServer() as server:
        backend = connect(server, timeout=None, stage_timeouts=True)
        run(backend, [message()])
        assert backend.connection.timeout == 30, "to connect"
        assert backend.connection.sock.gettimeout() == 600, "the last wait was for the reply to the dot"
        backend.close()


def test_a_timeout_wins_over_stage_timeouts(connect, message):
    with ScriptedServer(hang("final")) as server:
        backend = connect(server, timeout=0.2, stage_timeouts=True)
        [outcome], trouble = run(backend, [message()])
        assert (outcome.ending, trouble.stage) == (Ending.UNKNOWN, "final")


def test_stage_timeouts_may_be_set_after_construction_and_hold_for_any_connection_class(connect, message):
    with ScriptedServer() as server:
        backend = connect(server, timeout=None)
        backend.stage_timeouts = True
        type(backend)
        backend.__class__ = type("Own", (type(backend),), {"connection_class": smtplib.SMTP})
        run(backend, [message()])
        assert backend.connection.timeout == 300
        assert backend.connection.sock.gettimeout() == 600
