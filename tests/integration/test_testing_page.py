"""The programs of docs/testing.md run as they stand there, real servers included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mailqueue

PAGE = Path(mailqueue.__file__).parent.parent / "docs/testing.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.store
@pytest.mark.parametrize("code", PROGRAMS, ids=["locmem", "memory", "real"])
def test_a_program_runs(code):
    exec(compile(code, PAGE.name, "exec"), {"__name__": "__main__"})
