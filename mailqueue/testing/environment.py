"""An environment without anybody's mail settings, for processes that must not touch a real store or relay."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import mailqueue
from mailqueue import conf

__all__ = ["clean_environment", "is_setting", "settings_in_environment"]

# Celery reads CELERY_BROKER_URL and others of its own, which would win over ours.
_PREFIXES = ("MAILQUEUE_", "EMAIL_", "CELERY_")
_NAMES = frozenset({"DJANGO_SETTINGS_MODULE", *(setting.name for setting in conf.SETTINGS)})


def is_setting(name: str) -> bool:
    """Whether an environment variable could change where mail goes or what it looks like."""
    return name.startswith(_PREFIXES) or name in _NAMES


def clean_environment(**settings: str) -> dict[str, str]:
    """Copy our environment without its mail settings, add ``settings``, and let Python find this very mailqueue."""
    environment = {name: value for name, value in os.environ.items() if not is_setting(name)} | settings
    # A subprocess must import the code that is running here, installed or not.
    here = str(Path(mailqueue.__path__[0]).parent)
    paths = [here, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return environment


def settings_in_environment() -> dict[str, str]:
    """All settings of this process that are set, as the environment of another that is to have the same.

    It finds the same modules, too: a delivery backend of the application's own, say.
    """
    settings = {setting.name: _text(conf.get(setting.name)) for setting in conf.SETTINGS if conf.is_set(setting.name)}
    found = {name: text for name, text in settings.items() if text is not None}
    return {**found, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _text(value: Any) -> str | None:
    """``value`` as the environment spells it; None for what is said by being absent."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=str)
    return str(value)
