"""What a campaign's recipients cost the store: room while they wait and when they have ended, and commands between.

A script's own commands are counted by the store like those of a client.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

import pytest

from mailqueue.ledger.base import Settlement, Submission
from mailqueue.ledger.campaigns import message_of, width_for
from mailqueue.ledger.rules import KEPT_OCTETS
from mailqueue.ledger.states import State
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply

RECIPIENTS = 20_000  # with the same width as a million, and less favourable: five in a hash of the index
CHUNK = 200
WAITING, FINAL = 200, 120  # octets of the store that a recipient may cost beyond its own data
LONG = {"ann@example.com": Result(Verdict.REFUSED, Reply(550, "5.1.1 " + "no such user here, nor anywhere " * 9))}
NAME = "newsletter-2027-01-15"
CONTENT = b"\0" * 8_000

pytestmark = [pytest.mark.store, pytest.mark.parametrize("stored", ["valkey"], indirect=True)]


def digests(first, number):
    hashes = (hashlib.sha256(b"%d" % each).digest()[:9] for each in range(first, first + number))
    return [urlsafe_b64encode(each).decode() for each in hashes]


CHUNKS = [digests(first, CHUNK) for first in range(0, RECIPIENTS, CHUNK)]


def usage(client, pattern):
    """Octets of all keys that match, of the keys and what is in them; and how many those are."""
    keys = list(client.scan_iter(match=pattern, count=10_000))
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=0)
    return sum(pipe.execute()), len(keys)


def load(stored, width, name=NAME):
    stored.ledger.campaigns.create(name, b"spec", width=width)
    for chunk in CHUNKS:
        assert stored.ledger.campaigns.add(name, chunk, CONTENT).number
    stored.ledger.campaigns.start(name)


def fail(stored, number, chunk, name=NAME):
    """All recipients of a chunk are refused, and their grace is over."""
    ids = [message_of(name, digest) for digest in chunk]
    assert stored.ledger.campaigns.take(name, "w").number == number
    stored.ledger.accept("bulk", [Submission(each, b"e") for each in ids])
    stored.ledger.claim("bulk", ids, token="t", owner="w", number=number)
    stored.ledger.begin(ids, "t")
    assert stored.ledger.record([Settlement(each, State.FAILED, LONG) for each in ids], "t") == [True] * len(ids)
    assert stored.ledger.campaigns.fed(name, number, "w")
    for each in ids:
        assert 0 < stored.client.pttl(f"{{mailqueue}}:m:{each}") <= 60_000
        assert 0 < stored.client.pttl(f"{{mailqueue}}:x:{each}") <= 60_000
        stored.client.delete(f"{{mailqueue}}:m:{each}", f"{{mailqueue}}:x:{each}")


def used(stored, name=NAME):
    """Octets of the store per recipient, but for its data."""
    data = sum(
        stored.client.memory_usage(f"{{mailqueue}}:c:{name}:k:{number + 1}") or 0 for number in range(len(CHUNKS))
    )
    return (stored.client.info("memory")["used_memory"] - data) / RECIPIENTS


def test_the_budgets_are_kept(stored):
    stored.ledger.campaigns.create("warm-up", b"spec")
    stored.ledger.campaigns.add("warm-up", CHUNKS[0], CONTENT)
    stored.ledger.campaigns.start("warm-up")
    fail(stored, 1, CHUNKS[0], "warm-up")  # the store knows all scripts
    before = used(stored)
    load(stored, width_for(RECIPIENTS))
    waiting = used(stored) - before
    for number, chunk in enumerate(CHUNKS, start=1):
        fail(stored, number, chunk)
    assert stored.ledger.campaigns.finish(NAME)
    final = used(stored) - before
    octets, _ = usage(stored.client, f"*{NAME}:i:*")
    assert waiting <= WAITING
    assert octets / RECIPIENTS <= FINAL
    assert final <= FINAL
    [told] = stored.ledger.campaigns.recipients(NAME, [CHUNKS[0][0]])
    assert len(told.reply.encode()) == KEPT_OCTETS


def test_the_fullest_hash_of_an_index_is_a_listpack(stored):
    number = 16_000
    width = width_for(number)
    assert width == 1
    stored.ledger.campaigns.create("news", b"spec", width=width)
    stored.ledger.campaigns.add("news", digests(0, number), b"")
    hashes = list(stored.client.scan_iter(match="*:i:*"))
    for each in hashes:
        stored.client.hset(each, mapping=dict.fromkeys(stored.client.hkeys(each), "f" + "x" * KEPT_OCTETS))
        assert stored.client.object("encoding", each) in {b"listpack", b"ziplist"}  # which is its name in Redis 6
    octets, _ = usage(stored.client, "*:i:*")
    assert octets / number <= FINAL


def commands(stored, call):
    """The commands of the store that a call comes to, by name."""
    stored.client.config_resetstat()
    call()
    stats = stored.client.info("commandstats")
    return {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in stats.items() if "config" not in name}


@pytest.mark.parametrize("operation", ["claim", "begin", "record"])
def test_a_call_asks_for_a_campaign_once_and_for_ordinary_mail_not_at_all(stored, operation):
    ledger, many = stored.ledger, [f"{number:04}" for number in range(100)]
    plain = [f"m{each}" for each in many]
    stored.accept(*plain)
    mass = stored.fed(*many)
    for ids in (plain[50:], mass[50:]):  # after which the store knows all scripts
        stored.settled(ids[0], State.SENT)
        stored.settled(ids[1], State.FAILED)

    def calls(ids, token):
        return {
            "claim": lambda: ledger.claim("default", ids, token=token, owner="w:1"),
            "begin": lambda: ledger.begin(ids, token),
            "record": lambda: ledger.record([Settlement(each, State.SENT) for each in ids], token),
        }

    counted = []
    for ids in (plain[:50], mass[:50]):
        operations = calls(ids, "t")
        for name in ("claim", "begin", "record"):
            spent = commands(stored, operations[name])
            if name == operation:
                counted.append(spent)
    ordinary, campaign = counted
    assert campaign["hmget"] - ordinary["hmget"] == 1
    assert ordinary.get("hget", 0) == 0
    assert campaign.get("hget", 0) <= 50  # whether the message is one of this campaign's
    ends = 50 if operation == "record" else 0
    assert campaign["hset"] - ordinary["hset"] == ends


@pytest.mark.parametrize("width", [0, 3])
def test_a_sweep_of_a_large_one_is_bounded_and_leaves_nothing(stored, width):
    load(stored, width)
    stored.ledger.campaigns.cancel(NAME)
    stored.jump(604_800)
    rounds = 0
    while stored.ledger.campaigns.sweep(10_000):
        rounds += 1
    assert rounds == 1 + (100 + 64**width) // 10_000
    assert [key for key in stored.client.scan_iter() if b"newsletter" in key] == []
    assert (
        stored.client.exists("{mailqueue}:campaigns", "{mailqueue}:campaigns:ended", "{mailqueue}:campaigns:live") == 0
    )
