"""The audit of campaigns: what the ledger reports of each recipient, compared with what the relay has.

Pure, like that of the messages. A campaign's message has one recipient, so the rules are of recipients:

- lost: not in the report, or waiting, or under way still;
- twice: in the report more than once;
- missing: sent, says the report, and the relay has no copy;
- repeated: sent, and copies - 1 > the times that it was counted unknown; with ``on_unknown="hold"``, a second copy;
- uncounted: not sent, and copies > the times that it was counted unknown;
- altered: a copy that is somebody else's, has another's datum, or differs from the others in a byte;
- redated: it differs from them in its Date;
- stopped: it was begun while its campaign was paused or cancelled;
- suppressed: suppressed before the campaign began, and not left out;
- unaccounted: refused, and not by the relay; or suppressed, cancelled or expired, and nobody has done that.

And of the campaign: forgotten, it does not stand as was said; unfinished; tally, its counts are not its recipients'.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailqueue.bulk.report import COUNTED
from mailqueue.ledger.campaigns import CampaignState, message_of
from tests.crashproof.audit import Breach

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mailqueue.bulk.report import CampaignStatus, RecipientRow
    from tests.crashproof.audit import Relayed
    from tests.crashproof.history import BulkHistory
    from tests.crashproof.sender import Mailing, Recipient

__all__ = ["AT_REST", "BulkFindings", "Told", "audit_campaigns"]

#: Where a recipient may rest.
AT_REST = frozenset({"sent", "failed", "unknown", "held", "suppressed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Told:
    """What the ledger tells of a campaign."""

    status: CampaignStatus
    rows: Sequence[RecipientRow]


@dataclass(slots=True)
class BulkFindings:
    """What the audit found. ``excused`` is what the store's rollback may cost, by kind."""

    breaches: list[Breach] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)  # campaigns, recipients, copies..., and states of recipients


def audit_campaigns(
    mailings: Sequence[Mailing],
    told: Mapping[str, Told],
    history: BulkHistory,
    relayed: Relayed,
    cut: Mapping[str, Collection[str]] | None = None,
) -> BulkFindings:
    """Compare. ``told`` is by campaign; ``cut`` tells which steps a store forgot."""
    findings = BulkFindings()
    cut = cut or {}
    for mailing in mailings:
        status, rows = told[mailing.id].status, told[mailing.id].rows
        findings.counts.update(campaigns=1, recipients=len(mailing.recipients), pauses=mailing.pauses)
        findings.counts.update(row.state for row in rows)
        _judge(findings, _of_campaign(mailing, status, rows), set(cut.get(mailing.id, ())))
        by_address: dict[str, list[RecipientRow]] = {}
        for row in rows:
            by_address.setdefault(row.address, []).append(row)
        for recipient in mailing.recipients:
            message_id = message_of(mailing.id, recipient.digest)
            rows_of_one = by_address.pop(recipient.address, [])
            lost, stopped = history.unknowns[message_id], message_id in history.stopped
            case = _Case(mailing, recipient, rows_of_one, lost, stopped, relayed)
            steps = {*cut.get(message_id, ()), *(set(cut.get(recipient.address, ())) & {"suppress"})}
            _judge(findings, case.breaches(status.state), steps)
            findings.counts.update(copies=case.copies, repeated=max(0, case.copies - 1), unknowns=case.unknowns)
        findings.breaches += [
            Breach("strange", None, f"{mailing.id} has {address}, who was never loaded") for address in by_address
        ]
    return findings


def _judge(findings: BulkFindings, breaches: Iterable[Breach], steps: Collection[str]) -> None:
    for breach in breaches:
        if _excuses(steps, breach.kind):
            findings.excused[breach.kind] += 1
        else:
            findings.breaches.append(breach)


def _excuses(steps: Collection[str], kind: str) -> bool:
    """Whether a store that forgot ``steps`` is known to lead to this."""
    match kind:
        case "lost":
            return "add" in steps
        # A message that the store does not know is made once more; or accepted again from its task, by itself.
        case "redated" | "stopped":
            return "accept" in steps
        case "repeated" | "uncounted":
            return bool({"accept", "begin", "record", "cancel"} & set(steps))
        case "suppressed":
            return "suppress" in steps
        case "forgotten":
            return bool({"create", "turn"} & set(steps))
    return False


def _of_campaign(mailing: Mailing, status: CampaignStatus, rows: Sequence[RecipientRow]) -> Iterable[Breach]:
    for words in mailing.forgotten:
        yield Breach("forgotten", None, f"{mailing.id}: {words}")
    if not status.ended:
        yield Breach("unfinished", None, f"{mailing.id} is {status.state}")
    states = Counter(row.state for row in rows)
    counts = {word: status.counts[word] for word in COUNTED if status.counts[word]}
    if counts != states or status.total != len(rows):
        yield Breach(
            "tally", None, f"{mailing.id} counts {counts} of {status.total}, its recipients are {dict(states)}"
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """One recipient: what they were to get, what the ledger reports, and what the relay has."""

    mailing: Mailing
    recipient: Recipient
    rows: Sequence[RecipientRow]
    unknowns: int
    stopped: bool  # and begun all the same
    relayed: Relayed

    @property
    def copies(self) -> int:
        return sum(self.relayed.copies.get(self.recipient.number, Counter()).values())

    def breaches(self, campaign: CampaignState) -> Iterable[Breach]:
        """What is wrong with it; ``campaign`` is the state of that."""
        for kind, text in self._wrongs(campaign):
            words = (
                f"{self.recipient.address} of {self.mailing.id} ({self.mailing.on_unknown}), {self._state or 'gone'}"
            )
            yield Breach(kind, self.recipient.number, f"{words}: {text}")

    @property
    def _state(self) -> str:
        return self.rows[0].state if self.rows else ""

    def _wrongs(self, campaign: CampaignState) -> Iterable[tuple[str, str]]:
        if self._state not in AT_REST:
            yield "lost", "neither at rest nor on its way to it"
        if len(self.rows) > 1:
            yield "twice", f"it is {len(self.rows)} times in the report"
        yield from self._wrong_copies()
        if self.stopped:
            yield "stopped", "begun while the campaign was paused or cancelled"
        if self.recipient.suppressed == "before" and (self.copies or not self._is_left_out(campaign)):
            yield "suppressed", f"{self.copies} copies for who was suppressed before the campaign began"
        if self._state and not self._is_accounted(campaign):
            yield "unaccounted", f"so says the ledger ({self.rows[0].reply}), and nobody else"

    def _wrong_copies(self) -> Iterable[tuple[str, str]]:
        number, copies = self.recipient.number, self.copies
        counted = f"{copies} copies, counted unknown {self.unknowns} times"
        if self._state == "sent":
            further = self.unknowns if self.mailing.on_unknown == "resend" else 0
            if not copies:
                yield "missing", "the relay has no copy"
            elif copies - 1 > further:
                yield "repeated", counted
        elif copies > self.unknowns:
            yield "uncounted", counted
        others = self.relayed.copies.get(number, Counter()).keys() - {self.recipient.address}
        data = self.relayed.data.get(number, set()) - {self.recipient.datum}
        if others or data or len(self.relayed.digests.get(number, ())) > 1:
            yield (
                "altered",
                f"copies for {sorted(others)}, with {sorted(data)}, {len(self.relayed.digests[number])} kinds",
            )

        if len(self.relayed.dates.get(number, ())) > 1:
            yield "redated", f"copies of {sorted(self.relayed.dates[number])}"

    def _is_left_out(self, campaign: CampaignState) -> bool:
        return self._state in ("", "suppressed") or (self._state == "cancelled" and campaign is CampaignState.CANCELLED)

    def _is_accounted(self, campaign: CampaignState) -> bool:
        """Whether somebody else has had a hand in how it ended, if that was not by an answer."""
        refused = (
            self.recipient.number in self.relayed.refused_messages
            or self.recipient.address in self.relayed.refused_recipients
        )
        match self._state:
            case "failed":
                return refused or self.rows[0].reply.startswith("poison")
            case "suppressed":
                return bool(self.recipient.suppressed) or refused
            case "cancelled":
                return campaign is CampaignState.CANCELLED
            case "unknown" | "held":
                return self.unknowns > 0
        return self._state != "expired"
