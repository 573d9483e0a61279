"""``mailqueue inbox`` reads whom to refuse."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mailqueue.cli import inbox as command
from mailqueue.cli import main


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], {}),
        (["--greylist", "a@example.com"], {"a@example.com": 1}),
        (["--greylist", "a@example.com=2", "--greylist", "b@example.com"], {"a@example.com": 2, "b@example.com": 1}),
    ],
)
def test_greylisted_once_unless_told_how_often(given, meant):
    with command.make_context("inbox", given) as context:
        assert context.params["greylist"] == meant


@pytest.mark.parametrize("value", ["=2", "a@example.com=often"])
def test_a_number_that_is_none_is_wrong_usage(value):
    result = CliRunner().invoke(main, ["inbox", "--greylist", value])
    assert result.exit_code == 2
    assert "ADDRESS=TIMES" in result.stderr
