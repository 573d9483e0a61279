from __future__ import annotations

import sys
import types

import pytest

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured, InvalidMailer, InvalidMessage, MailerDoesNotExist
from mailqueue.mail.backends.queue import EmailBackend
from mailqueue.route import Route, route_to, route_using

QUEUE = conf.QUEUE_BACKEND
SMTP = conf.SMTP_BACKEND


@pytest.fixture
def mailers():
    conf.configure(
        MAILERS={
            "default": {"BACKEND": QUEUE, "OPTIONS": {"deliver_with": "smtp", "lane": "urgent"}},
            "plain": {"BACKEND": QUEUE},
            "news": {"BACKEND": QUEUE, "OPTIONS": {"lane": "bulk"}},
            "smtp": {"BACKEND": SMTP, "OPTIONS": {"host": "mail.example.com"}},
            "api": {"BACKEND": "not_installed_here.backends.EmailBackend"},
            "bare": {},
            "circle": {"BACKEND": QUEUE, "OPTIONS": {"deliver_with": "plain"}},
            "nowhere": {"BACKEND": QUEUE, "OPTIONS": {"deliver_with": "absent"}},
        }
    )


def test_without_mailers_the_default_backend_delivers():
    assert route_using(None) == Route("default", "", "resend")


@pytest.mark.parametrize(
    ("using", "route"),
    [
        (None, Route("urgent", "smtp", "resend")),
        ("default", Route("urgent", "smtp", "resend")),
        ("plain", Route("default", "", "resend")),
        ("news", Route("bulk", "", "hold")),
        ("smtp", Route("default", "smtp", "resend")),
        ("api", Route("default", "api", "resend")),
        ("bare", Route("default", "bare", "resend")),
    ],
)
@pytest.mark.usefixtures("mailers")
def test_an_alias_enqueues_for_the_one_that_it_names_or_delivers_itself(using, route):
    assert route_using(using) == route


@pytest.mark.usefixtures("mailers")
def test_an_explicit_lane_wins():
    assert route_using("news", lane="default").lane == "default"


def test_mailers_without_a_default_leave_the_default_backend_to_deliver():
    conf.configure(MAILERS={"smtp": {"BACKEND": SMTP}})
    assert route_using(None).relay == ""


@pytest.mark.usefixtures("mailers")
def test_an_alias_that_is_not_there_is_told():
    with pytest.raises(MailerDoesNotExist, match="The mailer 'absent' is not configured"):
        route_using("absent")
    with pytest.raises(MailerDoesNotExist, match="'absent'"):
        route_using("nowhere")


def test_without_mailers_there_is_no_alias():
    with pytest.raises(MailerDoesNotExist):
        route_using("smtp")


@pytest.mark.usefixtures("mailers")
def test_who_enqueues_cannot_deliver():
    with pytest.raises(InvalidMailer, match=r"MAILERS\['plain'\] enqueues"):
        route_using("circle")


def test_a_subclass_of_the_queue_backend_enqueues_too(monkeypatch):
    module = types.ModuleType("some_project")
    module.Backend = type("Backend", (EmailBackend,), {})
    monkeypatch.setitem(sys.modules, "some_project", module)
    conf.configure(MAILERS={"own": {"BACKEND": "some_project.Backend", "OPTIONS": {"lane": "bulk"}}})
    assert route_using("own") == Route("bulk", "", "hold")


def test_an_unknown_lane_names_the_lanes():
    with pytest.raises(InvalidMessage, match="urgent, default, bulk"):
        route_to(None, lane="fast")


def test_what_is_unknown_is_held_in_the_bulk_lane_unless_set():
    assert route_to(None, lane="bulk").on_unknown == "hold"
    assert route_to(None, lane="bulk", on_unknown="resend").on_unknown == "resend"
    conf.configure(MAILQUEUE_ON_UNKNOWN="resend")
    assert route_to(None, lane="bulk").on_unknown == "resend"
    conf.configure(MAILQUEUE_ON_UNKNOWN="hold")
    assert route_to(None).on_unknown == "hold"


def test_a_lane_may_have_its_own_way_with_what_is_unknown():
    conf.configure(MAILQUEUE_ON_UNKNOWN="hold", MAILQUEUE_LANES={"urgent": {"on_unknown": "resend"}})
    assert route_to(None, lane="urgent").on_unknown == "resend"
    assert route_to(None, lane="urgent", on_unknown="hold").on_unknown == "hold"
    assert route_to(None).on_unknown == "hold"


def test_on_unknown_is_one_of_two():
    with pytest.raises(InvalidMessage, match='"resend" or "hold", not \'drop\''):
        route_to(None, on_unknown="drop")


def test_an_entry_of_the_wrong_shape_is_told():
    conf.configure(MAILERS={"odd": "smtp"})
    with pytest.raises(ImproperlyConfigured, match="odd"):
        route_using("odd")
