"""docs/limits.md: its programs run, its limits are read, its tables are those of the code."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

import mailqueue
from mailqueue import conf
from mailqueue.limits import LimitsOfRelays
from mailqueue.presets import PRESETS
from mailqueue.rate import Limits, WarmUp

PAGE = (Path(mailqueue.__file__).parent.parent / "docs" / "limits.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs(program):
    exec(compile(program, "limits.md", "exec"), {"__name__": "__main__"})
    assert conf.get("MAILQUEUE_RELAYS")


def test_the_first_program_and_the_environment_say_the_same(monkeypatch):
    exec(compile(PROGRAMS[0], "limits.md", "exec"), {"__name__": "__main__"})
    by_program = LimitsOfRelays().of("", 0.0)
    conf.reset()
    value = re.search(r"MAILQUEUE_RELAYS='(.*)'", PAGE)[1]
    monkeypatch.setenv("MAILQUEUE_RELAYS", value)
    assert LimitsOfRelays().of("", 0.0) == by_program
    assert str(by_program) == "14/s, 50000/d; gmail.com 5/s, 2 connections; * 10/s"


@pytest.mark.parametrize(
    "text", re.findall(r"^\| (`[^|]*?/(?:s|min)[^|]*`|`2 connections`|`unlimited`) \|", PAGE, re.MULTILINE)
)
def test_a_limit_is_read(text):
    for each in text.split("`, `"):
        Limits.parse(each.strip("`"))


def test_the_days_of_the_warm_up_are_as_told():
    warm_up = WarmUp(dt.date(2026, 12, 1), 500)
    told = re.search(r"This one gives (.*) messages\.", PAGE)[1]
    numbers = [int(number) for number in re.findall(r"\d+", told)]
    assert numbers == [warm_up.quota(warm_up.start + dt.timedelta(days=passed)) for passed in range(14)]


def test_the_presets_are_those_of_the_code():
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| (.*?) \| \[.*?\]\(https://(.*?)\) \|$", PAGE, re.MULTILINE
    )
    assert rows == [
        (name, preset.rates, str(preset.max_messages or ""), str(preset.recipients or ""), preset.source)
        for name, preset in PRESETS.items()
    ]
