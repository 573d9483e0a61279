"""The types hold for a user's program and tests, and find their mistakes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("package", ["mailqueue", "workers"])
def test_the_packages_say_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").exists()  # PEP 561


@pytest.mark.timeout(300)  # s; the first run of mypy on a machine reads the whole standard library
def test_a_users_program_and_tests_pass_the_type_checker():
    if importlib.util.find_spec("mypy") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mypy is not installed: make check installs it")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--warn-unreachable",
            "--follow-imports=silent",  # the packages themselves are checked by `make types`
            f"--cache-dir={ROOT / '.mypy_cache' / 'user_program'}",
            *map(str, sorted((ROOT / "tests" / "typing").glob("*.py"))),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
