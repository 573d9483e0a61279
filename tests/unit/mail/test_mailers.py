"""MAILERS and ``using=``: what 6.1 added. Django 5.2 has none of it, so these run on mailqueue alone."""

from __future__ import annotations

import io
import pickle

import pytest

from mailqueue import conf, errors

MESSAGE = ("Subject", "Content", "from@example.com", ["to@example.com"])
LOCMEM = "mailqueue.mail.backends.locmem.EmailBackend"
CONSOLE = "mailqueue.mail.backends.console.EmailBackend"
SMTP = "mailqueue.mail.backends.smtp.EmailBackend"


@pytest.fixture
def mail(ours):
    """The API with three mailers."""
    entries = {
        "default": {"BACKEND": LOCMEM},
        "console": {"BACKEND": CONSOLE, "OPTIONS": {"stream": io.StringIO()}},
        "relay": {"OPTIONS": {"host": "relay.example.com", "use_tls": True, "password": "secret"}},
    }
    with ours.settings(MAILERS=entries):
        yield ours


def test_an_alias_is_a_new_backend_each_time(mail):
    one, two = mail.mailers["console"], mail.mailers["console"]
    assert type(one) is mail.backend_class("console")
    assert one is not two
    assert one.alias == "console"
    assert one.stream is two.stream


def test_default(mail):
    assert mail.DEFAULT_MAILER_ALIAS == "default"
    assert type(mail.mailers.default) is mail.backend_class("locmem")
    assert mail.mailers.default.alias == mail.mailers[None].alias == "default"


def test_without_a_backend_it_is_smtp(mail):
    backend = mail.mailers["relay"]
    assert type(backend) is mail.backend_class("smtp")
    assert (backend.host, backend.port, backend.password) == ("relay.example.com", 587, "secret")


def test_membership_and_iteration(mail):
    assert list(mail.mailers) == ["default", "console", "relay"]
    assert "relay" in mail.mailers
    assert "other" not in mail.mailers
    assert None not in mail.mailers
    assert 7 not in mail.mailers


def test_get(mail):
    assert mail.mailers.get("console").alias == "console"
    assert mail.mailers.get().alias == "default"
    assert mail.mailers.get("other") is None
    assert mail.mailers.get("other", 7) == 7


def test_an_unknown_alias(mail):
    with pytest.raises(mail.MailerDoesNotExist) as caught:
        mail.mailers["other"]
    assert str(caught.value) == "The mailer 'other' is not configured."
    assert isinstance(caught.value, mail.InvalidMailer)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, errors.ImproperlyConfigured)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"BACKEND": "no.such.Backend"}, "Could not find BACKEND 'no.such.Backend': "),
        ({"BACKEND": f"{LOCMEM}s"}, f"Could not find BACKEND '{LOCMEM}s': "),
        ({"BACKEND": LOCMEM, "OPTIONS": {"alias": "x"}}, "'alias' is not allowed in OPTIONS"),
        ({"BACKEND": LOCMEM, "OPTIONS": {"hots": "x"}}, "Unknown options 'hots'"),
        ({"BACKEND": LOCMEM, "OPTIONS": ["x"]}, "OPTIONS must map"),
        ("nonsense", "It must be"),
        ({}, "host"),
    ],
)
def test_entries_that_cannot_be_built(ours, entry, text):
    with ours.settings(MAILERS={"bad": entry}), pytest.raises(ours.InvalidMailer) as caught:
        ours.mailers["bad"]
    assert str(caught.value).startswith("MAILERS['bad']")
    assert text in str(caught.value)


def test_a_backend_that_knows_no_alias_says_so_itself(ours, monkeypatch):
    with ours.settings(MAILERS={"old": {"BACKEND": f"{__name__}.Old"}}), pytest.raises(TypeError, match="alias"):
        ours.mailers["old"]


class Old:
    def __init__(self, fail_silently=False):
        pass


def test_email_settings_are_not_read_with_an_alias(mail, tmp_path):
    with mail.settings(EMAIL_HOST="other.example.com", EMAIL_HOST_USER="u", EMAIL_TIMEOUT=9, EMAIL_FILE_PATH=tmp_path):
        backend = mail.mailers["relay"]
    assert (backend.host, backend.username, backend.timeout) == ("relay.example.com", "", None)


@pytest.mark.parametrize(
    ("options", "port"),
    [({}, 25), ({"use_tls": True}, 587), ({"use_ssl": True}, 465), ({"port": 26, "use_ssl": True}, 26)],
)
def test_ports_follow_from_tls(ours, options, port):
    with ours.settings(MAILERS={"default": {"BACKEND": SMTP, "OPTIONS": {"host": "h"} | options}}):
        assert ours.mailers.default.port == port


# -- using=


def test_using_on_a_message(mail):
    assert mail.EmailMessage(*MESSAGE).send(using="default") == 1
    assert mail.outbox[0].sent_using == "default"
    assert mail.EmailMessage(*MESSAGE).send(using="console") == 1
    assert "Subject: Subject" in mail.mailers["console"].stream.getvalue()


def test_using_on_the_helpers(mail):
    people = [("Ann", "ann@example.com")]
    with mail.settings(ADMINS=people, MANAGERS=people):
        assert mail.send_mail(*MESSAGE, using="console") == 1
        assert mail.send_mass_mail([MESSAGE, MESSAGE], using="console") == 2
        assert mail.mail_admins("Subject", "Content", using="console") is None
        assert mail.mail_managers("Subject", "Content", using="console") is None
    assert mail.mailers["console"].stream.getvalue().count("-" * 79) == 5
    assert mail.outbox == []


def test_without_using_it_is_the_default(mail):
    mail.send_mail(*MESSAGE)
    mail.EmailMessage(*MESSAGE).send()
    assert [message.sent_using for message in mail.outbox] == ["default", "default"]


def test_sent_using_is_none_without_mailers(ours):
    ours.send_mail(*MESSAGE)
    assert ours.outbox[0].sent_using is None


def test_using_what_is_not_there(mail):
    with pytest.raises(mail.MailerDoesNotExist):
        mail.send_mail(*MESSAGE, using="other")
    with pytest.raises(mail.MailerDoesNotExist):
        mail.EmailMessage(*MESSAGE).send(using="other")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"connection": object()}, "'connection' is not compatible with 'using'"),
        ({"fail_silently": True}, "'fail_silently' is not compatible with 'using'"),
        ({"auth_user": "u"}, "'auth_user' and 'auth_password' are not compatible with 'using'"),
        ({"auth_password": "p"}, "'auth_user' and 'auth_password' are not compatible with 'using'"),
    ],
)
def test_using_excludes_what_an_alias_says_itself(mail, arguments, text):
    with pytest.raises(TypeError, match=text):
        mail.send_mail(*MESSAGE, using="default", **arguments)
    with pytest.raises(TypeError, match=text):
        mail.send_mass_mail([MESSAGE], using="default", **arguments)
    if "connection" in arguments or "fail_silently" in arguments:
        with pytest.raises(TypeError, match=text):
            mail.mail_admins("Subject", "Content", using="default", **arguments)
    if "connection" in arguments:
        with pytest.raises(TypeError, match=text):
            mail.EmailMessage(*MESSAGE, **arguments).send(using="default")
    if "fail_silently" in arguments:
        with pytest.raises(TypeError, match=text):
            mail.EmailMessage(*MESSAGE).send(using="default", **arguments)
    assert mail.outbox == []


# -- get_connection() beside MAILERS


def test_get_connection_is_the_default_with_overrides(mail):
    backend = mail.get_connection(fail_silently=True, username="ignored by locmem")
    assert (type(backend), backend.alias, backend.fail_silently) == (mail.backend_class("locmem"), "default", True)
    with mail.settings(MAILERS={"default": {"OPTIONS": {"host": "h", "username": "a", "password": "b"}}}):
        backend = mail.get_connection(username="c")
    assert (backend.host, backend.username, backend.password) == ("h", "c", "b")
    assert mail.mailers.create("console", stream="mine").stream == "mine"


def test_get_connection_by_path_stays_what_it_is(mail):
    backend = mail.get_connection(CONSOLE, fail_silently=True)
    assert (type(backend), backend.alias) == (mail.backend_class("console"), None)


def test_no_mailers_at_all_disables_sending(ours):
    with ours.settings(MAILERS={}):
        assert list(ours.mailers) == []
        with pytest.raises(ours.MailerDoesNotExist):
            ours.send_mail(*MESSAGE)
        with pytest.raises(ours.MailerDoesNotExist):
            ours.EmailMessage(*MESSAGE).send()


# -- without MAILERS


def test_unset_there_is_one_mailer_made_from_the_email_settings(ours):
    assert list(ours.mailers) == ["default"]
    assert "default" in ours.mailers
    assert "other" not in ours.mailers
    assert ours.mailers.get("other") is None
    backend = ours.mailers.default
    assert (type(backend), backend.alias) == (ours.backend_class("locmem"), None)
    with ours.settings(EMAIL_BACKEND=SMTP, EMAIL_HOST="relay.example.com", EMAIL_PORT=26):
        backend = ours.mailers["default"]
        assert (backend.host, backend.port, backend.alias) == ("relay.example.com", 26, None)
    assert ours.send_mail(*MESSAGE, using="default") == 1
    with pytest.raises(ours.MailerDoesNotExist):
        ours.mailers["other"]


def test_entries_come_from_django_and_the_environment_as_well(ours, theirs, monkeypatch):
    monkeypatch.setenv("MAILERS", f'{{"env": {{"BACKEND": "{LOCMEM}"}}}}')
    assert list(ours.mailers) == ["env"]
    with theirs.settings(MAILERS={"default": {"BACKEND": LOCMEM}}):
        assert list(ours.mailers) == ["default"]
    conf.reset()
