"""Header fields: injection, replacement, folding and encoding (behaviours 1-16)."""

from __future__ import annotations

import email
import email.utils
import re
import socket
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.utils.functional import lazystr

from mailqueue.errors import BadHeaderError, MailQueueError

NEWLINES = ["\n", "\r", "\r\n"]


def make(api, **changes):
    given = {"subject": "Subject", "body": "Content", "from_email": "from@example.com", "to": ["to@example.com"]}
    return api.EmailMessage(**(given | changes))


# -- injection


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("field", ["subject", "from_email", "to", "cc", "reply_to", "headers"])
def test_b01_line_breaks_in_any_header_raise_when_the_message_is_built(api, field, newline):
    bad = f"Subject{newline}Injection Test"
    value = {"subject": bad, "from_email": bad, "headers": {"X-Header": bad}}.get(field, [bad])
    message = make(api, **{field: value})  # not here
    with pytest.raises(api.BadHeaderError, match=r"^Header values can't contain newlines "):
        message.message()


def test_b01_the_text_names_value_and_header(api):
    with pytest.raises(api.BadHeaderError) as caught:
        make(api, subject="Subject\nInjection Test").message()
    assert str(caught.value) == (
        r"Header values can't contain newlines (got 'Subject\nInjection Test' for header 'Subject')"
    )


def test_b01_lazy_strings_are_looked_into(api):
    with pytest.raises(api.BadHeaderError):
        make(api, subject=lazystr("Subject\nInjection Test")).message()
    with pytest.raises(api.BadHeaderError):
        make(api, to=[lazystr("Subject\nInjection Test")]).message()


def test_b01_it_is_a_value_error(api):
    assert issubclass(api.BadHeaderError, ValueError)


def test_b01_ours_is_of_our_tree():
    assert issubclass(BadHeaderError, MailQueueError)


def test_b01_the_function_by_itself(api):
    assert api.forbid_multi_line_headers("X", lazystr("y"), None) == ("X", "y")
    assert api.forbid_multi_line_headers("Subject", "é", "iso-8859-1") == ("Subject", "=?iso-8859-1?q?=E9?=")
    with pytest.raises(api.BadHeaderError):
        api.forbid_multi_line_headers("X", "a\nb", "utf-8")


def test_b01_the_classes_vet_what_is_set_on_them(api):
    for part in (api.SafeMIMEText("text"), api.SafeMIMEMultipart()):
        with pytest.raises(api.BadHeaderError):
            part["X"] = "a\nb"


@pytest.mark.parametrize("mimetype", ["text/plain", "application/pdf", "message/rfc822"])
def test_b01_file_names_inject_nothing(ours, mimetype):
    """Django 5.2 lets it pass for files that are neither text nor a message."""
    message = make(ours, attachments=[("a\nX-Injected: yes\n\nb.txt", b"content", mimetype)])
    with pytest.raises(ours.BadHeaderError):
        message.message()


def test_b01_neither_do_header_names_and_types(ours):
    """Django 5.2 looks at values alone."""
    with pytest.raises(ours.BadHeaderError, match=r"^Header names can't contain newlines"):
        make(ours, headers={"X-Header: a\nBcc": "b@example.com"}).message()
    with pytest.raises(ours.BadHeaderError):
        make(ours, attachments=[("a.bin", b"", "application/x\nX-Injected: yes")]).message()


@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize(
    "shape", ['"to{}other"@example.com', ("Name{}", "to@example.com"), ("Name", "to{}@example.com")]
)
def test_b02_line_breaks_in_address_parts_have_a_text_of_their_own(api, shape, newline):
    address = tuple(part.format(newline) for part in shape) if isinstance(shape, tuple) else shape.format(newline)
    with pytest.raises(ValueError, match=r"^Invalid address; address parts cannot contain newlines\.$"):
        api.message.sanitize_address(address, "utf-8")


@pytest.mark.parametrize("newline", NEWLINES)
def test_b03_locmem_raises_for_bad_headers_to_the_caller(api, newline):
    with pytest.raises(api.BadHeaderError):
        api.send_mail(f"Subject{newline}Bcc: x@example.com", "Content", "from@example.com", ["to@example.com"])
    assert api.outbox == []


# -- replacement


def test_b04_from_header_replaced_while_the_sender_stays(api):
    message = make(api, from_email="bounce@example.com", headers={"From": "from@example.com"})
    assert message.message().get_all("From") == ["from@example.com"]
    assert message.from_email == "bounce@example.com"


def test_b04_a_reused_message_changes_both(api):
    message = make(api, headers={"From": "shown@example.com"})
    message.extra_headers = {}
    message.from_email = "other@example.com"
    assert message.message()["From"] == "other@example.com"


@pytest.mark.parametrize(("field", "name"), [("to", "To"), ("cc", "Cc"), ("reply_to", "Reply-To")])
def test_b05_headers_replace_a_list_but_leave_the_attribute(api, field, name):
    message = make(api, **{field: ["one@example.com", "two@example.com"]}, headers={name: "shown@example.com"})
    assert message.message().get_all(name) == ["shown@example.com"]
    assert getattr(message, field) == ["one@example.com", "two@example.com"]
    if field != "reply_to":
        assert message.recipients()[-2:] == ["one@example.com", "two@example.com"]


@pytest.mark.parametrize("name", ["To", "Cc", "Reply-To"])
def test_b06_the_same_names_alone_set_the_header(api, name):
    message = api.EmailMessage("Subject", "Content", "from@example.com", headers={name: "shown@example.com"})
    assert message.message().get_all(name) == ["shown@example.com"]
    assert message.recipients() == []


def test_b07_bcc_never_appears_in_the_message(api):
    message = make(api, bcc=["hidden@example.com"])
    assert "Bcc" not in message.message()
    assert b"hidden" not in message.message().as_bytes()
    assert message.recipients() == ["to@example.com", "hidden@example.com"]


@pytest.mark.parametrize("name", ["Bcc", "bcc", "BCC"])
def test_b07_a_bcc_header_is_refused(ours, name):
    """Of 6.1; Django 5.2 shows it to all recipients."""
    with pytest.raises(ValueError, match='"Bcc"'):
        make(ours, headers={name: "hidden@example.com"}).message()


@pytest.mark.parametrize("nobody", [None, [], ()])
def test_b08_no_to_no_header(api, nobody):
    message = api.EmailMessage("Subject", "Content", "from@example.com", nobody, bcc=["hidden@example.com"]).message()
    assert "To" not in message
    assert "Cc" not in message
    assert "Reply-To" not in message
    assert message["Subject"] == "Subject"


@pytest.mark.parametrize("name", ["date", "Date", "DATE"])
def test_b09_a_given_date_suppresses_the_generated_one(api, name):
    message = make(api, headers={name: "Fri, 09 Nov 2001 01:08:47 -0000"}).message()
    assert message.get_all("Date") == ["Fri, 09 Nov 2001 01:08:47 -0000"]
    assert name in message.keys()  # noqa: SIM118 - in the caller's spelling


@pytest.mark.parametrize("name", ["message-id", "Message-ID", "Message-Id"])
def test_b09_so_does_a_message_id(api, name):
    message = make(api, headers={name: "foo"}).message()
    assert message.get_all("Message-ID") == ["foo"]
    assert name in message.keys()  # noqa: SIM118 - in the caller's spelling


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2001, 11, 9, 1, 8, 47, tzinfo=UTC), "Fri, 09 Nov 2001 01:08:47 +0000"),
        (datetime(2001, 11, 9, 1, 8, 47, tzinfo=timezone(timedelta(hours=-5))), "Fri, 09 Nov 2001 01:08:47 -0500"),
        (datetime(2001, 11, 9, 1, 8, 47), "Fri, 09 Nov 2001 01:08:47 -0000"),  # noqa: DTZ001
    ],
)
def test_b09_a_datetime_becomes_an_email_date(ours, moment, text):
    """Of 6.0; Django 5.2 writes ``str(datetime)``, which is no date of RFC 5322."""
    assert make(ours, headers={"Date": moment}).message()["Date"] == text


def test_b10_message_may_be_called_again_and_again(api):
    given = {"From": "shown@example.com", "Date": "now", "Message-ID": "<1@x>", "X-Other": "y"}
    message = make(api, headers=given)
    first, second = (message.message().as_bytes() for _ in range(2))
    assert first == second
    assert message.extra_headers == given


def test_b10_generated_headers_are_not_kept(api):
    message = make(api)
    assert message.message()["Message-ID"] != message.message()["Message-ID"]
    assert message.extra_headers == {}


def test_b11_message_id_ends_in_the_cached_host_name_in_ascii(api, monkeypatch):
    calls = []
    monkeypatch.setattr(socket, "getfqdn", lambda: calls.append(1) or "漢字")
    monkeypatch.delattr(api.DNS_NAME, "_fqdn", raising=False)
    try:
        for _ in range(2):
            message = make(api)
            message.encoding = "iso-8859-1"
            assert message.message()["Message-ID"].endswith("@xn--p8s937b>")
        assert str(api.DNS_NAME) == api.DNS_NAME.get_fqdn() == "xn--p8s937b"
        assert len(calls) == 1
        assert isinstance(api.DNS_NAME, api.CachedDnsName)
        assert api.DNS_NAME is api.utils.DNS_NAME
    finally:
        del api.DNS_NAME._fqdn


def test_b12_date_in_utc_has_no_zone(api):
    assert re.search(r" -0000$", make(api).message()["Date"])


def test_b12_date_in_local_time(api, monkeypatch):
    monkeypatch.setenv("TZ", "Africa/Algiers")
    time.tzset()
    try:
        with api.settings(EMAIL_USE_LOCALTIME=True):
            date = make(api).message()["Date"]
        assert date.endswith(" +0100")
        moment = email.utils.parsedate_to_datetime(date)
        assert abs(moment.timestamp() - time.time()) < 5
    finally:
        monkeypatch.undo()
        time.tzset()


# -- encoding


def test_b13_names_are_encoded_one_by_one_and_commas_in_quotes_split_nothing(api):
    message = make(api, to=['"Firstname Sürname" <to@example.com>', "other@example.com", '"Sürname, Given" <g@x.org>'])
    assert message.message()["To"] == (
        "=?utf-8?q?Firstname_S=C3=BCrname?= <to@example.com>, other@example.com, "
        "=?utf-8?b?U8O8cm5hbWUsIEdpdmVu?= <g@x.org>"
    )


def test_b13_sender_is_an_address_header(api):
    message = make(api, headers={"Sender": '"Firstname Sürname" <sender@example.com>'})
    assert message.message()["Sender"] == "=?utf-8?q?Firstname_S=C3=BCrname?= <sender@example.com>"


@pytest.mark.parametrize("name", ["Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc", "Reply-To"])
def test_b13_so_are_the_resent_ones(api, name):
    message = make(api, headers={name: "Ü <u@example.com>"})
    assert message.message()[name] == "=?utf-8?b?w5w=?= <u@example.com>"


def test_b13_free_text_is_encoded_as_text(api):
    message = make(api, headers={"Comments": "My Sürname is non-ASCII, <not@an.address>"})
    assert message.message()["Comments"] == ("=?utf-8?q?My_S=C3=BCrname_is_non-ASCII=2C_=3Cnot=40an=2Eaddress=3E?=")


def test_b13_ascii_address_headers_stay_as_they_are(api):
    given = '"A, B" <a@example.com>,c@example.com'
    assert make(api, headers={"To": given}).message()["To"] == given


def test_b14_headers_are_encoded_with_the_encoding_of_the_message(api):
    message = make(api, subject="Gżegżółka", from_email="Sürname <from@example.com>")
    message.encoding = "iso-8859-2"
    assert message.message()["Subject"] == "=?iso-8859-2?q?G=BFeg=BF=F3=B3ka?="
    assert message.message()["From"] == "=?iso-8859-2?q?S=FCrname?= <from@example.com>"


def test_b14_default_charset_is_the_setting(api):
    with api.settings(DEFAULT_CHARSET="iso-8859-1"):
        assert make(api, subject="é").message()["Subject"] == "=?iso-8859-1?q?=E9?="
        assert make(api, body="é").message().get_content_charset() == "iso-8859-1"


def test_b15_long_subjects_are_folded_with_a_space(api):
    subject = (
        "Long subject lines that get wrapped should contain a space continuation character to get expected behavior"
    )
    message = make(api, subject=subject)
    assert message.message()["Subject"] == (
        "Long subject lines that get wrapped should contain a space continuation\n character to get expected behavior"
    )
    assert email.message_from_bytes(message.message().as_bytes())["Subject"].replace("\n", "") == subject


def test_b16_lazy_strings_come_out_as_str(api):
    message = api.EmailMultiAlternatives(
        lazystr("Subject"),
        lazystr("Content"),
        lazystr("from@example.com"),
        [lazystr("to@example.com")],
        cc=[lazystr("cc@example.com")],
        reply_to=[lazystr("reply@example.com")],
        headers={"X-Lazy": lazystr("yes")},
        alternatives=[(lazystr("<p>Content"), "text/html")],
        attachments=[("a.txt", lazystr("attached"), "text/plain")],
    )
    built = message.message()
    values = [built[name] for name in ("Subject", "From", "To", "Cc", "Reply-To", "X-Lazy")]
    assert [type(value) for value in values] == [str] * 6
    assert values[:3] == ["Subject", "from@example.com", "to@example.com"]
    text, html, attached = [part for part in built.walk() if not part.is_multipart()]
    assert (text.get_payload(), html.get_payload(), attached.get_payload()) == ("Content", "<p>Content", "attached")


def test_b16_lazy_bodies_are_any_object_with_a_text(ours):
    """Django 5.2 knows its own lazy strings alone."""

    class Lazy:
        def __str__(self):
            return "later"

    message = make(ours, subject=Lazy(), body=Lazy(), to=[Lazy()])
    assert message.message()["To"] == "later"
    assert message.message().get_payload() == "later"
    assert message.recipients() == ["later"]


def test_b16_prefix_and_lazy_subject_become_text(api):
    with api.settings(ADMINS=[("Ann", lazystr("ann@example.com"))], MANAGERS=[("Bo", "bo@example.com")]):
        api.mail_managers(lazystr("Subject"), "Content")
        api.mail_admins(lazystr("Subject"), "Content")
    managers, admins = api.outbox
    assert managers.message()["Subject"] == admins.message()["Subject"] == "[Django] Subject"
    assert admins.message()["To"] == "ann@example.com"


def test_b16_bytes_are_no_body(ours):
    """Django 5.2 stumbles over them with an AttributeError."""
    with pytest.raises(TypeError, match="body must be text"):
        make(ours, body=b"Content").message()
    with pytest.raises(TypeError, match="text/html content must be text"):
        ours.EmailMultiAlternatives(body="x", alternatives=[(b"<p>", "text/html")]).message()
