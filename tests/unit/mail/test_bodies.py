"""Bodies, alternatives and attachments (behaviours 28-40)."""

from __future__ import annotations

import email
import email.charset
import email.message
import mimetypes
import pickle
from email import policy
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from pathlib import Path

import pytest


def make(api, body="Content", **changes):
    given = {"subject": "Subject", "body": body, "from_email": "from@example.com", "to": ["to@example.com"]}
    return api.EmailMultiAlternatives(**(given | changes))


def parts_of(message):
    return [part for part in message.message().walk() if not part.is_multipart()]


def types_of(message):
    return [part.get_content_type() for part in message.message().walk()]


# -- encoding of text


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("Plain ASCII", "7bit"),
        ("", "7bit"),
        ("Чтобы", "8bit"),
        ("a" * 998, "7bit"),
        ("a" * 999, "quoted-printable"),
        ("ä" * 499, "8bit"),  # 998 octets
        ("ä" * 500, "quoted-printable"),  # 500 characters, 1,000 octets
        ("a\n" * 999, "7bit"),
        ("short\n" + "ф" * 500 + "\nshort", "quoted-printable"),
    ],
)
def test_b28_utf8_is_never_base64(api, body, encoding):
    built = make(api, body).message()
    assert built["Content-Transfer-Encoding"] == encoding
    assert built["Content-Type"] == 'text/plain; charset="utf-8"'
    assert built.get_payload(decode=True).decode() == body


def test_b28_eight_bit_goes_out_as_it_is(api):
    assert "Чтобы".encode() in make(api, "Чтобы").message().as_bytes()


def test_b28_alternatives_and_text_attachments_too(api):
    message = make(api, alternatives=[("<p>é", "text/html")], attachments=[("é.txt", "é" * 500, "text/plain")])
    encodings = [part["Content-Transfer-Encoding"] for part in parts_of(message)]
    assert encodings == ["7bit", "8bit", "quoted-printable"]


def test_b28_a_charset_object_is_taken_at_its_word(api):
    charset = email.charset.Charset("utf-8")
    charset.body_encoding = email.charset.QP
    message = make(api, "é")
    message.encoding = charset
    assert message.message()["Content-Transfer-Encoding"] == "quoted-printable"
    assert message.message()["Content-Type"] == 'text/plain; charset="utf-8"'


def test_b29_the_registry_of_the_standard_library_is_left_alone(api):
    make(api, "é").message().as_bytes()
    assert MIMEText("é", "plain", "utf-8")["Content-Transfer-Encoding"] == "base64"
    assert email.charset.CHARSETS["utf-8"] == (email.charset.SHORTEST, email.charset.BASE64, "utf-8")


def test_b30_body_none_is_empty(api):
    message = make(api, None)
    assert message.body == ""
    assert message.message().get_payload() == ""


def test_b30_even_when_it_is_set_later(ours):
    """Django 5.2 stumbles over it with an AttributeError."""
    message = make(ours)
    message.body = None
    assert message.message().get_payload() == ""
    assert not message.body_contains("x")


@pytest.mark.parametrize("body", ["From the future", "Hello\nFrom the future\n", "From a\nFrom b", "fé\nFrom a"])
def test_b30_from_at_the_start_of_a_line_is_not_mangled(api, body):
    built = make(api, body).message()
    assert b">From" not in built.as_bytes()
    assert ">From" not in built.as_string()
    assert built.as_bytes().endswith(body.encode())


def test_b30_nor_in_multiparts_and_attached_messages(api):
    inner = email.message_from_string("Subject: x\n\nFrom me")
    message = make(
        api, "From a", alternatives=[("From b", "text/html")], attachments=[("m.eml", inner, "message/rfc822")]
    )
    assert b">From" not in message.message().as_bytes(linesep="\r\n")
    assert message.message().as_bytes().count(b"\nFrom ") == 3


def test_b30_encoding_is_used_for_body_and_alternatives(api):
    message = make(api, "Firstname Sürname is a great guy.", alternatives=[("<p>Sürname</p>", "text/html")])
    message.encoding = "iso-8859-1"
    text, html = parts_of(message)
    assert text.as_bytes() == (
        b'Content-Type: text/plain; charset="iso-8859-1"\nMIME-Version: 1.0\n'
        b"Content-Transfer-Encoding: quoted-printable\n\nFirstname S=FCrname is a great guy."
    )
    assert html["Content-Type"] == 'text/html; charset="iso-8859-1"'
    assert html.get_payload(decode=True) == "<p>Sürname</p>".encode("iso-8859-1")


def test_b30_text_that_the_encoding_does_not_have(api):
    message = make(api, "€")
    message.encoding = "iso-8859-1"
    with pytest.raises(UnicodeEncodeError):
        message.message()
    message.encoding = "no-such-charset"
    with pytest.raises(LookupError):
        message.message()


def test_b30_unixfrom_and_string(api):
    built = make(api, "é", headers={"Date": "d", "Message-ID": "m"}).message()
    assert built.as_string(unixfrom=True).startswith("From nobody ")
    assert built.as_bytes(unixfrom=True).startswith(b"From nobody ")
    assert str(built).endswith("é") or "base64" in str(built)
    assert built.as_string(linesep="\r\n").count("\r\n") == built.as_string().count("\n")


# -- structure


@pytest.mark.parametrize(
    ("body", "html", "files", "types"),
    [
        ("", False, False, ["text/plain"]),
        ("x", False, False, ["text/plain"]),
        ("", True, False, ["multipart/alternative", "text/html"]),
        ("x", True, False, ["multipart/alternative", "text/plain", "text/html"]),
        ("", False, True, ["multipart/mixed", "image/png"]),
        ("x", False, True, ["multipart/mixed", "text/plain", "image/png"]),
        ("", True, True, ["multipart/mixed", "multipart/alternative", "text/html", "image/png"]),
        ("x", True, True, ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "image/png"]),
    ],
)
def test_b31_structure(api, body, html, files, types):
    message = make(
        api,
        body,
        alternatives=[("<p>", "text/html")] if html else None,
        attachments=[("a.png", b"png", "image/png")] if files else None,
    )
    assert types_of(message) == types


def test_b31_subtypes_can_be_chosen(api):
    message = make(api, alternatives=[("<p>", "text/html")], attachments=[("a.png", b"png", "image/png")])
    message.content_subtype, message.mixed_subtype, message.alternative_subtype = "markdown", "related", "report"
    assert types_of(message)[:3] == ["multipart/related", "multipart/report", "text/markdown"]


def test_b31_alternatives_of_any_type(api):
    message = make(api, "x", alternatives=[("{}", "application/json"), (b"\0", "image/png"), ("<p>", "text/html")])
    assert types_of(message)[1:] == ["text/plain", "application/json", "image/png", "text/html"]
    assert [part["Content-Transfer-Encoding"] for part in parts_of(message)] == ["7bit", "base64", "base64", "7bit"]


# -- attachments


@pytest.mark.parametrize("mimetype", ["text/plain", "text/csv", None])
def test_b32_text_given_as_bytes_is_decoded(api, mimetype):
    message = make(api)
    message.attach("a.txt", "é".encode(), mimetype)
    assert message.attachments == [("a.txt", "é", mimetype or "text/plain")]
    assert parts_of(message)[1].get_payload(decode=True) == "é".encode()
    assert parts_of(message)[1]["Content-Transfer-Encoding"] == "8bit"


def test_b32_what_is_no_utf8_is_kept_as_octets(api):
    message = make(api)
    message.attach("a.txt", b"\xff", "text/plain")
    message.attach("b.txt", b"\xff")
    assert message.attachments == [
        ("a.txt", b"\xff", "application/octet-stream"),
        ("b.txt", b"\xff", "application/octet-stream"),
    ]
    assert parts_of(message)[1].get_payload(decode=True) == b"\xff"


def test_b32_for_tuples_set_on_the_message_as_well(ours):
    """Of 6.0; Django 5.2 stumbles over them."""
    message = make(ours)
    message.attachments = [
        ("a.txt", "é".encode(), "text/plain"),
        ("b.txt", b"\xff", "text/plain"),
        ("c.png", b"c", None),
    ]
    message.attachments.append(("d.html", b"<p>"))
    assert types_of(message)[2:] == ["text/plain", "application/octet-stream", "image/png", "text/html"]


@pytest.mark.parametrize(
    ("name", "mimetype"),
    [
        ("image.png", "image/png"),
        ("report.pdf", "application/pdf"),
        ("data.json", "application/json"),
        ("page.html", "text/html"),
        ("archive.tar.gz", "application/x-tar"),
        ("thing.no-such-type", "application/octet-stream"),
        ("noextension", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("given", [None, ""])
def test_b33_a_missing_type_is_guessed_from_the_name(api, name, mimetype, given):
    message = make(api)
    message.attach(name, b"content", given)
    assert message.attachments[0].mimetype == mimetype
    assert mimetypes.guess_type(name)[0] in {mimetype, None}


def test_b33_without_any_name_it_is_octets(ours):
    """As the documents say; Django 5.2 raises TypeError."""
    message = make(ours)
    message.attach(content=b"\0")
    assert message.attachments == [(None, b"\0", "application/octet-stream")]
    assert parts_of(message)[1]["Content-Disposition"] is None


def test_b33_a_type_without_a_slash_is_none(api):
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ
        make(api).attach("a", b"", "nonsense")


@pytest.mark.parametrize("address", ["to@", "to@ ", "@"])
def test_b33_half_an_address_is_a_value_error_on_every_python(api, address):
    """Python 3.12.1 has the parser raise IndexError for it."""
    with pytest.raises(ValueError, match=r"^Invalid address"):
        api.message.sanitize_address(address, "utf-8")


@pytest.mark.parametrize(
    ("name", "mimetype"), [("a.png", "image/png"), ("b.txt", "text/plain"), ("c.unknown", "application/octet-stream")]
)
def test_b33_files_are_attached_under_their_names(api, tmp_path, name, mimetype):
    path = tmp_path / name
    path.write_bytes(b"content")
    message = make(api)
    message.attach_file(path)
    message.attach_file(str(path), "application/x-own")
    message.attach_file(path, mimetype="text/x-own")
    content = "content" if mimetype == "text/plain" else b"content"
    assert message.attachments == [
        (name, content, mimetype),
        (name, b"content", "application/x-own"),
        (name, "content", "text/x-own"),
    ]


def test_b33_a_file_that_is_not_there(api):
    with pytest.raises(FileNotFoundError):
        make(api).attach_file(Path("no") / "such.file")


# -- message/rfc822


def contents(api):
    classic = email.message_from_string("Subject: inner\nTo: x@example.com\n\nText")
    modern = email.message.EmailMessage()
    modern["Subject"] = "inner"
    modern.set_content("Text\n")
    return {
        "ours": make(api, "Text", subject="inner"),
        "classic": classic,
        "modern": modern,
        "str": classic.as_string(),
        "bytes": classic.as_bytes(),
    }


@pytest.mark.parametrize("kind", ["ours", "classic", "modern", "str", "bytes"])
def test_b34_messages_of_all_kinds_are_attached_as_messages(api, kind):
    message = make(api)
    message.attach("inner.eml", contents(api)[kind], "message/rfc822")
    raw = message.message().as_bytes()
    part = email.message_from_bytes(raw).get_payload(1)
    assert part.get_content_type() == "message/rfc822"
    assert part.get("Content-Transfer-Encoding", "7bit") == "7bit"
    assert part.get_filename() == "inner.eml"
    assert part.get_payload(0)["Subject"] == "inner"
    assert part.get_payload(0).get_payload().startswith("Text")
    assert b"base64" not in raw


def test_b34_messages_of_django_and_what_looks_like_one(ours, theirs):
    message = make(ours)
    message.attach("a.eml", make(theirs, subject="inner"), "message/rfc822")
    part = email.message_from_bytes(message.message().as_bytes()).get_payload(1)
    assert part.get_payload(0)["Subject"] == "inner"


def test_b34_an_eight_bit_message_survives(api):
    raw = b'Subject: inner\nContent-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n\n'
    raw += "Füü\n".encode()
    message = make(api)
    message.attach("inner.eml", raw, "message/rfc822")
    message.attach("same.eml", email.message_from_bytes(raw), "message/rfc822")
    sent = message.message().as_bytes()
    assert sent.count("Füü\n".encode()) == 2
    assert b"base64" not in sent
    part = email.message_from_bytes(sent).get_payload(2).get_payload(0)
    assert part.get_payload(decode=True).decode() == "Füü\n"


def test_b34_names_in_modern_messages_stay_readable(ours):
    """Django 5.2 encodes the whole header as one word, in which no reader finds the address or the file name."""
    modern = email.message.EmailMessage()
    modern["To"] = "Jürgen <j@example.com>"
    modern.set_content("x")
    modern.add_attachment(b"x", maintype="application", subtype="pdf", filename="Prüfung.pdf")
    message = make(ours, attachments=[("inner.eml", modern, "message/rfc822")])
    for raw in (message.message().as_bytes(), message.message().as_string().encode()):
        inner = email.message_from_bytes(raw, policy=policy.default).get_payload(1).get_payload(0)
        assert inner["To"].addresses[0].addr_spec == "j@example.com"
        assert inner["To"].addresses[0].display_name == "Jürgen"
        assert next(inner.iter_attachments()).get_filename() == "Prüfung.pdf"


# -- MIME parts


def test_b35_a_mime_part_keeps_its_headers_and_its_identity(api):
    image = MIMEImage(b"png", "png")
    image["Content-ID"] = "<logo>"
    image["Content-Disposition"] = "inline"
    message = make(api, attachments=[image])
    message.attach(image)
    assert message.attachments == [image, image]
    built = message.message()
    assert built.get_payload(1) is image
    assert built.get_payload(2) is image
    assert built.as_bytes().count(b"Content-ID: <logo>\nContent-Disposition: inline\n") == 2


@pytest.mark.parametrize("extra", [{"content": b"x"}, {"mimetype": "text/plain"}, {"content": b"", "mimetype": ""}])
def test_b35_content_or_type_beside_a_part_is_an_error(api, extra):
    text = r"^content and mimetype must not be given when a MIMEBase instance is provided\.$"
    with pytest.raises(ValueError, match=text):
        make(api).attach(MIMEBase("text", "plain"), **extra)


@pytest.mark.parametrize("arguments", [("a.txt",), ("a.txt", None, "text/plain"), ()])
def test_b35_no_content_is_an_error(api, arguments):
    with pytest.raises(ValueError, match=r"^content must be provided\.$"):
        make(api).attach(*arguments)
    with pytest.raises(ValueError, match=r"^content must be provided\.$"):
        make(api, attachments=[arguments])


def modern_part():
    part = email.message.MIMEPart()
    part.set_content(b"png", maintype="image", subtype="png", cid="<logo>", disposition="inline", filename="Lögo.png")
    return part


def test_b35_modern_parts_are_taken_as_well(ours):
    """Of 6.0; Django 5.2 takes MIMEBase alone."""
    part = modern_part()
    message = make(ours, attachments=[part])
    message.attach(part)
    message.attachments.append(part)
    built = message.message()
    assert all(found is part for found in built.get_payload()[1:])
    for raw in (built.as_bytes(), built.as_bytes(linesep="\r\n"), built.as_string().encode()):
        parsed = email.message_from_bytes(raw, policy=policy.default)
        assert [p.get_filename() for p in parsed.iter_attachments()] == ["Lögo.png"] * 3
        assert [p["Content-ID"] for p in parsed.iter_attachments()] == ["<logo>"] * 3
    with pytest.raises(ValueError, match="when a MIMEPart instance"):
        message.attach(part, b"x")


def test_b35_a_whole_message_is_no_part(ours):
    """Django 5.2 takes its headers for the arguments of attach()."""
    with pytest.raises(TypeError, match="message/rfc822"):
        make(ours).attach(email.message_from_string("Subject: x\n\n"))


@pytest.mark.parametrize("mimetype", ["text/plain", "application/pdf", "message/rfc822"])
def test_b36_file_names_beyond_ascii(api, mimetype):
    message = make(api)
    message.attach("une pièce jointe.pdf", b"Subject: x\n\ny", mimetype)
    raw = message.message().as_bytes()
    assert b"Content-Disposition: attachment;\n filename*=utf-8''une%20pi%C3%A8ce%20jointe.pdf\n" in raw
    assert email.message_from_bytes(raw).get_payload(1).get_filename() == "une pièce jointe.pdf"


def test_b36_ascii_names_are_quoted(api):
    message = make(api, attachments=[('a "b" c.pdf', b"x")])
    assert rb'Content-Disposition: attachment; filename="a \"b\" c.pdf"' in message.message().as_bytes()


@pytest.mark.parametrize("name", [None, ""])
def test_b36_without_a_name_there_is_no_disposition(api, name):
    message = make(api, attachments=[(name, b"x", "application/pdf")])
    assert "Content-Disposition" not in parts_of(message)[1]


def test_b36_two_files_of_one_name(api):
    message = make(api, attachments=[("a.pdf", b"one"), ("a.pdf", b"two")])
    assert [part.get_payload(decode=True) for part in parts_of(message)[1:]] == [b"one", b"two"]


def test_b37_attachments_and_alternatives_are_named_tuples(api):
    message = make(
        api,
        attachments=[("a.txt", "x"), ("b.pdf", b"y", "application/x-own"), api.EmailAttachment("c.txt", "z", None)],
        alternatives=[("<p>", "text/html"), api.EmailAlternative("{}", "application/json")],
    )
    assert [type(item).__name__ for item in message.attachments + message.alternatives] == (
        ["EmailAttachment"] * 3 + ["EmailAlternative"] * 2
    )
    assert message.attachments[0]._asdict() == {"filename": "a.txt", "content": "x", "mimetype": "text/plain"}
    assert message.attachments[1].content == b"y"
    assert message.attachments[2].mimetype == "text/plain"
    assert message.alternatives[0]._asdict() == {"content": "<p>", "mimetype": "text/html"}
    assert repr(message.alternatives[0]) == "EmailAlternative(content='<p>', mimetype='text/html')"
    name, content, mimetype = api.EmailAttachment("a", "b", "c")
    assert (name, content, mimetype) == ("a", "b", "c")
    message.attach_alternative("x", "text/x")
    assert message.alternatives[2].mimetype == "text/x"


def test_b37_alternatives_may_be_plain_pairs_later_on(ours):
    """As ``body_contains()`` has it; ``message()`` of Django 5.2 wants the named tuples."""
    message = make(ours)
    message.alternatives = [("<p>", "text/html")]
    assert types_of(message) == ["multipart/alternative", "text/plain", "text/html"]


@pytest.mark.parametrize(("content", "mimetype"), [(None, "text/html"), ("<p>", None), (None, None)])
def test_b38_both_content_and_mimetype_must_be_given(api, content, mimetype):
    message = make(api)
    with pytest.raises(ValueError, match=r"^Both content and mimetype must be provided\.$"):
        message.attach_alternative(content, mimetype)
    assert message.alternatives == []


def test_b39_body_contains_looks_at_every_text(api):
    message = make(api, "I am content.")
    assert message.body_contains("I am content") is True
    message.attach_alternative("<p>I am content.</p>", "text/html")
    assert message.body_contains("I am content") is True
    assert message.body_contains("<p>I am content.</p>") is False
    message.attach_alternative(b"\xff", "image/png")
    assert message.body_contains("I am content") is True
    message.attach_alternative("other", "text/x-other")
    assert message.body_contains("I am content") is False
    assert message.body_contains("") is True


def test_b40_messages_pickle(api):
    image = MIMEImage(b"png", "png")
    message = make(
        api,
        headers={"Date": "d", "Message-ID": "<m>"},
        alternatives=[("<p>", "text/html")],
        attachments=[("a.txt", "x"), image],
        cc=["cc@example.com"],
    )
    copy = pickle.loads(pickle.dumps(message))
    assert copy.alternatives == message.alternatives
    assert copy.attachments[0] == message.attachments[0]
    assert copy.attachments[1].as_bytes() == image.as_bytes()
    assert vars(copy).keys() == vars(message).keys()
    assert [part.get_content_type() for part in copy.message().walk()] == types_of(message)
    assert pickle.loads(pickle.dumps(message.message()))["Subject"] == "Subject"
