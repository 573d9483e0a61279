"""The recipients of a campaign, out of whatever holds them, one after another: memory stays flat."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Recipient"]


class Recipient(msgspec.Struct, frozen=True):
    """Whom to write to: the bare ``address``, and the ``data`` that the template is filled with, as JSON has it.

    ``row`` is where it was found: a line of the file, or which of the recipients it is, both from 1.
    """

    address: str
    data: dict[str, Any] = {}
    row: int = 0
