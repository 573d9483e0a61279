"""The audit: what the ledger says, compared message by message and recipient by recipient with what the relay has.

Pure: from entries and records to breaches of the promises. The rules, for messages that were accepted:

- lost: it is not in the ledger, or rests in no final or held state;
- missing: the ledger says that a recipient was accepted, and the relay has no copy;
- repeated: for a recipient, copies - 1 > the times that it was counted unknown;
- uncounted: for a recipient, copies > the times that it was counted unknown, and the ledger has no acceptance for it;
- altered: copies of one message differ in a byte;
- unaccounted: a recipient of a message that is settled by answers has none, or one that the relay never gave;
- twice: one message, under one idempotency key, is in the ledger twice;
- early: a copy before its send_at;
- cancelled: cancel() said that it was, and the ledger says otherwise.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailqueue.ledger.states import State
from mailqueue.outcome import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mailqueue.ledger.base import Entry
    from tests.crashproof.writer import Mail

__all__ = ["SETTLED", "Breach", "Findings", "Relayed", "audit"]

#: Where a message may rest.
SETTLED = frozenset(
    {State.SENT, State.PARTIAL, State.FAILED, State.HELD, State.EXPIRED, State.CANCELLED, State.UNKNOWN}
)
_BY_ANSWERS = frozenset({State.SENT, State.PARTIAL})


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was broken; ``number`` is the message's, None for the ledger as a whole."""

    kind: str
    number: int | None
    text: str


@dataclass(slots=True)
class Relayed:
    """What the relay wrote down."""

    copies: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by number and recipient
    digests: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # of all but Date
    dates: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    first: dict[int, float] = field(default_factory=dict)  # when the first copy came, in s since the epoch
    data: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # what a recipient's copies alone have
    refused_messages: set[int] = field(default_factory=set)
    refused_recipients: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, lines: Iterable[str]) -> Relayed:
        """From the lines of the relay's file."""
        relayed = cls()
        for line in lines:
            record = json.loads(line)
            if record["what"] == "no":
                relayed.refused_recipients.update(record["to"])
            elif record["what"] == "refused":
                relayed.refused_messages.add(record["number"])
            else:
                relayed.copies[record["number"]].update(record["to"])
                relayed.digests[record["number"]].add(record["digest"])
                relayed.dates[record["number"]].add(record["date"])
                relayed.data[record["number"]].add(record["datum"])
                relayed.first.setdefault(record["number"], record["at"])
        return relayed


@dataclass(slots=True)
class Findings:
    """What the audit found. ``excused`` are losses and repetitions by the store's rollback, by kind."""

    breaches: list[Breach] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    accepted: int = 0  # enqueue() returned
    doubtful: int = 0  # enqueue() raised, and it is in the ledger all the same
    spooled: int = 0
    copies: int = 0  # of messages for recipients
    repeated: int = 0  # of these, beyond the first for the same recipient
    unknowns: int = 0
    poisoned: int = 0


def audit(
    mails: Sequence[Mail],
    entries: Mapping[str, Entry],
    relayed: Relayed,
    cut: Mapping[str, Collection[str]] | None = None,
    others: Collection[int] = (),
) -> Findings:
    """Compare. ``entries`` are by id; ``cut`` tells which steps (accept, begin, record) of which ids a store forgot.

    ``others`` are the numbers of what is judged elsewhere.
    """
    findings = Findings()
    for mail in mails:
        known = {entry.id: entry for message_id in mail.ids if (entry := entries.get(message_id))}
        found = list(_of_one(mail, list(known.values()), relayed))
        steps = {step for message_id in mail.ids for step in (cut or {}).get(message_id, ())}
        findings.excused.update(breach.kind for breach in found if _excuses(steps, breach.kind))
        findings.breaches += [breach for breach in found if not _excuses(steps, breach.kind)]
        findings.accepted += mail.accepted
        findings.doubtful += not mail.accepted and bool(known)
        findings.spooled += mail.spooled
        for entry in known.values():
            findings.states[entry.state] += 1
            findings.unknowns += entry.unknowns
            findings.poisoned += entry.reason.startswith("poison")
        copies = relayed.copies.get(mail.number, Counter())
        findings.copies += sum(copies.values())
        findings.repeated += sum(count - 1 for count in copies.values())
    strangers = set(relayed.copies) - {mail.number for mail in mails} - set(others)
    findings.breaches += [Breach("strange", number, "at the relay, and never enqueued") for number in strangers]
    return findings


def _excuses(steps: Collection[str], kind: str) -> bool:
    """Whether a store that forgot ``steps`` of a message is known to lead to this."""
    match kind:
        case "lost" | "twice":
            return "accept" in steps
        case "repeated" | "uncounted":
            return bool(steps)
        case "cancelled":
            return "cancel" in steps
    return False


def _of_one(mail: Mail, entries: Sequence[Entry], relayed: Relayed) -> Iterable[Breach]:
    copies = relayed.copies.get(mail.number, Counter())
    if len(relayed.digests.get(mail.number, ())) > 1 or len(relayed.dates.get(mail.number, ())) > 1:
        yield Breach("altered", mail.number, f"{len(relayed.digests[mail.number])} different copies")
    if relayed.first.get(mail.number, mail.not_before) < mail.not_before:
        yield Breach("early", mail.number, f"{mail.not_before - relayed.first[mail.number]:.3f} s before its send_at")
    if len(entries) > 1:
        yield Breach("twice", mail.number, f"{len(entries)} messages in the ledger: {[entry.id for entry in entries]}")
    if not entries:
        if mail.accepted:
            yield Breach("lost", mail.number, "accepted, and not in the ledger")
        if copies:
            yield Breach("uncounted", mail.number, f"{sum(copies.values())} copies of what the ledger does not know")
        return
    entry = entries[0]
    if mail.cancelled == "cancelled" and entry.state is not State.CANCELLED:
        yield Breach("cancelled", mail.number, f"cancelled, said cancel(), and it is {entry.state}")
    if entry.state not in SETTLED:
        yield Breach("lost", mail.number, f"still {entry.state}: {entry.reason}")
    for recipient in mail.recipients:
        yield from _of_recipient(mail, recipient, entry, copies[recipient], relayed)


def _of_recipient(mail: Mail, recipient: str, entry: Entry, copies: int, relayed: Relayed) -> Iterable[Breach]:
    result = entry.results.get(recipient)
    accepted = result is not None and result.verdict is Verdict.ACCEPTED
    where = f"{recipient} of a message {entry.state}"
    if accepted and not copies:
        yield Breach("missing", mail.number, f"{where}: accepted, says the ledger, and the relay has no copy")
    if copies - 1 > entry.unknowns:
        yield Breach("repeated", mail.number, f"{where}: {copies} copies, counted unknown {entry.unknowns} times")
    elif copies > entry.unknowns and not accepted:
        yield Breach("uncounted", mail.number, f"{where}: {copies} copies, counted unknown {entry.unknowns} times")
    if entry.state in _BY_ANSWERS and (result is None or result.verdict is Verdict.DEFERRED):
        yield Breach("unaccounted", mail.number, f"{where}: no final answer for it")
    if entry.state is State.SENT and not accepted:
        yield Breach("unaccounted", mail.number, f"{where}: not accepted")
    if result is not None and result.verdict is Verdict.REFUSED and not _refused(mail, recipient, relayed):
        yield Breach("unaccounted", mail.number, f"{where}: refused, says the ledger, and the relay did not")


def _refused(mail: Mail, recipient: str, relayed: Relayed) -> bool:
    return mail.number in relayed.refused_messages or recipient in relayed.refused_recipients
