"""Recipients out of Python: lists, pairs, mappings, cursors; and what is done about bad ones."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import sqlite3
import sys
from contextlib import closing

import pytest

from mailqueue.bulk.recipients import Problems, Recipient, read
from mailqueue.errors import RecipientError


def test_addresses():
    assert list(read(["a@x.org", "Jane <B@x.org>"])) == [Recipient("a@x.org", {}, 1), Recipient("B@x.org", {}, 2)]


def test_pairs_mappings_and_recipients():
    source = [
        ("a@x.org", {"n": 1}),
        {"email": "b@x.org", "n": 2},
        {"address": "c@x.org", "n": 3},
        {"to": "d@x.org", "n": 4},
        Recipient("e@x.org", {"n": 5}),
    ]
    found = list(read(source))
    assert [recipient.data for recipient in found] == [{"n": n} for n in range(1, 6)]
    assert [recipient.address[0] for recipient in found] == list("abcde")


def test_a_mapping_of_addresses_to_data():
    assert list(read({"a@x.org": {"n": 1}})) == [Recipient("a@x.org", {"n": 1}, 1)]


def test_a_cursor():
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.execute("select 'Jane' as name, 'a@x.org' as email, null as x")
        assert list(read(cursor)) == [Recipient("a@x.org", {"name": "Jane", "x": None}, 1)]


def test_data_are_as_the_worker_will_see_them():
    data = {"day": dt.date(2026, 1, 2), "sum": decimal.Decimal("1.50"), "tags": ("a", "b"), "deep": {"n": 1}}
    assert next(read([("a@x.org", data)])).data == {
        "day": "2026-01-02",
        "sum": "1.50",
        "tags": ["a", "b"],
        "deep": {"n": 1},
    }


def test_lazy_and_safe_strings_become_text(django_settings):
    from django.utils.functional import lazystr  # noqa: PLC0415
    from django.utils.safestring import mark_safe  # noqa: PLC0415

    data = next(read([("a@x.org", {"lazy": lazystr("x"), "safe": mark_safe("<b>")})])).data
    assert data == {"lazy": "x", "safe": "<b>"}
    assert all(type(value) is str for value in data.values())


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("nobody", "row 2: 'nobody' is no address"),
        ({"email": None}, "row 2, column email: there is no address"),
        ({"mail": "a@x.org"}, "row 2: it has no 'email'; there are 'mail'"),
        (3, "row 2: int is no recipient"),
        (("a@x.org", "Jane"), "row 2: tuple is no recipient"),
        (("a@x.org", {"x": object()}), "row 2: the data cannot"),
        (("a@x.org", {"x": float("nan")}), r"row 2: the data\['x'\] cannot"),
        (("a@x.org", {1: "x"}), "row 2: .*key 1 is no text"),
    ],
)
def test_what_is_no_recipient_is_told_with_its_number(entry, why):
    with pytest.raises(RecipientError, match=why):
        list(read(["a@x.org", entry]))


def test_skipping_goes_on_and_gathering_counts_them_all():
    source = ["a@x.org", *["bad"] * 5, "b@x.org"]
    assert [recipient.row for recipient in read(source, on_error="skip")] == [1, 7]
    problems = Problems(limit=3)
    assert [recipient.row for recipient in read(source, on_error=problems)] == [1, 7]
    assert problems.total == 5
    assert [error.row for error in problems.errors] == [2, 3, 4]


def test_an_unknown_policy_and_bytes_are_refused_at_once():
    with pytest.raises(TypeError, match="on_error"):
        read([], on_error="sikp")
    with pytest.raises(TypeError, match="not from bytes"):
        read(b"a@x.org")


def test_nothing_is_read_ahead():
    taken = []

    def source():
        for number in range(1000):
            taken.append(number)
            yield f"a{number}@x.org"

    recipients = read(source())
    next(recipients)
    assert len(taken) == 1


def test_a_column_of_ones_own():
    assert next(read([{"contact": "a@x.org"}], column="contact")).address == "a@x.org"


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"email,n\na@x.org,1\nbad,2\n")))
    recipients = read("-")
    assert next(recipients) == Recipient("a@x.org", {"n": "1"}, 2)
    with pytest.raises(RecipientError, match="standard input, row 3, column email"):
        next(recipients)


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(read(tmp_path / "none.csv"))
