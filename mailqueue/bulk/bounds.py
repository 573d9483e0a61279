"""How large the values in a template may become, and how much work a rendering may be.

Whoever writes templates may be somebody else than who runs the workers: a slip, such as a width of a thousand million,
is to be an error of the template, and neither fill the memory of a process nor keep it busy for hours.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, Final

__all__ = ["LARGEST", "WORK", "excess", "excess_of_call", "excess_of_operation", "size"]

#: Characters and items of one value: as many as a field may have octets.
LARGEST: Final = 1_000_000
#: What one field may take: 400,000 passes of loops, 200,000 calls, or characters and items put out or gone through. That
#: is 0.1 to 3 s (measured).
WORK: Final = 2_000_000

_MAX_REPEAT: Final = 100_000  # characters or items of "x" * n; as many as the sandbox lets range() have
_MAX_POWER: Final = 100
_MAX_BITS: Final = 100_000  # of a number
#: Filters and methods of text that make as much as a number says.
_BY_NUMBER: Final = frozenset(
    ["batch", "center", "expandtabs", "indent", "ljust", "rjust", "round", "slice", "tojson", "zfill"]
)
#: Those that may put one text in for each character or item of another.
_BY_TEXT: Final = frozenset(
    ["expandtabs", "format", "format_map", "indent", "join", "replace", "translate", "urlize", "wordwrap"]
)
#: What is replaced by as much as a number says.
_MARKS: Final = {"expandtabs": "\t", "indent": "\n"}
#: A field of a format that is that wide, or as wide as a value says.
_WIDE: Final = re.compile(
    r"%(?:\([^)]*\))?[-#0 +]*(?:\*|\d{6}|\d*\.(?:\*|\d{6}))"  # of % and the filter
    r"|\{[^{}]*:[^{}]*(?:\d{6}|\{)"  # of str.format
)


def size(value: Any) -> int:
    """Characters and items in ``value``, and in all that it holds, as often as it holds that; no more than it may have, and 1."""
    if isinstance(value, str):
        return len(value)
    found, waiting = 0, [value]
    while waiting and found <= LARGEST:
        each = waiting.pop()
        if isinstance(each, str | range):
            found += len(each)
        elif isinstance(each, dict):
            found += len(each)
            waiting += chain(each, each.values())
        elif isinstance(each, list | tuple | set | frozenset):
            found += len(each)
            waiting += each
        else:
            found += 1
    return min(found, LARGEST + 1)


def excess(found: int) -> str:
    """What is wrong with a value of that size; "" if nothing is."""
    return f"a value has more than {LARGEST} characters and items" if found > LARGEST else ""


def excess_of_call(name: str, subject: Any, arguments: list[Any]) -> str:
    """What is wrong with a call of the filter or method ``name`` on ``subject``: it would make too much; "" if it does not."""
    if name in _BY_NUMBER:
        for each in arguments:
            if isinstance(each, int) and abs(each) > _MAX_REPEAT:
                return f"{name} of {each}, and {_MAX_REPEAT} is the limit"
    if name not in _BY_TEXT:
        return ""
    if name.startswith("format") and _WIDE.search(str(subject)):
        return "a width in a format is too large, or comes of a value"
    mark = str(arguments[0]) if name == "replace" and arguments else _MARKS.get(name)
    places = 1 + (size(subject) if mark is None else str(subject).count(mark))
    sizes = [each if name in _MARKS and type(each) is int else size(each) for each in arguments]
    return excess(places * sum(sizes))


def excess_of_operation(operator: str, left: Any, right: Any) -> str:
    """What is wrong with ``left operator right``: it would make too much; "" if it does not."""
    if operator == "**" and isinstance(right, (int, float)) and abs(right) > _MAX_POWER:
        return f"the power is {right}, and {_MAX_POWER} is the limit"
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        return f"a number of {bits} bits, and {_MAX_BITS} is the limit" if bits > _MAX_BITS else ""
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if hasattr(many, "__len__") and isinstance(times, int) and len(many) * times > _MAX_REPEAT:
                return f"a repetition of {len(many) * times} items, and {_MAX_REPEAT} is the limit"
    if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        return excess(len(left) + len(right))
    return excess_of_call("format", left, [right]) if operator == "%" and isinstance(left, str) else ""
