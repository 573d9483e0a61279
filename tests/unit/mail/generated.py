"""What generated messages are made of: all that the tests of bytes draw from."""

from __future__ import annotations

import email
import email.message
from email.charset import QP, Charset
from email.mime.application import MIMEApplication
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from hypothesis import strategies as st


def charset(name, body_encoding):
    made = Charset(name)
    made.body_encoding = body_encoding
    return made


LINE_BREAKS = ["\n", "\r\n", "\r", "\n\n", "\x0b", "\x0c", "\x85", "\u2028"]
LETTERS = "abcXYZ 019.,;:<>@\"'()[]\\=?_-+*%&#~|!éßøЖ漢字😀\u0301\xa0\u200b"
ENCODINGS = [None, "utf-8", "UTF-8", "utf8", "iso-8859-1", "iso-8859-2", "koi8-r", "us-ascii", "iso-2022-jp"]

words = st.text(LETTERS, max_size=25)
segments = st.one_of(
    words,
    st.sampled_from(
        ["", ".", "..", "From me", " From me", "--", "a" * 998, "a" * 999, "ä" * 499, "ä" * 500, "=20 ", "\t"]
    ),
    st.text(max_size=20),
)


@st.composite
def texts(draw):
    """Bodies: lines of all lengths and kinds, with all sorts of line breaks, repeated ones as well."""
    lines = draw(st.lists(st.tuples(segments, st.sampled_from(LINE_BREAKS)), max_size=6))
    return "".join(line + line_break for line, line_break in lines) + draw(segments)


one_line = st.one_of(
    words,
    st.text(LETTERS, min_size=60, max_size=200),
    st.sampled_from(
        ["", "Subject", "word " * 40, "w" * 300, "Grüße aus Köln " * 12, "=?utf-8?q?already?=", "tab\there"]
    ),
)
names = st.sampled_from(
    [
        "Ann",
        "Ann Other",
        "Jürgen",
        "Łukasz Żółć",
        "漢字",
        "O'Neil",
        "Dr. X",
        "a" * 90,
        "ö" * 60,
        "E, F",
        'Q "R" S',
        "(c)",
    ]
)
local_parts = st.sampled_from(["to", "first.last", "x+tag", "ö", '"with space"', '"at@sign"', "UPPER", "a_b-c"])
domains = st.sampled_from(
    [
        "example.com",
        "éxample.com",
        "xn--strae-oqa.de",
        "пример.рф",
        "localhost",
        "sub.sub.example.org",
        "l" * 63 + ".de",
    ]
)
oddities = st.sampled_from(["tester", "Ünï", "", "@", "to@", "a@b@c", "a@b.c, d@é.f", "to@bücher..de", "Ü: <a@b.c>;"])


@st.composite
def addresses(draw):
    spec = f"{draw(local_parts)}@{draw(domains)}"
    name = draw(names)
    shape = draw(st.sampled_from([*["bare", "named", "quoted", "angles"] * 10, "odd"]))
    quoted = name.replace('"', r"\"")
    return {
        "bare": spec,
        "named": f"{name} <{spec}>",
        "quoted": f'"{quoted}" <{spec}>',
        "angles": f"<{spec}>",
        "odd": draw(oddities),
    }[shape]


lists = st.lists(addresses(), max_size=3)
# Address headers hold addresses: what lists of other text come to differs from Python to Python in Django.
headers = st.tuples(
    st.dictionaries(
        st.sampled_from(["Sender", "Reply-To", "reply-to", "To", "to", "Cc", "From", "from", "Resent-To"]),
        st.one_of(addresses(), lists.map(", ".join)),
        max_size=3,
    ),
    st.dictionaries(
        st.sampled_from(["X-One", "Comments", "Subject", "List-Unsubscribe", "References", "X-" + "long" * 10]),
        st.one_of(one_line, addresses(), st.sampled_from([7, None, *["plain"] * 20, "a\nb"])),
        max_size=3,
    ),
).map(lambda pair: {**pair[0], **pair[1]})
pinned = st.fixed_dictionaries(
    {
        "date": st.sampled_from(["Date", "date"]),
        "id": st.sampled_from(["Message-ID", "message-id"]),
    }
).map(lambda case: {case["date"]: "Fri, 09 Nov 2001 01:08:47 -0000", case["id"]: "<pinned@example.com>"})

mimetypes = st.sampled_from(
    ["text/plain", "text/html", "text/calendar", "application/pdf", "image/png", "message/delivery-status", "audio/x-a"]
)
filenames = st.one_of(
    st.sampled_from([None, "", "a.txt", "b.pdf", "no-extension", "über.png", "漢字.html", 'qu"ote.bin', "sp ace.csv"]),
    st.text(LETTERS, max_size=90),
)
octets = st.one_of(st.binary(max_size=200), texts().map(lambda text: text.encode("utf-8", "replace")))


def classic(subject, body):
    made = MIMEText(body, "plain", "utf-8")
    made["Subject"] = subject
    return made


def modern(subject, body):
    made = email.message.EmailMessage()
    made["Subject"] = subject
    made.set_content(body + "\n")
    return made


def nested(subject, body):
    outer = MIMEMultipart("related", _subparts=[MIMEText(body, "html", "iso-8859-1"), image(subject, body)])
    outer["Content-ID"] = "<nested>"
    outer.preamble, outer.epilogue = "From the preamble\n", "the end\n"
    return outer


def image(_, body):
    made = MIMEImage(body.encode(), "png")
    made.add_header("Content-Disposition", "inline", filename=("utf-8", "", "lögo.png"))
    made["Content-ID"] = "<logo>"
    return made


def raw_8bit(subject, body):
    return f"Subject: {subject}\nContent-Transfer-Encoding: 8bit\n\n{body}".encode()


PARTS = [classic, nested, image, lambda _, body: MIMEApplication(body.encode(), "zip")]
MESSAGES = [
    classic,
    modern,
    raw_8bit,
    lambda subject, body: email.message_from_bytes(raw_8bit(subject, body)),
    lambda subject, body: raw_8bit(subject, body).decode(),
    None,  # a message of the very class that is tested
]
simple_words = st.text("abc éß漢 .,", max_size=30)

attachments = st.lists(
    st.one_of(
        st.tuples(st.just("file"), filenames, st.one_of(octets, texts()), st.one_of(st.none(), mimetypes)).filter(
            lambda facts: facts[1] is not None or facts[3] is not None
        ),
        st.tuples(st.just("message"), filenames, st.sampled_from(MESSAGES), simple_words, simple_words),
        st.tuples(st.just("part"), st.sampled_from(PARTS), simple_words, simple_words),
    ),
    max_size=3,
)
alternatives = st.lists(
    st.one_of(
        st.tuples(texts(), st.sampled_from(["text/html", "text/plain", "text/x-amp-html", "application/json"])),
        st.tuples(octets, st.sampled_from(["application/octet-stream", "image/png"])),
    ),
    max_size=2,
)
messages = st.fixed_dictionaries(
    {
        "subject": one_line,
        "body": st.one_of(texts(), st.none()),
        "from_email": st.one_of(addresses(), st.none()),
        "to": lists,
        "cc": lists,
        "bcc": lists,
        "reply_to": lists,
        "headers": st.tuples(headers, pinned).map(lambda pair: {**pair[0], **pair[1]}),
        "attachments": attachments,
        "alternatives": alternatives,
    }
)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "encoding": st.one_of(
            st.sampled_from([*[None, "utf-8", "UTF-8"] * 6, *ENCODINGS]),
            st.sampled_from([charset("utf-8", QP), charset("iso-8859-15", None)]),
        ),
        "content_subtype": st.sampled_from(["html", "plain", "markdown"]),
        "mixed_subtype": st.sampled_from(["related", "report"]),
        "alternative_subtype": st.sampled_from(["related"]),
    },
)


def attachment_for(module, kind, *facts):
    if kind == "file":
        return facts
    if kind == "part":
        make, *words = facts
        return make(*words)
    filename, make, subject, body = facts
    inner = (
        make(subject, body)
        if make
        else module.EmailMessage(subject, body, None, [], headers={"Date": "d", "Message-ID": "i"})
    )
    return (filename, inner, "message/rfc822")


def built(cls, module, what, changes):
    """The message of ``cls`` that ``messages`` and ``attributes`` have drawn."""
    message = cls(**{**what, "attachments": [attachment_for(module, *facts) for facts in what["attachments"]]})
    for name, value in changes.items():
        setattr(message, name, value)
    return message
