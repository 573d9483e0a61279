"""The public door: ``import mailqueue``."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mailqueue
from mailqueue.testing.environment import clean_environment

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_public_names_are_sorted_and_all_there():
    assert sorted(mailqueue.__all__) == mailqueue.__all__
    assert [name for name in mailqueue.__all__ if getattr(mailqueue, name, None) is None] == []
    assert set(mailqueue.__all__) <= set(dir(mailqueue))


def test_what_is_loaded_late_is_what_the_producer_has():
    from mailqueue import producer  # noqa: PLC0415 - after the package, whose attribute it becomes

    assert mailqueue.enqueue is producer.enqueue
    assert mailqueue.status is producer.status
    assert mailqueue.Receipt is producer.Receipt


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = mailqueue.absent


def test_the_version_is_that_of_the_distribution():
    assert tomllib.loads(PYPROJECT.read_text())["project"]["version"] == mailqueue.__version__


PREPARED = """
import socket, sys
import mailqueue

socket.socket.connect = socket.socket.connect_ex = lambda *_: sys.exit("connected")
mailqueue.prepare()
before = set(sys.modules)
try:
    mailqueue.send_mail("s", "b", "f@example.com", ["t@example.com"])
except SystemExit:
    pass
print(*sorted(name for name in set(sys.modules) - before if not name.startswith(("encodings", "mailqueue."))))
print("celery" in sys.modules)
"""


def test_a_process_that_is_prepared_has_loaded_what_a_mail_needs_and_connected_to_nothing():
    done = subprocess.run(
        [sys.executable, "-c", PREPARED],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["", "False"], done.stderr
