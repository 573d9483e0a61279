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


def test_what_lies_behind_is_not_ahead():
    assert [rules.ahead(s) for s in (0, 0.5, -2)] == [0, 500, 0]


@given(st.text(st.characters()))
def test_a_key_is_kept_as_text_that_fits_a_listpack(key):
    kept = rules.kept_key(key)
    assert len(kept.encode()) <= rules.KEY_OCTETS
    assert kept == rules.kept_key(key)


def test_short_keys_are_kept_as_they_are_and_others_apart():
    assert rules.kept_key("order 7") == "order 7"
    assert rules.kept_key("") == ""
    assert len({rules.kept_key(key) for key in ("x" * 64, "x" * 65, "x" * 66, "\udc80", "\udc81")}) == 5
