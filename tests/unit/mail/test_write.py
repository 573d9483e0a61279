"""What is written straight down is, octet by octet, what the reference makes of the same message, or refuses.

Generated messages are rendered both ways, boundaries drawn from the same seed. By name: what is written without the
reference, and what is left to it.
"""

from __future__ import annotations

import email
import random
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from mailqueue.mail import message as ours
from mailqueue.mail import render, write
from mailqueue.mail.message import EmailMessage, EmailMultiAlternatives
from tests.unit.mail.generated import LETTERS, attributes, built, messages, pinned, texts

EXAMPLES = settings(derandomize=True, max_examples=300)

PINNED = {"Date": "Fri, 09 Nov 2001 01:08:47 -0000", "Message-ID": "<pinned@example.com>"}


@pytest.fixture(autouse=True)
def random_state():
    """``outcome`` seeds the generator that others use as well."""
    state = random.getstate()
    yield
    random.setstate(state)


def outcome(function, message, seed=7):
    """The bytes, or what is raised."""
    random.seed(seed)
    try:
        return function(message)
    except Exception as error:  # noqa: BLE001 - whatever it is, both have to raise it
        return type(error), str(error)


def same(message):
    """Assert that both ways come to the same, twice over: what is kept must not have changed either."""
    outcome(render._reference, message, seed=3)  # gives MIME objects without a boundary theirs, which stay on them
    expected = outcome(render._reference, message)
    assert outcome(render.render, message) == expected
    assert outcome(render.render, message) == expected
    return expected


@pytest.fixture
def directly(monkeypatch):
    """Renders, and fails if the message, or a part or field of it, is left to the reference."""

    def directly(message):
        write.write(message)  # heads of parts are asked for once
        with monkeypatch.context() as patch:
            for module, name in ((render, "_reference"), (write, "flatten"), (write, "fold"), (write, "make_part")):
                patch.delattr(module, name)
            random.seed(7)
            return render.render(message)

    return directly


def usual(**options):
    """A message as applications send it, text and HTML."""
    message = EmailMultiAlternatives(
        **{
            "subject": "Your order 4711 has been shipped",
            "body": "Dear customer,\n\nit is on its way.\n",
            "from_email": "The Shop <shop@example.com>",
            "to": ["Jane Doe <jane@example.org>"],
            "cc": ["copy@example.org"],
            "reply_to": ["help@example.com"],
            "headers": {**PINNED, "X-Campaign": "spring"},
            **options,
        }
    )
    message.attach_alternative("<p>Dear customer,</p>\r\n<p>it is on its way.</p>", "text/html")
    return message


def logo():
    part = MIMEImage(b"png" * 999, "png")
    part["Content-ID"] = "<logo>"
    part["Content-Disposition"] = "inline"
    return part


# -- all that there may be

anything = st.text(st.characters(codec=None), max_size=30)  # lone surrogates, NUL and U+2028 among it
values = st.one_of(
    anything,
    st.text(LETTERS, max_size=120),
    st.text("ab ,;=?", max_size=90),
    st.sampled_from(["", " ", "a ", " a", "a  b", "a\tb", "a\x0bX: b", "x" * 68, "x" * 69, "x y" * 30, "<a@b>, " * 20]),
)
wild = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.one_of(values, st.none(), st.integers()),
        "body": st.one_of(anything, st.text("a\r\n", max_size=12), texts(), st.sampled_from([b"bytes", 7, None])),
        "from_email": values,
        "to": st.lists(values, max_size=2),
        "extra_headers": st.tuples(
            st.dictionaries(
                st.one_of(
                    st.sampled_from(
                        ["Subject", "Content-Type", "content-id", "MIME-Version", "Bcc", "List-Unsubscribe", "X-A", ""]
                    ),
                    st.text(LETTERS, max_size=8),
                ),
                st.one_of(values, st.none()),
                max_size=3,
            ),
            pinned,
        ).map(lambda pair: {**pair[0], **pair[1]}),
        "attachments": st.lists(
            st.one_of(
                st.tuples(
                    st.one_of(st.none(), values),
                    st.one_of(st.binary(max_size=300), anything, st.none()),
                    st.sampled_from(
                        ["application/pdf", "text/x-a", "multipart/mixed", "Image/PNG", "x", "a/b c", None]
                    ),
                ),
                st.tuples(values, st.binary(max_size=30)),
                st.tuples(values),
            ),
            max_size=2,
        ),
        "content_subtype": st.sampled_from(["plain", "HTML", "a/b", "plain; format=flowed", "é", "a\nb", ""]),
        "mixed_subtype": st.sampled_from(["signed", "Mixed", "digest", "a/b", "é", "x\nX: y", None]),
        "alternative_subtype": st.sampled_from(["signed", "related", ""]),
        "encoding": st.sampled_from(["latin-1", "utf-8", "UTF8", "no-such-charset", 7]),
    },
)
classes = st.sampled_from([EmailMultiAlternatives, EmailMultiAlternatives, EmailMessage])


def make(cls, what, *changes):
    if cls is EmailMessage:
        what = {name: value for name, value in what.items() if name != "alternatives"}
    try:
        return built(cls, ours, what, {name: value for change in changes for name, value in change.items()})
    except (ValueError, TypeError):
        reject()


@EXAMPLES
@given(cls=classes, what=messages, changes=attributes)
def test_every_message_is_written_as_the_reference_writes_it(cls, what, changes):
    same(make(cls, what, changes))


@EXAMPLES
@given(cls=classes, what=messages, changes=attributes, wildly=wild)
def test_the_wildest_messages_are_written_alike_and_refused_alike(cls, what, changes, wildly):
    same(make(cls, what, changes, wildly))


@EXAMPLES
@given(name=st.sampled_from(["Subject", "To", "X-" + "n" * 70, "X"]), value=values)
def test_every_field_is_written_as_the_reference_writes_it(name, value):
    same(EmailMessage(headers={**PINNED, name: value}))


@EXAMPLES
@given(
    st.lists(
        st.sampled_from(["a" * 997, "ä" * 400, "b", "\r", "\n", "\x85", "\u2028", "\0", ".", "=", " ", "\t", "\x0c"]),
        max_size=12,
    )
)
def test_every_text_is_written_as_the_reference_writes_it(pieces):
    same(EmailMessage(body="".join(pieces), headers=PINNED))


@st.composite
def given_parts(draw):
    """MIME objects with whatever their makers put in."""
    made = MIMEBase(
        *draw(st.sampled_from([("image", "png"), ("text", "x-a"), ("message", "x-a"), ("multipart", "x-a")]))
    )
    made.set_payload(draw(st.one_of(st.none(), texts(), st.text("ab\r\n", max_size=9), st.binary(max_size=9))))
    names = st.one_of(st.sampled_from(["Content-ID", "content-type", "X"]), st.text("aé: \n", max_size=3))
    for name, value in draw(st.lists(st.tuples(names, values), max_size=3)):
        made._headers.append((name, value))
    return made


@EXAMPLES
@given(given_parts())
def test_every_part_that_is_given_is_written_as_the_reference_writes_it(part):
    same(EmailMessage("s", "b", attachments=[part], headers=PINNED))


@pytest.mark.parametrize("length", [996, 997, 998, 999, 1000])
@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n", "\nx"])
def test_lines_at_the_limit_are_written_as_the_reference_writes_them(length, end):
    same(EmailMessage(body="x\n" + "y" * length + end, headers=PINNED))


# -- what needs no reference


@pytest.mark.parametrize(
    "message",
    [
        usual(),
        EmailMessage("s", "b", "f@example.com", ["t@example.com"], headers=PINNED),
        EmailMessage("s", "", "f@example.com", headers=PINNED),
        usual(body="Grüße\n"),
        usual(body="", attachments=[("a.pdf", b"%PDF" * 5000, "application/pdf"), ("b.txt", "text", None)]),
        usual(body="a\r\nb\rc\n"),
        usual(body="x = é" * 999),
        usual(attachments=[logo()]),
    ],
    ids=["text-html", "text", "empty", "8bit", "files", "line-ends", "quoted", "inline"],
)
def test_a_usual_message_needs_no_reference(message, directly):
    assert same(message) == directly(message)


def test_a_worker_s_own_recipients_change_nothing(directly):
    message = usual()
    expected = same(message)
    message.recipients = lambda: ["jane@example.org"]
    assert directly(message) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"subject": "Grüße"},
        {"subject": "word " * 40},
        {"headers": {**PINNED, "List-Unsubscribe": f"<https://example.com/{'u' * 80}>"}},
        {"subject": "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}\N{NO-BREAK SPACE}!"},
        {"headers": {**PINNED, "X-Long": "word " * 300 + "é"}},
        {"attachments": [("über.png", b"png", "image/png")]},
        {"attachments": [("inner", EmailMessage("s", "b", headers=PINNED), "message/rfc822")]},
    ],
    ids=["subject", "long-subject", "long-field", "emoji", "longer-field", "name", "message"],
)
def test_what_is_unusual_is_left_to_the_reference_alone(options, monkeypatch):
    message = usual(**options)
    expected = same(message)
    monkeypatch.delattr(render, "_reference")
    random.seed(7)
    assert render.render(message) == expected


def test_fields_stand_behind_those_of_a_body_that_is_left_to_the_reference():
    message = EmailMessage("s", "b", headers=PINNED)
    for message.content_subtype in ("HTML", "plain; format=flowed"):
        assert write.write(message) == same(message)


# -- what is not written straight down


@pytest.mark.parametrize(
    "options",
    [
        {"subject": "tab\there"},
        {"attachments": [("n" * 1001, b"", "image/png")]},
        {"headers": {**PINNED, "Content-Language": "de"}},
        {"headers": {**PINNED, "X:Y": "z"}},
    ],
    ids=["control", "long-name", "mime-field", "name"],
)
def test_the_reference_writes_what_is_rare(options):
    message = usual(**options)
    assert write.write(message) is None
    same(message)


def test_a_class_with_steps_of_its_own_is_asked_for_them():
    class Stamped(EmailMultiAlternatives):
        def _create_message(self, msg):
            built = super()._create_message(msg)
            built["X-Stamp"] = "yes"
            return built

    assert b"X-Stamp: yes\r\n" in same(Stamped("s", "b", headers=PINNED))


def test_an_object_with_steps_of_its_own_is_asked_for_them():
    message = EmailMessage("s", "b", headers=PINNED)
    message._headers = lambda: [("Subject", "another")]
    assert b"Subject: another\r\n" in same(message)


def test_a_subclass_with_none_is_written_straight_down(directly):
    class Newsletter(EmailMultiAlternatives):
        content_subtype = "html"

        def send(self, *args, **kwargs):
            raise AssertionError

    message = Newsletter("s", "<p>", headers=PINNED)
    assert directly(message) == same(message)


# -- boundaries


def test_a_boundary_is_in_no_text():
    """The email package looks for it as well, but not where lines end in CRLF."""
    random.seed(7)
    boundary = write.BytesGenerator._make_boundary()
    message = usual(body=f"before\n--{boundary}\nafter\n--{boundary}--\n")
    random.seed(7)
    octets = render.render(message)
    parsed = email.message_from_bytes(octets)
    assert parsed.get_boundary() != boundary
    assert [part.get_content_type() for part in parsed.get_payload()] == ["text/plain", "text/html"]
    assert parsed.get_payload(0).get_payload() == f"before\r\n--{boundary}\r\nafter\r\n--{boundary}--\r\n"


@given(
    name=st.sampled_from(["List-Unsubscribe", "Subject", "References", "X" * 76, "X" * 80, "To"])
    | st.from_regex(r"[A-Za-z][!-9;-~]{0,30}", fullmatch=True),
    value=st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=",;"), min_size=77, max_size=300
    ),
)
@EXAMPLES
def test_a_value_that_cannot_be_folded_stands_on_a_line_of_its_own(name, value):
    written = write._unbroken_field(name, value)
    if written is None:
        reject()
    assert written == write._folded.__wrapped__(name, value)


@pytest.mark.parametrize(
    "value", ["a " * 60, "a" * 80 + ",b", "a" * 80 + ";b", "a" * 80 + "\t", "ü" * 80, "a" * 80 + "\n"]
)
def test_other_long_values_are_for_the_reference(value):
    assert write._unbroken_field("List-Unsubscribe", value) is None
