"""``mailqueue retry-schedule`` prints what the workers go by."""

from __future__ import annotations

import json

from click.testing import CliRunner

from mailqueue import conf
from mailqueue.cli import main


def run(*arguments):
    result = CliRunner().invoke(main, ["retry-schedule", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_defaults_are_told_for_every_lane():
    lines = run().splitlines()
    assert lines[0].split() == ["lane", "relay", "tried", "again", "after", "given", "up", "at", "tries"]
    assert [line.split()[:2] for line in lines[1:]] == [[lane, "default"] for lane in ("urgent", "default", "bulk")]
    assert "1 min, 5 min, 15 min, 30 min, 1 h, 2 h, then every 4 h" in lines[1]
    assert lines[1].rstrip().endswith("37")


def test_relays_are_the_aliases_that_deliver():
    conf.configure(
        MAILERS={
            "default": {"BACKEND": conf.QUEUE_BACKEND, "OPTIONS": {"deliver_with": "office"}},
            "office": {"BACKEND": conf.SMTP_BACKEND},
        },
        MAILQUEUE_RELAYS={"office": {"retry_delays": [30]}, "old": {"max_age": 60}},
        MAILQUEUE_LANES={"urgent": {"max_age": 300}},
    )
    found = {(row["lane"], row["relay"]): row for row in json.loads(run("--json"))}
    assert {relay for _lane, relay in found} == {"default", "office", "old"}
    assert len(found) == 9
    office = found["urgent", "office"]
    assert (office["retry_delays"], office["max_age"], office["attempts"]) == ([30], 300, 11)
    assert found["bulk", "old"]["max_age"] == 60
    [line] = run("--lane", "urgent", "--relay", "office").splitlines()[1:]
    assert "every 30 s" in line
