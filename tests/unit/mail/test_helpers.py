"""send_mail() and its kin, and send() of a message (behaviours 59-62)."""

from __future__ import annotations

import inspect

import pytest
from django.utils.functional import lazystr

from mailqueue import conf, errors

PEOPLE = pytest.mark.parametrize(("helper", "setting"), [("mail_admins", "ADMINS"), ("mail_managers", "MANAGERS")])


class Recorder:
    """A backend that only its owner knows."""

    def __init__(self, result=None, **options):
        self.sent = []
        self.calls = 0
        self.result = result
        self.options = options

    def send_messages(self, messages):
        self.calls += 1
        self.sent += messages
        return len(self.sent) if self.result is None else self.result


class Unusable:
    """What EMAIL_BACKEND names where nothing may be sent through it."""

    def __init__(self, **options):
        raise AssertionError("the default backend was made")


UNUSABLE = f"{__name__}.Unusable"
MESSAGE = ("Subject", "Content", "from@example.com", ["to@example.com"])


# -- connection=


def test_b59_send_mail_uses_the_connection_it_is_given(api):
    backend = Recorder()
    with api.settings(EMAIL_BACKEND=UNUSABLE):
        assert api.send_mail(*MESSAGE, connection=backend) == 1
    assert [message.subject for message in backend.sent] == ["Subject"]


def test_b59_send_mass_mail_in_one_call(api):
    backend = Recorder()
    with api.settings(EMAIL_BACKEND=UNUSABLE):
        assert api.send_mass_mail([MESSAGE, MESSAGE], connection=backend) == 2
    assert backend.calls == 1
    assert {message.connection for message in backend.sent} == {backend}


@PEOPLE
def test_b59_mail_to_people(api, helper, setting):
    backend = Recorder()
    with api.settings(EMAIL_BACKEND=UNUSABLE, **{setting: [("Ann", "ann@example.com")]}):
        getattr(api, helper)("Subject", "Content", connection=backend)
    assert [message.subject for message in backend.sent] == ["[Django] Subject"]


def test_b59_a_message_that_has_one(api):
    backend = Recorder()
    with api.settings(EMAIL_BACKEND=UNUSABLE):
        message = api.EmailMessage(*MESSAGE, connection=backend)
        assert message.send() == 1
    assert backend.sent == [message]


def test_b59_even_one_that_is_false(ours):
    """Django 5.2 takes the default backend instead."""

    class Empty(Recorder):
        def __len__(self):
            return 0

    backend = Empty()
    with ours.settings(EMAIL_BACKEND=UNUSABLE):
        ours.send_mail(*MESSAGE, connection=backend)
        ours.EmailMessage(*MESSAGE, connection=backend).send()
    assert len(backend.sent) == 2


def test_b59_the_connections_of_messages_do_not_count_in_a_batch(api):
    message = api.EmailMessage(*MESSAGE, connection=Recorder())
    backend = api.get_connection()
    assert backend.send_messages([message]) == 1
    assert message.connection.sent == []
    assert len(api.outbox) == 1


def test_b59_a_message_may_override_get_connection(api):
    backend = Recorder()

    class Message(api.EmailMessage):
        def get_connection(self, fail_silently=False):
            backend.options["fail_silently"] = fail_silently
            return backend

    assert Message(*MESSAGE).send(True) == 1
    assert backend.options == {"fail_silently": True}


def test_b59_send_leaves_no_connection_on_the_message(ours):
    """Of 6.1; Django 5.2 keeps it for the next send()."""
    message = ours.EmailMessage(*MESSAGE)
    message.send()
    assert message.connection is None
    assert ours.outbox[0].connection is None


# -- return values


def test_b60_one_message_is_one(api):
    assert api.send_mail(*MESSAGE) == 1
    assert api.EmailMessage(*MESSAGE).send() == 1
    assert api.EmailMultiAlternatives(*MESSAGE).send(fail_silently=True) == 1


@pytest.mark.parametrize("nobody", [[], (), ["", None]])
def test_b60_nobody_is_zero(api, nobody):
    assert api.send_mail("Subject", "Content", "from@example.com", nobody) == 0
    assert api.outbox == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_b60_mass_mail_is_the_number_of_messages(api, count):
    assert api.send_mass_mail([MESSAGE] * count) == count
    assert api.send_mass_mail(tuple([MESSAGE] * count)) == count
    assert api.send_mass_mail(list(message) for message in [MESSAGE] * count) == count
    assert len(api.outbox) == count * 3


def test_b60_the_backend_has_the_last_word(api):
    assert api.send_mail(*MESSAGE, connection=Recorder(0)) == 0
    assert api.send_mail(*MESSAGE, connection=Recorder(True)) == 1


def test_b60_a_malformed_entry_raises_before_anything_is_sent(api):
    backend = Recorder()
    with pytest.raises(ValueError, match="unpack"):
        api.send_mass_mail([MESSAGE, ("Subject", "Content")], connection=backend)
    assert backend.sent == []


def test_b60_iterators_are_passed_on_as_such_to_those_that_take_them(ours):
    """So that memory stays flat; a backend that does not say so gets a list, as from Django."""
    made = []

    class Streaming(Recorder):
        takes_iterators = True

        def send_messages(self, messages):
            for number, _ in enumerate(messages, 1):
                made.append(number)
            return number

    def entries():
        for number in range(3):
            assert len(made) == number
            yield MESSAGE

    assert ours.send_mass_mail(entries(), connection=Streaming()) == 3

    class Old(Recorder):
        def send_messages(self, messages):
            return len(messages)

    assert ours.send_mass_mail(iter([MESSAGE]), connection=Old()) == 1


# -- arguments


def test_b60_the_arguments_of_the_helpers(api):
    wanted = {
        "send_mail": "subject message from_email recipient_list fail_silently auth_user auth_password connection"
        " html_message",
        "send_mass_mail": "datatuple fail_silently auth_user auth_password connection",
        "mail_admins": "subject message fail_silently connection html_message",
        "mail_managers": "subject message fail_silently connection html_message",
        "get_connection": "backend fail_silently kwds",
    }
    for name, words in wanted.items():
        parameters = inspect.signature(getattr(api, name)).parameters
        positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        assert positional == words.split(), name


def test_b60_they_may_be_given_by_position(api):
    backend = Recorder()
    assert api.send_mail(*MESSAGE, False, None, None, backend, "<p>") == 1
    assert api.send_mass_mail([MESSAGE], False, None, None, backend) == 2
    with api.settings(ADMINS=[("Ann", "ann@example.com")]):
        api.mail_admins("Subject", "Content", False, backend, "<p>")
    assert len(backend.sent) == 3
    assert backend.sent[0].alternatives == backend.sent[2].alternatives == [("<p>", "text/html")]


def test_b60_from_none_is_the_default_sender(api):
    api.send_mail("Subject", "Content", None, ["to@example.com"])
    assert api.outbox[0].from_email == "webmaster@localhost"


def test_b60_what_the_default_backend_is_made_with(api):
    with api.settings(EMAIL_BACKEND=f"{__name__}.Recorder"):
        assert api.get_connection().options == {"fail_silently": False}
        assert api.get_connection(None, True, host="h").options == {"fail_silently": True, "host": "h"}
        assert api.EmailMessage().get_connection(True).options == {"fail_silently": True}


def test_b60_auth_goes_to_the_backend_only_if_given(ours, monkeypatch):
    """Django 5.2 passes None for what is not given."""
    made = []
    monkeypatch.setattr(ours.mail, "get_connection", lambda **options: made.append(options) or Recorder())
    ours.send_mail(*MESSAGE)
    ours.send_mail(*MESSAGE, auth_user="u", auth_password="p", fail_silently=True)
    ours.send_mass_mail([MESSAGE], auth_password="")
    assert made == [
        {"fail_silently": False},
        {"fail_silently": True, "username": "u", "password": "p"},
        {"fail_silently": False, "password": ""},
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"fail_silently": True}, "fail_silently cannot be used with a connection"),
        ({"auth_user": "u"}, "auth_user and auth_password cannot be used with a connection"),
        ({"auth_password": ""}, "auth_user and auth_password cannot be used with a connection"),
    ],
)
def test_b60_what_a_connection_would_ignore_is_refused(ours, arguments, text):
    """Of 6.1; Django 5.2 ignores it."""
    backend = Recorder()
    with pytest.raises(TypeError, match=text):
        ours.send_mail(*MESSAGE, connection=backend, **arguments)
    with pytest.raises(TypeError, match=text):
        ours.send_mass_mail([MESSAGE], connection=backend, **arguments)
    if "fail_silently" in arguments:
        with pytest.raises(TypeError, match=text):
            ours.mail_admins("Subject", "Content", connection=backend, **arguments)
        with pytest.raises(TypeError, match=text):
            ours.EmailMessage(*MESSAGE, connection=backend).send(**arguments)
    assert backend.sent == []


# -- ADMINS and MANAGERS


@PEOPLE
def test_b61_people_get_one_message_with_the_prefix(api, helper, setting):
    people = [("Ann", "ann@example.com"), ["Bo", "bo@example.com"]]
    with api.settings(SERVER_EMAIL="server@example.com", EMAIL_SUBJECT_PREFIX="[Site] ", **{setting: people}):
        assert getattr(api, helper)("Subject", "Content") is None
    (message,) = api.outbox
    assert (message.subject, message.body, message.from_email) == ("[Site] Subject", "Content", "server@example.com")
    assert message.to == ["ann@example.com", "bo@example.com"]


@PEOPLE
@pytest.mark.parametrize("nobody", [[], ()])
def test_b61_nothing_happens_for_nobody(api, helper, setting, nobody):
    with api.settings(EMAIL_BACKEND=UNUSABLE, **{setting: nobody}):
        assert getattr(api, helper)("Subject", "Content") is None


@PEOPLE
@pytest.mark.parametrize(
    "people", [[("Ann", "ann@example.com", "x")], [("ann@example.com",)], [7], [None], "a@b", {"a": "b"}]
)
def test_b61_wrong_shapes_raise_before_sending(api, helper, setting, people):
    with (
        api.settings(EMAIL_BACKEND=UNUSABLE, **{setting: people}),
        pytest.raises(ValueError, match=rf"^The {setting} setting must be a list of 2-tuples\."),
    ):
        getattr(api, helper)("Subject", "Content")


@PEOPLE
def test_b61_that_is_bad_configuration_too(ours, helper, setting):
    """As in 6.x, whose text is also in it."""
    ours.mail.outbox = []
    with (
        ours.settings(**{setting: [7]}),
        pytest.raises(errors.ImproperlyConfigured, match=r"must be a list of email address strings\."),
    ):
        getattr(ours, helper)("Subject", "Content")


@PEOPLE
def test_b61_addresses_alone_will_do(ours, helper, setting):
    """Of 6.0."""
    with ours.settings(
        **{setting: ["ann@example.com", "Bo <bo@example.com>", lazystr("c@example.com"), ("D", "d@example.com")]}
    ):
        getattr(ours, helper)("Subject", "Content")
    assert ours.outbox[0].recipients() == ["ann@example.com", "Bo <bo@example.com>", "c@example.com", "d@example.com"]


@PEOPLE
def test_b61_from_the_environment(ours, monkeypatch, helper, setting):
    """Structured values are JSON there."""
    monkeypatch.setenv(setting, '[["Ann", "ann@example.com"], "bo@example.com"]')
    getattr(ours, helper)("Subject", "Content")
    assert ours.outbox[0].to == ["ann@example.com", "bo@example.com"]


# -- html_message


@pytest.mark.parametrize("helper", ["send_mail", "mail_admins", "mail_managers"])
def test_b62_html_message_is_an_alternative(api, helper):
    people = [("Ann", "ann@example.com")]
    arguments = MESSAGE if helper == "send_mail" else MESSAGE[:2]
    with api.settings(ADMINS=people, MANAGERS=people):
        getattr(api, helper)(*arguments, html_message="<p>Content</p>")
    built = api.outbox[0].message()
    assert built.get_content_type() == "multipart/alternative"
    assert [(part.get_content_type(), part.get_payload()) for part in built.get_payload()] == [
        ("text/plain", "Content"),
        ("text/html", "<p>Content</p>"),
    ]


@pytest.mark.parametrize("nothing", [None, ""])
def test_b62_without_it_the_message_is_plain(api, nothing):
    api.send_mail(*MESSAGE, html_message=nothing)
    assert api.outbox[0].message().get_content_type() == "text/plain"


def test_override_settings_of_django_is_seen_by_our_helpers(ours, theirs):
    """Its explicitly set settings count, read when used."""
    conf.reset()
    with theirs.settings(
        EMAIL_BACKEND=ours.backend("locmem"),
        DEFAULT_FROM_EMAIL=lazystr("django@example.com"),
        EMAIL_SUBJECT_PREFIX="[Override] ",
        ADMINS=[("Ann", "ann@example.com")],
    ):
        ours.mail.outbox = []
        ours.send_mail("Subject", "Content", None, ["to@example.com"])
        ours.mail_admins("Subject", "Content")
        assert [(m.subject, m.message()["From"]) for m in ours.outbox] == [
            ("Subject", "django@example.com"),
            ("[Override] Subject", "root@localhost"),
        ]
