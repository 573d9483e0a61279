"""``mailqueue bulk export`` has a line for each recipient."""

from __future__ import annotations

import csv

from mailqueue import bulk


def test_writes_everybody_to_standard_output(run, spring):
    spring()
    assert run("export", "spring-news").output.splitlines() == [
        "address,state,reply",
        "a0@example.com,waiting,",
        "a1@example.com,waiting,",
        "a2@example.com,waiting,",
    ]


def test_writes_a_file_and_says_how_many(run, spring, tmp_path):
    spring()
    bulk.cancel("spring-news")
    result = run("export", "spring-news", "-o", tmp_path / "report.csv", "--state", "cancelled")
    assert "3 recipients in" in result.output
    with (tmp_path / "report.csv").open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["cancelled"] * 3


def test_leaves_out_whom_nobody_asked_for(run, spring):
    spring()
    assert run("export", "spring-news", "--state", "failed").output == "address,state,reply\n"
    assert run("export", "spring-news", "--state", "nonsense").exit_code == 2
