"""What a template makes of a recipient's data, and what it refuses."""

from __future__ import annotations

import re
import sys
import time

import msgspec
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from mailqueue import conf
from mailqueue.bulk.environment import environment
from mailqueue.bulk.sandbox import Origin
from mailqueue.bulk.template import Template, _variables, pack_attachments
from mailqueue.errors import ImproperlyConfigured, InvalidMessage, MessageTooLarge, TemplateError
from mailqueue.mail import EmailMessage, EmailMultiAlternatives
from mailqueue.mail.write import write
from mailqueue.precheck import passes

JANE = "jane@example.org"


def rendered(data=None, /, **fields):
    return Template(**{"subject": "News", "text": "Hello", **fields}).compile().render(JANE, data or {})


def refused(data=None, /, **fields):
    compiled = Template(**{"subject": "News", "text": "Hello", **fields}).compile()
    with pytest.raises(TemplateError) as caught:
        compiled.render(JANE, data or {})
    with pytest.raises(TemplateError, match=re.escape(str(caught.value))):
        compiled.check(JANE, data or {})
    return caught.value


def test_every_field_is_a_template():
    message = rendered(
        {"name": "Jane", "id": 7},
        subject="{{ name }}, news",
        text="Dear {{ name }}\n",
        html="<p>Dear {{ name }}</p>",
        from_email="{{ name }}'s friends <news@example.com>",
        to="{{ name }} <{{ email }}>",
        reply_to=("desk+{{ id }}@example.com",),
        headers={"X-Id": "{{ id }}"},
    )
    assert type(message) is EmailMultiAlternatives
    assert (message.subject, message.body) == ("Jane, news", "Dear Jane\n")
    assert message.alternatives == [("<p>Dear Jane</p>", "text/html")]
    assert message.from_email == "Jane's friends <news@example.com>"
    assert message.to == ["Jane <jane@example.org>"]
    assert message.reply_to == ["desk+7@example.com"]
    assert message.extra_headers == {"X-Id": "7"}
    assert passes(message)
    assert write(message) is not None


def test_without_html_it_is_a_plain_message():
    message = rendered(text="Hello {{ email }}")
    assert type(message) is EmailMessage
    assert message.body == "Hello jane@example.org"


def test_without_text_it_is_made_of_the_html():
    message = rendered({"name": "A & B"}, text="", html="<p>Dear <b>{{ name }}</b></p>")
    assert message.body == "Dear A & B\n"


def test_only_html_is_escaped():
    message = rendered({"name": "<b>"}, subject="{{ name }}", text="{{ name }}", html="{{ name }}")
    assert (message.subject, message.body, message.alternatives[0][0]) == ("<b>", "<b>", "&lt;b&gt;")


def test_extra_wins_over_the_data():
    compiled = Template(subject="x", text="{{ url }}").compile()
    assert compiled.render(JANE, {"url": "theirs"}, {"url": "ours"}).body == "ours"
    compiled.check(JANE, {}, {"url": "ours"})


def test_names_that_are_no_identifiers_are_reached_through_data():
    assert rendered({"First name": "Jane"}, text="{{ data['First name'] }}").body == "Jane"


def test_a_key_is_no_method():
    assert rendered({"order": {"items": 3}}, text="{{ order.items }}").body == "3"


def test_a_folded_subject_is_one_line():
    assert rendered({"n": 2}, subject="\n  News of\n  {{ n }}\n  {% if n %}\n days\n{% endif %}\n").subject == (
        "News of 2 days"
    )


def test_an_empty_header_is_left_out():
    assert rendered({"x": ""}, headers={"X-A": "{{ x }}", "X-B": "b"}).extra_headers == {"X-B": "b"}


@pytest.mark.parametrize("field", ["subject", "from_email", "to"])
def test_a_line_break_in_the_data_is_no_header(field):
    error = refused({"name": "Jane\r\nBcc: eve@example.org"}, **{field: "{{ name }} <{{ email }}>"})
    assert "line break" in str(error)


def test_a_missing_name_is_told_with_its_line_and_the_nearest():
    error = refused({"name": "Jane"}, text="Hello,\n\n{% if 1 %}\n{{ nmae }}{% endif %}")
    assert (error.field, error.line) == ("text", 4)
    assert str(error) == "text, line 4: 'nmae' is undefined; did you mean name?"


def test_a_missing_key_is_told():
    error = refused({"order": {"id": 1}}, html="<p>\n{{ order.total }}")
    assert (error.field, error.line) == ("html", 2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ nothing }}", "null"),
        ("{{ 1 / zero }}", "ZeroDivisionError"),
        ("{% if name > 1 %}x{% endif %}", r"write name\|int or name\|float"),
        ("{{ name.__class__ }}", "unsafe"),
        ("{{ name.upper }}", "upper is a function"),
        ("{{ 'x' * 1000000 }}", "100000 is the limit"),
        ("{{ 10 ** 1000 }}", "100 is the limit"),
        ("{% for i in range(1000000) %}x{% endfor %}", "(?i)range"),
        ("{% for i in range(100000) %}{{ name }} and a lot more{% endfor %}", "more than 1000000 octets"),
        ("{{ nul }}", "NUL"),
        ("{{ half }}", "half a character"),
    ],
)
def test_what_cannot_be_put_out(text, why):
    data = {"nothing": None, "zero": 0, "name": "Jane", "nul": "\0", "half": "\ud800"}
    with pytest.raises(TemplateError, match=why):
        rendered(data, text=text)
    with pytest.raises(TemplateError, match=why):
        Template(subject="News", text=text).compile().check(JANE, data)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x'|center(10**9) }}",
        "{{ 'x'.ljust(10**9)|length }}",
        "{{ '%900000000d'|format(1) }}",
        "{{ '%-*d' % (900000000, 1) }}",
        "{{ '{:900000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 900000000) }}",
        "{{ ('a\n' * 50000)|indent(10000) }}",
        "{{ ('x' * 100000)|replace('x', 'y' * 100000) }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ range(100000)|join('x' * 100000) }}",
        "{{ ('x' * 100000).join(range(100000)|map('string')) }}",
        "{{ [1]|slice(10**8)|list }}",
        "{{ [1]|tojson(indent=10**9) }}",
        "{{ 3|round(10**9, 'ceil') }}",
        "{% set x = namespace(v='x') %}{% for _ in range(60) %}{% set x.v = x.v ~ x.v %}{% endfor %}{{ x.v }}",
        "{% set x = namespace(v='x') %}{% for _ in range(60) %}{% set x.v = x.v + x.v %}{% endfor %}{{ x.v }}",
        "{% set x = namespace(v=9) %}{% for _ in range(60) %}{% set x.v = x.v * x.v %}{% endfor %}{{ x.v > 1 }}",
        "{% set x %}twice{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40 + "{{ x|length }}",
        "{% set x = ['laughs'] %}" + "{% set x = [x, x, x, x, x, x, x, x, x, x] %}" * 12 + "{{ x }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}x",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% for i in [1, 1] recursive %}{% if loop.depth < 40 %}{{ loop([1, 1]) }}{% endif %}{% endfor %}",
    ],
)
def test_no_template_fills_the_memory_or_goes_on_for_hours(text):
    begun = time.perf_counter()
    error = refused(text=text)
    assert time.perf_counter() - begun < 20  # s, on a busy machine; most take a few ms
    assert error.field == "text"


@pytest.mark.parametrize("tag", ["if 1", "for x in [1]"])
def test_what_is_nested_too_deeply_is_told(tag):
    text = f"{{% {tag} %}}" * 150 + f"{{% end{tag.split()[0]} %}}" * 150
    with pytest.raises(TemplateError, match="nested too deeply"):
        Template(subject="News", text=text).compile()


def test_what_is_counted_stays_as_it_was():
    """Loops, ``~``, operators and filters are watched; what they do is what Jinja2 does."""
    text = (
        "{% for i in range(3) if i %}{{ loop.index }}/{{ loop.length }}{{ '.' if loop.last else ', ' }}{% else %}-{% endfor %}"
        "{{ ['a', 'b']|join('+') ~ 1 ~ true }} {{ '%-3s|' % 'a' }} {{ '%s'|format('b') }} {{ '{:>2}'.format('c') }} "
        "{{ 7 % 3 + 1 }} {{ [1] + [2] }} {{ [1, 2, 3]|batch(2, '-')|list }} {{ 'a b'|replace(' ', '_') }} {{ 2 ** 10 }}"
    )
    assert rendered(text=text).body == "1/2, 2/2.a+b1True a  | b  c 2 [1, 2] [[1, 2], [3, '-']] a_b 1024"
    message = rendered({"a": "<", "b": ">"}, html="{{ a ~ '<br>'|safe ~ b }}|{{ a ~ b }}|{{ [a, b]|join }}")
    assert message.alternatives[0].content == "&lt;<br>&gt;|&lt;&gt;|&lt;&gt;"


def test_a_mail_goes_to_nobody_else():
    assert "eve@example.org" in str(refused(to="Jane <eve@example.org>"))


def test_an_empty_subject_is_refused():
    assert "empty" in str(refused({"x": ""}, subject="{{ x }}"))


@pytest.mark.parametrize(
    ("fields", "field", "line", "why"),
    [
        ({"text": "a\n{{ b"}, "text", 2, "end of print statement"),
        ({"html": "a\n{% if %}"}, "html", 2, "."),
        ({"text": "\n{% include 'x' %}"}, "text", 2, "include is not possible"),
        ({"text": "{% extends 'x' %}"}, "text", 1, "extends is not possible"),
        ({"text": "{% from 'x' import y %}"}, "text", 1, "import is not possible"),
        ({"text": "{{ x|nofilter }}"}, "text", 1, "nofilter"),
        ({"text": ""}, "text", None, "neither text nor html"),
        ({"subject": " "}, "subject", None, "empty"),
        ({"from_email": "nobody"}, "from", None, "no address"),
        ({"headers": {"X Y": "a"}}, "header X Y", None, "no name of a header"),
        ({"headers": {"Subject": "a"}}, "header Subject", None, "give it as 'subject'"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "header x-a", None, "there as 'X-A' already"),
        ({"headers": {"Bcc": "a@x.org"}}, "header Bcc", None, "one recipient at a time"),
        ({"headers": {"Date": "today"}}, "header Date", None, "mailqueue sets it"),
        ({"headers": {"Content-Type": "a"}}, "header Content-Type", None, "mailqueue sets it"),
    ],
)
def test_a_bad_template_does_not_compile(fields, field, line, why):
    template = Template(**{"subject": "News", "text": "Hello", **fields})
    with pytest.raises(TemplateError, match=why) as caught:
        template.compile()
    assert (caught.value.field, caught.value.line) == (field, line)


def test_errors_count_lines_of_the_file_if_there_is_one():
    template = Template(subject="News", text="a\n{{ b }}")
    compiled = template.compile(origins={"text": Origin("news.toml", 10)})
    with pytest.raises(TemplateError, match=r"news.toml, text, line 11: 'b' is undefined"):
        compiled.render(JANE, {})


def test_variables_are_what_the_data_must_give():
    template = Template(
        subject="{{ a }}",
        text="{% set b = c %}{{ b }}{% for d in e %}{{ d.f }}{% endfor %}{{ range(2) }}{{ email }}",
        headers={"X": "{{ g }}"},
        from_email="{{ h }} <a@b.c>",
    )
    assert template.compile().variables() == {"a", "c", "e", "g", "h"}


def test_it_comes_back_from_json():
    parts, _ = pack_attachments([("a.txt", "text", "text/plain")])
    template = Template(subject="News", text="Hello", headers={"X": "y"}, reply_to=("a@b.c",), attachments=parts)
    assert msgspec.json.decode(msgspec.json.encode(template), type=Template) == template
    assert msgspec.json.encode(Template(subject="News", text="Hi")) == b'{"subject":"News","text":"Hi"}'


def test_attachments_are_shared_and_large_ones_are_blobs():
    pdf = b"%PDF" * 20_000
    parts, blobs = pack_attachments([("a.pdf", pdf, "application/pdf")])
    template = Template(subject="News", text="Hello", attachments=parts)
    assert template.blobs() == {key: len(pdf) for key in blobs}
    compiled = template.compile(blobs)
    first, second = compiled.render(JANE, {}), compiled.render("joe@example.org", {})
    assert first.attachments == [("a.pdf", pdf, "application/pdf")]
    assert first.attachments[0][1] is second.attachments[0][1]
    assert first.attachments is not second.attachments


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.text(alphabet="x ", min_size=200, max_size=5000),
    st.lists(st.integers()),
    st.dictionaries(st.text(max_size=3), st.integers()),
)
_TEXTS = st.lists(
    st.sampled_from(
        ["Hi", " ", "\n", "{{ a }}", "{{ b }}", "{{ a|upper }}", "{% if b %}x{% endif %}", "{{ c }}", "<p>"]
    ),
    min_size=1,
    max_size=6,
).map("".join)


@given(
    st.fixed_dictionaries({}, optional={"a": _VALUES, "b": _VALUES}),
    st.fixed_dictionaries(
        {"subject": _TEXTS, "text": _TEXTS},
        optional={
            "html": _TEXTS,
            "to": st.just("{{ a }} <{{ email }}>"),
            "from_email": st.just("{{ b }} <a@b.c>"),
            "headers": st.dictionaries(st.just("X-A"), _TEXTS),
        },
    ),
)
def test_the_check_finds_what_rendering_and_building_finds(data, fields):
    assume(fields["subject"].strip())
    compiled = Template(**fields).compile()
    event(f"a look is enough: {compiled._is_sure(_variables(JANE, data, {}))}")
    check = render = ""
    try:
        compiled.check(JANE, data)
    except TemplateError as error:
        check = str(error)
    try:
        compiled.render(JANE, data).message()
    except TemplateError as error:
        render = str(error)
    assert check == render


def test_all_fields_that_do_not_compile_are_told_together():
    with pytest.raises(TemplateError) as caught:
        Template(subject="{{", text="{% if", from_email="nobody").compile()
    assert [error.field for error in caught.value.errors] == ["subject", "text", "from"]
    assert str(caught.value).count("\n") == 2


@pytest.mark.parametrize("source", ["{{ sender }}", "Zoë"])
def test_a_sender_that_is_none_is_found_by_the_check(source):
    compiled = Template(subject="s", text="t", headers={"Sender": source}).compile()
    with pytest.raises(TemplateError, match="no message can be made of it: Invalid address"):
        compiled.check(JANE, {"sender": "Zoë"})


@pytest.mark.parametrize("name", ["a\r\nBcc: eve@example.org", "a\0b", "a\u2028b", "a\ud800", "é" * 128])
def test_a_name_that_no_attachment_can_have_is_refused_at_once(name):
    with pytest.raises(InvalidMessage, match="cannot be the name of an attachment"):
        pack_attachments([(name, b"x", "application/pdf")])
    pack_attachments([("é" * 127, b"x", "application/pdf"), (None, b"x", "application/pdf")])


def test_attachments_above_the_limit_are_refused():
    conf.configure(MAILQUEUE_MAX_MESSAGE_BYTES=100_000)
    with pytest.raises(MessageTooLarge, match="MAILQUEUE_MAX_MESSAGE_BYTES is 100000"):
        pack_attachments([("a.pdf", b"x" * 100_000, "application/pdf")])


def test_without_jinja2_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    environment.cache_clear()
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'mailqueue\[bulk\]'"):
        Template(subject="x", text="y").compile()
