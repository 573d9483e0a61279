"""Strings that must not be shown: a password, and a URL that may carry one."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "Secret", "SecretURL"]

HIDDEN = "***"

# A list of brokers is separated by semicolons; a semicolon inside a password is not followed by a scheme.
_BETWEEN_URLS = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_QUERY_SECRET = re.compile(r"([?&][^=&]*(?:password|passwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


class Secret(str):
    """A string whose ``repr`` hides it. Everything else is ``str``: what uses the secret sees it in full."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{HIDDEN}'" if self else "''"


class SecretURL(Secret):
    """A URL whose ``repr`` hides the passwords in it; ``masked`` is the same for people to read."""

    __slots__ = ()

    @property
    def masked(self) -> str:
        """The URL with ``***`` for each password, in the part before the host as well as in the query."""
        return ";".join(_mask(url) for url in _BETWEEN_URLS.split(str(self)))

    def __repr__(self) -> str:
        return repr(self.masked)


def _mask(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return HIDDEN  # no URL at all: perhaps the password itself, pasted into the wrong place
    # The last "@" ends the user's part: an unescaped "/" or "@" in a password must not show the rest of it.
    user, at, place = rest.rpartition("@")
    if ":" in user:
        user = f"{user.partition(':')[0]}:{HIDDEN}"
    return _QUERY_SECRET.sub(rf"\g<1>{HIDDEN}", f"{scheme}://{user}{at}{place}")
