"""The patience inside an attempt."""

from __future__ import annotations

import pytest

from mailqueue.errors import LedgerFault, LedgerUnavailable, RelayTrouble
from workers.retry import reconnecting, until_recorded


def test_reconnecting_tries_again_only_what_a_new_connection_may_cure():
    calls, slept = [], []

    def worth(trouble):
        return trouble.reconnect

    def fails(reconnect):
        calls.append(1)
        raise RelayTrouble("no", stage="connect", reconnect=reconnect)

    with pytest.raises(RelayTrouble):
        reconnecting(slept.append, worth)(fails, True)
    assert len(calls) == 4
    assert len(slept) == 3
    assert all(seconds <= 5 for seconds in slept)

    calls.clear()
    with pytest.raises(RelayTrouble):
        reconnecting(slept.append, worth)(fails, False)
    assert len(calls) == 1


def test_a_ledger_call_is_repeated_until_it_is_taken(monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)
    answers = [LedgerUnavailable("away"), LedgerUnavailable("away"), "taken"]

    def call():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert until_recorded(lambda: False)(call) == "taken"


def test_a_ledger_call_is_given_up_when_the_worker_must_end():
    def call():
        raise LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        until_recorded(lambda: True)(call)


def test_a_call_that_the_ledger_cannot_carry_out_is_made_once():
    calls = []

    def call():
        calls.append(1)
        raise LedgerFault("too many results to unpack")

    with pytest.raises(LedgerFault):
        until_recorded(lambda: False)(call)
    assert len(calls) == 1
