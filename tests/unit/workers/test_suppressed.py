"""Bulk mail does not go to suppressed addresses, whatever made it; urgent mail does."""

from __future__ import annotations

import logging

import pytest

from mailqueue.ledger.states import State
from mailqueue.ledger.suppressions import Suppression
from mailqueue.mail import EmailMessage
from workers.drain import drain


def message(*recipients, **fields):
    return EmailMessage("s", "b", "from@example.com", recipients, **fields)


def suppress(process, *keys, name=""):
    process.ledger.suppressions.add([Suppression(key, name, "unsubscribed") for key in keys])


def record_of(process, parcel):
    return process.ledger.get(parcel.items[0][0])


@pytest.mark.parametrize(("lane", "sent"), [("bulk", 0), ("default", 1), ("urgent", 1)])
def test_the_list_is_for_the_bulk_lane(process, queue, backend, lane, sent):
    suppress(process, "ann@example.com")
    parcel = queue(message("Ann A. <Ann@Example.com>"), lane=lane)
    drain(parcel, process)
    assert len(backend.sent) == sent
    if not sent:
        record = record_of(process, parcel)
        assert (record.state, record.reason) == (State.CANCELLED, "suppressed: unsubscribed")


def test_what_is_suppressed_for_one_list_gets_mail_of_none(process, queue, backend):
    suppress(process, "ann@example.com", name="news")
    drain(queue(message("ann@example.com"), lane="bulk"), process)
    assert len(backend.sent) == 1


def test_of_several_recipients_the_others_get_it(process, queue, backend):
    suppress(process, "@example.net", "cem@example.com")
    written = message("Ann <ann@example.com>", cc=["bob@example.net"], bcc=['"cem"@example.com', "dee@example.com"])
    parcel = queue(written, lane="bulk")
    drain(parcel, process)
    assert backend.sent == [("s", ("Ann <ann@example.com>", "dee@example.com"))]
    record = record_of(process, parcel)
    assert record.state is State.PARTIAL
    assert record.results["bob@example.net"].reply.text == "5.7.1 suppressed: unsubscribed"
    assert len(process.ledger.suppressions.page()[0]) == 2  # it is no refusal to learn of


def test_who_is_suppressed_before_the_next_try_is_left_out_of_it(process, queue, backend, gone):
    backend.answers["bob@example.com"] = gone
    parcel = queue(message("ann@example.com", "bob@example.com"), lane="bulk")
    drain(parcel, process)
    assert process.ledger.requeue([parcel.items[0][0]]) == ["deferred"]
    process.ledger.tick()
    drain(parcel, process)
    assert len(backend.sent) == 1  # the refusal was learned
    record = record_of(process, parcel)
    assert (record.state, record.reason) == (State.PARTIAL, "suppressed: refused")


def test_an_address_that_is_none_is_the_backends_to_refuse(process, queue, backend):
    suppress(process, "ann@example.com")
    drain(queue(message("postmaster"), message("ann@example.com"), lane="bulk"), process)
    assert backend.sent == [("s", ("postmaster",))]


def test_it_is_told_without_an_address(process, queue, backend, caplog):
    caplog.set_level(logging.INFO)
    suppress(process, "ann@example.com")
    drain(queue(message("ann@example.com"), message("ann@example.com", "bob@example.com"), lane="bulk"), process)
    assert "action=suppressed messages=1 in_part=1" in caplog.text
    assert "example.com" not in caplog.text
