"""Keys of a TOML text are found where they stand."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from mailqueue.bulk.tomlplaces import places

TEXT = '''# a = 1
subject = "b = 2 # no comment" # c = 3
text = """
Hello = 4
""" # d
html = \'\'\'<p>\'\'\'
reply_to = ["a", # one
  "b, c",
  [1, 2], {x = 1, y = 2},
]
a.b."c d" = 5

[campaign] # e
id = "x"
using = { a = 1 }
  [campaign.more]
  main = 3
[[attachments]]
file = "a"

[[attachments]]
file = "b"
[headers]
"X-A" = "b"'''


def test_every_kind_of_key():
    tomllib.loads(TEXT)
    found = places(TEXT)
    assert {path: found.line(path) for path in found.lines} == {
        ("subject",): 2,
        ("text",): 3,
        ("html",): 6,
        ("reply_to",): 7,
        ("reply_to", 0): 7,
        ("reply_to", 1): 8,
        ("reply_to", 2): 9,
        ("reply_to", 3): 9,
        ("a", "b", "c d"): 11,
        ("campaign",): 13,
        ("campaign", "id"): 14,
        ("campaign", "using"): 15,
        ("campaign", "more"): 16,
        ("campaign", "more", "main"): 17,
        ("attachments",): 18,
        ("attachments", 0): 18,
        ("attachments", 0, "file"): 19,
        ("attachments", 1): 21,
        ("attachments", 1, "file"): 22,
        ("headers",): 23,
        ("headers", "X-A"): 24,
    }
    assert found.texts == {("text",): 4, ("html",): 6}


def test_what_is_inside_of_a_value_is_on_its_line():
    assert places(TEXT).line(("campaign", "using", "a")) == 15
    assert places(TEXT).line(("nothing",)) == 1


@given(st.text(alphabet="ab=[]{}\"'#,.\n\\ ", max_size=60))
def test_no_text_stops_it(text):
    places(text)
