"""Strings that must not be shown: a password, and a URL that may carry one."""

from __future__ import annotations

import re

from mailqueue.conf import url

__all__ = ["HIDDEN", "Secret", "SecretURL"]

HIDDEN = "***"

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
        return ";".join(_mask(one) for one in url.split(str(self)))

    def __repr__(self) -> str:
        return repr(self.masked)


def _mask(one: str) -> str:
    scheme, separator, rest = one.partition("://")
    if not separator:
        return HIDDEN  # no URL at all: perhaps the password itself, pasted into the wrong place
    # The last "@" ends the user's part: an unescaped "/" or "@" in a password must not show the rest of it.
    user, at, place = rest.rpartition("@")
    if ":" in user:
        user = f"{user.partition(':')[0]}:{HIDDEN}"
    return _QUERY_SECRET.sub(rf"\g<1>{HIDDEN}", f"{scheme}://{user}{at}{place}")
