"""What the bulk demo has found out, and what of it is not as it must be. Pure: it judges what others have gathered."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Account", "Findings", "Held", "Memory", "account_of", "held_against", "notes", "problems"]

#: A limit is exact within 2 % for the fleet.
_EXACT: Final = 0.02
#: Part of a machine's time that is not much to have left over.
_BUSY: Final = 0.2
#: s at full speed, of which less says nothing about a mean.
_LONG: Final = 8.0
#: s of the windows in which the busiest is looked for.
_WINDOW: Final = 10.0
#: What the store may take, in octets: for a recipient that waits, beyond its own data, and for a final record.
_WAITING, _FINAL_RECORD = 200, 120
#: Of fewer recipients, what the store itself takes is not little.
_MANY: Final = 10_000
#: s: "a password reset passes a million newsletters in under a second".
_URGENT: Final = 1.0


@dataclass(frozen=True)
class Account:
    """Who got what, by the relay's own account: numbers of recipients."""

    expected: int = 0  # to get a message
    once: int = 0
    twice: int = 0  # or more often
    none: int = 0
    strangers: int = 0  # messages for those who were to get none, or whom nobody knows
    alike: int = 0  # messages that look as they must
    different: int = 0


def account_of(expected: Mapping[str, str], arrived: Sequence[tuple[str, str]]) -> Account:
    """Compare what was ``expected``, likeness by address, with what has ``arrived``, address and likeness."""
    times = Counter(address for address, _ in arrived)
    alike = sum(expected.get(address) == mark for address, mark in arrived)
    strangers = sum(number for address, number in times.items() if address not in expected)
    return Account(
        expected=len(expected),
        once=sum(times[address] == 1 for address in expected),
        twice=sum(times[address] > 1 for address in expected),
        none=sum(not times[address] for address in expected),
        strangers=strangers,
        alike=alike,
        different=len(arrived) - strangers - alike,
    )


@dataclass(frozen=True)
class Held:
    """How a limit was held (messages a second): in the mean of ``seconds`` of full speed, and in the busiest window.

    ``idle`` is the part of the machine's time that was left over; None if it does not tell.
    """

    limit: float
    mean: float
    busiest: float
    seconds: float
    window: float = _WINDOW
    idle: float | None = None

    @property
    def was_reached(self) -> bool:
        """Whether it was the limit that kept the fleet from sending more; assumed of a time too short to tell."""
        return self.seconds < _LONG or self.mean >= self.limit * 0.9


def held_against(
    limit: float, times: Sequence[float], spans: Sequence[tuple[float, float]], idle: float | None = None
) -> Held:
    """How ``limit`` was held, by the ``times`` of arrival in order (s); the mean is of ``spans`` at full speed."""
    seconds = sum(end - begin for begin, end in spans)
    count = sum(bisect_left(times, end) - bisect_left(times, begin) for begin, end in spans)
    window = _WINDOW
    most = max((bisect_left(times, begin + window) - number for number, begin in enumerate(times)), default=0)
    return Held(limit, count / seconds if seconds else 0.0, most / window, seconds, window, idle)


@dataclass
class Memory:
    """Octets in the store."""

    before: int = 0
    loaded: int = 0
    peak: int = 0
    after: int = 0
    chunks: int = 0  # of the loaded: the recipients' data, compressed
    records: int = 0  # of the after: the final records
    data: int = 0  # the recipients' own data, as they were given

    @property
    def waiting(self) -> int:
        """What the loaded campaign takes, its attachment and template included."""
        return self.loaded - self.before


@dataclass
class Findings:
    """All that the demo found out."""

    campaign: str
    recipients: int
    limit: float
    state: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0  # those who must be
    suppressed: int = 0
    duplicates: int = 0  # that loading has told of
    duplicates_given: int = 0
    loading: float = 0.0  # s
    sending: float = 0.0  # s
    account: Account = field(default_factory=Account)
    paused_at: int = 0
    after_pause: int = 0  # messages of the campaign that came after the pause, being on their way
    silent: float = 0.0  # s of the pause in which none came
    in_silence: int = 0  # that came all the same
    child: int = 0  # process id of the child that was killed
    child_at: int = 0
    worker: int = 0  # of the worker that was killed
    worker_at: int = 0
    unknown: int = 0  # messages whose answers were lost
    unknown_arrived: int = 0
    held: Held = field(default_factory=lambda: Held(0.0, 0.0, 0.0, 0.0))
    urgent: Sequence[float] = ()  # s from call to arrival, in order of size
    urgent_lost: int = 0
    memory: Memory = field(default_factory=Memory)
    pdf: int = 0  # octets
    seconds: float = 0.0


def problems(found: Findings) -> Iterator[str]:
    """Everything that is not as it must be, a line each."""
    yield from _deliveries(found)
    yield from _order(found)
    yield from _store(found)


def _deliveries(found: Findings) -> Iterator[str]:
    account = found.account
    if found.state != "finished":
        yield f"the campaign is {found.state}, not finished"
    if account.none:
        yield f"{account.none} recipients got no message"
    if account.twice:
        yield f"{account.twice} recipients got more than one message"
    if account.strangers:
        yield f"{account.strangers} messages for whom there should be none"
    if account.different:
        yield f"{account.different} messages differ from what they should say or have attached"
    counted = {
        "sent": account.expected,
        "failed": found.refused,
        "suppressed": found.suppressed,
    }
    for word, number in counted.items():
        if found.counts.get(word, 0) != number:
            yield f"{found.counts.get(word, 0)} recipients are on record as {word}, not {number}"
    if found.duplicates != found.duplicates_given:
        yield f"{found.duplicates} duplicates were found, not {found.duplicates_given}"


def _order(found: Findings) -> Iterator[str]:
    if found.in_silence:
        yield f"{found.in_silence} messages of the campaign came while it was paused"
    if not found.child or not found.worker:
        yield "nobody was killed: nothing of the recovery was seen"
    if found.urgent_lost:
        yield f"{found.urgent_lost} urgent messages have not arrived"
    if not found.urgent:
        yield "no urgent message was sent meanwhile"
    elif found.urgent[len(found.urgent) * 95 // 100] > _URGENT:
        yield f"one in 20 urgent messages took {found.urgent[len(found.urgent) * 95 // 100]:.2f} s and more"
    held = found.held
    if held.busiest > held.limit * (1 + _EXACT) + 1 / held.window:
        yield f"{held.busiest:,.0f}/s within {held.window:.0f} s, over the limit of {held.limit:,.0f}/s"
    if not held.was_reached and held.idle is not None and held.idle > _BUSY:
        yield f"{held.mean:,.0f}/s at full speed, under the limit of {held.limit:,.0f}/s, on a machine that had time left"


def notes(found: Findings) -> Iterator[str]:
    """What is as it is because of the machine, a line each."""
    held = found.held
    if not held.was_reached:
        idle = "" if held.idle is None else f", which was {1 - held.idle:.0%} busy"
        yield f"The limit was not reached on this machine{idle}: try --rate {max(1, round(held.mean * 0.7, -1)):.0f}."


def _store(found: Findings) -> Iterator[str]:
    memory = found.memory
    waiting = (memory.waiting - found.pdf - memory.data) / found.recipients
    if waiting > _WAITING and found.recipients >= _MANY:
        yield f"{waiting:.0f} octets of store for each waiting recipient beyond its own data, over {_WAITING}"
    record = memory.records / found.recipients
    if record > _FINAL_RECORD:
        yield f"{record:.0f} octets of store for each final record, over {_FINAL_RECORD}"
