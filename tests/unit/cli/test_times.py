"""Durations as people say them."""

from __future__ import annotations

import pytest

from mailqueue.cli.times import span


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.25, "0.25 s"),
        (1, "1 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (14400, "4 h"),
        (432000, "5 d"),
        (90061, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, told):
    assert span(seconds) == told
