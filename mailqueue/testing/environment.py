"""An environment without anybody's mail settings, for processes that must not touch a real store or relay."""

from __future__ import annotations

import os
from pathlib import Path

import mailqueue
from mailqueue import conf

__all__ = ["clean_environment", "is_setting"]

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
