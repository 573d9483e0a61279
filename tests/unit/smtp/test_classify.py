"""What replies mean: every stage with every kind of code, and the exceptions from the first digit by their names."""

from __future__ import annotations

import pytest

from mailqueue.outcome import Verdict
from mailqueue.smtp.classify import Meaning, Scope, Stage, asks_for_less, classify
from mailqueue.smtp.reply import Reply

ACCEPTED, DEFERRED, REFUSED = Verdict.ACCEPTED, Verdict.DEFERRED, Verdict.REFUSED
RECIPIENT, TRANSACTION, MESSAGE, RELAY = Scope.RECIPIENT, Scope.TRANSACTION, Scope.MESSAGE, Scope.RELAY
SURPRISE = Meaning(DEFERRED, RELAY, surprise=True)

# stage: the scope of its replies, and the first digits that say "go on"
STAGES = {
    Stage.CONNECT: (RELAY, "2"),
    Stage.GREETING: (RELAY, "2"),
    Stage.EHLO: (RELAY, "2"),
    Stage.STARTTLS: (RELAY, "2"),
    Stage.AUTH: (RELAY, "23"),
    Stage.MAIL: (MESSAGE, "2"),
    Stage.RCPT: (RECIPIENT, "2"),
    Stage.DATA: (MESSAGE, "3"),
    Stage.FINAL: (MESSAGE, "2"),
    Stage.RSET: (RELAY, "2"),
    Stage.QUIT: (RELAY, "2"),
    Stage.CONTENT: (MESSAGE, ""),
    Stage.IDLE: (RELAY, ""),
}
# Codes without a meaning of their own anywhere: of each digit the round one, and those that relays use most.
PLAIN_CODES = [200, 211, 220, 221, 235, 250, 251, 252, 300, 334, 354, 400, 450, 451, 454, 455, 499]
PLAIN_CODES += [500, 501, 502, 503, 504, 521, 523, 550, 551, 553, 554, 555, 556, 599]


def test_every_stage_is_in_the_table():
    assert set(STAGES) == set(Stage)


@pytest.mark.parametrize("code", PLAIN_CODES)
@pytest.mark.parametrize("stage", Stage)
def test_the_first_digit_gives_the_verdict_and_the_stage_the_scope(stage, code):
    scope, go_on = STAGES[stage]
    digit = str(code)[0]
    if digit in go_on:
        expected = Meaning(ACCEPTED, scope)
    elif digit in "45" and stage is not Stage.IDLE:  # unasked, a relay may only take its leave (421)
        expected = Meaning(DEFERRED if digit == "4" else REFUSED, scope)
    else:
        expected = SURPRISE
    assert classify(Reply(code, "text"), stage) == expected


@pytest.mark.parametrize("code", [-1, 0, 25, 100, 150, 199, 600, 650, 999, 2500])
@pytest.mark.parametrize("stage", Stage)
def test_what_is_no_reply_is_a_surprise_at_every_stage(stage, code):
    assert classify(Reply(code), stage) == SURPRISE


@pytest.mark.parametrize("stage", Stage)
def test_421_is_about_the_relay_and_passes_at_every_stage(stage):
    assert classify(Reply(421, "4.3.2 shutting down"), stage) == Meaning(DEFERRED, RELAY, closing=True)


@pytest.mark.parametrize(
    ("code", "text", "stage", "expected"),
    [
        pytest.param(530, "5.7.0 Must issue a STARTTLS command first", Stage.MAIL, Meaning(REFUSED, RELAY), id="tls"),
        pytest.param(530, "5.7.0 Authentication required", Stage.MAIL, Meaning(REFUSED, RELAY), id="login-first"),
        pytest.param(534, "5.7.9 mechanism too weak", Stage.MAIL, Meaning(REFUSED, RELAY), id="weak-mechanism"),
        pytest.param(535, "5.7.8 not authenticated", Stage.MAIL, Meaning(REFUSED, RELAY), id="bad-credentials"),
        pytest.param(538, "5.7.11 encryption required", Stage.MAIL, Meaning(REFUSED, RELAY), id="encryption"),
        pytest.param(535, "5.7.8 bad credentials", Stage.AUTH, Meaning(REFUSED, RELAY), id="auth-refused"),
        pytest.param(454, "4.7.0 temporary failure", Stage.AUTH, Meaning(DEFERRED, RELAY), id="auth-deferred"),
        pytest.param(454, "TLS not available", Stage.STARTTLS, Meaning(DEFERRED, RELAY), id="tls-deferred"),
        pytest.param(334, "VXNlcm5hbWU6", Stage.AUTH, Meaning(ACCEPTED, RELAY), id="auth-challenge"),
        pytest.param(530, "5.7.0 no relaying", Stage.RCPT, Meaning(REFUSED, RECIPIENT), id="login-for-one-recipient"),
        pytest.param(552, "5.3.4 too big", Stage.MAIL, Meaning(REFUSED, MESSAGE), id="size-at-mail"),
        pytest.param(552, "5.3.4 too big", Stage.FINAL, Meaning(REFUSED, MESSAGE), id="size-at-dot"),
        pytest.param(452, "4.3.1 disk full", Stage.MAIL, Meaning(DEFERRED, MESSAGE), id="disk-full-at-mail"),
        pytest.param(452, "4.3.1 disk full", Stage.FINAL, Meaning(DEFERRED, MESSAGE), id="disk-full-at-dot"),
        pytest.param(550, "5.7.1 spam", Stage.FINAL, Meaning(REFUSED, MESSAGE), id="spam"),
        pytest.param(554, "5.5.1 no valid recipients", Stage.DATA, Meaning(REFUSED, MESSAGE), id="no-recipients"),
        pytest.param(250, "ok", Stage.DATA, SURPRISE, id="content-not-wanted"),
        pytest.param(354, "go on", Stage.FINAL, SURPRISE, id="content-wanted-again"),
        pytest.param(354, "go on", Stage.MAIL, SURPRISE, id="content-wanted-too-early"),
        pytest.param(334, "", Stage.MAIL, SURPRISE, id="challenge-out-of-place"),
        pytest.param(251, "will forward", Stage.RCPT, Meaning(ACCEPTED, RECIPIENT), id="forwarded"),
        pytest.param(252, "cannot verify", Stage.RCPT, Meaning(ACCEPTED, RECIPIENT), id="unverified"),
        pytest.param(250, "ok", Stage.IDLE, SURPRISE, id="unasked"),
    ],
)
def test_known_cases(code, text, stage, expected):
    assert classify(Reply(code, text), stage) == expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        pytest.param(452, "4.5.3 Error: too many recipients", Meaning(DEFERRED, TRANSACTION), id="as-rfc-3463"),
        pytest.param(452, "4.5.3", Meaning(DEFERRED, TRANSACTION), id="enhanced-alone"),
        pytest.param(452, "Too many recipients", Meaning(DEFERRED, TRANSACTION), id="as-rfc-5321"),
        pytest.param(452, "", Meaning(DEFERRED, TRANSACTION), id="bare"),
        pytest.param(452, "4.1.0 Too Many Recipients this hour", Meaning(DEFERRED, TRANSACTION), id="in-words"),
        pytest.param(451, "4.5.3 too many recipients", Meaning(DEFERRED, TRANSACTION), id="451"),
        pytest.param(452, "4.2.2 mailbox full", Meaning(DEFERRED, RECIPIENT), id="mailbox-full"),
        pytest.param(452, "4.3.1 insufficient system storage", Meaning(DEFERRED, RECIPIENT), id="disk-full"),
        pytest.param(552, "too many recipients", Meaning(DEFERRED, TRANSACTION), id="as-rfc-821"),
        pytest.param(552, "5.5.3 no more", Meaning(DEFERRED, TRANSACTION), id="552-enhanced"),
        pytest.param(552, "5.2.2 mailbox full", Meaning(REFUSED, RECIPIENT), id="552-mailbox-full"),
        pytest.param(552, "", Meaning(REFUSED, RECIPIENT), id="552-bare"),
        pytest.param(550, "5.5.3 too many recipients", Meaning(REFUSED, RECIPIENT), id="550-for-good"),
    ],
)
def test_too_many_recipients_at_rcpt_is_about_the_transaction(code, text, expected):
    assert classify(Reply(code, text), Stage.RCPT) == expected


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.RCPT])
def test_too_many_recipients_means_nothing_elsewhere(stage):
    assert classify(Reply(452, "4.5.3 too many recipients"), stage).scope is STAGES[stage][0]


@pytest.mark.parametrize(
    ("code", "text", "less"),
    [
        (421, "4.7.28 our system has detected an unusual rate", True),
        (450, "4.2.1 the user is receiving mail too quickly", True),
        (451, "4.7.1 greylisted", True),
        (451, "try again later", True),
        (452, "4.4.5 messages per second limit exceeded", True),
        (454, "4.7.0 too many", True),
        (421, "4.3.2 shutting down", False),
        (452, "4.2.2 mailbox full", False),
        (450, "4.1.2 no such domain just now", False),
        (451, "4.3.0 queue file write error", False),
        (452, "4.3.1 disk full", False),
        (452, "4.5.3 too many recipients", False),
        (432, "4.7.12 password", False),
        (550, "5.7.1 no", False),
        (250, "ok", False),
    ],
)
def test_replies_that_ask_for_less_mail(code, text, less):
    assert asks_for_less(Reply(code, text)) is less
