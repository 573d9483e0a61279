"""The ways out: which backend sends, by dotted path, by EMAIL_BACKEND, or by an alias of MAILERS.

Each call makes a new backend. Backends are loaded by their path alone: nothing here imports one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mailqueue import conf
from mailqueue.errors import InvalidMailer, MailerDoesNotExist

__all__ = ["DEFAULT_MAILER_ALIAS", "Mailers", "get_connection", "import_string", "mailers", "refuse_mix"]

DEFAULT_MAILER_ALIAS: Final = "default"

_MISSING: Final[Any] = object()


def import_string(path: str) -> Any:
    """What ``path`` (``package.module.Name``) names. Raises ImportError."""
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise ImportError(f"{path} doesn't look like a module path")
    try:
        return getattr(importlib.import_module(module_path), name)
    except AttributeError as error:
        raise ImportError(f'Module "{module_path}" does not define a "{name}" attribute/class') from error


def get_connection(backend: str | None = None, fail_silently: bool = False, **kwds: Any) -> Any:
    """A new instance of the class at the dotted path ``backend``, or of the default backend.

    The default is the entry "default" of MAILERS where MAILERS is set, else EMAIL_BACKEND. ``fail_silently`` and all
    other arguments go to the class; over those of a MAILERS entry they win. Raises ImportError, and whatever the
    class raises.
    """
    if backend is None and conf.is_set("MAILERS"):
        return mailers.create(DEFAULT_MAILER_ALIAS, **(kwds | {"fail_silently": True} if fail_silently else kwds))
    return import_string(backend or conf.get("EMAIL_BACKEND"))(fail_silently=fail_silently, **kwds)


class Mailers:
    """MAILERS as a collection: ``mailers[alias]`` is a new backend, built from the entry as it stands now.

    Where MAILERS is not set there is one alias, "default": the backend that EMAIL_BACKEND names.
    """

    def __getitem__(self, alias: str | None) -> Any:
        return self.create(DEFAULT_MAILER_ALIAS if alias is None else alias)

    def __contains__(self, alias: object) -> bool:
        return alias in self._entries()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def get(self, alias: str | None = None, default: Any = None) -> Any:
        """As ``mailers[alias]``, but ``default`` if there is no such alias."""
        try:
            return self[alias]
        except MailerDoesNotExist:
            return default

    @property
    def default(self) -> Any:
        """A new backend of the alias "default"."""
        return self[DEFAULT_MAILER_ALIAS]

    def create(self, alias: str, **overrides: Any) -> Any:
        """A new backend of ``alias``; ``overrides`` win over its OPTIONS, and unknown ones among them are ignored.

        Raises MailerDoesNotExist, InvalidMailer for an entry that cannot be built, and whatever the class raises.
        """
        entry = self._entries().get(alias, _MISSING)
        if entry is _MISSING:
            raise MailerDoesNotExist(f"The mailer '{alias}' is not configured.")
        if entry is None:
            return get_connection(**overrides)
        path, options = _read(alias, entry)
        try:
            backend = import_string(path)
        except ImportError as error:
            raise _invalid(alias, f"Could not find BACKEND '{path}': {error}") from error
        if overrides:
            # The name under which Django 6.1 tells its own backends as well.
            options = {**options, **overrides, "_ignore_unknown_kwargs": frozenset(overrides)}
        return backend(alias=alias, **options)

    def _entries(self) -> Mapping[str, Any]:
        """Alias -> entry. None stands for the backend of the EMAIL_* settings."""
        if not conf.is_set("MAILERS"):
            return {DEFAULT_MAILER_ALIAS: None}
        entries: Mapping[str, Any] = conf.get("MAILERS")
        return entries


mailers: Final = Mailers()


def refuse_mix(
    *,
    connection: Any = None,
    fail_silently: bool = False,
    using: str | None = None,
    auth_user: Any = None,
    auth_password: Any = None,
) -> None:
    """Raise TypeError for arguments of which one would silently win over the other."""
    auth = auth_user is not None or auth_password is not None
    if using is not None:
        if connection is not None:
            raise TypeError("'connection' is not compatible with 'using'.")
        if fail_silently:
            raise TypeError("'fail_silently' is not compatible with 'using'.")
        if auth:
            raise TypeError(
                "'auth_user' and 'auth_password' are not compatible with 'using'. "
                "Set 'username' and 'password' OPTIONS in MAILERS instead."
            )
    elif connection is not None:
        if fail_silently:
            raise TypeError(
                "fail_silently cannot be used with a connection. Pass fail_silently to get_connection() instead."
            )
        if auth:
            raise TypeError(
                "auth_user and auth_password cannot be used with a connection. "
                "Pass auth_user and auth_password to get_connection() instead."
            )


def _read(alias: str, entry: Any) -> tuple[str, dict[str, Any]]:
    """The dotted path and the options of an entry; without a BACKEND it is SMTP, as in Django."""
    if not isinstance(entry, Mapping):
        raise _invalid(alias, 'It must be {"BACKEND": "...", "OPTIONS": {...}}.')
    options = entry.get("OPTIONS") or {}
    if not isinstance(options, Mapping):
        raise _invalid(alias, "OPTIONS must map names to values.")
    if "alias" in options:
        raise _invalid(alias, "'alias' is not allowed in OPTIONS.")
    return str(entry.get("BACKEND", conf.SMTP_BACKEND)), dict(options)


def _invalid(alias: str, sentence: str) -> InvalidMailer:
    return InvalidMailer(f"MAILERS[{alias!r}]: {sentence}")
