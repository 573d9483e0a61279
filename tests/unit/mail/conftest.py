"""What the tests of the mail API stand on: one test body, two implementations.

``api`` is mailqueue's, and once more Django's: where Django agrees, a case is thus known to be right. ``ours`` is
mailqueue's alone, for what Django 5.2 does not have; the test says why.
"""

from __future__ import annotations

import contextlib
import importlib
import socketserver
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mailqueue import conf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


class Api:
    """The modules and settings of one implementation, by the same names."""

    def __init__(self, name: str, root: str) -> None:
        self.name = name
        self.root = root
        self.mail: ModuleType = importlib.import_module(root)
        self.message: ModuleType = importlib.import_module(f"{root}.message")
        self.utils: ModuleType = importlib.import_module(f"{root}.utils")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mail, name)

    def backend(self, name: str) -> str:
        """The dotted path of the backend in the module ``name``."""
        return f"{self.root}.backends.{name}.EmailBackend"

    def backend_class(self, name: str) -> Any:
        return importlib.import_module(f"{self.root}.backends.{name}").EmailBackend

    @property
    def ImproperlyConfigured(self) -> type[Exception]:  # noqa: N802
        return importlib.import_module(
            "mailqueue.errors" if self.name == "mailqueue" else "django.core.exceptions"
        ).ImproperlyConfigured

    @contextlib.contextmanager
    def settings(self, **values: Any) -> Iterator[None]:
        """These settings, over those that hold already, until the end of the block."""
        if self.name == "django":
            from django.test.utils import override_settings  # noqa: PLC0415

            with override_settings(**values):
                yield
            return
        before = dict(conf._configured)
        conf.configure(**values)
        try:
            yield
        finally:
            conf.reset()
            conf.configure(**before)


@pytest.fixture(params=["mailqueue", "django"])
def api(request: pytest.FixtureRequest, django_settings: Any) -> Iterator[Api]:
    """Both implementations, one after the other, with the locmem backend and an empty outbox."""
    yield from _prepared(request.param)


@pytest.fixture
def ours(django_settings: Any) -> Iterator[Api]:
    """mailqueue alone, with the locmem backend and an empty outbox."""
    yield from _prepared("mailqueue")


@pytest.fixture
def theirs(django_settings: Any) -> Iterator[Api]:
    """Django alone: what messages of its own classes are made with."""
    yield from _prepared("django")


def _prepared(name: str) -> Iterator[Api]:
    found = Api(name, {"mailqueue": "mailqueue.mail", "django": "django.core.mail"}[name])
    with found.settings(EMAIL_BACKEND=found.backend("locmem")):
        found.mail.outbox = []
        yield found
        if "outbox" in vars(found.mail):
            del found.mail.outbox


class Relay(socketserver.ThreadingTCPServer):
    """A small SMTP server on a free port of 127.0.0.1 that records what it was told.

    ``replies`` maps a command (the verb, or verb and argument) to the reply to give instead of the usual one; the
    reply "" hangs up.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _RelaySession)
        self.keywords: list[str] = ["8BITMIME"]
        self.replies: dict[str, str] = {}
        self.commands: list[str] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.connections = 0

    @property
    def options(self) -> dict[str, Any]:
        """What to construct an SMTP backend with."""
        host, port = self.server_address[:2]
        return {"host": host, "port": port}


class _RelaySession(socketserver.StreamRequestHandler):
    server: Relay

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.server.connections += 1
            self.converse()

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def converse(self) -> None:
        self.say("220 relay.example")
        while line := self.rfile.readline().decode():
            command = line.rstrip("\r\n")
            self.server.commands.append(command)
            verb = command.split()[0].upper()
            reply = self.server.replies.get(command, self.server.replies.get(verb))
            if reply == "":
                return
            if reply is not None:
                self.say(reply)
            elif not self.answer(verb, command):
                return

    def answer(self, verb: str, command: str) -> bool:
        if verb == "EHLO":
            lines = ["relay.example", *self.server.keywords]
            self.say(*(f"250{'-' if n < len(lines) else ' '}{line}" for n, line in enumerate(lines, 1)))
        elif verb == "DATA":
            self.say("354 go on")
            content = b""
            while not content.endswith(b"\r\n.\r\n"):
                content += self.rfile.readline()
            self.server.messages.append((self.sender, self.recipients, content.removesuffix(b".\r\n")))
            self.say("250 taken")
        elif verb == "QUIT":
            self.say("221 bye")
            return False
        else:
            if verb == "MAIL":
                self.sender, self.recipients = command.split("<")[1].split(">", maxsplit=1)[0], []
            elif verb == "RCPT":
                self.recipients.append(command.split("<")[1].split(">", maxsplit=1)[0])
            self.say("250 fine")
        return True


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A small SMTP server that says yes to everything, unless told otherwise."""
    with Relay() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
