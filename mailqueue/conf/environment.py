"""The environment as a source: whether a name is set there, as it is now.

``name in os.environ`` is made of an encoding and a caught exception for each name that is not set, which is nearly all
of them: 1 us, of which a mail would pay a dozen. The dict beneath answers in a tenth of that, where there is one.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Final

__all__ = ["has"]

_environ: Final = os.environ
_beneath: Final[Any] = getattr(os.environ, "_data", None)  # CPython's, since 2.x; of no public name
_key: Final = functools.cache(getattr(os.environ, "encodekey", str))


def has(name: str) -> bool:
    """Whether the variable ``name`` is set."""
    if _beneath is None or os.environ is not _environ:  # another Python; or a test has put its own in the place
        return name in os.environ
    return _key(name) in _beneath
