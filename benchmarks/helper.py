"""The servers of the benchmarks, each in a process of its own, which finds this repository's modules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mailqueue.testing import helper
from mailqueue.testing.helper import HOST, HelperTrouble, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HOST", "ROOT", "Helper", "HelperTrouble", "serve"]

ROOT = Path(__file__).resolve().parent.parent  # of the repository


class Helper(helper.Helper):
    """A helper of the benchmarks; the arguments are those of ``mailqueue.testing.helper.Helper``."""

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        super().__init__(module, arguments, paths=[str(ROOT)])
