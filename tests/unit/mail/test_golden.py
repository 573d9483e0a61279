"""The bytes of a message are the same on every Python: each is compared with a file in ``golden/``.

``python tests/unit/mail/test_golden.py`` writes the files anew.
"""

from __future__ import annotations

import email
import email.message
import random
from email.mime.image import MIMEImage
from pathlib import Path

import pytest

from mailqueue.mail import EmailMessage, EmailMultiAlternatives
from mailqueue.mail.render import render

GOLDEN = Path(__file__).parent / "golden"
LONG = "Long lines, " * 90
GREETING = "Grüße aus Köln, 漢字 and Жук. "


def make(subject="Subject", body="Content\n", **changes):
    headers = {"Date": "Fri, 09 Nov 2001 01:08:47 -0000", "Message-ID": "<golden@example.com>"}
    given = {"from_email": "from@example.com", "to": ["to@example.com"]} | changes
    given["headers"] = {**headers, **changes.get("headers", {})}
    return EmailMultiAlternatives(subject, body, **given)


def encoded(encoding, *arguments, **changes):
    message = make(*arguments, **changes)
    message.encoding = encoding
    return message


def modern():
    made = email.message.EmailMessage()
    made["Subject"] = GREETING
    made["To"] = "Jürgen Müller <j@example.com>, other@example.com"
    made.set_content("Füü\n")
    made.add_attachment(b"pdf", maintype="application", subtype="pdf", filename="Prüfung.pdf")
    return made


def inline_part():
    part = email.message.MIMEPart()
    part.set_content(
        b"png" * 60, maintype="image", subtype="png", cid="<logo>", disposition="inline", filename="Lögo.png"
    )
    return part


def inline_image():
    image = MIMEImage(b"png", "png")
    image["Content-ID"] = "<logo>"
    return image


def messages():
    people = ['"Sürname, Given" <given@éxample.com>', "plain@example.com", "Ann <ann@пример.рф>"] * 3
    raw = 'Subject: inner\nContent-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n\nFüü\n'.encode()
    yield "plain", make()
    yield "empty", make("", "", to=[])
    yield "unicode", make(GREETING * 4, GREETING + "\nFrom me\n.\n")
    yield "long-subject", make("word " * 40)
    yield "long-lines", make(body=LONG + GREETING)
    yield "long-lines-ascii", make(body=LONG)
    yield "line-breaks", make(body="a\nb\r\nc\rd\x0be\u2028f\n")
    yield "addresses", make(to=people, cc=people[:1], reply_to=people[1:2], from_email="Märk <mark@example.com>")
    yield "headers", make(headers={"Comments": GREETING, "Sender": people[0], "X-Long": "x " * 200, "X-Latin": "é"})
    yield "latin-1", encoded("iso-8859-1", "Grüße", "Füü = é\n", alternatives=[("<p>Füü", "text/html")])
    yield "koi8-r", encoded("koi8-r", "Жук", "Жук и жаба\n", from_email="Жук <zhuk@example.com>")
    yield "iso-2022-jp", encoded("iso-2022-jp", "漢字", "漢字\n")
    yield "alternatives", make(body=GREETING, alternatives=[("<p>" + LONG, "text/html"), ("{}", "application/json")])
    yield (
        "attachments",
        make(
            attachments=[
                ("a.txt", GREETING, "text/plain"),
                ("übersicht.pdf", bytes(range(256)), "application/pdf"),
                ("a name that is so long that its header has to be folded somewhere.pdf", b"x", "application/pdf"),
                (None, b"x", "application/octet-stream"),
                ("inner.eml", raw, "message/rfc822"),
                ("ours.eml", make("Inner"), "message/rfc822"),
                inline_image(),
            ]
        ),
    )
    yield "modern-parts", make(attachments=[inline_part(), ("modern.eml", modern(), "message/rfc822")])
    yield (
        "everything",
        make(
            GREETING, alternatives=[("<p>", "text/html")], attachments=[("a.png", b"png", "image/png")], cc=people[:1]
        ),
    )


CASES = dict(messages())


def written(name):
    random.seed(0)  # for the boundaries
    return render(CASES[name]).replace(b"\r\n", b"\n")


@pytest.mark.parametrize("name", CASES)
def test_the_bytes_are_the_same_on_every_python(name):
    state = random.getstate()
    try:
        assert written(name) == (GOLDEN / f"{name}.eml").read_bytes()
    finally:
        random.setstate(state)


def test_no_golden_file_is_left_over():
    assert {path.stem for path in GOLDEN.iterdir()} == CASES.keys()


def test_all_are_messages():
    assert all(isinstance(message, EmailMessage) for message in CASES.values())


if __name__ == "__main__":
    for case in CASES:
        (GOLDEN / f"{case}.eml").write_bytes(written(case))
