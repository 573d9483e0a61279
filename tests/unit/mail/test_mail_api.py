"""The door of ``mailqueue.mail``: its names, what importing it costs, and that every behaviour has a test."""

from __future__ import annotations

import ast
import email.utils
import os
import re
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from mailqueue import errors, mail
from mailqueue.mail import message, render

NAMES = [
    "send_mail",
    "send_mass_mail",
    "mail_admins",
    "mail_managers",
    "get_connection",
    "mailers",
    "EmailMessage",
    "EmailMultiAlternatives",
    "EmailAttachment",
    "EmailAlternative",
    "SafeMIMEText",
    "SafeMIMEMultipart",
    "BadHeaderError",
    "forbid_multi_line_headers",
    "make_msgid",
    "DNS_NAME",
    "CachedDnsName",
    "InvalidMailer",
    "MailerDoesNotExist",
    "DEFAULT_MAILER_ALIAS",
    "DEFAULT_ATTACHMENT_MIME_TYPE",
]

BEHAVIOURS = range(1, 63)

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mail.__file__).parents[2])}


def test_every_behaviour_has_a_test():
    """Each number stands in the name of a test: ``test_b07_...``."""
    tested = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (number := re.match(r"test_b(\d\d)_", node.name)):
                tested.add(int(number[1]))
    assert sorted(set(BEHAVIOURS) - tested) == []
    assert sorted(tested - set(BEHAVIOURS)) == []


def test_the_public_names():
    assert sorted(mail.__all__) == sorted(NAMES)
    assert mail.__all__ == sorted(mail.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    for name in NAMES:
        assert getattr(mail, name) is not None


def test_all_names_of_django_are_there(theirs):
    assert set(theirs.mail.__all__) - set(mail.__all__) == set()
    known = [
        "MIMEMixin",
        "SafeMIMEMessage",
        "SafeMIMEText",
        "SafeMIMEMultipart",
        "EmailMessage",
        "EmailMultiAlternatives",
        "EmailAlternative",
        "EmailAttachment",
        "BadHeaderError",
        "ADDRESS_HEADERS",
        "DEFAULT_ATTACHMENT_MIME_TYPE",
        "forbid_multi_line_headers",
        "sanitize_address",
        "make_msgid",
        "DNS_NAME",
    ]
    for name in known:
        assert hasattr(theirs.message, name), name
        assert hasattr(message, name), name
    assert theirs.message.ADDRESS_HEADERS == message.ADDRESS_HEADERS


def test_they_are_what_they_are_elsewhere():
    assert mail.BadHeaderError is errors.BadHeaderError
    assert mail.InvalidMailer is errors.InvalidMailer
    assert mail.make_msgid is email.utils.make_msgid
    assert mail.DEFAULT_ATTACHMENT_MIME_TYPE == "application/octet-stream"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        mail.no_such_name  # noqa: B018


def test_smtp_connection_is_the_smtp_backend_of_django_1_2(ours):
    with pytest.warns(DeprecationWarning, match="SMTPConnection"):
        from mailqueue.mail import SMTPConnection  # noqa: PLC0415
    assert SMTPConnection is ours.backend_class("smtp")
    assert issubclass(SMTPConnection().connection_class, smtplib.SMTP)


def test_importing_it_is_light_and_needs_no_django():
    """No broker, no store, no backend; and no settings are read."""
    code = """
import sys
sys.modules["django"] = None
import mailqueue.mail
heavy = {"celery", "kombu", "redis", "rich", "click", "tenacity", "msgspec", "smtplib", "ssl"}
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy or name.startswith("mailqueue.mail.backends")))
with __import__("contextlib").suppress(AttributeError):
    mailqueue.mail.outbox
    print("there is an outbox")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout == "[]\n"


def test_everything_works_without_django(tmp_path):
    code = """
import sys
sys.modules["django"] = None
from mailqueue import conf, mail
conf.configure(EMAIL_BACKEND="mailqueue.mail.backends.locmem.EmailBackend", ADMINS=["a@example.com"])
assert mail.send_mail("Ünï", "Content", None, ["to@example.com"], html_message="<p>") == 1
mail.mail_admins("Subject", "Content")
assert [message.subject for message in mail.outbox] == ["Ünï", "[Django] Subject"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=ENVIRONMENT)


# -- what a relay receives


def test_rendering_is_the_message_with_crlf(ours):
    letter = ours.EmailMessage("Subject", "a\nb", headers={"Date": "d", "Message-ID": "<m>"})
    assert render.render(letter) == letter.message().as_bytes(linesep="\r\n")
    assert render.render(letter).endswith(b"\r\n\r\na\r\nb")


def test_messages_whose_mime_is_of_the_standard_library_are_rendered_too(ours):
    class Plain(ours.EmailMessage):
        def message(self):
            return email.message_from_string("Subject: x\n\nFrom a\nb\n")

    class Modern(ours.EmailMessage):
        def message(self):
            built = email.message.EmailMessage()
            built["To"] = "Jürgen <j@example.com>"
            built.set_content("From a\nb\n")
            return built

    assert render.render(Plain()) == b"Subject: x\r\n\r\nFrom a\r\nb\r\n"
    assert b"To: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\r\n" in render.render(Modern())
    assert render.render(Modern()).endswith(b"\r\n\r\nFrom a\r\nb\r\n")


def test_messages_that_write_themselves_are_let_to(ours):
    """Such as those that sign their bytes."""

    class Signed(ours.SafeMIMEText):
        def as_bytes(self, unixfrom=False, linesep="\n"):
            return b"Signature: x" + linesep.encode() + super().as_bytes(unixfrom, linesep)

    class Letter(ours.EmailMessage):
        def message(self):
            return Signed(self.body)

    assert render.render(Letter("s", "x")).startswith(b"Signature: x\r\nContent-Type: text/plain")
