"""A line chart as SVG, written by hand: no library, and the same bytes for the same figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from benchmarks.figures import digits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Line", "chart"]

_WIDTH, _HEIGHT = 940, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 320, 50, 60  # margins; the names of the lines stand at the right
_LABEL = 15  # between two of them, at least
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#ff7f0e")
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}"
    ".grid{stroke:#ddd}.axis{stroke:#666}path{fill:none}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a value for some of the places on the x axis; ``ours`` is drawn thick, a ``floor`` dashed."""

    name: str
    values: Mapping[str, float]
    ours: bool = False
    floor: bool = False


def chart(
    title: str, places: Sequence[str], lines: Sequence[Line], *, x_title: str, y_title: str, logarithmic: bool = True
) -> str:
    """The chart: ``places`` side by side on the x axis, values from 0 (or by powers of ten) on the y axis."""
    values = [value for line in lines for value in line.values.values()]
    scale = _Scale(values, logarithmic)
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="26">{escape(title)}</text>',
        *_axes(places, scale, x_title, y_title),
    ]
    ends: list[tuple[float, str, str]] = []
    colours = iter(_COLOURS * (len(lines) // len(_COLOURS) + 1))
    for line in lines:
        colour = "#000" if line.ours else "#888" if line.floor else next(colours)
        points = [(_x(places, place), scale.y(line.values[place])) for place in places if place in line.values]
        if not points:
            continue
        dash = ' stroke-dasharray="5 4"' if line.floor else ""
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        width = 3 if line.ours else 1.5
        pieces.append(f'<path d="M{way}" stroke="{colour}" stroke-width="{width}"{dash}/>')
        pieces += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 0.5}" fill="{colour}"/>' for x, y in points]
        last = next(place for place in reversed(places) if place in line.values)
        ends.append((points[-1][1], f"{line.name} ({digits(line.values[last])})", colour))
    pieces += _names(ends)
    return "\n".join([*pieces, "</svg>", ""])


class _Scale:
    """From a value to its height."""

    def __init__(self, values: Sequence[float], logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        high = max(values, default=1.0)
        if logarithmic:
            low = min((value for value in values if value > 0), default=1.0)
            self._low, self._high = math.floor(math.log10(low)), max(math.ceil(math.log10(high)), 1)
        else:
            step = 10.0 ** math.floor(math.log10(high or 1.0))
            self._low, self._high = 0, math.ceil(high / step)
            self._step = step

    def y(self, value: float) -> float:
        place = math.log10(max(value, 10.0**self._low)) if self._logarithmic else value / self._step
        share = (place - self._low) / max(self._high - self._low, 1)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def ticks(self) -> list[float]:
        steps = range(self._low, self._high + 1)
        return [10.0**step if self._logarithmic else step * self._step for step in steps]


def _x(places: Sequence[str], place: str) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width * (places.index(place) + 0.5) / len(places)


def _axes(places: Sequence[str], scale: _Scale, x_title: str, y_title: str) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    pieces = []
    for tick in scale.ticks():
        y = scale.y(tick)
        pieces.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        pieces.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,.10g}</text>')
    pieces += [
        f'<text x="{_x(places, place):.1f}" y="{bottom + 20}" text-anchor="middle">{escape(place)}</text>'
        for place in places
    ]
    middle = (_LEFT + right) / 2
    pieces.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    pieces.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 16}" text-anchor="middle">{escape(x_title)}</text>')
    upright = f'transform="translate(16,{(_TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle"'
    return [*pieces, f"<text {upright}>{escape(y_title)}</text>"]


def _names(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """The names of the lines, each beside its end, moved down where two would overlap."""
    pieces, below = [], 0.0
    overflow = max(0.0, _LABEL * len(ends) - (_HEIGHT - _TOP))
    for y, name, colour in sorted(ends):
        below = max(y + 4 - overflow, below + _LABEL)
        pieces.append(f'<text x="{_WIDTH - _RIGHT + 8}" y="{below:.1f}" style="fill:{colour}">{escape(name)}</text>')
    return pieces
