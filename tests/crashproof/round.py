"""One round: a rig is built, mail is written, the rig is attacked, healed and drained, and the ledger is audited."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mailqueue import bulk, conf
from mailqueue.bulk.report import CampaignStatus
from mailqueue.errors import LedgerUnavailable, MessageNotFound
from mailqueue.spool import open_spool
from tests.crashproof.audit import SETTLED, Breach, Findings, Relayed, audit
from tests.crashproof.bulkaudit import BulkFindings, Told, audit_campaigns
from tests.crashproof.faults import Attack
from tests.crashproof.history import BulkHistory
from tests.crashproof.pace import hasten
from tests.crashproof.rig import LAYOUTS, Rig
from tests.crashproof.sender import FIRST, Sender
from tests.crashproof.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from mailqueue.bulk.report import RecipientRow
    from mailqueue.ledger.base import Entry, Ledger

__all__ = ["WAKES", "Plan", "Report", "run"]

T = TypeVar("T")

#: Most rounds are of prefork workers: their children cost little to kill.
_LAYOUT_WEIGHTS = (10, 3, 3, 1, 1)
#: How often a process is woken into another's claim, among the weights of the faults.
WAKES = 2.0
#: For a relay that is sent messages ahead of its answers: less time over each, and each answer is on its way for longer,
#: so that there is a window of them to be lost.
_STREAMED = {"delay": 0.005, "lag": 0.03}
#: s without a sign of them, after which messages that were refused to the caller are taken to be nowhere.
_CALM = 2.0
_LOOKS = 10  # at a campaign that is to be reported of, and does not keep still


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done in a round. Everything random in it goes by ``seed`` and ``number``."""

    seed: int
    number: int
    faults: int = 250  # drawn; some find nothing to do
    rate: float = 12.0  # of faults a second
    mails: float = 25.0  # a second
    rollback: bool = False
    wakes: float = WAKES
    offers: str = ""  # extensions of the relay: PIPELINING, CHUNKING
    sabotage: str = ""
    patience: float = 45.0  # s without any progress, after which what is unsettled is lost
    keep: str = ""  # directory for the evidence of a breach

    def draw(self, what: str) -> random.Random:
        """The random numbers for ``what``."""
        return random.Random(self.of(what))

    def of(self, what: str) -> str:
        """The seed for ``what``."""
        return f"{self.seed}/{self.number}/{what}"


@dataclass(slots=True)
class Report:
    """What came of a round; all of it goes through JSON."""

    number: int
    column: str
    layout: str = ""
    offers: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    processes_killed: int = 0
    tasks_dropped: int = 0
    states: dict[str, int] = field(default_factory=dict)
    excused: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    doubtful: int = 0
    spooled: int = 0
    refusals: int = 0
    copies: int = 0
    repeated: int = 0
    unknowns: int = 0
    poisoned: int = 0
    bulk: dict[str, int] = field(default_factory=dict)  # what the campaigns came to
    seconds: float = 0.0
    breaches: list[dict[str, Any]] = field(default_factory=list)
    evidence: str = ""


def column(plan: Plan) -> str:
    """The column of the table that a round counts in."""
    return "everysec, cut back 1 s" if plan.rollback else "always"


def run(plan: Plan, tell: Callable[..., None]) -> Report:
    """Play a round; ``tell(faults=..., mails=...)`` hears of its progress. The rig's files stay only after a breach."""
    began = time.monotonic()
    hasten()
    directory = Path(tempfile.mkdtemp(prefix="mailqueue-crashproof-", dir=_memory()))
    report = Report(plan.number, column(plan), offers=plan.offers)
    logging.basicConfig(filename=directory / "producer.log", level=logging.INFO)
    try:
        _play(plan, directory, report, tell)
        report.seconds = time.monotonic() - began
        if report.breaches and plan.keep:
            report.evidence = plan.keep
            (directory / "report.json").write_text(json.dumps(asdict(report), indent=1))
            shutil.copytree(directory, plan.keep, dirs_exist_ok=True)
    finally:
        conf.reset()
        shutil.rmtree(directory, ignore_errors=True)
    return report


def _memory() -> str | None:
    """A directory in memory, if there is one: a killed store leaves there what it leaves on a disk, which is slower."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _play(plan: Plan, directory: Path, report: Report, tell: Callable[..., None]) -> None:
    draw = plan.draw("layout")
    report.layout = draw.choices(list(LAYOUTS), _LAYOUT_WEIGHTS)[0]
    with (
        (directory / "events.log").open("w", buffering=1) as events,
        Rig(
            directory,
            seed=plan.of("relay"),
            layout=report.layout,
            rollback=plan.rollback,
            timeout=draw.choice((1.0, 5.0)),
            spool=draw.random() < 0.5,
            sabotage=plan.sabotage,
            offers=plan.offers,
            **(_STREAMED if plan.offers else {}),
        ) as rig,
    ):

        def log(kind: str, what: object) -> None:
            events.write(f"{time.time():.3f} {kind}: {what}\n")

        writer = Writer(plan.of("writer"), plan.mails)
        sender = Sender(plan.of("campaigns"))

        def ids_of(number: int) -> Sequence[str]:
            return (writer if number < FIRST else sender).ids_of(number)

        attack = Attack(rig, ids_of, plan.of("faults"), plan.rate, plan.wakes, log)
        writer.start()
        _await_first(rig)
        sender.start()
        for _ in attack.run(plan.faults):
            tell(faults=sum(attack.counts.values()), mails=len(writer.mails))
            _end_without_parent()
        rig.heal()
        writer.stop()
        sender.stop()
        log("healed", "")
        ledger = rig.ledger()
        entries = _settle(writer, sender, ledger, rig, plan.patience)
        log("settled", "")
        findings = _audit(writer, sender, entries, ledger, rig)
        in_bulk = _audit_campaigns(sender, ledger, rig)
        findings.breaches += in_bulk.breaches
        findings.excused += in_bulk.excused
        report.bulk = dict(in_bulk.counts)
        _evidence(findings, writer, sender, entries, directory)
        _fill(report, findings, attack, writer, rig)
        report.counters = {name: count for name, count in ledger.counters().items() if count}
        tell(faults=sum(report.faults.values()), mails=len(writer.mails))
        ledger.close()


def _await_first(rig: Rig, timeout: float = 60.0) -> None:
    """Wait until the workers are at work: the attack is not to be spent on their start."""
    deadline = time.monotonic() + timeout
    while not rig.record.exists() or not rig.record.stat().st_size:
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing arrives at the relay within {timeout:g} s: see the logs in {rig.directory}")
        time.sleep(0.05)


def _end_without_parent() -> None:
    if os.getppid() == 1:
        raise SystemExit("whoever wanted this round is gone")


def _settle(writer: Writer, sender: Sender, ledger: Ledger, rig: Rig, patience: float) -> dict[str, Entry]:
    """Wait until all is settled, or nothing has changed for ``patience`` s; all messages' entries by the ids asked for.

    A message that is not there may still come, from the spool or off a link; one that was refused need not.
    """
    spool = open_spool()
    unsettled = {message_id for mail in writer.mails for message_id in mail.ids}
    campaigns = {mailing.id for mailing in sender.mailings}
    before: object = None
    since = time.monotonic()
    while (unsettled or campaigns) and time.monotonic() - since < patience:
        for member in rig.crew:
            member.start()
        known = [*_settle_messages(unsettled, ledger), *_settle_campaigns(campaigns, ledger)]
        seen = [spool.status() if spool else None, *known]
        if seen != before:
            before, since = seen, time.monotonic()
        elif not known and time.monotonic() - since > _CALM and not (spool and spool.waiting()):
            break
        time.sleep(0.25)
    if spool is not None:
        spool.close()
    ids = {message_id for mail in writer.mails for message_id in mail.ids}
    return {message_id: entry for message_id in ids if (entry := _entry(ledger, message_id)) is not None}


def _settle_messages(unsettled: set[str], ledger: Ledger) -> Iterator[object]:
    """Take away those that are settled; how all of them stand, but for those that are not there."""
    for message_id in sorted(unsettled):
        entry = _entry(ledger, message_id)
        if entry is not None:
            yield message_id, entry.state, entry.updated_at
            if entry.state in SETTLED:
                unsettled.discard(message_id)


def _settle_campaigns(unsettled: set[str], ledger: Ledger) -> Iterator[object]:
    for campaign in sorted(unsettled):
        status = _status(campaign, ledger)
        yield campaign, status.state, status.counts
        if status.ended and status.done == 1.0:
            unsettled.discard(campaign)


def _entry(ledger: Ledger, message_id: str) -> Entry | None:
    try:
        return _patiently(lambda: ledger.get(message_id))
    except MessageNotFound:
        return None


def _status(campaign: str, ledger: Ledger) -> CampaignStatus:
    return CampaignStatus.of(_patiently(lambda: ledger.campaigns.get(campaign)))


def _patiently(ask: Callable[[], T]) -> T:
    for _ in range(10):
        try:
            return ask()
        except LedgerUnavailable:
            time.sleep(0.5)  # a machine that is too busy
    raise RuntimeError("the healed store does not answer")


def _audit(writer: Writer, sender: Sender, entries: dict[str, Entry], ledger: Ledger, rig: Rig) -> Findings:
    others = {each.number: sender.ids_of(each.number) for mailing in sender.mailings for each in mailing.recipients}
    findings = audit(writer.mails, entries, _relayed(rig), _cut(rig), others)
    states = findings.states + Counter(
        str(entry.state) for [message_id] in others.values() if (entry := _entry(ledger, message_id)) is not None
    )
    told = Counter[str]()
    for counted in ledger.counts().values():
        told.update(counted)
    if told != states:
        findings.breaches.append(Breach("tally", None, f"counts() says {dict(told)}, entries {dict(states)}"))
    if illegal := ledger.counters()["illegal"]:
        findings.breaches.append(Breach("illegal", None, f"{illegal} transitions that the table does not have"))
    return findings


def _audit_campaigns(sender: Sender, ledger: Ledger, rig: Rig) -> BulkFindings:
    told = {mailing.id: _told(mailing.id, ledger) for mailing in sender.mailings}
    return audit_campaigns(sender.mailings, told, BulkHistory.read(rig.history()), _relayed(rig), _cut(rig))


def _told(campaign: str, ledger: Ledger) -> Told:
    """What is reported of a campaign; asked for until no late answer has come in between."""

    def rows() -> list[RecipientRow]:
        return _patiently(lambda: list(bulk.export(campaign)))

    for _ in range(_LOOKS):
        before, status = rows(), _status(campaign, ledger)
        if rows() == before:
            break
    return Told(status, before)


def _relayed(rig: Rig) -> Relayed:
    return Relayed.read(rig.record.read_text().splitlines())


def _cut(rig: Rig) -> Mapping[str, Collection[str]]:
    """Which steps the store forgot."""
    return rig.rollback.concerned if rig.rollback else {}


def _fill(report: Report, findings: Findings, attack: Attack, writer: Writer, rig: Rig) -> None:
    report.faults = dict(attack.counts + Counter({f"relay: {how}": n for how, n in rig.relay.ask("behave").items()}))
    report.processes_killed = attack.processes_killed
    report.tasks_dropped = attack.tasks_dropped
    report.states = dict(findings.states)
    report.excused = dict(findings.excused)
    for name in ("accepted", "doubtful", "spooled", "copies", "repeated", "unknowns", "poisoned"):
        setattr(report, name, getattr(findings, name))
    report.refusals = writer.refusals
    report.breaches = [asdict(breach) for breach in findings.breaches]


def _evidence(findings: Findings, writer: Writer, sender: Sender, entries: dict[str, Entry], directory: Path) -> None:
    """What is known of the messages concerned; the append-only file beside it is the whole history."""
    if not findings.breaches:
        return
    concerned = {breach.number for breach in findings.breaches}
    with (directory / "messages.txt").open("w") as file:
        for mail in writer.mails:
            if mail.number in concerned:
                file.write(f"{mail}\n")
                file.writelines(f"    {message_id}: {entries.get(message_id)}\n" for message_id in mail.ids)
        for mailing in sender.mailings:
            for recipient in mailing.recipients:
                if recipient.number in concerned:
                    file.write(f"{recipient}\n    {sender.ids_of(recipient.number)[0]}\n")
