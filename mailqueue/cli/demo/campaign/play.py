"""The bulk demo's acts: load, send, pause, kill, resume, settle what is not known; and the account of it all."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final, Protocol

from mailqueue import bulk, control
from mailqueue.bulk.address import digest
from mailqueue.bulk.report import COUNTED, ENDED
from mailqueue.cli.demo.campaign.findings import Findings, account_of, held_against, problems
from mailqueue.cli.demo.campaign.material import CAMPAIGN, GONE, LIST, Material
from mailqueue.cli.demo.campaign.stage import GRACE, Stage, processor_time
from mailqueue.cli.demo.campaign.urgent import UrgentMail
from mailqueue.cli.demo.runner import DemoTrouble
from mailqueue.ledger.campaigns import message_of
from mailqueue.ledger.suppressions import Suppression
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailqueue.bulk import CampaignStatus, Loaded
    from mailqueue.testing.tally import Tallied
    from mailqueue.testing.worker import Worker

__all__ = ["run"]

_PATIENCE: Final = 60.0  # s without any progress
_LOOK: Final = 0.2  # s between two looks at how far it is
_SETTLE: Final = 1.0  # s after a pause in which what was on its way may still arrive
_SILENCE: Final = 2.0  # s for which the pause is watched
_RECOVERY: Final = 8.0  # s after a worker's death until the fleet must be at its full speed again: a lease, and some
#: Parts of the recipients at which things happen.
_PAUSE, _KILL_CHILD, _KILL_WORKER = 0.15, 0.3, 0.45
_SHRINKING: Final = 30  # s that the store is given, once records may go, to be rid of them
_BY_HAND: Final = ("unknown", "held")
_UNDER_WAY: Final = ("waiting", "parked", "scheduled", "queued", "sending", "deferred")


class Audience(Protocol):
    """Who watches."""

    def say(self, line: str) -> None:
        """A step is done."""

    def loading(self, loaded: Loaded) -> None:
        """How far loading is."""

    def sending(self, status: CampaignStatus) -> None:
        """How far sending is."""


def run(recipients: int, limit: float, audience: Audience) -> tuple[Findings, list[str]]:
    """Play it with so many recipients and a limit (messages a second); what was found, and what of it is wrong.

    Raises:
        DemoTrouble: if it cannot come to an end; StoreUnavailable, HelperTrouble and WorkerTrouble if it cannot begin.
    """
    began = time.monotonic()
    with Stage(limit, GONE) as stage:
        found = _Play(stage, Material(recipients, stage.directory), limit, audience).run()
    found.seconds = time.monotonic() - began
    return found, list(problems(found))


class _Play:
    """One performance."""

    def __init__(self, stage: Stage, material: Material, limit: float, audience: Audience) -> None:
        self._stage = stage
        self._material = material
        self._audience = audience
        self._say = audience.say
        self._limit = limit
        self._pause = (0.0, 0.0, 0.0)  # called, believed, over: s, time.monotonic()
        self._killed = self._recovered = 0.0  # the child; from the death of the worker
        self._found = Findings(CAMPAIGN, material.count, limit, pdf=material.pdf_octets)
        self._looked = 0.0
        self._idle: float | None = None  # the part of the machine's time that was left over while it was sending

    def run(self) -> Findings:
        stage, found = self._stage, self._found
        self._say(f"Valkey (append-only file) on port {stage.store.port}, relay on port {stage.relay.port}")
        self._load()
        stage.start_workers()
        pids = " and ".join(str(worker.pid) for worker in stage.workers)
        self._say(f"workers {pids}, which together may send {self._limit:,g} messages/s")
        before = processor_time()
        with UrgentMail() as urgent:
            self._send()
            urgent.stop()
        self._idle = _idle(before, processor_time())
        if urgent.trouble is not None:
            raise DemoTrouble(f"urgent mail could not be sent: {urgent.trouble}")
        self._settle()
        self._gather(urgent)
        return found

    # -- the acts

    def _load(self) -> None:
        found, memory, stage = self._found, self._found.memory, self._stage
        ledger = get_producer().ledger
        people = [person for person in self._material.people() if person.is_suppressed]
        ledger.suppressions.add([Suppression(person.address, LIST, "unsubscribed", "demo") for person in people])
        memory.before = stage.octets()
        began = time.monotonic()
        campaign = bulk.send(
            self._material.template,
            self._material.recipients,
            campaign=CAMPAIGN,
            list=LIST,
            progress=self._audience.loading,
        )
        found.loading = time.monotonic() - began
        found.duplicates = campaign.duplicates
        memory.loaded = stage.octets()
        memory.chunks = stage.octets_of(f"*:c:{CAMPAIGN}:k:*")
        memory.data = self._material.octets
        self._say(
            f"{campaign.added:,} recipients checked and stored in {found.loading:.1f} s, "
            f"{memory.waiting / campaign.added:.0f} octets of store each"
        )

    def _send(self) -> None:
        found = self._found
        self._until(lambda status: status.done >= _PAUSE)
        found.paused_at = self._hold()
        self._until(lambda status: status.done >= _KILL_CHILD)
        found.child, found.child_at = self._kill_child(self._stage.workers[0]), self._stage.relay.count
        self._killed = time.monotonic()
        self._say(f"child {found.child} of worker 1 killed (kill -9)")
        self._until(lambda status: status.done >= _KILL_WORKER)
        worker = self._stage.workers[1]
        found.worker, found.worker_at = worker.pid, self._stage.relay.count
        worker.kill()
        self._recovered = time.monotonic() + _RECOVERY
        self._say("worker 2 killed (kill -9), all of its processes; worker 1 goes on")
        worker.start()
        self._say(f"worker 2 started again: {worker.pid}")
        ended = self._until(lambda status: status.state in ENDED)
        found.state = ended.state.value
        found.sending = (ended.ended_at or ended.now) - (ended.started_at or ended.now)
        self._say(f"the campaign is {ended.state.value} after {found.sending:.1f} s")

    def _hold(self) -> int:
        called = time.monotonic()
        status = bulk.pause(CAMPAIGN)
        self._audience.sending(status)
        time.sleep(_SETTLE)
        believed = time.monotonic()
        at = self._stage.relay.count
        while time.monotonic() < believed + _SILENCE:
            self._audience.sending(bulk.status(CAMPAIGN))
            time.sleep(0.25)
        self._pause = (called, believed, time.monotonic())
        bulk.resume(CAMPAIGN)
        self._say(f"paused for {_SETTLE + _SILENCE:.0f} s, and resumed")
        return at

    @staticmethod
    def _kill_child(worker: Worker) -> int:
        child = worker.children()[0]
        os.kill(child, signal.SIGKILL)
        return child

    def _settle(self) -> None:
        """Look up at the relay what became of those whose answers were lost, and tell the ledger."""
        found = self._found
        arrived = {arrival.recipients[0].lower() for arrival in self._stage.relay.arrivals()}
        addresses = {
            message_of(CAMPAIGN, digest(person.address)): person.address.lower() for person in self._material.people()
        }
        lost = {each for state in _BY_HAND for each in control.find(state, lane="bulk") if each in addresses}
        for message in sorted(lost):
            is_there = addresses[message] in arrived
            control.resolve(message, "sent" if is_there else "deferred", reason="looked up at the relay")
            found.unknown_arrived += is_there
        found.unknown = len(lost)
        if lost:
            self._say(f"{len(lost)} answers died with them; {found.unknown_arrived} had arrived, the others go again")
        self._until(lambda status: not any(status.counts[word] for word in (*_UNDER_WAY, *_BY_HAND)))

    def _until(self, enough: Callable[[CampaignStatus], bool]) -> CampaignStatus:
        """Look at the campaign, show it, and return as soon as it is as it should be."""
        deadline, most = time.monotonic() + _PATIENCE, -1
        while True:
            status = bulk.status(CAMPAIGN)
            now = time.monotonic()
            self._audience.sending(status)
            if now - self._looked > 0.5:
                self._looked = now
                self._found.memory.peak = max(self._found.memory.peak, self._stage.octets())
            if enough(status):
                return status
            arrived = self._stage.relay.count
            if arrived > most:
                most, deadline = arrived, now + _PATIENCE
            if now > deadline:
                logs = "\n".join(worker.log[-2000:] for worker in self._stage.workers)
                raise DemoTrouble(f"nothing has moved for {_PATIENCE:g} s: {status}\n{logs}")
            time.sleep(_LOOK)

    # -- the account

    def _gather(self, urgent: UrgentMail) -> None:
        found = self._found
        arrivals = self._arrivals(urgent)
        waits = urgent.waits(arrivals)
        found.urgent, found.urgent_lost = waits, urgent.sent - len(waits)
        ours = [arrival for arrival in arrivals if not urgent.has_sent(arrival)]
        expected = {}
        for person in self._material.people():
            if person.is_refused:
                found.refused += 1
            elif person.is_suppressed:
                found.suppressed += 1
            else:
                expected[person.address] = self._material.likeness(person)
            found.duplicates_given += person.is_given_twice
        found.account = account_of(expected, [(arrival.recipients[0], arrival.likeness) for arrival in ours])
        found.held = held_against(
            self._limit, [arrival.at for arrival in arrivals], self._at_full_speed(ours), self._idle
        )
        self._account_of_pause(ours)
        status = bulk.status(CAMPAIGN)
        found.counts = {word: status.counts[word] for word in COUNTED}
        self._say("every message compared with what it should say")
        self._weigh()

    def _arrivals(self, urgent: UrgentMail) -> list[Tallied]:
        """All that has arrived, once the last urgent message has, or should have."""
        deadline = time.monotonic() + 10.0
        while True:
            arrivals = self._stage.relay.arrivals()
            if len(urgent.waits(arrivals)) == urgent.sent or time.monotonic() > deadline:
                return arrivals
            time.sleep(0.2)

    def _at_full_speed(self, ours: list[Tallied]) -> list[tuple[float, float]]:
        """The spans in which nothing had been done to the fleet for a while: s, time.monotonic().

        Before the last few of its messages: what was in the hands of the dead comes later than the others.
        """
        called, _, over = self._pause
        spans = (
            (ours[0].at + _SETTLE, called),
            (over + _SETTLE, self._killed),
            (self._recovered, ours[len(ours) * 95 // 100].at),
        )
        return [(begin, end) for begin, end in spans if end - begin > _SETTLE]

    def _account_of_pause(self, ours: list[Tallied]) -> None:
        called, believed, over = self._pause
        self._found.after_pause = sum(called < arrival.at <= believed for arrival in ours)
        self._found.in_silence = sum(believed < arrival.at <= over for arrival in ours)
        self._found.silent = over - believed

    def _weigh(self) -> None:
        """Wait until the full records have gone, and see what is left."""
        memory, stage = self._found.memory, self._stage
        time.sleep(GRACE)
        left = stage.octets()
        for _ in range(_SHRINKING):
            time.sleep(1.0)
            before, left = left, stage.octets()
            if left > before * 0.98:
                break
        memory.after = left
        memory.records = stage.octets_of(f"*:c:{CAMPAIGN}:i:*")


def _idle(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] <= before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])
