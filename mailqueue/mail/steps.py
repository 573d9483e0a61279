"""The steps in which our message classes, and Django's, make their bytes; whether an object has others put in."""

from __future__ import annotations

import functools
from typing import Any, Final

__all__ = ["APART_FROM_BYTES", "APART_FROM_MAIL", "DJANGO", "OURS", "keeps_steps"]

#: The modules that the message classes are in.
OURS: Final = "mailqueue.mail.message"
DJANGO: Final = "django.core.mail.message"

#: Methods that neither the bytes nor the recipients of a message depend on: a subclass may have its own.
APART_FROM_MAIL: Final = frozenset(
    {"attach", "attach_alternative", "attach_file", "body_contains", "get_connection", "send"}
)
#: Those that the bytes do not depend on.
APART_FROM_BYTES: Final = APART_FROM_MAIL | {"recipients"}


def keeps_steps(message: Any, homes: tuple[str, ...], apart: frozenset[str]) -> bool:
    """Whether ``message`` is of a class in ``homes``, and neither a subclass nor the object itself replaces a method.

    Of the methods called ``apart`` it may have its own.
    """
    steps = _steps(message.__class__, homes, apart)
    return steps is not None and steps.isdisjoint(vars(message))


@functools.lru_cache(maxsize=256)
def _steps(cls: type, homes: tuple[str, ...], apart: frozenset[str]) -> frozenset[str] | None:
    """The names of the methods that ``cls`` has from ``homes``; None if it has none, or has replaced one."""
    classes = [base for base in cls.__mro__ if base.__module__ in homes]
    strangers = [base for base in cls.__mro__ if base not in classes and base is not object]
    steps = frozenset(
        name
        for base in classes
        for name, value in vars(base).items()
        if callable(value) and not name.startswith("__") and name not in apart
    )
    if not classes or any(not steps.isdisjoint(vars(base)) for base in strangers):
        return None
    return steps
