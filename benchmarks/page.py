"""The parts of a page that a program writes, between two comments; the rest is written by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fill"]


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """``page`` with each of ``blocks`` between its comments; ValueError if there is no place for one."""
    for name, text in blocks.items():
        place = re.compile(rf"(<!-- generated: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(page):
            raise ValueError(f"the page has no '<!-- generated: {name} -->'")
        page = place.sub(lambda found, text=text: f"{found[1]}{text.strip()}\n{found[2]}", page)  # type: ignore[misc]
    return page
