"""Which reply answers which command, without a network."""

from __future__ import annotations

import pytest

from mailqueue.outcome import Ending, Result, Verdict
from mailqueue.smtp.accounting import Accounting, Transaction, shape
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.reply import Reply
from mailqueue.smtp.session import Mail

ACCEPTED, DEFERRED, REFUSED = Verdict.ACCEPTED, Verdict.DEFERRED, Verdict.REFUSED
CHECK = b"2.0.0 Ok"
OK = (250, b"2.1.0 Ok")
QUEUED = (250, b"2.0.0 Ok: queued as 4C2F1")
RSET = (250, CHECK)
STRAY = (250, b"2.1.5 recipient fine")
NO = (550, b"5.1.1 no")
LATER = (451, b"4.3.0 later")
MANY = (452, b"4.5.3 too many")
CLOSING = (421, b"4.3.2 bye")
GO_AHEAD = (354, b"go ahead")
EVERYTHING = 10**9


def transaction(*recipients, chunked=True, results=None, end=100):
    found = Transaction("it", Mail("from@example.com", recipients or ("a",), b"x\r\n"), results or {}, chunked=chunked)
    found.end = end if chunked else None
    return found


def played(*replies, of=None, handed=EVERYTHING):
    """The answer of one message to whom these replies are given."""
    accounting = Accounting(CHECK, QUEUED[1])
    accounting.owe(of or transaction("a", "b"))
    for code, text in replies:
        done, meaning = accounting.hear(code, text, handed)
        assert meaning is None
        if done is not None:
            assert not accounting
            return done.answer()
    pytest.fail("more replies are owed")


def verdicts(answer):
    return {to: (result.verdict, result.reply.code) for to, result in answer.results.items()}


def test_all_is_well():
    answer = played(OK, OK, OK, QUEUED, RSET)
    assert answer.ending is Ending.ANSWERED
    assert answer.results == dict.fromkeys("ab", Result(ACCEPTED, Reply(250, "2.0.0 Ok: queued as 4C2F1")))
    assert (answer.stage, answer.reply, answer.rest) == (None, None, ())


@pytest.mark.parametrize(
    ("replies", "expected", "stage"),
    [
        pytest.param([OK, OK, NO, QUEUED], {"a": (ACCEPTED, 250), "b": (REFUSED, 550)}, None, id="one-recipient"),
        pytest.param([OK, NO, LATER, NO], {"a": (REFUSED, 550), "b": (DEFERRED, 451)}, Stage.RCPT, id="no-recipient"),
        pytest.param([OK, NO, NO, QUEUED], dict.fromkeys("ab", (REFUSED, 550)), Stage.RCPT, id="accepted-for-nobody"),
        pytest.param([LATER, NO, NO, NO], dict.fromkeys("ab", (DEFERRED, 451)), Stage.MAIL, id="sender"),
        pytest.param([NO, NO, MANY, QUEUED], dict.fromkeys("ab", (REFUSED, 550)), Stage.MAIL, id="sender-and-fine"),
        pytest.param([OK, OK, OK, LATER], dict.fromkeys("ab", (DEFERRED, 451)), Stage.FINAL, id="content"),
        pytest.param([OK, LATER, OK, NO], {"a": (DEFERRED, 451), "b": (REFUSED, 550)}, Stage.FINAL, id="both"),
        pytest.param([OK, MANY, OK, QUEUED], {"a": (DEFERRED, 452), "b": (ACCEPTED, 250)}, None, id="too-many-first"),
    ],
)
def test_refusals(replies, expected, stage):
    answer = played(*replies, RSET)
    assert (answer.ending, verdicts(answer), answer.stage) == (Ending.ANSWERED, expected, stage)


def test_too_many_recipients_leave_a_rest():
    answer = played(OK, OK, MANY, OK, QUEUED, RSET, of=transaction("a", "b", "c"))
    assert (answer.ending, answer.rest) == (Ending.PROGRESS, ("b",))
    assert verdicts(answer) == {"a": (ACCEPTED, 250), "c": (ACCEPTED, 250)}


def test_content_that_is_refused_is_so_for_the_rest_as_well():
    answer = played(OK, OK, MANY, NO, RSET)
    assert (answer.ending, verdicts(answer)) == (Ending.ANSWERED, dict.fromkeys("ab", (REFUSED, 550)))


def test_who_could_not_be_asked_for_is_not():
    refused = Result(REFUSED, Reply(553, "5.6.7 no"))
    answer = played(OK, OK, QUEUED, RSET, of=transaction("a", "b", results={"a": refused}))
    assert verdicts(answer) == {"a": (REFUSED, 553), "b": (ACCEPTED, 250)}


def test_data_is_answered_before_its_content():
    found = transaction("a", chunked=False)
    accounting = Accounting(CHECK)
    accounting.owe(found)
    for reply in (OK, OK, GO_AHEAD):
        assert accounting.hear(*reply, EVERYTHING) == (None, None)
    assert (found.stage, accounting.stage) == (Stage.FINAL, Stage.IDLE), "it is for us to go on"
    found.end, found.idle = 200, False
    assert accounting.hear(*QUEUED, 200) == (None, None)
    assert accounting.hear(*RSET, 210) == (found, None)


def test_data_refused_needs_no_content():
    found = transaction("a", chunked=False)
    accounting = Accounting(CHECK)
    accounting.owe(found)
    for reply in (OK, OK, LATER):
        assert accounting.hear(*reply, EVERYTHING) == (None, None)
    found.idle = False
    assert accounting.hear(*RSET, EVERYTHING) == (found, None)
    assert verdicts(found.answer()) == {"a": (DEFERRED, 451)}


@pytest.mark.parametrize(("said", "ending"), [(NO, Ending.ANSWERED), (GO_AHEAD, Ending.UNSENT)])
def test_what_is_said_behind_the_reply_to_data_answers_nothing(said, ending):
    for unasked in (CLOSING, RSET, QUEUED, NO):
        meaning, accounting = trouble(OK, OK, said, unasked, of=transaction("a", chunked=False))
        assert (meaning.closing, meaning.surprise) == (unasked is CLOSING, unasked is not CLOSING)
    _, accounting = trouble(OK, OK, said, CLOSING, of=transaction("a", chunked=False))
    assert accounting.end(EVERYTHING, trusted=True, closed=False)[0][1].ending is ending


def trouble(*replies, of=None, handed=EVERYTHING, check=CHECK, accepts=QUEUED[1]):
    """What the last of these replies means; the accounting it is the last one of."""
    accounting = Accounting(check, accepts)
    accounting.owe(of or transaction("a", "b"))
    accounting.owe(transaction("c"))
    for code, text in replies[:-1]:
        assert accounting.hear(code, text, handed)[1] is None
    return accounting.hear(*replies[-1], handed)[1], accounting


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([(-1, b"what?")], id="garbage"),
        pytest.param([GO_AHEAD], id="354-to-mail"),
        pytest.param([OK, GO_AHEAD], id="354-to-rcpt"),
        pytest.param([OK, OK, OK, STRAY, QUEUED], id="one-too-many"),
        pytest.param([OK, OK, OK, OK], id="one-too-many-that-may-be-to-rset"),
        pytest.param([OK, OK, OK, NO, QUEUED], id="a-refusal-too-many"),
        pytest.param([OK, OK, OK, STRAY, NO], id="one-too-many-and-refused"),
        pytest.param([OK, OK, OK, RSET], id="accepted-in-other-words"),
        pytest.param([OK, OK, OK, QUEUED, NO], id="rset-refused"),
        pytest.param([OK, OK, OK, QUEUED, (250, b"2.1.0 Sender fine")], id="not-the-words-of-rset"),
        pytest.param([NO, OK, OK, QUEUED], id="accepted-without-a-sender"),
    ],
)
def test_out_of_step(replies):
    meaning, accounting = trouble(*replies)
    assert meaning.surprise
    ended = accounting.end(EVERYTHING, trusted=False, closed=False)
    assert [answer.ending for _, answer in ended] == [Ending.UNKNOWN] * 2
    assert [answer.results for _, answer in ended] == [{}] * 2


def test_content_accepted_before_it_went_out_is_out_of_step():
    assert trouble(OK, OK, OK, QUEUED, handed=99)[0].surprise
    assert trouble(OK, OK, GO_AHEAD, QUEUED, of=transaction("a", chunked=False))[0].surprise


def test_a_relay_that_says_the_same_to_everything_is_only_counted():
    answer = []
    accounting = Accounting(b"OK", b"OK")
    accounting.owe(transaction("a"))
    for _ in range(4):
        done, meaning = accounting.hear(250, b"OK", EVERYTHING)
        assert meaning is None
        answer.append(done)
    assert verdicts(answer[-1].answer()) == {"a": (ACCEPTED, 250)}
    assert accounting.hear(250, b"OK", EVERYTHING)[1].surprise, "nothing is owed"


def test_the_words_of_rset_with_another_number_are_no_acceptance():
    accounting = Accounting(b"2.0.0 OK id1", b"2.0.0 OK: queued as id2")
    accounting.owe(transaction("a"))
    for text in (b"2.1.0 OK", b"2.1.5 OK"):
        accounting.hear(250, text, EVERYTHING)
    assert accounting.hear(250, b"2.0.0 OK id3", EVERYTHING)[1].surprise


def test_words_with_digits_may_change():
    assert shape("2.1.5 Flushed d2e1a72fcca58 - gsmtp") == shape("2.1.5 Flushed 5b1f17b1804b1 - gsmtp")
    assert shape("2.0.0 Ok: queued as 4C2F") != shape("2.0.0 Ok")
    accounting = Accounting(b"2.1.5 Flushed a1b2 - gsmtp", b"2.0.0 OK 1 a1b2 - gsmtp")
    accounting.owe(transaction("a"))
    for text in (b"2.1.0 OK a1b2", b"2.1.5 OK a1b2", b"2.0.0 OK 2 c3d4 - gsmtp"):
        accounting.hear(250, text, EVERYTHING)
    assert accounting.hear(250, b"2.1.5 Flushed c3d4 - gsmtp", EVERYTHING)[1] is None


# -- 421 and lost connections


@pytest.mark.parametrize("before", [[], [OK], [OK, OK]])
def test_what_421_answers_and_what_lies_behind_it_is_unsent(before):
    meaning, accounting = trouble(*before, CLOSING)
    assert meaning.closing
    ended = accounting.end(EVERYTHING, trusted=True, closed=True)
    assert [answer.ending for _, answer in ended] == [Ending.UNSENT] * 2
    assert ended[0][1].reply == Reply(421, "4.3.2 bye")


def test_421_to_the_content_is_its_answer():
    meaning, accounting = trouble(OK, OK, NO, CLOSING)
    assert meaning.closing
    [(_, first), (_, second)] = accounting.end(EVERYTHING, trusted=True, closed=True)
    assert verdicts(first) == {"a": (DEFERRED, 421), "b": (REFUSED, 550)}
    assert second.ending is Ending.UNSENT


def test_421_before_the_content_is_out_leaves_it_unsent():
    _, accounting = trouble(OK, OK, OK, CLOSING, handed=99)
    assert [answer.ending for _, answer in accounting.end(99, trusted=True, closed=True)] == [Ending.UNSENT] * 2


def test_421_to_rset_leaves_what_was_accepted_so():
    accounting = Accounting(CHECK, QUEUED[1])
    accounting.owe(transaction("a"))
    accounting.owe(transaction("b"))
    for reply in (OK, OK, QUEUED):
        accounting.hear(*reply, EVERYTHING)
    done, meaning = accounting.hear(*CLOSING, EVERYTHING)
    assert meaning.closing
    assert verdicts(done.answer()) == {"a": (ACCEPTED, 250)}
    [(_, second)] = accounting.end(EVERYTHING, trusted=True, closed=True)
    assert second.ending is Ending.UNSENT


def test_rset_refused_for_nobody_is_a_farewell_if_the_end_follows():
    meaning, accounting = trouble(OK, NO, NO, NO, NO)
    assert meaning.closing
    [(_, first), (_, second)] = accounting.end(EVERYTHING, trusted=True, closed=True)
    assert verdicts(first) == dict.fromkeys("ab", (REFUSED, 550))
    assert second.ending is Ending.UNSENT
    for more in (OK, RSET, NO):
        _, accounting = trouble(OK, NO, NO, NO, NO)
        assert accounting.hear(*more, EVERYTHING)[1].surprise


def test_421_to_rset_is_no_check_of_an_acceptance_in_other_words():
    accounting = Accounting(CHECK, QUEUED[1])
    accounting.owe(transaction("a"))
    for reply in (OK, OK, STRAY):
        accounting.hear(*reply, EVERYTHING)
    assert accounting.hear(*CLOSING, EVERYTHING)[0].answer().ending is Ending.UNKNOWN


def parted(*replies):
    """The answer of a message for two, and of one behind it for one, when the relay goes on after a 421."""
    accounting = Accounting(CHECK, QUEUED[1])
    accounting.owe(transaction("a", "b"))
    accounting.owe(transaction("c"))
    answers = []
    for reply in replies:
        done, meaning = accounting.hear(*reply, EVERYTHING)
        assert meaning is None or (meaning.closing and not meaning.surprise)
        answers += [] if done is None else [done.answer()]
    return answers + [answer for _, answer in accounting.end(EVERYTHING, trusted=True, closed=False)]


BAD = (503, b"5.5.1 bad sequence of commands")


def test_421_to_mail_and_no_end_leaves_that_message_unsent():
    first, second = parted(CLOSING, BAD, BAD, BAD, RSET, CLOSING, BAD, BAD, RSET)
    assert (first.ending, second.ending) == (Ending.UNSENT, Ending.UNSENT)
    assert (first.stage, first.reply.code, first.results) == (Stage.MAIL, 421, {})


def test_421_to_a_recipient_and_no_end_defers_that_recipient():
    first, second = parted(OK, OK, CLOSING, QUEUED, RSET, OK, OK, QUEUED, RSET)
    assert verdicts(first) == {"a": (ACCEPTED, 250), "b": (DEFERRED, 421)}
    assert verdicts(second) == {"c": (ACCEPTED, 250)}


def test_421_to_the_only_recipient_is_its_answer_if_the_relay_goes_on():
    _, accounting = trouble(OK, CLOSING, of=transaction("a"))
    [(_, first), (_, second)] = accounting.end(EVERYTHING, trusted=True, closed=True)
    assert (first.ending, first.stage, second.ending) == (Ending.UNSENT, Stage.RCPT, Ending.UNSENT)
    _, accounting = trouble(OK, CLOSING, of=transaction("a"))
    assert accounting.hear(*BAD, EVERYTHING) == (None, None)
    [(_, first), (_, second)] = accounting.end(EVERYTHING, trusted=True, closed=False)
    assert (verdicts(first), second.ending) == ({"a": (DEFERRED, 421)}, Ending.UNKNOWN)


def test_421_to_a_recipient_and_silence_leaves_it_open_what_became_of_the_others():
    first, second = parted(OK, CLOSING)
    assert [first.ending, second.ending] == [Ending.UNKNOWN] * 2
    assert verdicts(first) == {"a": (DEFERRED, 421)}


def test_a_sender_turned_away_by_421_whose_recipients_are_taken_is_out_of_step():
    _, accounting = trouble(CLOSING)
    for _ in range(2):
        assert accounting.hear(*OK, EVERYTHING) == (None, None)
    assert accounting.hear(*QUEUED, EVERYTHING)[1].surprise


def test_a_sender_turned_away_by_421_whose_recipients_are_taken_is_unknown_if_the_link_is_lost_then():
    assert [answer.ending for answer in parted(CLOSING, OK)] == [Ending.UNKNOWN] * 2


def lost(*replies, handed=EVERYTHING):
    accounting = Accounting(CHECK, QUEUED[1])
    accounting.owe(transaction("a", "b"))
    for reply in replies:
        accounting.hear(*reply, handed)
    [(_, answer)] = accounting.end(handed, trusted=True, closed=False)
    return answer


def test_a_lost_connection():
    assert lost(OK, OK).ending is Ending.UNKNOWN
    assert lost(handed=99).ending is Ending.UNSENT
    assert lost(handed=100).ending is Ending.UNKNOWN
    assert verdicts(lost(OK, OK, NO)) == {"b": (REFUSED, 550)}
    settled = lost(OK, NO, NO)
    assert (settled.ending, verdicts(settled)) == (Ending.ANSWERED, dict.fromkeys("ab", (REFUSED, 550)))


def test_an_acceptance_is_believed_without_the_check_if_it_was_said_as_usual():
    assert verdicts(lost(OK, OK, OK, QUEUED)) == dict.fromkeys("ab", (ACCEPTED, 250))
    assert lost(OK, OK, OK, STRAY).ending is Ending.UNKNOWN


def test_the_words_for_a_chunk_are_learned():
    accounting = Accounting(CHECK, QUEUED[1])
    chunk = (250, b"2.0.0 Ok: 23 bytes queued as 4C2F1")
    for _ in range(2):
        accounting.owe(transaction("a"))
    for reply in (OK, OK, chunk, RSET, OK, OK, chunk):
        assert accounting.hear(*reply, EVERYTHING)[1] is None
    [(_, answer)] = accounting.end(EVERYTHING, trusted=True, closed=False)
    assert verdicts(answer) == {"a": (ACCEPTED, 250)}


def test_a_login_that_is_asked_for_bars_the_message():
    meaning, accounting = trouble((530, b"5.7.0 authentication required"))
    assert (meaning.verdict, meaning.surprise, meaning.closing) == (REFUSED, False, False)
    [(_, first), (_, second)] = accounting.end(EVERYTHING, trusted=True, closed=False)
    assert first.ending is Ending.UNSENT
    assert second.ending is Ending.UNKNOWN


def test_octets_on_their_way_are_counted():
    accounting = Accounting(CHECK)
    for _ in range(3):
        accounting.owe(transaction("a"))
    assert (accounting.octets, len(accounting), accounting.stage) == (9, 3, Stage.MAIL)
    for reply in (OK, OK, QUEUED, RSET):
        accounting.hear(*reply, EVERYTHING)
    assert (accounting.octets, len(accounting)) == (6, 2)
    accounting.end(0, trusted=True, closed=False)
    assert (accounting.octets, accounting.stage, accounting.head) == (0, Stage.IDLE, None)
