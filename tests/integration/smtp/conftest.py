"""What the tests of SMTP stand on: both implementations, messages, backends that are closed, a CA."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import pytest

from mailqueue import conf
from mailqueue.mail import EmailMessage
from mailqueue.mail.backends.smtp import EmailBackend
from mailqueue.testing.certificates import Authority


class Api:
    """The SMTP backend, messages and settings of one implementation."""

    def __init__(self, name: str) -> None:
        root = {"mailqueue": "mailqueue.mail", "django": "django.core.mail"}[name]
        self.name = name
        self.EmailMessage = importlib.import_module(f"{root}.message").EmailMessage
        self.EmailMultiAlternatives = importlib.import_module(f"{root}.message").EmailMultiAlternatives
        self.EmailBackend = importlib.import_module(f"{root}.backends.smtp").EmailBackend
        self.get_connection = importlib.import_module(root).get_connection
        self.path = f"{root}.backends.smtp.EmailBackend"

    def message(self, number: int = 1, **changes: Any) -> Any:
        return self.EmailMessage(**_fields(number, changes))

    @contextlib.contextmanager
    def settings(self, **values: Any) -> Any:
        if self.name == "django":
            from django.test.utils import override_settings  # noqa: PLC0415 - as for the other tests with Django

            with override_settings(**values):
                yield
            return
        conf.configure(**values)
        try:
            yield
        finally:
            conf.reset()


def _fields(number: int, changes: dict[str, Any]) -> dict[str, Any]:
    usual = {
        "subject": f"Message {number}",
        "body": f"Body {number}\n",
        "from_email": "from@example.com",
        "to": [f"to{number}@example.com"],
    }
    return usual | changes


@pytest.fixture(scope="session")
def django_settings() -> Any:
    """Django's settings, configured once for the process, nothing set."""
    pytest.importorskip("django")
    from django.conf import settings  # noqa: PLC0415

    if not settings.configured:
        settings.configure()
    return settings


@pytest.fixture(params=["mailqueue", "django"])
def api(request: pytest.FixtureRequest, django_settings: Any) -> Api:
    """Both implementations, one after the other: a case that Django passes as well is known to be right."""
    return Api(request.param)


@pytest.fixture
def ours() -> Api:
    return Api("mailqueue")


@pytest.fixture
def theirs(django_settings: Any) -> Api:
    return Api("django")


@pytest.fixture
def message() -> Any:
    """Makes our messages: ``message(2, to=[...])``."""

    def make(number: int = 1, **changes: Any) -> EmailMessage:
        return EmailMessage(**_fields(number, changes))

    return make


@pytest.fixture
def connect() -> Any:
    """Makes our backends for a scripted server; they are closed at the end, by force if need be."""
    made = []

    def make(server: Any, **options: Any) -> EmailBackend:
        backend = EmailBackend(**({"host": server.host, "port": server.port, "timeout": 10} | options))
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend._abandon()


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A CA for the session."""
    return Authority()
