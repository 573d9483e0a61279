"""Refusals in bulk mail teach the suppression list; those of urgent mail do not."""

from __future__ import annotations

import logging

import pytest

from mailqueue.errors import LedgerFault
from mailqueue.mail import EmailMessage
from workers.drain import drain


def message(*recipients):
    return EmailMessage("s", "b", "from@example.com", recipients)


def suppressed(process):
    return sorted(entry.key for entry in process.ledger.suppressions.page()[0])


@pytest.mark.parametrize(("lane", "learned"), [("bulk", ["ann@example.com"]), ("default", []), ("urgent", [])])
def test_it_is_the_lane_that_counts(process, queue, backend, gone, lane, learned):
    backend.answers["ann@example.com"] = gone
    drain(queue(message("ann@example.com"), message("bob@example.com"), lane=lane), process)
    assert suppressed(process) == learned


def test_of_several_recipients_those_refused_are_meant(process, queue, backend, gone, grey):
    backend.answers |= {"ann@example.com": gone, "cem@example.com": grey}
    drain(queue(message("ann@example.com", "bob@example.com"), message("cem@example.com"), lane="bulk"), process)
    assert suppressed(process) == ["ann@example.com"]


def test_a_name_beside_the_address_is_no_part_of_it(process, queue, backend, gone):
    backend.answers["Ann A. <Ann@example.com>"] = gone
    drain(queue(message("Ann A. <Ann@example.com>"), lane="bulk"), process)
    assert suppressed(process) == ["ann@example.com"]


def test_it_is_told_without_an_address(process, queue, backend, gone, caplog):
    caplog.set_level(logging.INFO)
    backend.answers["ann@example.com"] = gone
    drain(queue(message("ann@example.com"), lane="bulk"), process)
    assert "action=suppressed_refused" in caplog.text
    assert "example.com" not in caplog.text


def test_a_list_that_cannot_be_written_stops_no_mail(process, queue, backend, gone, monkeypatch, caplog):
    def fault(_entries):
        raise LedgerFault("keys that are not ours")

    monkeypatch.setattr(process.ledger.suppressions, "add", fault)
    backend.answers["ann@example.com"] = gone
    drain(queue(message("ann@example.com"), message("bob@example.com"), lane="bulk"), process)
    assert process.ledger.counts()["bulk"] == {"failed": 1, "sent": 1}
    assert "action=suppress_failed" in caplog.text
