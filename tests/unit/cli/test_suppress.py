"""``mailqueue suppress``: who gets no bulk mail, by hand and by file."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner

from mailqueue import conf
from mailqueue.bulk.suppression import is_suppressed, suppress
from mailqueue.cli import main


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")


def run(*arguments, text=""):
    return CliRunner().invoke(main, ["suppress", *arguments], input=text)


def test_entries_are_added_told_and_removed():
    result = run("add", "Ann@example.com", "@example.org", "--list", "news", "--reason", "asked by phone")
    assert (result.exit_code, result.stdout) == (0, "2 entries suppressed for news, 2 of them new\n")
    assert run("add", "ann@example.com", "--list", "news").stdout == "1 entry suppressed for news, 0 of them new\n"
    line = run("why", "ann@example.com", "--list", "news").stdout
    assert "  ann@example.com  news  asked by phone  (mailqueue suppress)\n" in line
    assert (
        run("remove", "ann@example.com", "@example.org", "--list", "news").stdout
        == "2 entries no longer suppressed for news\n"
    )
    result = run("remove", "ann@example.com")
    assert result.exit_code == 1
    assert "none of them was suppressed for all bulk mail" in result.stderr
    result = run("why", "ann@example.com", "--list", "news")
    assert (result.exit_code, "not suppressed for news" in result.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [("add", "example.com"), ("add", "ann@example.com", "--list", "Our News")])
def test_what_is_wrong_is_told_on_a_line(arguments):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("mailqueue: ")
    assert len(result.stderr.splitlines()) == 1


def test_all_of_them_are_listed_or_those_of_a_list():
    assert run("list").stdout == "Nobody is suppressed.\n"
    suppress("ann@example.com", "news", reason="unsubscribed", source="one-click")
    suppress("@example.org")
    assert len(run("list").stdout.splitlines()) == 2
    assert "all bulk mail  manual" in run("list", "--list", "").stdout
    (line,) = run("list", "--list", "news", "--json").stdout.splitlines()
    entry = json.loads(line)
    assert (entry["key"], entry["list"], entry["reason"], entry["source"]) == (
        "ann@example.com",
        "news",
        "unsubscribed",
        "one-click",
    )
    assert run("list", "--list", "offers", "--json").stdout == ""


def test_a_file_goes_out_and_comes_in(tmp_path):
    suppress("ann@example.com", "news")
    path = tmp_path / "all.csv"
    result = run("export", str(path))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 entry written\n")
    result = run("import", str(path))
    assert (result.exit_code, result.stdout) == (0, "1 entry read, 0 of them new, 0 skipped\n")
    assert run("export").stdout == path.read_text()


def test_lines_come_from_a_pipe():
    result = run("import", "-", "--list", "news", "--reason", "refused", text="ann@example.com\n@example.org\n")
    assert result.stdout == "2 entries read, 2 of them new, 0 skipped\n"
    assert is_suppressed("bob@example.org", "news").reason == "refused"


def test_a_wrong_row_ends_an_import_or_is_told_after_it():
    result = run("import", "-", text="nobody\nann@example.com\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "row 1, column key: 'nobody' is no address" in result.stderr
    result = run("import", "-", "--on-error", "skip", text="nobody\nann@example.com\n")
    assert (result.exit_code, result.stdout) == (1, "2 entries read, 1 of them new, 1 skipped\n")
    assert "row 1, column key" in result.stderr


def test_a_file_that_is_not_there_is_wrong_usage():
    assert run("import", "/nowhere.csv").exit_code == 2
