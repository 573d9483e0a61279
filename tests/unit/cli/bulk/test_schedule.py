"""``mailqueue bulk schedule`` says what recurs, and lets it be."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def add(run):
    def invoke(*options, name="digest", crontab="0 9 * * mon"):
        files = ("/srv/digest.toml", "/srv/members.csv")
        return run("schedule", "add", name, crontab, *files, "--time-zone", "Europe/Paris", *options)

    return invoke


def test_nothing_recurs_at_first(run):
    assert run("schedule", "list").output == "nothing recurs\n"


def test_adds_and_lists(add, run):
    result = add("--catch-up", "once", "--expires-in", "8h", "--quiet", "22:00-07:00")
    assert result.exit_code == 0, result.output
    assert "digest starts 20" in result.output
    assert "09:00 Europe/Paris" in result.output
    (line,) = run("schedule", "list").output.splitlines()[1:]
    for word in ("digest", "0 9 * * mon", "09:00 Europe/Paris", "/srv/members.csv", "made up once"):
        assert word in line
    (told,) = map(json.loads, run("schedule", "list", "--json").output.splitlines())
    assert (told["name"], told["crontab"], told["catch_up"]) == ("digest", "0 9 * * mon", "once")
    assert told["next_at"] > 1.7e9


def test_removes(add, run):
    add()
    assert run("schedule", "remove", "digest").output == "digest is not started any more\n"
    again = run("schedule", "remove", "digest")
    assert again.exit_code == 1
    assert "nothing recurs under the name 'digest'" in again.output


@pytest.mark.parametrize(("options", "status"), [(("--expires-in", "soon"), 2), (("--quiet", "late"), 1)])
def test_what_cannot_be_is_told(add, options, status):
    result = add(*options)
    assert result.exit_code == status
    assert "Traceback" not in result.output


def test_an_expression_that_is_none_is_told(add):
    result = add(crontab="every day")
    assert result.exit_code == 1
    assert result.output.startswith("mailqueue: ")


def test_a_zone_is_needed(run):
    assert run("schedule", "add", "x", "0 9 * * *", "/srv/a.toml", "/srv/b.csv").exit_code == 2
