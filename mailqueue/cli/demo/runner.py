"""The demo's run: its own servers, the sending, the killing, and the gathering of what became of each message."""

from __future__ import annotations

import contextlib
import logging
import os
import smtplib
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mailqueue import conf, producer
from mailqueue.cli.demo.killing import Killer
from mailqueue.cli.demo.recorder import EmailBackend
from mailqueue.cli.demo.scenario import CASES, GREYLISTED, MASS, REFUSED, Case, is_mass_mail
from mailqueue.cli.demo.verdict import Story, judge
from mailqueue.ledger.states import FINAL
from mailqueue.mail import get_connection
from mailqueue.testing.environment import is_setting
from mailqueue.testing.inbox import Inbox
from mailqueue.testing.store import EmbeddedValkey
from mailqueue.testing.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailqueue.testing.inbox import Arrival

__all__ = ["DemoTrouble", "Report", "own_settings", "run"]

_PATIENCE: Final = 120.0  # s, until the last message must have ended
# Minutes are right for real relays; a demo is watched. The lease bounds how soon a lost answer is followed by a copy.
_HASTE: Final = {"MAILQUEUE_LEASE_SECONDS": "4", "MAILQUEUE_TICK_SECONDS": "0.5", "MAILQUEUE_RETRY_DELAYS": "2"}


class DemoTrouble(RuntimeError):  # noqa: N818 - named like RelayTrouble
    """The demo could not be run to its end."""


@dataclass
class Report:
    """All that the demo found out."""

    stories: list[Story] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)  # s that each timed call of send_mail() took
    mass_call: float = 0.0  # s that send_mass_mail() took
    killed: int | None = None  # process id
    killed_after: int = 0  # arrivals of the mass mail
    strangers: int = 0  # arrivals that belong to no message of ours
    connections: int = 0  # over which all of it was delivered
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Sent:
    case: Case
    receipt: Any
    recipients: list[str]
    called_at: float


def run(say: Callable[[str], None], show: Callable[[str, int, int], None]) -> Report:
    """Run the demo; ``say`` gets a line at each step, ``show`` what is going on, how far, and of how much.

    Raises:
        DemoTrouble: if it cannot come to an end; StoreUnavailable and WorkerTrouble if it cannot begin.
    """
    began = time.monotonic()
    report = Report()
    total = sum(case.count for case in CASES)
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_settings())
        killer = Killer(lambda arrival: is_mass_mail(arrival.recipients), after=MASS // 3)
        inbox = stack.enter_context(Inbox(refuse=[REFUSED], greylist={GREYLISTED: 1}, on_arrival=killer))
        reference = stack.enter_context(Inbox(refuse=[REFUSED]))
        store = stack.enter_context(EmbeddedValkey())
        say(f"Valkey (append-only file) on port {store.port}, SMTP inbox on port {inbox.port}")
        relay = {"MAILQUEUE_BROKER_URL": store.url, "EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}
        worker = stack.enter_context(Worker({**relay, **_HASTE}, concurrency=2))
        killer.aim(worker.children)
        say(f"worker {worker.pid}: celery -A workers worker, {len(worker.children())} processes")
        conf.configure(
            MAILQUEUE_BROKER_URL=store.url, EMAIL_BACKEND=f"{EmailBackend.__module__}.{EmailBackend.__name__}"
        )

        sent = _send(report, show)
        say(f"{len(sent)} messages accepted")
        _wait(worker, lambda: inbox.count, total, show)
        report.killed, report.killed_after = killer.killed, killer.after
        say("every message has come to an end")
        report.connections = inbox.connections
        report.stories = _gather(sent, inbox, _synchronously(reference, total, show))
        report.strangers = inbox.count - sum(len(story.arrivals) for story in report.stories)
        say("all of it sent again, synchronously, to compare")
    report.problems += _problems(report)
    report.seconds = time.monotonic() - began
    return report


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Hide the environment's mail settings from this process: the demo must touch nobody's store or relay."""
    hidden = {name: os.environ.pop(name) for name in tuple(os.environ) if is_setting(name)}
    conf.reset()
    # What is refused on purpose would be logged on the terminal, where no handler is set.
    quiet = logging.NullHandler()
    logging.getLogger("mailqueue").addHandler(quiet)
    try:
        yield
    finally:
        logging.getLogger("mailqueue").removeHandler(quiet)
        conf.reset()
        os.environ.update(hidden)


def _send(report: Report, show: Callable[[str, int, int], None]) -> list[_Sent]:
    """Send all cases through the queue, timing each call."""
    sent: list[_Sent] = []
    for number, case in enumerate(CASES):
        show("sending", number, len(CASES))
        EmailBackend.seen.clear()
        called_at, start = time.time(), time.perf_counter()
        count = case.send(None)
        took = time.perf_counter() - start
        if case.timed:
            report.calls.append(took)
        if case.count == MASS:
            report.mass_call = took
        if count != case.count:
            report.problems.append(f"{case.name}: the call has returned {count}, not {case.count}")
        sent += [_Sent(case, message.receipt, message.recipients(), called_at) for message in EmailBackend.seen]
    return sent


def _wait(worker: Worker, arrived: Callable[[], int], total: int, show: Callable[[str, int, int], None]) -> None:
    """Wait until the ledger has an end for every message."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        counts = producer.counts()
        ended = sum(number for lane in counts.values() for state, number in lane.items() if state in FINAL)
        show(f"delivering ({arrived()} have arrived)", ended, total)
        if ended >= total:
            return
        if not worker.running:
            raise DemoTrouble(f"the worker has ended:\n{worker.log[-4000:]}")
        if time.monotonic() > deadline:
            raise DemoTrouble(
                f"{ended} of {total} messages ended within {_PATIENCE:g} s: {counts}\n{worker.log[-4000:]}"
            )
        time.sleep(0.1)


def _synchronously(reference: Inbox, total: int, show: Callable[[str, int, int], None]) -> dict[str, list[Arrival]]:
    """Send all cases again, through the SMTP backend, here and now; what arrived, by the name of the case, in order."""
    found: dict[str, list[Arrival]] = defaultdict(list)
    with get_connection(conf.SMTP_BACKEND, host=reference.host, port=reference.port) as connection:
        for case in CASES:
            show("sending again, synchronously", reference.count, total)
            before = reference.count
            with contextlib.suppress(smtplib.SMTPRecipientsRefused):
                case.send(connection)
            found[case.name] += reference.arrivals[before:]
    return found


def _gather(sent: list[_Sent], inbox: Inbox, references: dict[str, list[Arrival]]) -> list[Story]:
    arrivals: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in inbox.arrivals:
        arrivals[arrival.message_id].append(arrival)
    remaining = {name: iter(found) for name, found in references.items()}
    return [
        Story(
            case=one.case,
            message_id=one.receipt.message_id,
            recipients=one.recipients,
            called_at=one.called_at,
            status=producer.status(one.receipt.id),
            arrivals=arrivals.pop(one.receipt.message_id, []),
            reference=next(remaining[one.case.name], None),
        )
        for one in sent
    ]


def _problems(report: Report) -> Iterator[str]:
    expected = sum(case.count for case in CASES)
    if len(report.stories) != expected:
        yield f"{len(report.stories)} messages have a receipt, not {expected}"
    if report.strangers:
        yield f"{report.strangers} arrivals belong to no message"
    if report.killed is None:
        yield "no child of the worker was killed: nothing of the recovery was seen"
    for story in report.stories:
        yield from (f"{story.case.name} {story.message_id}: {problem}" for problem in judge(story))
