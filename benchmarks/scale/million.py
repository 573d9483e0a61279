"""A campaign to a million: how long loading it takes, and what it occupies in the process and in the store.

    python -m benchmarks.scale.million [--recipients N] [--drain] [--quick] [--from FILE]

Loads recipients out of a generator, as a cursor of a database gives them: each is tried with the template, and stored.
Some minutes on two idle cores; with --drain, two workers then send all of it to a sink, some 10 minutes more. --quick
takes a tenth. Only a full run is written to docs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import digits
from benchmarks.helper import ROOT
from benchmarks.machine import machine
from benchmarks.page import fill
from benchmarks.results import save
from benchmarks.scale.loading import load
from benchmarks.scale.rig import Rig, RigTrouble
from benchmarks.words import table
from mailqueue.ledger.campaigns import CampaignState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "docs" / "performance" / "million.json"
LATEST = ROOT / ".cache" / "bench" / "million.json"
RECIPIENTS = 1_000_000

_CAMPAIGN = "million"
_LOOK = 0.5  # s between two looks at a drain
_PATIENCE = 60.0  # s without an arrival
_GRACE = 65.0  # s that full records of sent messages stay: two leases, and a little
_MIB = 2**20


def measure(recipients: int, *, drain: bool) -> dict[str, Any]:
    """Load so many recipients, perhaps send to them, and return the row."""
    with Rig("a campaign") as rig:
        before = rig.octets()
        loaded = load(rig.settings, _CAMPAIGN, recipients, rig.tell)
        row: dict[str, Any] = {"experiment": "million", "recipients": recipients, **loaded}
        row |= {"store": rig.octets() - before, "keys": by_kind(rig)}
        rig.tell(f"{recipients:,} loaded, {recipients / row['seconds']:,.0f}/s", end="\n")
        if drain:
            row |= drained(rig, recipients)
            row |= {"store_ended": rig.octets() - before, "keys_ended": by_kind(rig)}
        return row


def drained(rig: Rig, recipients: int) -> dict[str, Any]:
    """Let two workers send to all of them; every recipient must have one message, and only one."""
    began = time.monotonic()
    with rig.worker(1), rig.worker(1):
        most, deadline = 0, began + _PATIENCE
        while (arrived := rig.sink.count) < recipients:
            rig.tell(f"sending: {arrived:,} of {recipients:,}")
            if arrived > most:
                most, deadline = arrived, time.monotonic() + _PATIENCE
            if time.monotonic() > deadline:
                raise RigTrouble(f"{arrived:,} of {recipients:,} have arrived, and nothing for {_PATIENCE:g} s")
            time.sleep(_LOOK)
        first, last = rig.sink.span()
        _await_end(rig, recipients)
    addresses = {arrival.recipients[0] for arrival in rig.sink.arrivals()}
    if len(addresses) != recipients or rig.sink.count != recipients:
        raise RigTrouble(f"{rig.sink.count:,} messages to {len(addresses):,} addresses, and there are {recipients:,}")
    rig.tell(f"{recipients:,} sent, {recipients / (last - first):,.0f}/s", end="\n")
    return {"sent_seconds": last - first}


def _await_end(rig: Rig, recipients: int) -> None:
    """Until all are on record, and of their full records nothing is left."""
    began = time.monotonic()
    before = 0
    while True:
        entry, now = rig.ledger.campaigns.get(_CAMPAIGN), rig.octets()
        is_over = entry.state is CampaignState.FINISHED and entry.counts.get("sent") == recipients
        passed = time.monotonic() - began
        if is_over and passed > _GRACE and now > before * 0.99:
            return
        if passed > _GRACE + _PATIENCE * 5:
            raise RigTrouble(f"the campaign is {entry.state}, with {entry.counts}, and the store has {now:,} octets")
        before = now
        rig.tell(f"all sent, the campaign is {entry.state}; the store has {now / 1e6:,.0f} MB")
        time.sleep(5.0)


def by_kind(rig: Rig) -> dict[str, int]:
    """Octets of the campaign's chunks and of its index, as MEMORY USAGE tells them."""
    found = {}
    for kind, letter in (("chunks", "k"), ("index", "i")):
        with rig.client.pipeline(transaction=False) as pipe:
            for name in rig.client.scan_iter(f"*:c:{_CAMPAIGN}:{letter}:*", count=1000):
                pipe.memory_usage(name, samples=0)
            found[kind] = sum(octets or 0 for octets in pipe.execute())
    return found


def blocks(results: Mapping[str, Any]) -> dict[str, str]:
    """The generated block of the page."""
    (row,) = results["rows"]
    count, told = row["recipients"], results["machine"]
    lines = [
        ["loaded, each tried with the template", f"{row['seconds']:.0f} s", f"{digits(count / row['seconds'])}/s"],
        [f"memory of the process at {row['early']:,}", f"{row['rss_early'] / _MIB:.0f} MiB", ""],
        [f"memory of the process at {count:,}", f"{row['rss'] / _MIB:.0f} MiB", ""],
        _size("store, all waiting", row["store"], count),
        _size("of it: recipients and data, compressed", row["keys"]["chunks"], count),
        _size("of it: the index, a state for each", row["keys"]["index"], count),
        _size("for comparison: recipients and data as JSON", row["data"], count),
    ]
    if "sent_seconds" in row:
        rate = f"{digits(count / row['sent_seconds'])}/s"
        lines.append(["sent by two workers", f"{row['sent_seconds']:.0f} s", rate])
        lines.append(_size("final records", row["keys_ended"]["index"], count))
        lines.append(_size("store, all sent", row["store_ended"], count))
    measured = f"Measured on {told['when']} at commit {told.get('commit', 'unknown')}: {told['processor']}, {told['cores']} cores."
    return {"million": f"{measured}\n\n{table([f'{count:,} recipients', 'in all', 'each'], lines)}"}


def _size(name: str, size: int, count: int) -> list[str]:
    return [name, f"{size / 1e6:.0f} MB", f"{size / count:.0f} octets"]


def publish(results: Mapping[str, Any]) -> None:
    """Keep the results in docs, and write what the page says of them."""
    save(results, KEPT)
    PAGE.write_text(fill(PAGE.read_text(), blocks(results)))


def main(words: Sequence[str] | None = None) -> int:
    """Run it; 1 if it failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=RECIPIENTS, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--drain", action="store_true", help="send to all of them, too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the recipients; docs stay as they are")
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="measure nothing: write docs from it")
    given = parser.parse_args(words)
    if given.kept:
        publish(json.loads(given.kept.read_text()))
        return 0
    count = given.recipients // 10 if given.quick else given.recipients
    try:
        results = {"machine": machine(), "rows": [measure(count, drain=given.drain)]}
    except RigTrouble as trouble:
        sys.stderr.write(f"\nFAILED: {trouble}\n")
        return 1
    save(results, LATEST)
    if count == RECIPIENTS:
        publish(results)
    sys.stdout.write(blocks(results)["million"] + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
