"""Importing any module reads no setting."""

from __future__ import annotations

import subprocess
import sys

from mailqueue import conf
from mailqueue.testing.environment import clean_environment

IMPORT_EVERYTHING = """
import importlib, os, pkgutil, sys

names = set(sys.argv[1:])
reads = []
getitem, iterate = type(os.environ).__getitem__, type(os.environ).__iter__


def reader():
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("os", "_collections_abc"):
        frame = frame.f_back
    return frame.f_globals.get("__name__", "?") if frame else "?"


def spy_getitem(self, key):
    text = os.fsdecode(key) if isinstance(key, (str, bytes)) else key
    if text in names or str(text).startswith("MAILQUEUE_"):
        reads.append((reader(), text))
    return getitem(self, key)


def spy_iterate(self):
    if reader().partition(".")[0] in ("mailqueue", "workers"):
        reads.append((reader(), "all"))
    return iterate(self)


type(os.environ).__getitem__, type(os.environ).__iter__ = spy_getitem, spy_iterate

imported = 0
for package in ("mailqueue", "workers"):
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            imported += 1

assert imported > 10, imported
assert not reads, reads
from mailqueue import conf
assert not conf._configured
print("ok")
"""


def test_importing_any_module_reads_no_setting():
    """Every setting is broken, and Django's settings module is missing: who read one would fail."""
    broken = {setting.name: "\x7f broken {" for setting in conf.SETTINGS}
    environment = clean_environment(**broken, DJANGO_SETTINGS_MODULE="no_such_settings", MAILQUEUE_MISSPELT="x")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *broken],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
