"""Each peer's own virtual environment, made when it is first needed and kept in .cache/bench."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.helper import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CACHE", "EnvironmentTrouble", "python_of", "versions"]

CACHE = ROOT / ".cache" / "bench"
_VERSIONS = """
import importlib.metadata as m, json
print(json.dumps({d.metadata["Name"]: d.version for d in m.distributions()}))
"""


class EnvironmentTrouble(RuntimeError):  # noqa: N818 - named like WorkerTrouble
    """A system cannot be installed here; the message holds the installer's last words."""


def python_of(name: str, requirements: Sequence[str], cache: Path = CACHE) -> Path:
    """The interpreter of the environment ``name`` with ``requirements`` in it; made unless it is there.

    Raises EnvironmentTrouble.
    """
    directory = cache / name
    python = directory / "bin" / "python"
    stamp = directory / "requirements.json"
    wanted = json.dumps([sys.version, *requirements])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), *requirements])
    else:
        _run([sys.executable, "-m", "venv", str(directory)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    stamp.write_text(wanted)
    return python


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of those of ``names`` that are installed there."""
    listing = subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True, cwd=ROOT)
    found = {name.lower().replace("_", "-"): version for name, version in json.loads(listing.stdout).items()}
    return {name: found[name] for name in names if name in found}


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise EnvironmentTrouble(f"{command[0]}: {error}") from error
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise EnvironmentTrouble(f"{' '.join(map(str, command[:4]))} ... ended with {done.returncode}: {words}")
