"""The attributes of a message that third-party backends understand, carried as JSON.

The names are Anymail's (https://anymail.dev, "Anymail additions"); a backend without them ignores them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXTRAS", "pack_extras", "plain", "text", "unpack_extras"]

EXTRAS: Final = (
    "envelope_sender",
    "esp_extra",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
    "metadata",
    "tags",
    "template_id",
    "track_clicks",
    "track_opens",
)

_INT_MIN: Final = -(2**63)  # what every JSON reader in use takes
_INT_MAX: Final = 2**64 - 1


def pack_extras(message: Any) -> dict[str, Any]:
    """Return those of EXTRAS that ``message`` has, as JSON has them.

    Raises:
        TypeError: for a value that JSON cannot carry as it is, naming the attribute.
    """
    found: dict[str, Any] = {}
    for name in EXTRAS:
        value = getattr(message, name, None)
        if value is not None and not _is_unset(value):
            found[name] = plain(value, name)
    return found


def unpack_extras(message: Any, extras: Mapping[str, Any]) -> None:
    """Set on ``message`` what ``pack_extras`` found; names that it would not have found are left out."""
    for name in EXTRAS:
        if name in extras:
            setattr(message, name, extras[name])


def plain(value: Any, where: str) -> Any:
    """Return ``value`` in JSON's types: tuples as lists, lazy strings as str; ``where`` names it in a TypeError."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) or _is_lazy(value):
        return text(value)
    if isinstance(value, int) and _INT_MIN <= value <= _INT_MAX:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, where): plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise TypeError(
        f"{where} cannot travel through the queue: JSON has no {type(value).__name__}"
        f"{' of this value' if isinstance(value, int | float) else ''}. Give text, a number, a list or a dict instead."
    )


def text(value: Any) -> str:
    """Return ``value`` as a str itself: lazy strings and subclasses of str (``SafeString``) are not JSON's."""
    return value if type(value) is str else str.__str__(str(value))


def _key(key: Any, where: str) -> str:
    if isinstance(key, str) or _is_lazy(key):
        return text(key)
    raise TypeError(f"{where} cannot travel through the queue: its key {key!r} is no text")


def _is_lazy(value: Any) -> bool:
    # Django's lazy text: a Promise, known by what only it has, so that Django need not be installed.
    return hasattr(value, "_proxy____cast") or type(value).__name__ == "__proxy__"


def _is_unset(value: Any) -> bool:
    # Anymail's own "not given": a bare class of this name.
    return isinstance(value, type) and value.__name__ == "UNSET"
