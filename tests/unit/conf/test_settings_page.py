"""docs/settings.md tells every setting as the table has it, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailqueue import conf

PAGE = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
ROW = re.compile(r"^\| `([A-Z_]+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, ...]]:
    found = ROW.findall(PAGE)
    assert len({name for name, *_ in found}) == len(found), "a setting stands there twice"
    return {name: tuple(cells) for name, *cells in found}


def test_every_setting_is_told_and_no_other():
    assert sorted(rows()) == sorted(setting.name for setting in conf.SETTINGS)


@pytest.mark.parametrize("setting", conf.SETTINGS, ids=lambda setting: setting.name)
def test_unit_default_and_meaning_are_those_of_the_table(setting):
    unit, default, meaning = rows()[setting.name]
    assert (unit, default.strip("`"), meaning) == (setting.unit, setting.default_text, setting.help)


def test_the_text_names_no_setting_that_does_not_exist():
    named = set(re.findall(r"\b(?:MAILQUEUE|EMAIL|DEFAULT|SERVER)_[A-Z_]+[A-Z]\b", PAGE))
    assert named - {setting.name for setting in conf.SETTINGS} <= {"EMAIL_HOST"}


def test_the_options_of_relays_and_lanes_are_told():
    told = re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    kinds = [setting.kind for setting in conf.SETTINGS if setting.name in ("MAILQUEUE_RELAYS", "MAILQUEUE_LANES")]
    assert sorted(told) == sorted(option for kind in kinds for option in kind.options)


def test_every_scheme_of_a_broker_is_told():
    broker = next(setting for setting in conf.SETTINGS if setting.name == "MAILQUEUE_BROKER_URL")
    for scheme in broker.kind.schemes:
        # The in-memory ones live in one process: they are for tests. pyamqp is kombu's other name for amqp.
        assert scheme in ("memory", "pyamqp") or f"{scheme}://" in PAGE
