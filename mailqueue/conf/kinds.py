"""The kinds of settings: how each is read from text and from Python, and what it refuses.

A kind raises ValueError with a sentence that says what is wrong and what would be right; which setting it was, and
where its value came from, is added by the door of this package. No sentence repeats a value that may be secret.
"""

# ruff: noqa: D102 - what each method does is told once, by Kind

from __future__ import annotations

import codecs
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailqueue.conf import url
from mailqueue.conf.nearest import nearest
from mailqueue.conf.secret import Secret, SecretURL

__all__ = [
    "URL",
    "Charset",
    "Choice",
    "DottedPath",
    "Entries",
    "FilePath",
    "Flag",
    "Kind",
    "Mailers",
    "Number",
    "Numbers",
    "Password",
    "People",
    "Prefix",
    "Structured",
    "Text",
    "Whole",
]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_PREFIX = re.compile(r"[A-Za-z0-9._:-]+")
# Names of backend options whose values are hidden in a repr.
_SECRET_OPTION = re.compile(r"passw|secret|token|api_?key|_key$|credential", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """One kind of value. ``optional``: None is a value too. ``blank``: so is the empty string."""

    optional: bool = False
    blank: bool = False

    #: Whether one converted value may be handed to everybody: not so if it can be changed.
    shared = True

    def parse(self, text: str) -> Any:
        """The value that ``text`` (of the environment) stands for; raises ValueError."""
        return self.take(text)

    def take(self, value: Any) -> Any:
        """``value`` (from Python) as this kind; raises ValueError."""
        raise NotImplementedError

    def inspect(self, value: Any) -> Iterable[str]:  # noqa: ARG002 - the interface
        """What is wrong with a converted value that only a thorough check should say: sentences."""
        return ()


class Text(Kind):
    """Any text; lazy strings become ``str`` at the time of use."""

    def take(self, value: Any) -> str:
        if isinstance(value, (bytes, bool, int, float, Mapping, list, tuple)):
            raise ValueError(f"{_shown(value)} is no text; put it in quotes")  # noqa: TRY004 - told as one problem
        return str(value)


class Charset(Text):
    """The name of a charset that Python knows."""

    def inspect(self, value: Any) -> Iterable[str]:
        try:
            codecs.lookup(value)
        except LookupError:
            return (f"{_shown(value)} is no charset that Python knows; use utf-8",)
        return ()


class Prefix(Text):
    """The beginning of names in a store, where braces and blanks have meanings of their own."""

    def take(self, value: Any) -> str:
        text = super().take(value)
        if not _PREFIX.fullmatch(text):
            raise ValueError(f"{_shown(value)} is no prefix; use letters, digits and . _ - : only")
        return text


class Password(Kind):
    """A text that no repr and no error shows."""

    def take(self, value: Any) -> Secret:
        if isinstance(value, (bytes, bool, int, float, Mapping, list, tuple)):
            raise ValueError("a password is text; put it in quotes")  # noqa: TRY004 - told as one problem
        return value if isinstance(value, Secret) else Secret(value)


class Flag(Kind):
    """True or false."""

    def take(self, value: Any) -> bool:
        word = str(value).strip().lower()
        if isinstance(value, (bool, int, str)):
            if word in _TRUE:
                return True
            if word in _FALSE:
                return False
        raise ValueError(f"{_shown(value)} is neither true nor false; use 1/0, true/false, yes/no or on/off")


@dataclass(frozen=True)
class Number(Kind):
    """A number above zero, and no higher than ``high``."""

    high: float = math.inf

    def take(self, value: Any) -> float:
        number = _number(value)
        if number is None or not math.isfinite(number) or number <= 0:
            raise ValueError(f"{_shown(value)} is no number above 0; use one, such as 30 or 0.5")
        if number > self.high:
            raise ValueError(f"{_shown(value)} is more than {self.high:g}")
        return number


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number between two limits, both included."""

    low: int = 1
    high: int | None = None

    def take(self, value: Any) -> int:
        number = _number(value)
        if number is None or not isinstance(number, int) or number < self.low or number > (self.high or number):
            span = f"of {self.low} or more" if self.high is None else f"from {self.low} to {self.high}"
            raise ValueError(f"{_shown(value)} is no whole number {span}")
        return number


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    options: tuple[str, ...] = ()

    def take(self, value: Any) -> str:
        word = str(value).strip().lower()
        if word not in self.options:
            raise ValueError(f"{_shown(value)} is not one of: {', '.join(self.options)}")
        return word


class DottedPath(Kind):
    """The path of a class: ``package.module.Class``. It is imported by those who use it."""

    def take(self, value: Any) -> str:
        text = str(value)
        if not _DOTTED.fullmatch(text):
            raise ValueError(f"{_shown(value)} is no dotted path; give package.module.Class")
        return text


class FilePath(Kind):
    """The path of a file or directory, as text or as ``os.PathLike``."""

    def take(self, value: Any) -> str | os.PathLike[str]:
        if isinstance(value, str):
            return value or None  # type: ignore[return-value]  # an empty path is none
        if isinstance(value, os.PathLike):
            return value
        raise ValueError(f"{_shown(value)} is no path; give text or a pathlib.Path")


@dataclass(frozen=True)
class URL(Kind):
    """A URL with one of a few schemes; its passwords are hidden in every repr and error."""

    schemes: tuple[str, ...] = ()
    #: How those who use it want it spelt.
    spelt: Callable[[str], str] = str

    def take(self, value: Any) -> SecretURL:
        text = str(value).strip()
        known = ", ".join(f"{scheme}://" for scheme in self.schemes)
        for one in url.split(text):
            scheme = url.scheme(one)
            if not scheme:
                raise ValueError(f"it does not begin with a scheme; use one of {known}")
            if scheme not in self.schemes:
                raise ValueError(f"its scheme {scheme}:// is not one of {known}{nearest(scheme, self.schemes)}")
        if problem := url.problem(text):
            raise ValueError(problem)
        return SecretURL(self.spelt(text))


class Structured(Kind):
    """A value with parts: JSON in the environment, lists and mappings in Python."""

    shared = False

    def parse(self, text: str) -> Any:
        error: json.JSONDecodeError | None = None
        value: Any = None
        try:
            value = json.loads(text)
        except json.JSONDecodeError as caught:
            error = caught
        if error is not None:  # raised out here, so that no context keeps the text: it may hold passwords
            place = f"line {error.lineno}, column {error.colno}"
            raise ValueError(f"it is no JSON ({error.msg.lower()} at {place})")
        return self.take(value)


class Numbers(Structured):
    """A list of numbers above zero: JSON or comma-separated in the environment."""

    shared = True  # a tuple

    def parse(self, text: str) -> Any:
        return super().parse(text if text.lstrip().startswith("[") else f"[{text}]")

    def take(self, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError("it must be a list of numbers above 0, such as [60, 300, 900]")
        return tuple(Number().take(item) for item in value)


class People(Structured):
    """Addresses, each as text or as a pair of name and address. What is wrong with them is told by their users."""

    def take(self, value: Any) -> Any:
        return list(value) if isinstance(value, list) else value

    def parse(self, text: str) -> Any:
        value = super().parse(text)
        return [tuple(item) if isinstance(item, list) else item for item in value] if isinstance(value, list) else value

    def inspect(self, value: Any) -> Iterable[str]:
        if isinstance(value, (list, tuple)) and all(map(_is_person, value)):
            return ()
        return ('it must be a list of addresses or of pairs of name and address, such as [["Ann", "ann@example.org"]]',)


def _is_person(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return len(item) == 2 and not any(isinstance(part, (list, tuple, Mapping)) for part in item)
    return not isinstance(item, (Mapping, bytes, int, float)) and item is not None


class Mailers(Structured):
    """Alias -> {"BACKEND": dotted path, "OPTIONS": {...}}. Options that sound secret are hidden in a repr."""

    def take(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError('it must map aliases to {"BACKEND": "...", "OPTIONS": {...}}')  # noqa: TRY004 - as above
        return {alias: _hiding(entry) for alias, entry in value.items()}

    def inspect(self, value: Any) -> Iterable[str]:
        for alias, entry in value.items():
            if not isinstance(entry, Mapping):
                yield f'the entry {alias!r} must be {{"BACKEND": "...", "OPTIONS": {{...}}}}'
                continue
            for key in entry:
                if key not in {"BACKEND", "OPTIONS"}:
                    yield f"the entry {alias!r} has {key!r}; an entry has BACKEND and OPTIONS alone"
            if not isinstance(entry.get("OPTIONS", {}), Mapping):
                yield f"OPTIONS of the entry {alias!r} must map names to values"


def _hiding(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {key: _hidden(key, value) for key, value in entry.items()}


def _hidden(key: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return _hiding(value)
    if type(value) is str and isinstance(key, str) and _SECRET_OPTION.search(key):
        return Secret(value)
    return value


@dataclass(frozen=True)
class Entries(Structured):
    """Names of things, each a ``noun`` -> what is different for it, by the names in ``options``."""

    noun: str = "relay"
    options: Mapping[str, Kind] = field(default_factory=dict, hash=False)
    names: tuple[str, ...] = ()  # the only ones that there are; empty: any

    def take(self, value: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(value, Mapping) or not all(isinstance(entry, Mapping) for entry in value.values()):
            raise ValueError(f"it must map each {self.noun} to options: {', '.join(self.options)}")
        for name in value:
            if self.names and name not in self.names:
                raise ValueError(f"there is no {self.noun} {name!r}; use {', '.join(self.names)}")
        return {name: {key: self._option(name, key, entry[key]) for key in entry} for name, entry in value.items()}

    def _option(self, name: str, key: str, value: Any) -> Any:
        kind = self.options.get(key)
        if kind is None:
            raise ValueError(f"the {self.noun} {name!r} has no option {key!r}{nearest(key, self.options)}")
        if value is None and kind.optional:
            return None
        try:
            return kind.take(value)
        except ValueError as error:
            raise ValueError(f"{key} of the {self.noun} {name!r}: {error}") from None


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if not isinstance(value, str):
        return int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
