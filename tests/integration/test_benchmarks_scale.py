"""The benchmarks of scale run, in small: real producers, a real worker, a real store."""

from __future__ import annotations

import pytest

from benchmarks.scale.depth import depth
from benchmarks.scale.urgent import urgent

pytestmark = pytest.mark.store


def test_a_queue_is_filled_to_a_depth_and_drained_from_there(capsys):
    rows = list(depth(rounds=2, depths=[300], drained=200))
    assert [(row["depth"], row["round"]) for row in rows] == [(300, 0), (300, 1)]
    assert all(row["rate"] > 0 for row in rows)
    assert all(row["calls"]["evalsha"][0] > 0 for row in rows)


def test_urgent_mail_overtakes_a_newsletter(capsys):
    [row] = urgent(bulk=20_000, cases=[(1, 0.0)], longest=2.0)
    assert row["messages"] > 20
    assert row["p50"] < 1  # s; the rest of the newsletter takes several
