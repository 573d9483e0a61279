"""The command line of a worker."""

from __future__ import annotations

import sys

import pytest

from mailqueue.errors import InvalidMessage
from mailqueue.launch import worker_command


def test_is_celerys_own_with_this_python():
    assert worker_command()[:6] == [sys.executable, "-m", "celery", "-A", "workers", "worker"]


def test_names_queues_only_where_lanes_are_given():
    assert "--queues" not in worker_command()
    command = worker_command(lanes=["urgent", "bulk"])
    assert command[command.index("--queues") + 1] == "mailqueue.urgent,mailqueue.bulk"


def test_refuses_a_lane_that_is_none():
    with pytest.raises(InvalidMessage):
        worker_command(lanes=["fast"])


def test_further_options_come_last():
    assert worker_command(options=["--max-tasks-per-child", "9"])[-2:] == ["--max-tasks-per-child", "9"]
