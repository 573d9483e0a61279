"""The catalogue of badly behaved relays as data: its accounts, its servers, its table in the docs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mailqueue
from mailqueue.testing.case import Account, Case, Message
from mailqueue.testing.catalogue import CATALOGUE, table
from mailqueue.testing.environment import clean_environment

PAGE = Path(mailqueue.__file__).parent.parent / "docs" / "reliability.md"


def test_the_docs_have_its_table():
    assert PAGE.read_text().partition("<!-- python -m mailqueue.testing.catalogue -->\n\n")[2].startswith(table())


def test_it_prints_its_table():
    command = [sys.executable, "-m", "mailqueue.testing.catalogue"]
    printed = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=True)
    assert printed.stdout == table()


def test_every_case_has_a_name_and_a_line_of_its_own():
    assert all(name == case.name for name, case in CATALOGUE.items())
    lines = [case.what for case in CATALOGUE.values()]
    assert len(set(lines)) == len(lines) >= 32


def test_no_step_is_left_out_by_its_server():
    for case in CATALOGUE.values():
        if "tls" not in case.options:
            assert case.server()._steps == case.steps
        if "tls" not in case.options | case.recovered:
            assert case.recovered_server()._steps == ()


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (Account("sent", 1, "accepted 250"), "sent"),
        (Account("deferred", 0), "deferred at no charge"),
        (Account("deferred", 1, "deferred 451"), "deferred (451)"),
        (Account("partial", 2, {"a": "accepted 250", "b": "refused 550"}), "partial (250, 550) after 2 attempts"),
        (Account("held", 3, unknowns=3, copies=3), "held after 3 attempts, unknown three times, 3 copies"),
        (Account("sent", 1, "accepted 250", unknowns=1, copies={"a": 2}), "sent, unknown once, 2 copies"),
    ],
)
def test_an_account_reads_well(account, text):
    assert str(account) == text


def test_an_account_has_a_copy_for_each_recipient_who_was_accepted():
    account = Account("partial", 1, {"a": "accepted 250", "b": "refused 550", "c": "accepted 250"}, copies={"c": 2})
    assert [account.copies_for(to) for to in "abcd"] == [1, 0, 2, 0]
    assert [account.reply(to) for to in "bd"] == ["refused 550", ""]


def test_accounts_and_messages_must_match():
    with pytest.raises(ValueError, match="x: not one account for each message"):
        Case("x", "does nothing", (), (Message(),), ())


def test_a_certificate_needs_somebody_to_issue_it():
    with pytest.raises(ValueError, match="give an Authority"):
        CATALOGUE["certificate-expired"].server()
