"""What docs/testing.md shows runs as it stands there, real servers included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mailqueue

ROOT = Path(mailqueue.__file__).parent.parent
PAGE = ROOT / "docs/testing.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
#: Blocks that name their file belong together; each of the others is a program.
FILES = {name: block for block in BLOCKS if (name := block.split()[1]).endswith(".py")}
SUITES = [name for name in FILES if name.startswith("test_")]
PROGRAMS = [block for block in BLOCKS if block not in FILES.values()]


def test_the_page_has_examples():
    assert len(SUITES) == 5
    assert len(PROGRAMS) == 3


@pytest.mark.store
@pytest.mark.parametrize("code", PROGRAMS, ids=["outbox", "memory", "real"])
def test_a_program_runs(code):
    exec(compile(code, PAGE.name, "exec"), {"__name__": "__main__"})


@pytest.mark.store
@pytest.mark.parametrize("suite", SUITES)
def test_a_test_suite_passes(suite, pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, text in FILES.items():
        if name == suite or name not in SUITES:
            (pytester.path / name).write_text(text)
    # The entry point is blocked, for it may be installed or not.
    plugins = ("no:mailqueue", "mailqueue.testing.plugin", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*(f"-p{plugin}" for plugin in plugins), "-Werror", "--strict-markers")
    result.assert_outcomes(passed=FILES[suite].count("\ndef test_"))


def test_every_fixture_is_on_the_page():
    from mailqueue.testing import plugin  # noqa: PLC0415 - as pytest loads it

    assert [name for name in plugin.__all__ if f"| `{name}` |" not in PAGE.read_text()] == []
