"""How scripts are put together, and that they know one table of transitions."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from mailqueue.ledger import rules, scripts
from mailqueue.ledger.states import TRANSITIONS, State

PARTS = {
    "campaign", "campaigns", "common", "hands", "marks", "moves", "rates", "relays", "schedules", "suppressions",
}  # fmt: skip


def files():
    return {file.name.removesuffix(".lua") for file in resources.files("mailqueue.ledger").joinpath("lua").iterdir()}


def test_every_file_is_an_operation_or_a_part():
    assert files() == set(scripts.OPERATIONS) | PARTS


@pytest.mark.parametrize("name", scripts.OPERATIONS)
def test_a_script_defines_all_constants_that_it_uses(name):
    source = re.sub(r'--[^\n]*|"[^"\n]*"', "", scripts.load()[name].source)
    used = set(re.findall(r"\b[A-Z][A-Z_0-9]{2,}\b", source)) - {"KEYS", "ARGV"}
    defined = set(re.findall(r"local ([A-Z][A-Z_0-9]+)\b", source)) | {"RETENTION"}
    assert used <= defined


def test_the_store_knows_scripts_by_the_digests_that_we_compute(stored):
    for script in scripts.load().values():
        assert stored.client.execute_command("SCRIPT LOAD", script.source) in {script.sha, script.sha.encode()}


def run(client, body, *arguments):
    """Run Lua with all that the operations have."""
    parts = "\n".join(scripts._read(part) for part in ("common", "campaign", "moves", "marks"))
    source = f"{scripts._constants(parts + body)}\n{parts}\n{body}"
    return client.eval(source, 1, "{mailqueue}:", 0, 30_000, 604_800_000, *arguments)


def test_the_scripts_table_of_transitions_is_the_one_table(stored):
    for old in State:
        new = run(stored.client, "local a = {} for new in pairs(WAYS()[ARGV[4]]) do a[#a + 1] = new end return a", old)
        assert {State(each.decode()) for each in new} == TRANSITIONS[old]


def test_an_illegal_transition_changes_nothing_and_is_counted(stored):
    stored.accept("a")
    answer = run(
        stored.client, 'local m = load("a") local done = move(m, "sent", 0, {}) finish() return tostring(done)'
    )
    assert answer == b"false"
    assert stored.state("a") is State.QUEUED
    assert stored.counts() == {"queued": 1}
    assert stored.event("illegal") == 1


def test_times_reach_the_scripts_as_milliseconds():
    source = scripts.load()["tick"].source
    assert f"local SHIFT = {int(rules.SHIFT * 1000)}\n" in source
    assert f"local BLOB_TTL = {rules.BLOB_TTL}\n" in source  # of EXPIRE, which takes seconds
