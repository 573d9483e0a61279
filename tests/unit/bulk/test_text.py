"""HTML as plain text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.bulk.text import text_of


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("<p></p>", ""),
        ("Hello", "Hello\n"),
        ("<p>One</p><p>Two</p>", "One\n\nTwo\n"),
        ("<p>One\n  line,\t<b>bold</b> and <i>slanted</i>.</p>", "One line, bold and slanted.\n"),
        ("a<br>b<br/>c", "a\nb\nc\n"),
        ("<div>a</div><div>b</div>", "a\nb\n"),
        ("<h1>Title</h1>Text", "Title\n\nText\n"),
        ("a<hr>b", f"a\n\n{'-' * 40}\n\nb\n"),
        ("fish &amp; chips &#8364;5 &lt;b&gt;&nbsp;x", "fish & chips €5 <b> x\n"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2\n"),
    ],
)
def test_paragraphs_and_words(source, text):
    assert text_of(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('<a href="https://x.org/?a=1&amp;b=2">our page</a>!', "our page (https://x.org/?a=1&b=2)!\n"),
        ("<a href='https://x.org/'>https://x.org/</a>", "https://x.org/\n"),
        ('<a href="https://x.org/">X.org</a>', "X.org\n"),
        ('<a href="mailto:a@x.org?subject=Hi">a@x.org</a>', "a@x.org\n"),
        ('<a href="mailto:a@x.org">write</a>', "write (a@x.org)\n"),
        ('<a href="#top">up</a>', "up\n"),
        ('<a href="javascript:x()">up</a>', "up\n"),
        ('<a name="top">up</a>', "up\n"),
        ('<a href="https://x.org/"><img src="cid:x" alt="X &amp; Co"></a>', "X & Co (https://x.org/)\n"),
        ('<a href="https://x.org/"><img src="cid:x"></a>', "https://x.org/\n"),
        ('<a href="https://x.org/a"><div>Box</div></a>next', "Box (https://x.org/a)\nnext\n"),
        ('<a href="x">a<a href="y">b</a>', "a (x)b (y)\n"),
        ("<a HREF=https://x.org/a>A</A>", "A (https://x.org/a)\n"),
    ],
)
def test_links_and_pictures(source, text):
    assert text_of(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a<ul><li>b</li><li>c</li></ul>d", "a\n\n- b\n- c\n\nd\n"),
        ("<ol><li>b<li>c</ol>", "1. b\n2. c\n"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c\n"),
        ("<ul><li><p>a</p><p>b</p></li></ul>", "- a\n  b\n"),
        ("<ul><li></li></ul>x", "x\n"),
        ("<blockquote>a<p>b</p></blockquote>c", "> a\n>\n> b\n\nc\n"),
        ("<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>", "A  B\n1  2\n"),
        ("<pre>a\n  b\n\nc</pre>", "a\n  b\n\nc\n"),
    ],
)
def test_lists_quotes_tables(source, text):
    assert text_of(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "<head><title>x</title><style>p > a { }</style></head>a",
        "<script>if (1 < 2) x('</p>')</script>a",
        "<!-- x > y -->a",
        "<!DOCTYPE html>a",
        "<![if !mso]>a<![endif]>",
        "<!--[if mso]><p>x</p><![endif]-->a",
        '<div style="display: none">x<div>y</div></div>a',
        "<p hidden>x</p>a",
        "<img title=it's>a",
        '<p title="1 > 0">a</p>',
        "a<p title='",
        "a<style>never closed",
        "<noscript>x</noscript>a",
        "</p></ul></a></blockquote></pre>a",
    ],
)
def test_what_nobody_sees_is_left_out(source):
    assert text_of(source) == "a\n"


def test_a_word_in_an_attribute_hides_nothing():
    assert text_of('<p class="x" title="nothing-hidden">a</p>') == "a\n"


@given(st.text(alphabet="<>/!-[]\"'=&;# \nabphrelioltdu", max_size=200))
def test_there_is_a_text_for_everything(source):
    text = text_of(source)
    assert text == "" or text.endswith("\n")


def test_a_hostile_source_takes_no_longer_than_its_length():
    for part in ("<a '", "<", "<!--", "<a b=", "&", "<li>", "<ul>", "<blockquote>", "<a href=x>"):
        assert text_of(part * 20_000) is not None
        assert text_of((part + "x" * 3) * 20_000) is not None
    assert text_of("<a href=x>" * 20_000 + "x</a>" * 20_000) is not None
    assert text_of(f"<a {'b' * 100_000}>") is not None
