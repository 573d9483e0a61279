"""The crash proof in short: every step cut, a few rounds of attack, and that it would notice. `make crashproof` for more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mailqueue.testing.store import EmbeddedValkey, StoreUnavailable

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.store, pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def store_is_there(missing):
    try:
        EmbeddedValkey().close()
        with EmbeddedValkey():
            pass
    except StoreUnavailable as trouble:
        missing(str(trouble))


def crashproof(*options):
    command = [sys.executable, "-m", "tests.crashproof", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ})
    return done.returncode, done.stdout + done.stderr


def test_nothing_is_lost_nor_repeated_uncounted_wherever_a_delivery_is_cut():
    status, told = crashproof("--rounds", "0", "--sabotage", "none")
    assert status == 0, told
    assert ", 0 breaches" in told


def test_nothing_is_lost_nor_repeated_uncounted_under_attack(tmp_path):
    rounds = ("--rounds", "5", "--rigs", "2", "--faults", "60", "--seed", "2026")
    status, told = crashproof("--no-cuts", "--sabotage", "none", *rounds, "--journal", str(tmp_path / "journal"))
    assert status == 0, told
    assert "The proof stands." in told
    assert re.search(r"recipients of campaigns\*\* +\| +\d", told)


def test_each_safeguard_is_missed_when_it_is_not_there():
    status, told = crashproof("--no-cuts", "--rounds", "0", "--sabotage", "cuts")
    assert status == 0, told
    assert told.count(": noticed") == 4
    assert "UNNOTICED" not in told
