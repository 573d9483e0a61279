"""Which refusals put an address on the suppression list."""

from __future__ import annotations

import pytest

from mailqueue import conf
from mailqueue.bulk.refusals import after_refusal, code_of
from mailqueue.conf.consent import HARD_REFUSALS
from mailqueue.ledger.memory import MemoryLedger
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply


def refused(code, text):
    return Result(Verdict.REFUSED, Reply(code, text))


@pytest.mark.parametrize(
    ("code", "text", "stage", "found"),
    [
        (550, "5.1.1 no such user", "final", "5.1.1"),
        (550, "5.1.10 null MX", "", "5.1.10"),
        (550, "5.2.1 disabled", "rcpt", "5.2.1"),
        (554, "5.1.2 no such host", "rcpt", "5.1.2"),
        (550, "no such user here", "rcpt", "550"),
        (553, "", "rcpt", "553"),
        # not the address's fault, or not surely
        (550, "no such user here", "final", ""),
        (550, "no such user here", "", ""),
        (550, "rejected for policy reasons", "rcpt", ""),
        (550, "your IP is listed at example.org", "rcpt", ""),
        (550, "relay not permitted", "rcpt", ""),
        (550, "sender rejected", "rcpt", ""),
        (550, "5.7.1 not allowed", "rcpt", ""),
        (552, "5.2.2 mailbox full", "rcpt", ""),
        (554, "no", "rcpt", ""),
        (550, "5.4.1 denied", "rcpt", ""),
    ],
)
def test_a_hard_refusal_is_one_of_the_address(code, text, stage, found):
    assert code_of(Reply(code, text), stage, HARD_REFUSALS) == found


def test_codes_are_chosen_by_the_setting():
    ledger = MemoryLedger()
    results = {"a@example.com": refused(550, "5.4.1 denied"), "b@example.com": refused(550, "5.1.1 unknown")}
    conf.configure(MAILQUEUE_SUPPRESS_REFUSED=["5.4.1"])
    assert after_refusal(ledger, "spring", results) == 1
    (entry,) = ledger.suppressions.find(results).values()
    assert (entry.key, entry.list, entry.reason, entry.source) == ("a@example.com", "", "refused", "5.4.1 spring")


def test_it_can_be_off():
    conf.configure(MAILQUEUE_SUPPRESS_REFUSED="off")
    assert after_refusal(MemoryLedger(), "spring", {"a@example.com": refused(550, "5.1.1 unknown")}) == 0


def test_only_those_refused_for_good_are_meant():
    ledger = MemoryLedger()
    results = {
        "a@example.com": Result(Verdict.ACCEPTED, Reply(250, "2.1.5 ok")),
        "b@example.com": Result(Verdict.DEFERRED, Reply(450, "4.1.1 later")),
        "c@example.com": Result(Verdict.REFUSED, Reply(450, "4.1.1 given up after days")),
        "d@example.com": refused(550, "unknown"),
    }
    assert after_refusal(ledger, "spring", results, stages={"d@example.com": "rcpt"}) == 1
    assert set(ledger.suppressions.find(results)) == {"d@example.com"}
    assert after_refusal(ledger, "spring", results, stages={"d@example.com": "rcpt"}) == 0


def test_it_may_take_refusals_in_several_campaigns():
    conf.configure(MAILQUEUE_SUPPRESS_AFTER=2)
    ledger = MemoryLedger()
    results = {"a@example.com": refused(550, "5.1.1 unknown")}
    assert after_refusal(ledger, "spring", results) == 0
    assert after_refusal(ledger, "spring", results) == 0
    assert after_refusal(ledger, "summer", results) == 1
