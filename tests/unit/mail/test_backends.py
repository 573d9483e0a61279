"""The backends that need no server, and how a backend is found (behaviours 41 and 51-58)."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import threading

import pytest

from mailqueue import conf
from mailqueue.errors import ImproperlyConfigured
from mailqueue.mail.backends.base import BaseEmailBackend


class CustomBackend:
    """A backend that inherits nothing."""

    def __init__(self, *args, **kwargs):
        self.given = (args, kwargs)
        self.sent = []

    def send_messages(self, messages):
        self.sent += messages
        return len(list(messages))


CUSTOM = f"{__name__}.CustomBackend"


def make(api, subject="Subject"):
    return api.EmailMessage(subject, "Content", "from@example.com", ["to@example.com"])


def backend_of(api, name, tmp_path, **options):
    given = {"console": {"stream": io.StringIO()}, "filebased": {"file_path": str(tmp_path)}}.get(name, {})
    return api.backend_class(name)(**(given | options))


NAMES = ["console", "filebased", "locmem", "dummy"]


@pytest.mark.parametrize("name", NAMES)
def test_b41_iterators_are_sent_in_one_pass(api, tmp_path, name):
    class OnePass:
        """No length, no truth, no second pass."""

        def __init__(self, items):
            self.items = items

        def __iter__(self):
            items, self.items = self.items, None
            return iter(items)

    backend = backend_of(api, name, tmp_path)
    assert backend.send_messages(make(api, str(n)) for n in range(3)) == 3
    assert backend.send_messages(iter([make(api)])) == 1
    assert backend.send_messages(OnePass([make(api), make(api)])) == 2
    assert backend.send_messages(iter(())) == 0


@pytest.mark.parametrize("name", NAMES)
def test_b41_ours_say_that_they_take_them(ours, tmp_path, name):
    assert backend_of(ours, name, tmp_path).takes_iterators is True
    assert BaseEmailBackend().takes_iterators is False


def test_b41_what_has_no_truth_is_not_asked_for_it(ours, tmp_path):
    """Django 5.2's console backend asks."""

    class NoTruth(list):
        def __bool__(self):
            raise AssertionError

    for name in NAMES:
        assert backend_of(ours, name, tmp_path).send_messages(NoTruth([make(ours)])) == 1


def test_b41_an_empty_batch_is_zero_and_makes_no_file(ours, tmp_path):
    """Django 5.2's console backend returns None, and makes a file for an empty iterator."""
    for name in NAMES:
        assert backend_of(ours, name, tmp_path).send_messages([]) == 0
        assert backend_of(ours, name, tmp_path).send_messages(iter(())) == 0
    assert list(tmp_path.iterdir()) == []


# -- construction


@pytest.mark.parametrize("name", NAMES)
def test_b51_unknown_arguments_are_swallowed(api, tmp_path, name):
    options = {"filebased": {"file_path": tmp_path}}.get(name, {})
    backend = api.get_connection(api.backend(name), fail_silently=True, no_such_option=1, username="x", **options)
    assert backend.fail_silently is True


@pytest.mark.parametrize("name", NAMES)
def test_b51_with_an_alias_they_are_an_error(ours, tmp_path, name):
    """Of 6.1."""
    with pytest.raises(ours.InvalidMailer, match=r"^MAILERS\['news'\]: Unknown options 'other', 'username'\.$"):
        backend_of(ours, name, tmp_path, alias="news", username="x", other=1)
    assert backend_of(ours, name, tmp_path, alias="news").alias == "news"
    assert backend_of(ours, name, tmp_path).alias is None


def test_b52_an_error_of_the_constructor_comes_through(api):
    with pytest.raises(TypeError, match=r"expected str, bytes or os.PathLike object, not object"):
        api.get_connection(api.backend("filebased"), file_path=object())


def test_b53_backends_are_context_managers(api, tmp_path):
    class Link(api.backend_class("dummy")):
        state = "new"

        def open(self):
            self.state = "open"

        def close(self):
            self.state = "closed"

    link = Link()
    with link as entered:
        assert entered is link
        assert link.state == "open"
    assert link.state == "closed"
    with pytest.raises(ZeroDivisionError), Link() as link:
        raise ZeroDivisionError
    assert link.state == "closed"


def test_b53_what_fails_to_open_is_closed(api):
    class Broken(api.backend_class("dummy")):
        closed = False

        def open(self):
            raise OSError("no")

        def close(self):
            self.closed = True

    broken = Broken()
    with pytest.raises(OSError, match="no"), broken:
        pass
    assert broken.closed


@pytest.mark.parametrize("name", [*NAMES, "smtp"])
def test_b53_methods_replaced_on_the_instance_are_used(api, tmp_path, name):
    calls = []
    backend = backend_of(api, name, tmp_path)
    backend.open = lambda: calls.append("open")
    backend.close = lambda: calls.append("close")
    with backend:
        pass
    assert calls == ["open", "close"]


def test_b53_the_base_class_leaves_sending_to_others(api):
    base = importlib.import_module(f"{api.root}.backends.base").BaseEmailBackend
    with pytest.raises(NotImplementedError, match=r"must override send_messages\(\)"):
        base().send_messages([])


# -- locmem


def test_b54_copies_are_kept_as_they_were_when_sent(api):
    message = make(api, "Before")
    message.attach("a.txt", "x")
    assert message.send() == 1
    message.subject = "After"
    message.to.append("other@example.com")
    message.attachments.clear()
    (kept,) = api.outbox
    assert (kept.subject, kept.to, len(kept.attachments)) == ("Before", ["to@example.com"], 1)
    assert kept is not message


def test_b54_the_outbox_is_created_if_absent(api):
    del api.mail.outbox
    backend = api.get_connection(api.backend("locmem"))
    assert api.outbox == []
    backend.send_messages([make(api)])
    assert len(api.outbox) == 1


def test_b54_also_if_it_was_deleted_meanwhile(ours):
    """Django 5.2 creates it at construction only."""
    backend = ours.get_connection(ours.backend("locmem"))
    del ours.mail.outbox
    backend.send_messages([make(ours)])
    assert len(ours.outbox) == 1


def test_b54_it_is_shared_and_looked_up_anew(api):
    one, two = (api.get_connection(api.backend("locmem")) for _ in range(2))
    one.send_messages([make(api, "1")])
    two.send_messages([make(api, "2")])
    assert [message.subject for message in api.outbox] == ["1", "2"]
    api.mail.outbox = rebound = []
    one.send_messages([make(api, "3")])
    assert [message.subject for message in rebound] == ["3"]


def test_b54_a_message_that_raises_is_not_kept(api):
    backend = api.get_connection(api.backend("locmem"))
    with pytest.raises(api.BadHeaderError):
        backend.send_messages([make(api, "1"), make(api, "a\nb"), make(api, "3")])
    assert [message.subject for message in api.outbox] == ["1"]


def test_b54_connections_are_not_copied(ours):
    """Django 5.2 copies them too, and fails on the lock of its console backend."""
    console = ours.get_connection(ours.backend("console"))
    message = make(ours)
    message.connection = console
    ours.get_connection(ours.backend("locmem")).send_messages([message])
    assert ours.outbox[0].connection is console


def test_b54_messages_of_django_are_kept_as_well(ours, theirs):
    assert ours.get_connection(ours.backend("locmem")).send_messages([make(theirs)]) == 1
    assert ours.outbox[0].subject == "Subject"
    assert theirs.outbox == []


def test_b54_and_ours_by_django(ours, theirs):
    message = make(ours)
    assert theirs.get_connection(theirs.backend("locmem")).send_messages([message]) == 1
    assert theirs.outbox[0].message().as_bytes().count(b"Subject: Subject") == 1


def test_b54_with_django_as_the_test_runner_sets_it_up(ours, theirs):
    """Its runner puts its own locmem backend into the settings: our helpers then fill Django's outbox."""
    conf.reset()
    with theirs.settings(EMAIL_BACKEND=theirs.backend("locmem")):
        assert ours.send_mail("Subject", "Content", None, ["to@example.com"]) == 1
    assert [message.subject for message in theirs.outbox] == ["Subject"]


# -- console


def test_b55_a_stream_may_be_given(api):
    stream = io.StringIO()
    backend = api.get_connection(api.backend("console"), stream=stream)
    assert backend.send_messages([make(api, "1"), make(api, "2")]) == 2
    written = stream.getvalue()
    assert re.fullmatch(r"(Content-Type: .*?\n\nContent\n-{79}\n){2}", written, re.DOTALL)
    assert written.index("Subject: 1") < written.index("Subject: 2")


def test_b55_otherwise_standard_output_as_it_is_now(api):
    first, second = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(first):
        backend = api.get_connection(api.backend("console"))
    with contextlib.redirect_stdout(second):
        backend.send_messages([make(api)])
    assert first.getvalue().endswith("\n" + "-" * 79 + "\n")
    assert second.getvalue() == ""


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", None])
def test_b55_text_is_shown_as_text(api, encoding):
    message = make(api)
    message.body, message.encoding = "Füü", encoding
    stream = io.StringIO()
    api.get_connection(api.backend("console"), stream=stream).send_messages([message])
    assert ("F=FC=FC" if encoding == "iso-8859-1" else "Füü") in stream.getvalue()


def test_b55_octets_that_are_no_text_are_shown_escaped(ours):
    """Django 5.2 raises UnicodeDecodeError."""
    message = make(ours)
    message.attach("a.eml", b"Content-Transfer-Encoding: 8bit\n\n\xff", "message/rfc822")
    stream = io.StringIO()
    ours.get_connection(ours.backend("console"), stream=stream).send_messages([message])
    assert r"\xff" in stream.getvalue()


def test_b55_one_lock_around_the_batch(api):
    """A second batch waits until the first is through."""
    inside, go_on = threading.Event(), threading.Event()

    class Stream(io.StringIO):
        def flush(self):
            if not inside.is_set():
                inside.set()
                assert go_on.wait(10)

    backend = api.backend_class("console")(stream=Stream())
    batches = [[make(api, f"{batch}{n}") for n in range(2)] for batch in "AB"]
    threads = [threading.Thread(target=backend.send_messages, args=(batch,)) for batch in batches]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert re.findall(r"Subject: (\w+)", backend.stream.getvalue()) == ["A0", "A1", "B0", "B1"]


def test_b55_it_fails_silently_if_told_so(api):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        api.get_connection(api.backend("console"), stream=Full()).send_messages([make(api)])
    silent = api.get_connection(api.backend("console"), stream=Full(), fail_silently=True)
    assert silent.send_messages([make(api)]) == 0


# -- filebased


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_b56_one_file_per_instance_appended_to(api, tmp_path, kind):
    directory = tmp_path / "made" / "for it"
    backend = api.get_connection(api.backend("filebased"), file_path=kind(directory))
    assert directory.is_dir()
    assert list(directory.iterdir()) == []  # lazily
    backend.send_messages([make(api, "1")])
    backend.send_messages([make(api, "2")])
    (path,) = directory.iterdir()
    assert path.suffix == ".log"
    assert backend.stream is None
    with api.get_connection(api.backend("filebased"), file_path=kind(directory)) as other:
        assert other.open() is False
        other.send_messages([make(api, "3")])
        other.send_messages([make(api, "4")])
        assert other.stream is not None
    assert len(list(directory.iterdir())) == 2
    content = path.read_bytes()
    assert content.count(b"\n" + b"-" * 79 + b"\n") == 2
    assert re.findall(rb"Subject: (\w)", content) == [b"1", b"2"]
    other.close()


def test_b56_files_are_binary(api, tmp_path):
    message = make(api)
    message.body = "Füü"
    message.extra_headers = {"Date": "d", "Message-ID": "<m>"}
    backend = api.get_connection(api.backend("filebased"), file_path=tmp_path)
    backend.send_messages([message])
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == message.message().as_bytes() + b"\n" + b"-" * 79 + b"\n"


def test_b56_the_setting_and_relative_paths(api, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with api.settings(EMAIL_FILE_PATH="mails", EMAIL_BACKEND=api.backend("filebased")):
        backend = api.get_connection()
    assert backend.file_path == str(tmp_path / "mails")
    assert api.get_connection(api.backend("filebased"), file_path="others").file_path == str(tmp_path / "others")
    with api.settings(EMAIL_FILE_PATH=tmp_path / "path"):
        assert api.get_connection(api.backend("filebased")).file_path == str(tmp_path / "path")


def test_b56_what_is_no_directory(api, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(api.ImproperlyConfigured, match="exists, but is not a directory: "):
        api.get_connection(api.backend("filebased"), file_path=file)
    with pytest.raises(api.ImproperlyConfigured, match="Could not create directory for saving email messages: "):
        api.get_connection(api.backend("filebased"), file_path=file / "below")


def test_b56_what_cannot_be_written_to(api, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(api.ImproperlyConfigured, match="Could not write to directory: "):
        api.get_connection(api.backend("filebased"), file_path=tmp_path)


def test_b56_without_a_path(ours):
    """Django 5.2 raises TypeError; with an alias it is 6.1's InvalidMailer."""
    with pytest.raises(ImproperlyConfigured, match="EMAIL_FILE_PATH is not set"):
        ours.get_connection(ours.backend("filebased"))
    with (
        ours.settings(EMAIL_FILE_PATH="unused"),
        pytest.raises(ours.InvalidMailer, match=r"^MAILERS\['f'\]: OPTIONS must define 'file_path'\.$"),
    ):
        ours.backend_class("filebased")(alias="f")


def test_b56_a_file_is_closed_when_a_message_raises(ours, tmp_path):
    """Django 5.2 leaves it open."""
    backend = ours.get_connection(ours.backend("filebased"), file_path=tmp_path)
    with pytest.raises(ours.BadHeaderError):
        backend.send_messages([make(ours), make(ours, "a\nb")])
    assert backend.stream is None


@pytest.mark.parametrize("count", [0, 1, 5])
def test_b57_dummy_returns_the_count(api, count):
    backend = api.get_connection(api.backend("dummy"))
    assert backend.send_messages([make(api)] * count) == count


# -- finding a backend


def test_b58_any_class_by_its_dotted_path(api):
    backend = api.get_connection(CUSTOM, fail_silently=True, host="x")
    assert type(backend).__name__ == "CustomBackend"
    assert backend.given == ((), {"fail_silently": True, "host": "x"})
    assert api.get_connection(CUSTOM).given == ((), {"fail_silently": False})


def test_b58_and_as_the_setting(api):
    with api.settings(EMAIL_BACKEND=CUSTOM):
        backend = api.get_connection(username="u")
        message = make(api)
        assert message.send() == 1
    assert backend.given == ((), {"fail_silently": False, "username": "u"})


@pytest.mark.parametrize("path", ["nonsense", "no_such_module.EmailBackend", f"{__name__}.NoSuchBackend"])
def test_b58_what_cannot_be_imported(api, path):
    with pytest.raises(ImportError):
        api.get_connection(path)


@pytest.mark.parametrize("name", [*NAMES, "smtp"])
def test_b58_the_backends_by_path(api, tmp_path, name):
    options = {"file_path": tmp_path} if name == "filebased" else {}
    assert isinstance(api.get_connection(api.backend(name), **options), api.backend_class(name))


def test_b58_unless_set_it_is_the_queue(ours):
    """The one intended difference from Django."""
    conf.reset()
    assert conf.get("EMAIL_BACKEND") == "mailqueue.mail.backends.queue.EmailBackend"
