"""The sender of a rig's campaigns: loads, starts, pauses, resumes and cancels them, and keeps what it was told of each.

A thread for each campaign, which does what an application does: a call that fails is made again, with the same arguments.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from mailqueue import bulk
from mailqueue.bulk.address import digest
from mailqueue.bulk.suppression import suppress
from mailqueue.errors import CampaignNotFound, IllegalTransition, LedgerUnavailable
from mailqueue.ledger.campaigns import CampaignState, message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FIRST", "Mailing", "Recipient", "Sender"]

T = TypeVar("T")

FIRST: Final = 1_000_000  # the number of the first recipient: those below are the writer's messages

_COUNTS, _COUNT_WEIGHTS = (0, 1, 2, 3), (1, 3, 3, 3)  # campaigns of a round
_RECIPIENTS = (150, 400)  # of all of them together
_LIST = "news"
_TEMPLATE = bulk.Template(
    subject="Number {{ number }}",
    text="Hello\nDatum: {{ datum }}\n",
    from_email="app@example.com",
    headers={"X-Crashproof": "{{ number }}"},
)
# Not all in the bulk lane: under attack the others leave it no time. The urgent one asks after no suppressions.
_LANES = ("bulk", "default", "urgent")
_LATEST = 3.0  # s from the start of a round until a campaign begins, at most
_RATE = 80.0  # recipients a second, where they are read one by one
_BREAKS_OFF = 1 / 500  # how often reading them breaks off, at each
_TWICE = 0.03  # how often somebody is in the list twice
_SUPPRESSED = 0.02  # of the recipients, before their campaign begins; and as many later
_CANCELLED = 0.1  # of the campaigns
_PAUSE = 0.1  # s before a call that has failed is made again
_PATIENCE = 60.0  # s for what is under way when the rig is healed

#: Where a campaign may stand, by what was last said of it.
_AS_SAID = {
    "running": (CampaignState.RUNNING, CampaignState.FINISHED),
    "paused": (CampaignState.PAUSED,),
    "cancelled": (CampaignState.CANCELLED,),
}

_Row: TypeAlias = tuple[str, dict[str, object]]  # of the list: address and data


class _BrokenOffError(Exception):
    """The recipients can be read no further, as when a database has gone."""


@dataclass(slots=True)
class Recipient:
    """One recipient, by their number in the round. ``datum`` is what their message alone has."""

    number: int
    address: str
    datum: str
    suppressed: Literal["", "before", "later"] = ""  # before the campaign was begun, or at any time after that

    @property
    def digest(self) -> str:
        """What they are called in the campaign."""
        return digest(self.address)

    @property
    def row(self) -> _Row:
        """As the list has them."""
        return self.address, {"number": self.number, "datum": self.datum}


@dataclass(slots=True)
class Mailing:
    """One campaign, and what its sender was told of it."""

    id: str
    lane: str
    on_unknown: Literal["resend", "hold"]
    recipients: list[Recipient]
    said: str = ""  # where it stands, by the last call: running, paused, cancelled; empty while it is loaded
    pauses: int = 0
    forgotten: list[str] = field(default_factory=list)  # where the ledger contradicted what it had said


class Sender:
    """Sends some campaigns by ``seed``, each from a thread of its own."""

    def __init__(self, seed: str) -> None:
        draw = random.Random(seed)
        self.mailings = _plan(draw)
        self._ids = {
            each.number: message_of(mailing.id, each.digest) for mailing in self.mailings for each in mailing.recipients
        }
        self._stop = threading.Event()
        self._trouble: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(mailing, random.Random(draw.random())), daemon=True)
            for mailing in self.mailings
        ]

    def ids_of(self, number: int) -> Sequence[str]:
        """Under which id a recipient is a message of the ledger."""
        return (self._ids[number],)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """The rig is healed: end with what is under way, and see that all campaigns stand as was said.

        Raises what a thread could not cope with.
        """
        self._stop.set()
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._trouble is not None:
            raise self._trouble
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError(f"a campaign is not through with loading {_PATIENCE:g} s after all was healed")
        for mailing in self.mailings:
            self._confirm(mailing)

    def _run(self, mailing: Mailing, draw: random.Random) -> None:
        try:
            self._stop.wait(draw.uniform(0, _LATEST))
            self._send(mailing, draw)
        except BaseException as trouble:  # noqa: BLE001 - told by stop()
            self._trouble = trouble

    def _send(self, mailing: Mailing, draw: random.Random) -> None:
        self._suppress(mailing, "before", draw)
        while not self._load(mailing, draw):
            time.sleep(_PAUSE)
        for _ in range(draw.choice((0, 1, 1, 2))):
            self._stop.wait(draw.uniform(0.2, 2))
            self._pause(mailing, draw.uniform(0.2, 3))
        self._suppress(mailing, "later", draw)
        if draw.random() < _CANCELLED:
            self._stop.wait(draw.uniform(0, 8))
            if self._turn(mailing, bulk.cancel):
                mailing.said = "cancelled"

    # -- what an application does

    def _load(self, mailing: Mailing, draw: random.Random) -> bool:
        """One call with all that is to be said; whether it has returned."""
        source = [each.row for each in mailing.recipients]
        try:
            bulk.send(
                _TEMPLATE,
                self._read(source, draw) if draw.random() < 0.7 and not self._stop.is_set() else source,
                campaign=mailing.id,
                lane=mailing.lane,
                list=_LIST,
                unsubscribe=False,
                on_unknown=mailing.on_unknown,
            )
        except (LedgerUnavailable, _BrokenOffError):
            return False
        except CampaignNotFound:
            mailing.forgotten.append("it was loading, and is gone")
            return False
        mailing.said = "running"
        return True

    def _read(self, source: Sequence[_Row], draw: random.Random) -> Iterator[_Row]:
        """The list as it comes out of a database, row by row."""
        for address, data in source:
            self._stop.wait(draw.expovariate(_RATE))
            if draw.random() < _BREAKS_OFF:
                raise _BrokenOffError
            yield address, data
            if draw.random() < _TWICE:
                yield address.upper(), data

    def _pause(self, mailing: Mailing, seconds: float) -> None:
        if not self._turn(mailing, bulk.pause):
            return
        mailing.said = "paused"
        mailing.pauses += 1
        self._stop.wait(seconds)
        mailing.said = "running"  # from the first call on, whose answer may be lost; it may have finished at the next
        self._turn(mailing, bulk.resume)

    def _suppress(self, mailing: Mailing, when: Literal["before", "later"], draw: random.Random) -> None:
        for each in mailing.recipients if mailing.lane != "urgent" else ():
            if not each.suppressed and draw.random() < _SUPPRESSED:
                each.suppressed = when
                _surely(suppress, each.address, draw.choice(("", _LIST)))

    def _turn(self, mailing: Mailing, verb: Callable[[str], object]) -> bool:
        """Whether it could be: it may be over, or forgotten, which is found out in the end."""
        try:
            _surely(verb, mailing.id)
        except (IllegalTransition, CampaignNotFound):
            return False
        return True

    # -- and what its operator does, in the end

    def _confirm(self, mailing: Mailing) -> None:
        """Note where a campaign does not stand as was said, and let it go on."""
        try:
            state = _surely(bulk.status, mailing.id).state
        except CampaignNotFound:
            state = None
        if state in _AS_SAID[mailing.said]:
            return
        mailing.forgotten.append(f"it was {mailing.said}, and is {state or 'gone'}")
        mailing.said = "running"
        if state is CampaignState.PAUSED:
            self._turn(mailing, bulk.resume)
        elif state in (CampaignState.LOADING, None):
            while not self._load(mailing, random.Random(0)):
                time.sleep(_PAUSE)


def _surely(call: Callable[..., T], *args: Any) -> T:
    while True:
        try:
            return call(*args)
        except LedgerUnavailable:
            time.sleep(_PAUSE)


def _plan(draw: random.Random) -> Sequence[Mailing]:
    count = draw.choices(_COUNTS, _COUNT_WEIGHTS)[0]
    size = draw.randint(*_RECIPIENTS) // max(1, count)
    mailings = []
    for place in range(count):
        first = FIRST + place * size
        recipients = [_recipient(number, draw) for number in range(first, first + size)]
        lane, on_unknown = draw.choice(_LANES), draw.choice(("hold", "resend"))
        mailings.append(Mailing(f"campaign-{place + 1}", lane, on_unknown, recipients))
    return mailings


def _recipient(number: int, draw: random.Random) -> Recipient:
    """The relay refuses some of them for good, and some for now."""
    name = draw.choices(("ann", "later", "nobody"), (93, 4, 3))[0]
    return Recipient(number, f"{name}{number}@example.net", f"{draw.getrandbits(48):012x}")
