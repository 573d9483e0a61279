"""Files of recipients: CSV and JSON lines, and where each mistake in them is."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.bulk.recipients import Problems, Recipient, read
from mailqueue.errors import RecipientError

QUOTES = "a value that has a separator in it is to be in double quotes"


def recipients(text, name="", **options):
    file = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    if name:
        file.name = name
    return list(read(file, **options))


def trouble(text, **options):
    problems = Problems()
    recipients(text, on_error=problems, **options)
    return [str(error) for error in problems.errors]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_in_its_dialects(delimiter, end, mark):
    text = mark + end.join([delimiter.join(row) for row in (("email", "first name"), ("a@x.org", "Zoë"))])
    assert recipients(text) == [Recipient("a@x.org", {"first name": "Zoë"}, 2)]


def test_the_separator_that_excel_names():
    assert recipients("sep=;\nemail;n\na@x.org;1,5\n") == [Recipient("a@x.org", {"n": "1,5"}, 3)]


def test_rows_are_lines_of_the_file():
    found = recipients('email,x\n\na@x.org,"1\n2"\n,\nb@x.org,3\n')
    assert found == [Recipient("a@x.org", {"x": "1\n2"}, 3), Recipient("b@x.org", {"x": "3"}, 6)]


@pytest.mark.parametrize(
    "header", ["email,name", "Email,name", "name,E-Mail", "name,address", "name,e-mail,address", "name, email ,mailing"]
)
def test_the_column_of_the_address(header):
    values = ["a@x.org" if "mail" in name.lower() or "address" in header else "x" for name in header.split(",")]
    assert recipients(f"{header}\n{','.join(values)}\n")[0].address == "a@x.org"


def test_the_column_of_the_address_by_name():
    assert recipients("work,home\nx,a@x.org\n", column="Home")[0].address == "a@x.org"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a@x.org,Jane\n", "row 1: the first row is to name the columns"),
        ("name,x\n", "which column holds the address.*'name', 'x'"),
        ("mail1,mail2\n", "which column holds the address"),
        ("email,,x\n", "row 1: column 2 of 3 has no name"),
        ("email,x,x\n", "row 1, column x: two columns have this name"),
        (b"email,\xff\n", "row 1, column 2: it is no UTF-8"),
        ('email,"x\n', "row 1: a double quote is not closed"),
        ("email,é".encode("utf-16"), "the file is UTF-16"),
        ("x" * 2_000_000, "a line has 1048576 characters"),
        ('[{"email": "a@x.org"}]', "one JSON array"),
    ],
)
def test_a_file_that_is_none_of_recipients(text, why):
    with pytest.raises(RecipientError, match=why):
        recipients(text, on_error="skip")


def test_an_unknown_column_is_told_with_those_that_are_there():
    with pytest.raises(RecipientError, match="no column is called 'emial'; there are 'email', 'x'"):
        recipients("email,x\n", column="emial")


def test_every_bad_row_is_told_and_the_others_are_read():
    text = b'email,name\n,x\nbad,x\na@x.org\na@x.org,1,2\na@x.org,\xe9\na@x.org,\0\na@x.org,"x"y\nb@x.org,good\n'
    assert trouble(text) == [
        "row 2, column email: there is no address",
        "row 3, column email: 'bad' is no address: it has no domain",
        "row 4: it has 1 field, and the first row names 2 columns",
        f"row 5: it has 3 fields, and the first row names 2 columns: {QUOTES}",
        "row 6, column name: it is no UTF-8 (octet 0xE9): save the file as UTF-8",
        "row 7, column name: it has a NUL character in it",
        'row 8: something follows the closing double quote of a field: write "" for a quote inside of one',
    ]
    assert recipients(text, on_error="skip") == [Recipient("b@x.org", {"name": "good"}, 9)]


def test_a_quote_that_is_not_closed():
    assert trouble('email,name\na@x.org,"open\n') == ["row 2: a double quote is not closed before the end of the file"]
    assert "row 2: a field has more than 131072 characters" in trouble('email,n\na@x.org,"' + "x" * 200_000)[0]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            ['a@x.org,"Ann', "b@x.org,Bob", 'c@x.org,"Cy"', "d@x.org,Dan"],
            "row 2: something follows .*; it goes on to line 4",
        ),
        (['a@x.org,"Ann', "b@x.org,Bob", "c@x.org,Cy"], "row 2: a double quote is not closed .*; it goes on to line 4"),
        (['a@x.org,"Ann', "b@x.org,Bob", 'c@x.org","Cy"'], "row 2: it has 3 fields.*; it goes on to line 4"),
        (['a@x.org,"Ann', *["b@x.org,Bob"] * 20_000], "row 2: a field has more than 131072 characters; it goes on to"),
    ],
)
def test_a_quote_that_swallows_rows_makes_nobody_of_them_be_left_out(rows, why):
    with pytest.raises(RecipientError, match=f"{why}.*: is a double quote not closed"):
        recipients("\n".join(["email,name", *rows, ""]), on_error="skip")


def test_what_excel_names_as_a_separator_can_be_one():
    with pytest.raises(RecipientError, match="which column"):
        recipients('sep="\nx,y\n')


def test_json_lines():
    text = '{"email": "a@x.org", "n": 1, "deep": {"tags": ["x"], "none": null}}\n\n{"to": "b@x.org"}'
    expected = [Recipient("a@x.org", {"n": 1, "deep": {"tags": ["x"], "none": None}}, 1), Recipient("b@x.org", {}, 3)]
    assert recipients(text) == expected
    assert recipients(text, name="x.ndjson") == recipients(text, format="jsonl") == expected


def test_every_bad_line_of_json_is_told():
    text = b'{"email": "a@x.org"}\n[1]\n{"name": "x"}\n{"email": 5}\n{"email": "a@x.org",}\n{"email": "\xff"}\n{"email": "bad"}'
    assert trouble(text, format="jsonl") == [
        "row 2: it is no JSON object: write {...} for each recipient",
        "row 3: it has no 'email'; there are 'name'",
        "row 4, column email: the address is no text",
        "row 5: it is no JSON: JSON is malformed: trailing comma in object (octet 20 of the line)",
        "row 6: it is no UTF-8 (octet 0xFF): save the file as UTF-8",
        "row 7, column email: 'bad' is no address: it has no domain",
    ]


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("email\nbad\n")
    with pytest.raises(RecipientError, match=r"people\.csv, row 2, column email: 'bad'"):
        list(read(path))


def test_the_name_tells_the_format(tmp_path):
    path = tmp_path / "people.tsv"
    path.write_text("email\tx,y,z\na@x.org\t1\n")
    assert list(read(str(path))) == [Recipient("a@x.org", {"x,y,z": "1"}, 2)]


def test_an_open_file_stays_its_owners():
    file = io.BytesIO(b"email\na@x.org\n")
    list(read(file))
    assert not file.closed
    with io.StringIO("email\na@x.org\n") as text:
        assert len(list(read(text))) == 1


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(st.tuples(_TEXT, _TEXT)), st.sampled_from(",;\t"))
def test_what_the_csv_module_writes_comes_back(values, delimiter):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["email", "a", "b"])
    writer.writerows([f"a{number}@x.org", *pair] for number, pair in enumerate(values))
    found = recipients(file.getvalue())
    assert [(recipient.data["a"], recipient.data["b"]) for recipient in found] == values
    assert [recipient.address for recipient in found] == [f"a{number}@x.org" for number in range(len(values))]


@given(
    st.lists(
        st.dictionaries(
            _TEXT.filter(lambda key: key not in ("email", "address", "to")), st.integers(-(2**63), 2**64 - 1) | _TEXT
        )
    )
)
def test_what_the_json_module_writes_comes_back(objects):
    text = "".join(json.dumps({"email": "a@x.org", **data}) + "\n" for data in objects)
    assert [recipient.data for recipient in recipients(text, format="jsonl")] == objects


def test_a_number_that_json_readers_do_not_take_is_told():
    assert trouble('{"email": "a@x.org", "n": 1%s}' % ("0" * 30))[0].startswith("row 1: the data['n'] cannot travel")
