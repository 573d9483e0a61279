"""The feeder: a thread of every worker's main process that turns recipients of campaigns into messages of the ledger.

A few at a time, so that a campaign can be paused, and so that the queue stays short for whatever else is in its lane.
There is no leader: a chunk is fed under a lease, and what is fed for a second time is known already. The feeder also
keeps campaigns' quiet hours, and notes their end.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from mailqueue.bulk.address import digest
from mailqueue.bulk.chunks import decode_chunk, encode_chunk, encode_recipient, is_again
from mailqueue.bulk.hours import QuietHours
from mailqueue.bulk.report import CampaignStatus
from mailqueue.bulk.spec import decode_options
from mailqueue.bulk.ways import choose
from mailqueue.bulkenvelope import BulkEnvelope
from mailqueue.codec import encode
from mailqueue.errors import (
    BrokerUnavailable,
    CampaignNotFound,
    IllegalTransition,
    LedgerFault,
    LedgerUnavailable,
    WireError,
)
from mailqueue.intake import Intake
from mailqueue.ledger.base import Submission
from mailqueue.ledger.campaigns import CampaignState, message_of
from mailqueue.mail.mailers import import_string
from mailqueue.producer import Receipt
from mailqueue.shipment import Packed, Shipment
from workers.batch import domain_of
from workers.room import ROOM, Allowances, piece
from workers.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from mailqueue.bulk.chunks import Waiting
    from mailqueue.bulk.spec import Options
    from mailqueue.ledger.base import Ledger
    from mailqueue.ledger.campaigns import CampaignEntry, Chunk
    from mailqueue.publisher import Publisher
    from workers.room import Paces

__all__ = ["Feeder"]

logger = logging.getLogger(__name__)

#: Parked messages that are let go in one round: one call for 500 takes the store some 10 ms.
_UNPARKED: Final = 2000
_PART: Final = 500
#: s between two rounds: while something was fed, and else.
_BUSY: Final = 0.05
_IDLE: Final = 0.5
_CHUNKS: Final = 50  # of one campaign in one round, also where all of them are set aside: the other campaigns wait
_LATER: Final = 60.0  # s after which a campaign that could not be fed is tried again: it fails the same way as a rule


@dataclass(slots=True)
class _Known:
    """What this feeder remembers of a campaign. ``created_at`` tells it from a later one of the same id."""

    created_at: float
    options: Options
    quiet: QuietHours | None


class _Part(NamedTuple):
    """A chunk of a queue: "" or a domain, which then has its rate."""

    chunk: Chunk
    queue: str
    rate: float | None


class Feeder(Rounds):
    """Feeds campaigns as they have room.

    Args:
        ledger: Has the campaigns.
        publisher: Of the tasks.
        worker: This worker's name, under which chunks are leased.
        deadline: How long accepting a parcel may take, in s.
        together: The ledger is in the store of the broker.
        clock: s since the epoch, for the Date of messages.
        monotonic: s, for the pace of domains.
        room: Messages of one campaign that may be under way.
    """

    def __init__(
        self,
        ledger: Ledger,
        publisher: Publisher,
        worker: str,
        *,
        deadline: float = 2.0,
        together: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        room: int = ROOM,
    ) -> None:
        super().__init__("feeder", idle=_IDLE, busy=_BUSY)
        self._ledger = ledger
        self._intake = Intake(ledger, publisher, deadline=deadline, together=together)
        self._worker = worker
        self._clock = clock
        self._monotonic = monotonic
        self._room = room
        self._later: dict[str, float] = {}  # campaigns that could not be fed, and until when they are left alone
        self._allowances = Allowances(ledger.rates, now=clock, clock=monotonic)
        self._known: dict[str, _Known] = {}  # those that live

    def once(self) -> int:
        """One round over the campaigns; returns how many recipients were fed, and parked messages let go."""
        done = 0
        now = self._monotonic()
        entries = self._ledger.campaigns.live()
        names = {entry.id for entry in entries}
        self._known = {name: known for name, known in self._known.items() if name in names}
        for entry in entries:
            if self.stopping:
                break
            if now < self._later.get(entry.id, now):
                continue
            try:
                done += self._round(entry)
            except (LedgerUnavailable, BrokerUnavailable):
                raise
            except CampaignNotFound:
                continue  # it is gone since
            except Exception as error:
                # One campaign's trouble, or a bug that it meets, is not to keep the others waiting.
                known = isinstance(error, LedgerFault | IllegalTransition | WireError)
                logger.error("action=feed_failed campaign=%s reason=%s", entry.id, error, exc_info=not known)  # noqa: TRY400 - no traceback wanted of what is known
                self._later[entry.id] = now + _LATER
            else:
                self._later.pop(entry.id, None)
        return done

    # -- one campaign

    def _round(self, entry: CampaignEntry) -> int:
        if entry.state is not CampaignState.RUNNING:  # cancelled or expired, and some of it is parked still
            return self._unpark(entry.id)
        known = self._recall(entry)
        if self._is_closed(entry, known.quiet):
            return 0
        done = self._unpark(entry.id) if entry.parked else 0
        fed = self._feed_all(entry, known.options)
        if not done and not fed and not entry.queues:
            self._finish(entry.id, known.options)
        return done + fed

    def _recall(self, entry: CampaignEntry) -> _Known:
        known = self._known.get(entry.id)
        if known is None or known.created_at != entry.created_at:
            options = decode_options(self._ledger.campaigns.get(entry.id).spec)
            quiet = QuietHours.parse(options.quiet) if options.quiet else None
            known = self._known[entry.id] = _Known(entry.created_at, options, quiet)
        return known

    def _is_closed(self, entry: CampaignEntry, quiet: QuietHours | None) -> bool:
        """Whether it rests for its quiet hours; tells the ledger when the next ones begin, which then needs nobody."""
        if quiet is None:
            return False
        is_quiet, change = quiet.next_change(entry.now)
        if not is_quiet:
            if entry.open_until != change:
                self._ledger.campaigns.set_open_until(entry.id, change)
            return False
        if not 0 < entry.open_until <= entry.now:
            self._ledger.campaigns.set_open_until(entry.id, entry.now)
            logger.info("action=campaign_quiet campaign=%s seconds=%.0f", entry.id, change - entry.now)
        return True

    def _unpark(self, campaign: str) -> int:
        done = 0
        while done < _UNPARKED and not self.stopping:
            count = self._ledger.campaigns.unpark(campaign, _PART)
            done += count
            if count < _PART:
                break
        return done

    def _feed_all(self, entry: CampaignEntry, options: Options) -> int:
        """Feed chunks until as much of the campaign is under way as may be."""
        paces = self._allowances.paces(options.relays or ("",))
        room, fed, chunks = paces.room(entry, self._room), 0, 0
        for queue in entry.queues:
            rate = paces.domains.get(queue)
            while fed < room and chunks < _CHUNKS and not self.stopping:
                chunk = self._ledger.campaigns.take(entry.id, self._worker, queue=queue)
                if chunk is None:
                    break
                fed += self._feed(entry, options, _Part(chunk, queue, rate), paces)
                chunks += 1
        return fed

    def _feed(self, entry: CampaignEntry, options: Options, part: _Part, paces: Paces) -> int:
        """Make messages of recipients of a chunk, and set those aside that have another pace; returns of how many.

        What is done twice is done once.
        """
        content = part.chunk.content
        try:
            recipients = decode_chunk(content)
        except WireError as error:
            logger.error("action=chunk_unreadable campaign=%s chunk=%d reason=%s", entry.id, part.chunk.number, error)  # noqa: TRY400 - no traceback wanted
            recipients = []
        now, later, rest = recipients, {}, 0.0
        if part.rate is not None:
            count, rest = piece(part.rate, len(recipients))
            now, later = recipients[:count], {part.queue: recipients[count:]}
        elif not part.queue and paces.domains:
            now, later = _apart(recipients, paces.domains)
        for shipment in _shipments(self._pack(entry, options, now)):
            self._intake.take(entry.lane, shipment)
        moved = {domain: _encoded(each, content) for domain, each in later.items() if each}
        self._ledger.campaigns.fed(
            entry.id,
            part.chunk.number,
            self._worker,
            queue=part.queue,
            kept=_encoded(now, content) if moved else None,
            moved=moved or None,
            rest=rest,
        )
        return len(now)

    def _pack(self, entry: CampaignEntry, options: Options, recipients: Sequence[Waiting]) -> Iterator[Packed]:
        now = self._clock()
        for address, data in recipients:
            key = digest(address)
            envelope = BulkEnvelope(
                id=message_of(entry.id, key),
                created=now,
                campaign=entry.id,
                address=address,
                data=data,  # type: ignore[arg-type] # JSON already, and written as it is
                host=options.host,
                lane=entry.lane,
                relay=choose(options.relays, key),
                on_unknown=options.on_unknown,
                expires_at=entry.expires_at,
            )
            submission = Submission(
                envelope.id,
                encode(envelope),
                envelope.relay,
                on_unknown=envelope.on_unknown,
                expires_at=envelope.expires_at,
            )
            yield Packed(None, submission, Receipt(envelope.id, envelope.message_id), {})

    def _finish(self, campaign: str, options: Options) -> None:
        """Nothing is left to be fed: if all has come to its end, say so, once."""
        if not self._ledger.campaigns.finish(campaign):
            return
        status = CampaignStatus.of(self._ledger.campaigns.get(campaign))
        counts = " ".join(f"{name}={number}" for name, number in status.counts.items() if number)
        level = logging.WARNING if status.counts["waiting"] else logging.INFO  # of a chunk that could not be read
        logger.log(level, "action=campaign_finished campaign=%s total=%d %s", campaign, status.total, counts)
        if options.on_finish:
            try:
                import_string(options.on_finish)(status)
            except Exception:
                # The application's own; the campaign has ended well.
                logger.exception("action=on_finish_failed campaign=%s", campaign)


def _apart(recipients: Sequence[Waiting], domains: Container[str]) -> tuple[list[Waiting], dict[str, list[Waiting]]]:
    """Those who may be fed now, and by domain those of ``domains``."""
    now: list[Waiting] = []
    later: dict[str, list[Waiting]] = {}
    for recipient in recipients:
        domain = domain_of(recipient[0])
        if domain in domains:
            later.setdefault(domain, []).append(recipient)
        else:
            now.append(recipient)
    return now, later


def _encoded(recipients: Sequence[Waiting], content: bytes) -> bytes:
    """A chunk of some of the recipients of ``content``."""
    return encode_chunk((encode_recipient(*each) for each in recipients), again=is_again(content))


def _shipments(load: Iterator[Packed]) -> Iterator[Shipment]:
    """Divide what is to be accepted into parcels."""
    began = time.monotonic()
    shipment = Shipment(began)
    for packed in load:
        if not shipment.has_room(packed, began):
            yield shipment
            shipment = Shipment(began)
        shipment.add(packed)
    if shipment.load:
        yield shipment
