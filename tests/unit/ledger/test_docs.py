"""docs/ledger.md names what operators find in the store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailqueue.ledger import rules, scripts
from mailqueue.ledger.campaigns import CAMPAIGN_TRANSITIONS

PAGE = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text(encoding="utf-8")
CREATE = scripts.load()["campaign_create"].source
LUA = "\n".join(script.source for script in scripts.load().values())


@pytest.mark.parametrize("event", rules.EVENTS)
def test_every_event_that_tells_of_trouble_is_explained(event):
    if event not in {"barriers", "late", "resent", "restored", "swept", "unpublished"}:
        assert f"`{event}`" in PAGE


@pytest.mark.parametrize("field", sorted(set(re.findall(r'"HMGET", message\(id\),([^)]*)\)', LUA)[0].split(","))))
def test_every_field_that_a_move_reads_is_explained(field):
    name = field.strip().strip('"')
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("operation", sorted(set(scripts.OPERATIONS) - {"get", "list", "owners", "put_blobs"}))
def test_every_operation_on_messages_is_explained(operation):
    assert re.search(rf"^\| ([a-z_]+, )*{operation}(, [a-z_]+)* \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("key", sorted(set(re.findall(r'PREFIX \.\. "([a-z]+)', LUA)) - {"none"}))
def test_every_kind_of_key_is_explained(key):
    assert re.search(rf"`{key}(`|:)", PAGE)


@pytest.mark.parametrize("state", [state for state, following in CAMPAIGN_TRANSITIONS.items() if following])
def test_the_ways_of_campaigns_are_those_of_the_table(state):
    row = re.search(rf"^\| {state} \| ([a-z, ]+) \|$", PAGE, re.MULTILINE)
    assert row
    assert set(row[1].split(", ")) == CAMPAIGN_TRANSITIONS[state]


@pytest.mark.parametrize("field", sorted(set(re.findall(r'[,(]\s"([a-z_]+)"', CREATE)) - {"loading"}))
def test_every_field_of_a_campaign_is_explained(field):
    assert f"`{field}`" in PAGE


def test_its_numbers_are_those_of_the_rules():
    assert (rules.OUTAGE, rules.SHIFT, rules.BARRIER_GAP_MAX) == (5, 20, 600)
    assert (rules.PACK_MESSAGES, rules.PACK_BYTES, rules.TICK_BYTES) == (100, 256 * 1024, 2 * 1024 * 1024)
    assert (rules.KEPT_OCTETS + 1, rules.SWEEP_NAMES) == (62, 1000)
    assert (rules.RESENDS, rules.POISON_CRASHES, rules.BLOB_TTL) == (2, 3, 3600)
