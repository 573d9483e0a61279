"""docs/bulk-files.md tells the formats as they are: its examples work, its tables have every key."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from pathlib import Path

import pytest

import mailqueue
from mailqueue import bulk
from mailqueue.bulk import campaigntable, sandbox, templatefile
from mailqueue.bulk.recipients import read
from mailqueue.bulk.templatefile import load

PAGE = (Path(mailqueue.__file__).parent.parent / "docs/bulk-files.md").read_text()


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def keys_below(heading):
    table = PAGE.partition(f"{heading}\n")[2].partition("\n#")[0]
    return tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "terms.pdf").write_bytes(b"%PDF")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    path = tmp_path / "news.toml"
    path.write_text(block("toml"))
    return load(path)


@pytest.mark.parametrize(("language", "ending"), [("csv", "csv"), ("json", "jsonl")])
def test_the_examples_belong_together(file, tmp_path, language, ending):
    path = tmp_path / f"people.{ending}"
    path.write_text(block(language))
    compiled = file.template.compile(file.blobs)
    messages = [compiled.render(recipient.address, recipient.data) for recipient in read(path)]
    assert [message.to[0].rpartition(" ")[2].strip("<>") for message in messages] == [
        "jane@example.org",
        "joe@example.org",
    ]
    assert ["a present" in message.body for message in messages] == [True, False]


def test_the_options_of_the_example(file):
    assert file.options["campaign"] == "news-2027-01"
    assert file.options["start_at"].utcoffset() == timedelta(hours=1)
    assert file.options["quiet"] == "22:00-07:00 Europe/Paris"


def test_the_program_runs():
    exec(compile(block("python"), "bulk-files.md", "exec"), {})


def test_every_key_is_told():
    assert sorted(keys_below("## The template: template.toml")) == sorted(templatefile.KEYS)
    assert keys_below("### Attachments") == templatefile.ATTACHMENT_KEYS
    assert keys_below("### [campaign]") == campaigntable.CAMPAIGN_KEYS


def test_every_option_is_an_argument_of_send():
    assert set(campaigntable.ARGUMENTS) <= set(inspect.signature(bulk.send).parameters)


def test_the_limits_are_those_of_the_code():
    assert f"{sandbox.LIMITS['line']:,} octets, a text {sandbox.LIMITS['html']:,}" in PAGE
