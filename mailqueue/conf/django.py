"""Django's settings as a source: those that are set explicitly, as they are now.

Nothing here needs Django: without it, or with its settings not configured, the source is empty.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mailqueue.conf import environment
from mailqueue.conf.table import REPLACED_BY_MAILERS

__all__ = ["UNSET", "explicit", "names"]

#: What ``explicit`` answers for a name that Django's settings do not set.
UNSET: Any = type("Unset", (), {"__repr__": lambda _: "UNSET"})()


def explicit(name: str) -> Any:
    """The value that Django's settings set explicitly for ``name``, else UNSET. ``override_settings`` is seen.

    So is what was assigned since: Django's test runner puts its own EMAIL_BACKEND into place so.

    With MAILERS defined (Django 6.1), the settings that it replaces count as unset: reading one would raise.
    """
    holder = _holder()
    if holder is None:
        return UNSET
    if name in REPLACED_BY_MAILERS and holder.is_overridden("MAILERS") and hasattr(holder, "MAILERS"):
        return UNSET
    value = getattr(holder, name, UNSET)
    if value is UNSET:  # so most of ours; or deleted by a test, and then overridden and yet not there
        return UNSET
    if holder.is_overridden(name) or value != getattr(sys.modules["django.conf"].global_settings, name, UNSET):
        return value
    return UNSET


def names() -> list[str]:
    """The names that Django's settings set explicitly."""
    holder = _holder()
    return [] if holder is None else [name for name in dir(holder) if name.isupper() and holder.is_overridden(name)]


def _holder() -> Any:
    """The object that holds Django's settings at this moment, or None."""
    module = sys.modules.get("django.conf")
    if module is None:
        if not environment.has("DJANGO_SETTINGS_MODULE") or not os.environ["DJANGO_SETTINGS_MODULE"]:
            return None
        module = _import_django()
    settings = getattr(module, "settings", None)  # None as well while django.conf itself is being imported
    if settings is None:
        return None
    # The holder rather than `settings`: Django 6.1 warns whoever reads an EMAIL_* from the latter. It has no public
    # name, and `settings` is slow to say even whether it is configured.
    held = object.__getattribute__(settings, "_wrapped")
    if held is sys.modules["django.utils.functional"].empty:
        if not os.environ.get("DJANGO_SETTINGS_MODULE"):
            return None
        settings.is_overridden("MAILERS")  # has Django load the module; what is wrong with it is Django's to tell
        held = object.__getattribute__(settings, "_wrapped")
    return held


def _import_django() -> Any:
    # At the time of use: Django is optional, heavy, and reads its own settings when it wants to.
    try:
        return importlib.import_module("django.conf")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "django":
            return None  # the variable is meant for others
        raise
