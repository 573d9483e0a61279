"""Other terminals find a running ``mailqueue dev``, and never a dead one or somebody else's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from mailqueue import conf
from mailqueue.cli import devstate
from mailqueue.testing.environment import clean_environment

DEV = {"MAILQUEUE_BROKER_URL": "redis://127.0.0.1:4242/0", "EMAIL_PORT": "4243"}


@pytest.fixture(autouse=True)
def own_runtime_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_is_found_while_it_runs_and_not_afterwards():
    assert devstate.find() is None
    with devstate.announced(DEV) as first:
        assert first
        assert devstate.find() == DEV
        assert stat.S_IMODE(devstate.path().stat().st_mode) == 0o600
    assert devstate.find() is None
    assert not devstate.path().exists()


def test_a_second_one_is_told_so_and_changes_nothing():
    with devstate.announced(DEV), devstate.announced({"MAILQUEUE_BROKER_URL": "redis://127.0.0.1:1/0"}) as second:
        assert not second
        assert devstate.find() == DEV


def test_one_that_was_killed_is_not_found():
    program = (
        "import os; from mailqueue.cli import devstate\n"
        "with devstate.announced({'MAILQUEUE_BROKER_URL': 'redis://127.0.0.1:1/0'}): os.kill(os.getpid(), 9)"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=clean_environment(XDG_RUNTIME_DIR=os.environ["XDG_RUNTIME_DIR"]),
    )
    assert devstate.path().exists()
    assert devstate.find() is None
    with devstate.announced(DEV) as first:
        assert first
        assert devstate.find() == DEV


def test_a_link_or_a_file_that_others_may_write_is_not_believed(tmp_path):
    with devstate.announced(DEV):
        devstate.path().chmod(0o622)
        assert devstate.find() is None
    target = tmp_path / "elsewhere"
    target.write_text("{}")
    devstate.path().symlink_to(target)
    assert devstate.find() is None
    with devstate.announced(DEV) as announced:
        assert not announced
    assert target.read_text() == "{}"


def test_is_used_only_where_no_setting_names_a_store(capsys):
    with devstate.announced(DEV):
        conf.configure(MAILQUEUE_BROKER_URL="redis://localhost:9/0")
        devstate.use_if_unset()
        assert conf.get("MAILQUEUE_BROKER_URL") == "redis://localhost:9/0"
        conf.reset()
        devstate.use_if_unset()
        assert conf.get("MAILQUEUE_BROKER_URL") == DEV["MAILQUEUE_BROKER_URL"]
    assert "mailqueue dev" in capsys.readouterr().err
