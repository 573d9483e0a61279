"""README and docs tell the truth: their programs run, their commands parse, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import mailqueue
from mailqueue import conf
from mailqueue.cli import main

ROOT = Path(mailqueue.__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Pages whose programs run here; docs/mail-api.md has a test of its own.
PROGRAMS = [
    pytest.param(page.name, code, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", ROOT / "docs/running-workers.md")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
]
COMMANDS = sorted(
    {
        line.partition("  #")[0].strip().removeprefix("$ ")
        for page in PAGES
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ ")
    }
)


@pytest.mark.parametrize(("page", "code"), PROGRAMS)
def test_a_program_runs(page, code, capsys):
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{page}")
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip() in {"", "queued", "running"}


@pytest.mark.parametrize("command", [line for line in COMMANDS if "mailqueue " in line and "pip " not in line])
def test_a_command_line_parses(command):
    """Each `mailqueue ...` in it names a command of ours and gives it options that it has."""
    for part in re.split(r"[|;]|&&", command):
        words = shlex.split(part.partition("<")[0])
        if not words or words[0] != "mailqueue":
            continue
        _, name, *options = words
        subcommand = main.commands[name]
        options = [str(ROOT / "README.md") if option.endswith((".pdf", ".html")) else option for option in options]
        with click.Context(main) as parent:
            subcommand.make_context(name, options, parent=parent)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_a_make_target_exists(command):
    target = command.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


def test_readmes_first_screen_says_what_it_is_and_how_to_begin():
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:36])
    for words in (
        "background task queue for outgoing mail",
        "send_mail(",
        "make demo",
        "make test",
        "mailqueue worker",
    ):
        assert words in screen


def test_the_changelog_begins_with_what_is_not_released():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
