"""The few rules that are functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailqueue.ledger import rules


@given(st.text())
def test_a_reason_is_one_line_that_fits_a_listpack(reason):
    kept = rules.short(reason)
    assert len(kept.encode()) <= rules.REASON_OCTETS
    assert len(kept.splitlines()) <= 1


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=rules.REASON_OCTETS))
def test_a_short_reason_stays_as_it_is(reason):
    assert rules.short(reason) == reason


def test_the_reasons_of_the_ledger_itself_fit():
    for name in rules.__all__:
        if name.startswith("REASON_") and name != "REASON_OCTETS":
            reason = getattr(rules, name)
            assert rules.short(reason) == reason


def test_time_is_whole_milliseconds():
    assert [rules.milliseconds(s) for s in (0, 0.5, 1.0004, -2)] == [0, 500, 1000, -2000]
