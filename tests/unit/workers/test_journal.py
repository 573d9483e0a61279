"""What became of messages, written many in a call."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from mailqueue.errors import LedgerFault
from mailqueue.ledger.base import Grant, Settlement
from mailqueue.ledger.states import State
from workers.batch import Attempt, Batch
from workers.journal import FULL, Journal


class Ledger:
    def __init__(self):
        self.calls = []
        self.faulty = set()
        self.fenced = set()

    def record(self, settlements, _token):
        ids = [each.id for each in settlements]
        self.calls.append(ids)
        if self.faulty & set(ids):
            raise LedgerFault("cannot be carried out")
        return [each not in self.fenced for each in ids]


def attempt(number):
    message = SimpleNamespace()
    return Attempt(Grant(str(number), 1, 0.0), "", message, ["a@example.com"])


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def batch():
    batch = Batch("default")
    batch.claimed(map(str, range(100)))
    batch.begun(map(str, range(100)))
    return batch


@pytest.fixture
def journal(ledger, batch):
    process = SimpleNamespace(ledger=ledger, surely=lambda call, *args: call(*args))
    return Journal(process, batch)


def note(journal, *numbers, state=State.SENT):
    for number in numbers:
        journal.note(attempt(number), Settlement(str(number), state))


def test_what_was_noted_shares_a_call_and_is_written_once(journal, ledger, batch):
    note(journal, 1, 2, 3)
    assert ledger.calls == []
    assert batch.holds("1")
    journal.write()
    journal.write()
    assert ledger.calls == [["1", "2", "3"]]
    assert not batch.holds("1")


def test_a_full_one_writes_itself(journal, ledger):
    note(journal, *range(FULL + 1))
    assert [len(call) for call in ledger.calls] == [FULL]


def test_an_attempt_that_goes_on_is_not_ended(journal, batch):
    note(journal, 1, state=State.SENDING)
    journal.write()
    assert batch.holds("1")
    assert "1" not in batch.in_flight()


def test_one_that_the_store_cannot_record_costs_the_others_nothing(journal, ledger, batch):
    ledger.faulty = {"2"}
    note(journal, 1, 2, 3)
    with pytest.raises(LedgerFault):
        journal.write()
    assert ledger.calls == [["1", "2", "3"], ["1"], ["2"], ["3"]]
    assert [batch.holds(each) for each in "123"] == [False, True, False]


def test_it_tells_at_info_what_was_not_simply_sent(journal, ledger, caplog):
    caplog.set_level(logging.INFO)
    ledger.fenced = {"3"}
    note(journal, 1, 3)
    note(journal, 2, state=State.FAILED)
    journal.write()
    told = [(record.levelname, record.getMessage().split()[:2]) for record in caplog.records]
    assert told == [("WARNING", ["action=fenced", "message_id=3"]), ("INFO", ["action=failed", "message_id=2"])]


def test_it_tells_all_of_it_at_debug(journal, caplog):
    caplog.set_level(logging.DEBUG)
    note(journal, 1)
    journal.write()
    assert "action=sent message_id=1 attempt=1 relay=default" in caplog.text
