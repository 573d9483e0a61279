"""The suppression list by hand, and as CSV."""

from __future__ import annotations

import io
import uuid

import pytest

from mailqueue import conf
from mailqueue.bulk import suppression
from mailqueue.bulk.suppression import export_csv, import_csv, is_suppressed, suppress, unsuppress
from mailqueue.errors import InvalidMessage, RecipientError
from mailqueue.producer import get_producer


@pytest.fixture(autouse=True)
def ledger():
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")


def imported(text, **options):
    return import_csv(io.StringIO(text), **options)


def keys(list=None):  # noqa: A002
    return sorted(entry.key for entry in suppression.entries(list))


def test_an_address_is_suppressed_once_and_let_go():
    assert suppress("Ann <Ann@Example.com>", reason="complaint", source="postmaster")
    assert not suppress("ann@example.com")
    entry = is_suppressed("ANN@example.com", "news")
    assert (entry.key, entry.list, entry.reason, entry.source) == ("ann@example.com", "", "complaint", "postmaster")
    assert unsuppress("Ann@example.com")
    assert not unsuppress("ann@example.com")
    assert is_suppressed("ann@example.com") is None


def test_a_domain_and_what_is_below_it():
    suppress("@Example.com", "news")
    suppress("@.bücher.example", "news")
    assert is_suppressed("ann@example.com", "news").key == "@example.com"
    assert is_suppressed("ann@mail.bücher.example", "news").key == "@.xn--bcher-kva.example"
    assert is_suppressed("ann@example.com", "offers") is None
    assert keys("news") == ["@.xn--bcher-kva.example", "@example.com"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("example.com", "a domain is written @example.com"),
        ("*@example.com", "a domain is written @example.com"),
        ("@", "no domain"),
        ("@a b", "no domain"),
        ("@..example.com", "no domain"),
        ("ann", "no address"),
        ("", "no address"),
        ("ann@example.com, bob@example.com", "no address"),
    ],
)
def test_what_is_neither_is_refused_with_the_remedy(entry, why):
    with pytest.raises(RecipientError, match=why):
        suppress(entry)


def test_a_list_that_cannot_be_called_so_is_refused():
    for act in (suppress, unsuppress, is_suppressed):
        with pytest.raises(InvalidMessage, match="no name of a list"):
            act("ann@example.com", "Our News")


def test_a_batch_is_looked_up_in_one_call():
    suppress("ann@example.com", "news")
    given = ["Ann <ANN@example.com>", "bob@example.com", '"ann"@example.com']
    assert [*suppression.suppressed(given, "news")] == [given[0], given[2]]
    assert suppression.suppressed([], "news") == {}


# -- CSV


def test_what_is_exported_is_imported_as_it_was(tmp_path):
    suppress("ann@example.com", "news", reason='said "no", twice', source="phone")
    suppress("@example.org")
    before = sorted(suppression.entries(), key=lambda entry: entry.key)
    path = tmp_path / "all.csv"
    assert export_csv(path) == 2
    assert export_csv(io.StringIO(), "news") == 1
    assert path.read_text().splitlines()[0] == "key,list,reason,source,at"
    conf.configure(MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    get_producer.__globals__["close"]()
    done = import_csv(path)
    assert (done.rows, done.new, done.skipped) == (2, 2, 0)
    assert sorted(suppression.entries(), key=lambda entry: entry.key) == before
    assert import_csv(path).new == 0


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com\n@example.org\n",
        "email\nann@example.com\n@example.org\n",
        "\ufeffKey;List\nann@example.com;\n\n@example.org;\n",
        "reason\taddress\nhe asked\tann@example.com\n\t@example.org\n",
        'ann@example.com,,"line one\nline two"\n@example.org',
    ],
)
def test_headers_and_separators_are_as_they_come(text):
    done = imported(text)
    assert (done.rows, done.new) == (2, 2)
    assert keys("") == ["@example.org", "ann@example.com"]


def test_what_a_row_does_not_say_is_told_by_the_call():
    imported(
        "key,list,reason,source,at\na@example.com,offers,complaint,phone,2026-11-28\nb@example.com\n",
        list="news",
        reason="gone",
        origin="old system",
    )
    entries = {entry.key: entry for entry in suppression.entries()}
    one, other = entries["a@example.com"], entries["b@example.com"]
    assert (one.list, one.reason, one.source, one.at) == ("offers", "complaint", "phone", 1795824000.0)
    assert (other.list, other.reason, other.source) == ("news", "gone", "old system")
    assert other.at > 1.7e9


def test_a_file_names_itself_as_the_source(tmp_path):
    path = tmp_path / "gone.csv"
    path.write_text("ann@example.com")
    import_csv(path)
    assert is_suppressed("ann@example.com").source == "import gone.csv"


@pytest.mark.parametrize(
    ("text", "row", "column", "why"),
    [
        ("ann@example.com\nnobody\n", 2, "key", "no address"),
        ("key,list\nann@example.com,Our News\n", 2, "list", "no name of a list"),
        ("key,at\nann@example.com,yesterday\n", 2, "at", "no time"),
        ("key,at\nann@example.com,2026-13-01\n", 2, "at", "no time"),
        ("key,why\nann@example.com,x\n", 1, "why", "no column"),
        ("key,email\nann@example.com,x\n", 1, "", "two columns"),
        ("key,list\n\nann@example.com,news,what\n", 3, "", "3 columns"),
        ('ann@example.com\n"bob\x00@example.com"', 2, "key", "no address"),
    ],
)
def test_what_is_wrong_is_told_with_row_and_column(text, row, column, why):
    with pytest.raises(RecipientError, match=why) as caught:
        imported(text)
    assert (caught.value.row, caught.value.column) == (row, column)


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"ann@example.com\nb\xfcb@example.com\n")
    with pytest.raises(RecipientError, match=r"list\.csv.*UTF-8"):
        import_csv(path)


def test_wrong_rows_can_be_skipped_and_are_told():
    done = imported("ann@example.com\nnobody\n" * 150, on_error="skip")
    assert (done.rows, done.new, done.skipped, len(done.problems)) == (300, 1, 150, 100)
    assert done.problems[0].row == 2
    with pytest.raises(ValueError, match="stop or skip"):
        imported("", on_error="ignore")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('"ann@x.org\nbob@x.org\ncy@x.org\n', "row 1: a double quote is not closed.*; it goes on to line 3"),
        ('key,reason\nann@x.org,"asked\nbob@x.org,"asked"\n', "row 2: something follows .*; it goes on to line 3"),
        ('"ann@x.org\nbob@x.org"\ncy@x.org\n', "row 1, column key: .*; it goes on to line 2"),
    ],
)
def test_a_quote_that_swallows_rows_makes_nobody_of_them_be_left_out(text, why):
    with pytest.raises(RecipientError, match=f"{why}: is a double quote not closed"):
        imported(text, on_error="skip")


def test_a_stray_quote_costs_its_row_alone():
    done = imported('ann@x.org\n"bob@x.org" Bob\ncy@x.org\n', on_error="skip")
    assert (done.rows, done.new, done.skipped, done.problems[0].row) == (3, 2, 1, 2)


def test_a_file_is_read_as_a_stream():
    class Endless(io.TextIOBase):
        read_lines = 0

        def __next__(self):
            self.read_lines += 1
            if self.read_lines > 5000:
                raise KeyboardInterrupt
            return f"u{self.read_lines}@example.com\n"

        def read(self):
            raise AssertionError("it is not read as a whole")

    with pytest.raises(KeyboardInterrupt):
        import_csv(Endless())
    assert len(keys()) == 5000
