"""docs/bulk.md: its programs run, one after the other, and its tables are complete."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import mailqueue
from mailqueue.bulk.report import COUNTED
from mailqueue.bulk.sending import send
from mailqueue.testing import MemoryQueue
from workers.room import AHEAD, ASIDE, ROOM

PAGE = (Path(mailqueue.__file__).parent.parent / "docs/bulk.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_its_programs_run(capsys):
    namespace = {"__name__": "__main__"}
    with MemoryQueue() as queue:
        for program in PROGRAMS:
            if "MemoryQueue" in program:  # it has a queue of its own
                queue.run(5)
                assert {message.to[0] for message in queue.outbox} == {
                    "ann@example.net",
                    "bob@example.net",
                    "me@example.com",
                }
            exec(compile(program, "docs/bulk.md", "exec"), namespace)
    assert capsys.readouterr().out.splitlines() == [
        "running: 0 of 2 sent, 0% done",
        "ann@example.net sent 250 accepted by the backend",
        "bob@example.net sent 250 accepted by the backend",
        "0 to be tried again",
        "digest 0 9 * * mon Europe/Paris",
    ]


@pytest.mark.parametrize("name", list(inspect.signature(send).parameters)[2:])
def test_every_option_is_explained(name):
    assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize("word", sorted(set(COUNTED) - {"partial"}))  # a message of one recipient is never that
def test_every_count_is_explained(word):
    assert re.search(rf"^\|[^|]*`{word}`", PAGE, re.MULTILINE)


def test_its_numbers_are_those_of_the_code():
    assert f"at most {ROOM:,} messages are queued" in PAGE.replace("\n", " ")
    assert AHEAD == 60.0
    assert f"{ASIDE:,} messages wait for it" in PAGE.replace("\n", " ")
