"""What unit tests share: a Django whose settings set nothing explicitly."""

from __future__ import annotations

from typing import Any

import pytest


def configure_django() -> Any:
    """Configure Django once for the whole process, nothing set; tests then use ``override_settings``."""
    pytest.importorskip("django")
    from django.conf import settings  # noqa: PLC0415

    if not settings.configured:
        settings.configure()
    return settings


@pytest.fixture(scope="session")
def django_settings() -> Any:
    """``django.conf.settings``, configured, with nothing set explicitly."""
    return configure_django()


@pytest.fixture
def override_settings(django_settings: Any) -> Any:
    """Django's ``override_settings``, on settings where nothing else is set."""
    from django.test.utils import override_settings  # noqa: PLC0415

    return override_settings
