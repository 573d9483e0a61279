"""What goes into an envelope comes out of it: every test here compares bytes, or says what is refused."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.charset import BASE64, QP, Charset
from email.header import Header
from email.message import EmailMessage as StdlibMessage
from email.message import MIMEPart
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from unittest import mock

import django.core.mail.message
import pytest
from django.core.mail import EmailMessage as DjangoMessage
from django.core.mail import EmailMultiAlternatives as DjangoMulti
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from hypothesis import assume, given
from hypothesis import strategies as st

import mailqueue.envelope
import mailqueue.mail.message
from mailqueue import conf, precheck
from mailqueue.blobs import INLINE_LIMIT
from mailqueue.codec import decode, encode
from mailqueue.envelope import Envelope, Limits, pack, unpack
from mailqueue.errors import InvalidMessage, MessageTooLarge, TooManyRecipients, WireError
from mailqueue.extras import EXTRAS
from mailqueue.mail.message import EmailAlternative, EmailAttachment, EmailMessage, EmailMultiAlternatives
from mailqueue.mail.render import render
from mailqueue.precheck import passes
from mailqueue.rendered import RenderedMessage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
EIGHT_BIT = "Subject: inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ncafé\r\nFrom here\r\n".encode()


@contextmanager
def pinned():
    """Date, Message-ID and boundaries as if they were not chosen anew each time."""
    with ExitStack() as stack:
        for module in (mailqueue.envelope, mailqueue.mail.message, django.core.mail.message):
            stack.enter_context(mock.patch.object(module, "formatdate", return_value="Thu, 01 Jan 2026 00:00:00 -0000"))
            stack.enter_context(mock.patch.object(module, "make_msgid", return_value="<pinned@example.com>"))
        mailqueue.envelope._date.cache_clear()
        yield
    mailqueue.envelope._date.cache_clear()


def seeded(message, seed=7):
    state = random.getstate()
    random.seed(seed)
    try:
        return render(message)
    finally:
        random.setstate(state)


def through(message, **options):
    """The message as a worker gets it, by way of the wire's bytes."""
    envelope, blobs = pack(message, **{"id": "1", "now": 1.5, **options})
    assert set(blobs) == set(envelope.blobs())
    return unpack(decode(encode(envelope)), blobs)


def same(message):
    """Assert that the bytes are the same after the journey as before it, and return what arrived."""
    with pinned():
        seeded(message, seed=3)  # gives MIME objects without a boundary theirs, which stay on them
        before = seeded(message)
        arrived = through(message)
        assert seeded(message) == before, "packing changed the message"
    assert seeded(arrived) == before
    assert arrived.recipients() == message.recipients()
    return arrived


def simple(**options):
    return EmailMessage(
        **{"subject": "s", "body": "b", "from_email": "f@example.com", "to": ["t@example.com"], **options}
    )


# -- fidelity

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=40)
names = st.text(st.sampled_from("abc é日'(),.\""), max_size=12)
hosts = st.sampled_from(["example.com", "bücher.example", "xn--bcher-kva.example", "host"])
locals_ = st.sampled_from(["a", "b.c", "d+e", '"q @ q"', "jörg"])


@st.composite
def addresses(draw):
    address = f"{draw(locals_)}@{draw(hosts)}"
    if draw(st.booleans()):
        return address
    name = draw(names).replace('"', "")
    return f'"{name}" <{address}>'


bodies = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.sampled_from(["", "From me\nto you", "x" * 1100, "é" * 600, "a\r\nb\rc\n", "日" * (INLINE_LIMIT // 2)]),
)


def image():
    part = MIMEImage(PNG)
    part["Content-ID"] = "<logo@example.com>"
    part["Content-Disposition"] = 'inline; filename="logo.png"'
    return part


def nested():
    outer = MIMEMultipart("related")
    outer.attach(MIMEText("<p>é", "html", "utf-8"))
    outer.attach(image())
    outer.preamble = "before"
    outer.epilogue = "after"
    return outer


def encoded_header():
    part = MIMEBase("application", "x-thing")
    part["X-Note"] = Header("é" * 60, "utf-8", header_name="X-Note")
    part["X-Long"] = "word " * 40
    part.set_payload("cGF5bG9hZA==\n" * 3)
    part["Content-Transfer-Encoding"] = "base64"
    return part


def modern_part():
    part = MIMEPart()
    part.set_content(PNG, "image", "png", filename="bild-é.png", cid="<x@y>", disposition="inline")
    return part


def stdlib_message():
    message = StdlibMessage()
    message["Subject"] = "innen é"
    message["To"] = "Jörg <j@example.com>"
    message.set_content("grüße\n")
    return message


def plain_message():
    return message_from_bytes(EIGHT_BIT)


def our_message():
    inner = EmailMultiAlternatives("inner é", "text", "i@example.com", ["o@example.com"])
    inner.attach_alternative("<p>é", "text/html")
    inner.attach("a.bin", PNG, "application/octet-stream")
    return inner


RENDERED = render(our_message())


def django_message():
    return DjangoMessage("inner é", "text", "i@example.com", ["o@example.com"])


#: Attachments that the reference, Django 5.2, does not write the way that 6.0 and we do, and our own messages.
MODERN = (modern_part, stdlib_message, our_message)


def made(makers, *, modern):
    return st.sampled_from([make for make in makers if modern or make not in MODERN]).map(lambda make: make())


MIME_OBJECTS = (
    image,
    nested,
    encoded_header,
    modern_part,
    lambda: MIMEApplication(PNG),
    lambda: MIMEText("é", "plain", "latin-1"),
)
MESSAGES = (
    lambda: EIGHT_BIT,
    EIGHT_BIT.decode,
    stdlib_message,
    plain_message,
    our_message,
    django_message,
    lambda: MIMEText("x"),
    lambda: message_from_bytes(b"Subject: caf\xe9\r\nX: " + b"\xe9 " * 60 + b"\r\n\r\nb\xe9\r\n"),
    lambda: message_from_bytes(RENDERED),
)


def attachments(*, modern):
    return st.lists(
        st.one_of(
            made(MIME_OBJECTS, modern=modern),
            st.tuples(names, st.binary(max_size=300), st.sampled_from(["application/pdf", "text/plain", "image/png"])),
            st.tuples(st.just("t.txt"), bodies, st.sampled_from(["text/plain", "text/csv", "application/json", None])),
            st.tuples(st.sampled_from([None, "a.eml"]), made(MESSAGES, modern=modern), st.just("message/rfc822")),
            st.just(("big.bin", bytes(range(256)) * 200, "application/octet-stream")),
        ),
        max_size=3,
    )


charset_qp = Charset("utf-8")
charset_qp.body_encoding = QP
charset_b64 = Charset("iso-8859-1")
charset_b64.body_encoding = BASE64
encodings = st.sampled_from([None, "utf-8", "iso-8859-1", "koi8-r", charset_qp, charset_b64])
headers = st.dictionaries(
    st.sampled_from(["X-Note", "Comments", "From", "To", "Cc", "Reply-To", "date", "Message-ID", "Sender", "list-id"]),
    st.one_of(words, addresses(), st.just(7), st.just(datetime(2026, 1, 2, tzinfo=UTC))),
    max_size=3,
)
entries = st.lists(st.one_of(addresses(), st.none(), st.just("")), max_size=3)


@st.composite
def messages(draw, single=EmailMessage, multi=EmailMultiAlternatives):
    fields = {
        "subject": draw(words),
        "body": draw(bodies),
        "from_email": draw(addresses()),
        "to": draw(entries),
        "cc": draw(entries),
        "bcc": draw(entries),
        "reply_to": draw(st.lists(addresses(), max_size=2)),
        "headers": draw(headers),
    }
    if draw(st.booleans()):
        message = multi(**fields)
        for text in draw(st.lists(bodies, max_size=2)):
            message.attach_alternative(text, draw(st.sampled_from(["text/html", "text/calendar"])))
        message.alternative_subtype = draw(st.sampled_from(["alternative", "related"]))
    else:
        message = single(**fields)
    for attachment in draw(attachments(modern=single is EmailMessage)):
        # Django 5.2 does not look at text given as bytes unless it comes through attach(); 6.0 does, and so do we.
        if isinstance(attachment, tuple) and single is EmailMessage and draw(st.booleans()):
            message.attachments.append(attachment)
        elif isinstance(attachment, tuple):
            message.attach(*attachment)
        else:
            message.attachments.append(attachment)
    message.encoding = draw(encodings)
    message.content_subtype = draw(st.sampled_from(["plain", "html"]))
    message.mixed_subtype = draw(st.sampled_from(["mixed", "related"]))
    return message


def refuses(call):
    try:
        call()
    except Exception as refusal:  # noqa: BLE001 - whatever it is, it must be refused alike
        return refusal
    return None


@pytest.mark.usefixtures("django_settings")
@given(messages())
def test_every_message_that_can_be_sent_arrives_byte_for_byte_and_every_other_is_refused(message):
    if refuses(lambda: render(message)):
        assert refuses(lambda: pack(message, id="1", now=1.0))
    elif not (refusal := refuses(lambda: pack(message, id="1", now=1.0))):
        same(message)
    else:
        # Addresses of the envelope, which rendering does not look at.
        assert "Invalid address" in str(refusal) or isinstance(refusal, UnicodeEncodeError)


@pytest.mark.usefixtures("django_settings")
@given(messages(DjangoMessage, DjangoMulti))
def test_django_messages_arrive_as_ours_with_the_same_bytes(message):
    if refuses(lambda: render(message)) or refuses(lambda: pack(message, id="1", now=1.0)):
        return
    arrived = same(message)
    assert isinstance(arrived, EmailMessage)
    assert isinstance(arrived, EmailMultiAlternatives) == isinstance(message, DjangoMulti)


def test_an_inline_image_keeps_its_content_id_and_its_class():
    arrived = same(simple(attachments=[image()]))
    [part] = arrived.attachments
    assert isinstance(part, MIMEBase)
    assert part["Content-ID"] == "<logo@example.com>"
    assert part.get_payload(decode=True) == PNG


def test_two_files_of_one_name_stay_two():
    arrived = same(simple(attachments=[("a.txt", "one", "text/plain"), ("a.txt", "two", "text/plain")]))
    assert [file.content for file in arrived.attachments] == ["one", "two"]


@pytest.mark.parametrize(
    "content",
    [EIGHT_BIT, EIGHT_BIT.decode(), plain_message(), stdlib_message(), our_message(), MIMEText("x")],
    ids=lambda content: type(content).__name__,
)
def test_attached_messages_of_every_kind_survive(content):
    same(simple(attachments=[("mail.eml", content, "message/rfc822")]))


def test_a_modern_mime_part_comes_back_as_one():
    [part] = same(simple(attachments=[modern_part()])).attachments
    assert isinstance(part, MIMEPart)
    assert part.get_filename() == "bild-é.png"


def test_attributes_and_types_come_back_as_they_were():
    message = EmailMultiAlternatives(
        "s",
        "b",
        "f@example.com",
        ["t@example.com"],
        ["b@example.com"],
        cc=["c@example.com"],
        reply_to=["r@example.com"],
        headers={"X-One": "1", "List-ID": "<l.example.com>"},
        alternatives=[("<p>", "text/html")],
        attachments=[("a.pdf", PNG, "application/pdf")],
    )
    arrived = same(message)
    assert type(arrived) is EmailMultiAlternatives
    assert arrived.subject == "s"
    assert arrived.to == ["t@example.com"]
    assert arrived.cc == ["c@example.com"]
    assert arrived.bcc == ["b@example.com"]
    assert arrived.reply_to == ["r@example.com"]
    assert arrived.alternatives == [EmailAlternative("<p>", "text/html")]
    assert arrived.attachments == [EmailAttachment("a.pdf", PNG, "application/pdf")]
    assert arrived.extra_headers["X-One"] == "1"


def test_date_and_message_id_are_fixed_once_and_stand_before_the_callers_headers():
    arrived = through(simple(headers={"X-Note": "n"}))
    assert list(arrived.extra_headers) == ["Date", "Message-ID", "X-Note"]
    assert render(arrived) == render(arrived)


def test_the_callers_date_and_message_id_keep_their_spelling_and_place():
    arrived = same(simple(headers={"X-Note": "n", "date": datetime(2026, 1, 2, tzinfo=UTC), "message-id": "<m@x>"}))
    assert arrived.extra_headers == {
        "X-Note": "n",
        "date": "Fri, 02 Jan 2026 00:00:00 +0000",
        "message-id": "<m@x>",
    }


def test_local_time_is_that_of_the_caller(monkeypatch):
    conf.configure(EMAIL_USE_LOCALTIME=True)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        envelope, _ = pack(simple(), id="1", now=1.0)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert envelope.headers["Date"].endswith("+0900")


def test_the_charset_is_that_of_the_caller_whatever_the_worker_has():
    conf.configure(DEFAULT_CHARSET="iso-8859-1")
    message = simple(body="café")
    envelope, _ = pack(message, id="1", now=1.0)
    conf.configure(DEFAULT_CHARSET="utf-8")
    assert b"iso-8859-1" in render(unpack(envelope, {}))


def test_a_type_is_guessed_in_the_caller():
    message = simple()
    message.attachments.append(("a.pdf", PNG))
    [file] = through(message).attachments
    assert file == EmailAttachment("a.pdf", PNG, "application/pdf")


def test_lazy_and_marked_strings_become_str():
    lazy = lazystr("lazy")
    message = EmailMultiAlternatives(
        lazy, mark_safe("<b>"), lazystr("f@example.com"), [lazystr("t@example.com")], headers={"X": lazy}
    )
    message.attach_alternative(mark_safe("<p>"), "text/html")
    message.tags = [lazy, mark_safe("x")]
    arrived = same(message)
    assert (type(arrived.subject), type(arrived.body), type(arrived.to[0])) == (str, str, str)
    assert arrived.tags == ["lazy", "x"]


# -- the way that is taken without building the message

lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)
mailboxes = st.one_of(
    st.from_regex(precheck._MAILBOX, fullmatch=True),
    st.builds(
        "{} <{}>".format,
        st.one_of(
            st.lists(st.text("aZ9éЖ漢.'-_", min_size=1, max_size=4), min_size=1, max_size=3).map(" ".join),
            st.text("aZ9éЖ漢 .,'&/+-_", max_size=9).map('"{}"'.format),
        ),
        st.sampled_from(["ann@example.com", "o'neil.b+c@x"]),
    ),
)
mailbox_lists = st.lists(mailboxes, max_size=2)
fields = st.dictionaries(
    st.one_of(
        st.from_regex(precheck._FIELD, fullmatch=True), st.sampled_from(["Subject", "Date", "message-id", "X-A"])
    ),
    lines,
    max_size=2,
)
text_types = st.one_of(st.just("text/html"), st.from_regex(precheck.TEXT_TYPE, fullmatch=True))
file_types = st.one_of(st.just("image/png"), st.from_regex(precheck.FILE_TYPE, fullmatch=True))
tokens = st.one_of(st.just("mixed"), st.from_regex(precheck._TOKEN, fullmatch=True))


@st.composite
def plain_messages(draw):
    addresses = {name: draw(mailbox_lists) for name in ("to", "cc", "bcc", "reply_to")}
    message = EmailMultiAlternatives(draw(lines), draw(bodies), draw(mailboxes), headers=draw(fields), **addresses)
    versions = st.tuples(bodies, text_types).map(lambda pair: EmailAlternative(*pair))
    message.alternatives = draw(st.lists(versions, max_size=2))
    message.attachments = draw(
        st.lists(
            st.one_of(
                st.tuples(st.one_of(st.none(), lines), bodies, text_types),
                st.tuples(lines, st.binary(max_size=100), file_types),
            ),
            max_size=2,
        )
    )
    message.content_subtype, message.mixed_subtype, message.alternative_subtype = draw(st.tuples(*[tokens] * 3))
    return message


@given(plain_messages())
def test_what_passes_at_a_glance_can_be_sent_and_is_packed_as_if_it_had_been_built(message):
    assume(passes(message))
    with pinned():
        render(message)
        quick = pack(message, id="1", now=1.0)
        with mock.patch.object(mailqueue.envelope, "passes", return_value=False):
            assert pack(message, id="1", now=1.0) == quick


def test_everyday_messages_pass_at_a_glance():
    message = EmailMultiAlternatives(
        "Grüße\N{NO-BREAK SPACE}!", "é\nFrom", "Shop <shop@x.org>", ["a@x.org"], headers={"X-Note": "n"}
    )
    message.cc = ['"Doe, Jane" <o\'neil@x.org>', "Jürgen Meier-Łoś <j@x.org>", "J. R. O'Hara <j@x.org>"]
    message.attach_alternative("<p>", "text/html")
    message.attach("ü.pdf", PNG, "application/pdf")
    message.attach("a.txt", "text", "text/plain")
    assert passes(message)
    with mock.patch.object(EmailMultiAlternatives, "message", side_effect=AssertionError("built")):
        pack(message, id="1", now=1.0)


def test_many_recipients_are_counted_against_the_header_section_by_building_it():
    message = simple(to=[f"user{number}@{'x' * 60}.example.com" for number in range(900)])
    assert passes(message)
    with pytest.raises(InvalidMessage, match="headers of the message"):
        pack(message, id="1", now=1.0, limits=Limits(header_bytes=50_000))
    assert pack(message, id="1", now=1.0)


def test_a_message_may_be_packed_again():
    message = simple(attachments=[nested()])
    with pinned():
        assert pack(message, id="1", now=1.0) == pack(message, id="1", now=1.0)


# -- messages of the caller's own classes


class Harmless(EmailMultiAlternatives):
    """Fills in what it is made of, as most subclasses do."""

    def __init__(self, name):
        super().__init__(f"Hello {name}", "text", "f@example.com", ["t@example.com"])
        self.name = name

    def send(self, **options):
        return super().send(**options)


class Signed(EmailMessage):
    def message(self):
        built = super().message()
        built["X-Signature"] = "sealed"
        return built


class Elsewhere(EmailMessage):
    def recipients(self):
        return ["elsewhere@example.com"]


class Nested(EmailMultiAlternatives):
    def _create_alternatives(self, msg):
        built = super()._create_alternatives(msg)
        built["X-Hook"] = "hooked"
        return built


class Duck:
    """No relative of ours at all."""

    from_email = "duck@example.com"

    def message(self):
        part = MIMEText("quack", "plain", "utf-8")
        part["Subject"] = "duck"
        return part

    def recipients(self):
        return ["pond@example.com", "pond@example.com"]


def test_a_subclass_that_leaves_rendering_alone_travels_as_data():
    envelope, _ = pack(Harmless("Jo"), id="1", now=1.0)
    assert envelope.kind == "alternatives"
    assert envelope.raw is None


@pytest.mark.parametrize("make", [Signed, Elsewhere, Nested], ids=lambda cls: cls.__name__)
def test_a_class_with_a_rendering_of_its_own_is_rendered_in_the_caller(make):
    message = make("s é", "body\nFrom me", "f@example.com", ["t@example.com"], cc=["c@example.com"])
    message.tags = ["kept"]
    arrived = same(message)
    assert isinstance(arrived, RenderedMessage)
    assert (arrived.from_email, arrived.to, arrived.cc) == ("f@example.com", ["t@example.com"], ["c@example.com"])
    assert arrived.tags == ["kept"]


def test_a_method_replaced_on_the_instance_counts_too():
    message = simple()
    message.recipients = lambda: ["other@example.com"]
    assert same(message).recipients() == ["other@example.com"]


def test_any_object_with_message_and_recipients_is_one():
    arrived = same(Duck())
    assert arrived.from_email == "duck@example.com"
    assert b"cXVhY2s=" in arrived.message().as_bytes()
    assert arrived.message().as_bytes() == arrived.octets.replace(b"\r\n", b"\n")
    assert "cXVhY2s=" in str(arrived.message())
    assert arrived.message()["Subject"] == "duck"


def test_a_charset_that_is_more_than_data_is_used_in_the_caller():
    class Own(Charset):
        pass

    message = simple(body="é")
    message.encoding = Own("utf-8")
    assert isinstance(same(message), RenderedMessage)


@pytest.mark.parametrize("thing", ["text", None, StdlibMessage(), object()], ids=lambda thing: type(thing).__name__)
def test_what_is_no_message_is_a_type_error(thing):
    with pytest.raises(TypeError, match="is no mail message"):
        pack(thing, id="1", now=1.0)


# -- attributes for third-party backends


def test_anymail_attributes_arrive():
    given_ = {
        "envelope_sender": "bounces@example.com",
        "esp_extra": {"a": [1, 2.5, None, True, {"b": "c"}]},
        "merge_data": {"t@example.com": {"name": "T"}},
        "merge_global_data": {"site": "x"},
        "merge_headers": {"t@example.com": {"X": "1"}},
        "merge_metadata": {"t@example.com": {"id": 5}},
        "metadata": {"order": 7},
        "tags": ["a", "b"],
        "template_id": 12345,
        "track_clicks": False,
        "track_opens": True,
    }
    assert set(given_) == set(EXTRAS)
    message = simple()
    for name, value in given_.items():
        setattr(message, name, value)
    arrived = same(message)
    assert {name: getattr(arrived, name) for name in EXTRAS} == given_


def test_anymails_mark_for_not_given_is_not_given():
    message = simple()
    message.tags = type("UNSET", (object,), {})
    assert not hasattr(through(message), "tags")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "merge_data cannot travel"),
        ({"a": {"b": b"x"}}, r"merge_data\['a'\]\['b'\] cannot travel"),
        ([1, datetime(2026, 1, 1, tzinfo=UTC)], r"merge_data\[1\] cannot travel.*datetime"),
        ({1: "x"}, "merge_data cannot travel.*key 1"),
        (float("nan"), "merge_data cannot travel.*float of this value"),
        (2**70, "merge_data cannot travel.*int of this value"),
    ],
    ids=["object", "bytes", "datetime", "key", "nan", "huge"],
)
def test_an_attribute_that_json_does_not_have_is_named(value, named):
    message = simple()
    message.merge_data = value
    with pytest.raises(TypeError, match=named):
        pack(message, id="1", now=1.0)


def test_labels_are_the_callers_own_and_no_attribute():
    envelope, _ = pack(simple(), id="1", now=1.0, labels={"order": 7})
    assert envelope.labels == {"order": 7}
    assert not hasattr(unpack(envelope, {}), "metadata")
    with pytest.raises(TypeError, match=r"metadata\['order'\] cannot travel"):
        pack(simple(), id="1", now=1.0, labels={"order": object()})


# -- large parts


def test_parts_over_32_kb_leave_the_envelope_and_come_back():
    big = bytes(range(256)) * 200
    message = EmailMultiAlternatives("s", "ä" * INLINE_LIMIT, "f@example.com", ["t@example.com"])
    message.attach_alternative("<p>" * INLINE_LIMIT, "text/html")
    message.attach("a.bin", big, "application/octet-stream")
    message.attach("b.bin", big, "application/octet-stream")
    message.attach(MIMEApplication(big))
    envelope, blobs = pack(message, id="1", now=1.0)
    assert len(blobs) == len(envelope.blobs()) == 4  # the two equal files are one
    assert len(encode(envelope)) < 2000
    same(message)


def test_a_part_of_32_kb_stays():
    message = simple(body="x" * INLINE_LIMIT)
    assert pack(message, id="1", now=1.0)[1] == {}


def test_many_small_parts_do_not_make_a_large_envelope():
    message = simple(attachments=[(f"{number}.bin", random.randbytes(30_000), "a/b") for number in range(40)])
    envelope, blobs = pack(message, id="1", now=1.0)
    assert blobs
    assert len(encode(envelope)) < 400_000
    same(message)


def test_a_blob_that_is_lacking_is_told():
    envelope, _ = pack(simple(body="x" * 40_000), id="1", now=1.0)
    with pytest.raises(WireError, match="is lacking"):
        unpack(envelope, {})


# -- what is refused in the caller


def test_recipients_are_counted():
    message = simple(to=[f"{number}@example.com" for number in range(4)], bcc=["b@example.com"])
    with pytest.raises(TooManyRecipients, match="5 recipients") as caught:
        pack(message, id="1", now=1.0, limits=Limits(recipients=4))
    assert (caught.value.count, caught.value.limit) == (5, 4)


@pytest.mark.parametrize(
    "part",
    [
        {"body": "x" * 1000},
        {"attachments": [("a.bin", b"x" * 750, "a/b")]},
        {"attachments": [MIMEApplication(b"x" * 750)]},
    ],
    ids=["body", "base64", "mime"],
)
def test_the_size_is_that_of_the_rendered_message(part):
    message = simple(**part)
    rendered = len(render(message))
    with pytest.raises(MessageTooLarge) as caught:
        pack(message, id="1", now=1.0, limits=Limits(message_bytes=900))
    assert 0.75 * rendered < caught.value.size < 1.05 * rendered


def test_a_header_section_has_a_limit():
    with pytest.raises(InvalidMessage, match="headers of the message"):
        pack(simple(headers={"X-Long": "x" * 300_000}), id="1", now=1.0)


def test_parts_are_counted():
    """The ledger's scripts take a few thousand values at a time, and a store's are its users' to share."""
    message = simple(attachments=[(f"{number}.txt", "x", "text/plain") for number in range(1001)])
    with pytest.raises(InvalidMessage, match="1001 parts, and 1000 is the limit"):
        pack(message, id="1", now=1.0)
    message.attachments.pop()
    pack(message, id="1", now=1.0)


def test_parts_inside_of_a_part_are_counted():
    inner = MIMEMultipart()
    for number in range(6):
        inner.attach(MIMEApplication(bytes([number]) * 40_000))
    with pytest.raises(InvalidMessage, match="6 large parts, and 5 is the limit"):
        pack(simple(attachments=[inner]), id="1", now=1.0, limits=Limits(parts=5))


@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
@pytest.mark.parametrize("address", ["a@b@c", "@", "to@", "a@b <c@d>", '"a\r\nb"@c'])
def test_b22_a_bad_address_is_refused_in_the_caller_bcc_too(field, address):
    with pytest.raises(ValueError, match=r"Invalid address|newlines"):
        pack(simple(**{field: [address]}), id="1", now=1.0)


def test_a_pair_is_an_address_for_the_envelope():
    envelope, _ = pack(simple(bcc=[("Bo", "b@example.com")]), id="1", now=1.0)
    assert envelope.recipients() == ["t@example.com", "b@example.com"]


@pytest.mark.parametrize(
    "message",
    [
        simple(subject="a\nb"),
        simple(headers={"X": "a\r\nb"}),
        simple(to=["a@example.com\nBcc: b@example.com"]),
        simple(from_email="a@example.com\nX: y"),
    ],
)
def test_b03_header_injection_is_refused_in_the_caller(message):
    with pytest.raises(ValueError, match=r"newlines|Invalid address"):
        pack(message, id="1", now=1.0)


def test_a_mime_object_that_cannot_be_written_is_refused_in_the_caller():
    part = MIMEBase("application", "octet-stream")
    part.set_payload("é")
    with pytest.raises(InvalidMessage, match="application/octet-stream cannot be rendered"):
        pack(simple(attachments=[part]), id="1", now=1.0)


def test_mime_objects_nested_without_end_are_refused():
    part = MIMEText("x")
    for _ in range(60):
        outer = MIMEMultipart()
        outer.attach(part)
        part = outer
    with pytest.raises(InvalidMessage, match="nested deeper"):
        pack(simple(attachments=[part]), id="1", now=1.0)


# -- the envelope itself


def test_recipients_are_told_once_each_in_order():
    envelope = Envelope(id="1", created=1.0, to=("a@x", None, "", "b@x"), cc=("a@x",), bcc=("c@x",))
    assert envelope.recipients() == ["a@x", "b@x", "c@x"]


def test_an_envelope_knows_its_message_id():
    envelope, _ = pack(simple(headers={"message-ID": "<own@x>"}), id="1", now=1.0)
    assert envelope.message_id == "<own@x>"
    assert Envelope(id="1", created=1.0).message_id == ""


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(id="1", created=1.0, kind="rendered"),
        Envelope(id="1", created=1.0, kind="rendered", raw="text"),
        decode(b'{"v":1,"id":"1","created":1,"body":{"is":"octets","data":"AAAA"}}'),
        decode(b'{"v":1,"id":"1","created":1,"attachments":[{"content":"x","bare":true}]}'),
    ],
)
def test_an_envelope_that_pack_never_made_is_a_wire_error(envelope):
    with pytest.raises(WireError):
        unpack(envelope, {})
