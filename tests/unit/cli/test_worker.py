"""``mailqueue worker`` becomes Celery's worker with flags that suit mail, and refuses what cannot work."""

from __future__ import annotations

import shlex
import sys

import pytest
from click.testing import CliRunner

from mailqueue import launch
from mailqueue.cli import main


def run(*args: str):
    return CliRunner().invoke(main, ["worker", *args])


def printed(*args: str) -> list[str]:
    result = run("--dry-run", *args)
    assert result.exit_code == 0, result.output
    return shlex.split(result.stderr)


def test_serves_all_lanes_unless_told_otherwise():
    command = printed()
    assert command[:6] == [sys.executable, "-m", "celery", "-A", "workers", "worker"]
    assert "--queues" not in command
    assert {"--without-gossip", "--without-mingle"} <= set(command)


@pytest.mark.parametrize("given", [["--lanes", "bulk,urgent"], ["-Q", "bulk", "-Q", "mailqueue.urgent"]])
def test_keeps_the_lanes_in_the_order_of_their_priority(given):
    command = printed(*given)
    assert command[command.index("--queues") + 1] == "mailqueue.urgent,mailqueue.bulk"


def test_a_lane_that_is_none_is_refused_with_the_names_of_those_there_are():
    result = run("-Q", "fast")
    assert result.exit_code == 2
    assert "'fast' is no lane; the lanes are urgent, default, bulk" in result.stderr


def test_passes_pool_concurrency_level_and_name():
    command = " ".join(printed("-P", "threads", "-c", "20", "-l", "warning", "-n", "urgent"))
    assert "--pool threads --loglevel WARNING --concurrency 20 --hostname urgent@%h" in command


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_refuses_pools_whose_greenlets_would_share_a_connection(pool):
    assert run("-P", pool).exit_code == 2


def test_options_after_two_dashes_go_to_celery_as_they_are():
    assert printed("--", "--max-memory-per-child", "300000")[-2:] == ["--max-memory-per-child", "300000"]


def test_becomes_celery(monkeypatch):
    calls = []
    monkeypatch.setattr("os.execv", lambda path, command: calls.append((path, command)))
    assert run("-c", "1").exit_code == 0
    assert calls == [(sys.executable, launch.worker_command(concurrency=1))]


def test_settings_that_cannot_work_are_told_before_celery_starts(monkeypatch):
    monkeypatch.setenv("EMAIL_PORT", "none")
    monkeypatch.setenv("MAILQUEUE_LEASE_SECONDS", "long")
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("started"))
    result = run()
    assert result.exit_code == 1
    assert "EMAIL_PORT" in result.stderr
    assert "MAILQUEUE_LEASE_SECONDS" in result.stderr
    assert "Traceback" not in result.output
