"""The text that is worked out ahead is the one that the rendered HTML has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.bulk.template import Template
from mailqueue.bulk.text import text_of

PAGE = """
<h1>Dear {{ name }},</h1>
<p>You have {{ points }} points{{ name }}<br>at <a href="https://x.org/{{ id }}?u=1" title="{{ name }}">our shop</a>.
<ul><li>{{ name }} {{ points }}</li></ul><pre>{{ name }}
 {{ id }}</pre><img src="cid:x" alt="{{ name }}"><table><tr><td>{{ id }}</td><td>{{ points }}</td></tr></table>
<p><a href="{{ url }}">Leave {{ list }}</a></p>
"""


def both(source, data):
    compiled = Template(subject="x", html=source).compile()
    message = compiled.render("jane@example.org", data)
    return message.body, text_of(message.alternatives[0][0])


_VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.integers(0, 99)


@given(st.fixed_dictionaries(dict.fromkeys(("name", "points", "id", "url", "list"), _VALUES)))
def test_for_any_values(data):
    derived, expected = both(PAGE, data)
    assert derived == expected


@given(st.sampled_from(["https://x.org/a", "HTTPS://x.org", "#", "mailto:a@x.org", "javascript:x", "http://a b"]))
def test_for_any_address(url):
    derived, expected = both(PAGE, {"name": "Jane", "points": 1, "id": 2, "url": url, "list": "us"})
    assert derived == expected


@pytest.mark.parametrize(
    "source",
    [
        "AT&{{ x }}",
        "<{{ x }}>a",
        "<p {{ x }}>a</p>",
        "<p title={{ x }}>a</p>",
        "<p style='{{ x }}'>a</p>",
        "<a href='mailto:{{ x }}'>a</a>",
        "<a href='{{ x }}/b'>a</a>",
        "<!-- {{ x }}> -->a-->",
        "<style>{{ x }}</style>a",
        "\ue000{{ x }}",
        "{{ x|upper }} <b>{{ x }}</b>",
        "{% if x %}<b>{{ x }}</b>{% endif %}",
        "a {{ x }}{{ x }} b",
    ],
)
@pytest.mark.parametrize(
    "value", ["amp;", "b", "hidden", "display:none", "a@x.org?b", "#", "--", " ", "", "</style>", "x  y", "\ue000", 7]
)
def test_where_values_may_change_what_is_seen(source, value):
    derived, expected = both(source, {"x": value})
    assert derived == expected
