"""From claimed messages to attempts: each envelope becomes the message that is sent, or its message is settled here.

What cannot be read is held, with the reason; what meets a bug of ours waits until somebody can be expected to have
mended that; a campaign's message is rendered, and bulk mail is not sent to suppressed addresses.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from mailqueue.bulkenvelope import AnyEnvelope, BulkEnvelope
from mailqueue.envelope import unpack
from mailqueue.errors import CampaignNotFound, LedgerUnavailable, WireError
from mailqueue.ledger.base import Grant, Settlement
from mailqueue.ledger.states import State
from mailqueue.mail.render import fix
from workers import deliver
from workers.batch import Attempt, Batch
from workers.campaigns import failure
from workers.journal import FULL
from workers.suppressed import Asked, withheld

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mailqueue.bulk.letters import Letters
    from workers.process import Process

__all__ = ["Opened", "hold", "release", "slices", "unpack_all"]

logger = logging.getLogger(__name__)

HOURLY = 3600.0  # s, between tries at a message that meets a bug of ours, at most
MENDED_BY = 86400.0  # s, the age at which it is held: a bad deploy is found and undone by then, about 30 tries later


class Opened(NamedTuple):
    """A message that was granted and can be read; ``parts`` are the octets of its large parts, by their hashes."""

    grant: Grant
    envelope: AnyEnvelope
    parts: Mapping[str, int]


def slices(opened: Sequence[Opened], limit: int) -> Iterator[list[Opened]]:
    """Divide a batch so that the large parts of each slice have ``limit`` octets in all, or are those of one message."""
    part: list[Opened] = []
    sizes: dict[str, int] = {}
    for each in opened:
        if each.parts:
            with_it = {**sizes, **each.parts}
            if part and sum(with_it.values()) > limit:
                yield part
                part, with_it = [], {**each.parts}
            sizes = with_it
        part.append(each)
    if part:
        yield part


def unpack_all(process: Process, batch: Batch, opened: Sequence[Opened]) -> list[Attempt]:
    """Make attempts of what is still ours; what cannot be put together is settled."""
    opened = [each for each in opened if batch.holds(each.grant.id)]
    campaigns: dict[str, Letters] = {}
    if any(isinstance(each.envelope, BulkEnvelope) for each in opened):
        opened = _with_campaign(process, batch, opened, campaigns)
    opened = _without_suppressed(process, batch, opened, campaigns)
    hashes = [key for each in opened for key in each.parts]
    blobs = process.surely(process.blobs.get, hashes) if hashes else {}
    probing: set[str] = set()
    attempts: list[Attempt] = []
    for grant, envelope, parts in opened:
        if parts and not parts.keys() <= blobs.keys():
            hold(process, batch, grant, "a large part of it is not in the ledger")
            continue
        relay = envelope.relay
        try:
            if isinstance(envelope, BulkEnvelope):
                letters = campaigns[envelope.campaign]
                relay = process.surely(
                    process.ways.choose,
                    relay,
                    letters.spec.relays,
                    age=process.now() - grant.since,
                    probing=probing,
                )
                message: Any = _rendered(letters, envelope)
            else:
                message = unpack(envelope, blobs)
        except WireError as error:
            hold(process, batch, grant, f"cannot be put together: {error}")
        except LedgerUnavailable:
            raise  # only at the end of a shutdown
        except Exception as error:  # noqa: BLE001 - a bug, which a deploy may mend: the others are not to wait for that
            if isinstance(error, ValueError) and isinstance(envelope, BulkEnvelope):  # of the template with these data
                _settle(process, batch, [failure(grant, envelope.address, error)])
                continue
            logger.error("action=unpack_failed message_id=%s reason=%s", grant.id, deliver.where(error))  # noqa: TRY400 - as `where` says
            _put_off(process, batch, grant, type(error).__name__)
        else:
            fix(message)  # its bytes are made once, however often it is tried here
            attempts.append(Attempt(grant, relay, message, envelope.recipients(), dict(grant.results)))
    return attempts


def release(process: Process, batch: Batch, ids: list[str], due_in: float = 0.0, reason: str = "") -> None:
    """Give back messages that have not begun."""
    if ids:
        process.surely(process.ledger.release, ids, batch.token, due_in=due_in, reason=reason)
        batch.given_back(ids)


def hold(process: Process, batch: Batch, grant: Grant, reason: str) -> None:
    """Set a message aside that nothing can be done with, for an operator to look at."""
    logger.error("action=held message_id=%s reason=%s", grant.id, reason)
    _settle(process, batch, [Settlement(grant.id, State.HELD, grant.results, reason=reason)])


def _put_off(process: Process, batch: Batch, grant: Grant, bug: str) -> None:
    """It meets a bug of ours: once more after half its age, until nobody can be expected to mend that."""
    age = process.now() - grant.since
    if age >= MENDED_BY:
        hold(process, batch, grant, f"cannot be put together by this worker: {bug}")
    else:
        release(process, batch, [grant.id], min(max(deliver.LATER, age / 2), HOURLY), bug)


def _settle(process: Process, batch: Batch, settlements: Sequence[Settlement]) -> None:
    for first in range(0, len(settlements), FULL):
        part = settlements[first : first + FULL]
        process.surely(process.ledger.record, part, batch.token)
        batch.ended([each.id for each in part])


# -- campaigns


def _with_campaign(
    process: Process, batch: Batch, opened: Sequence[Opened], campaigns: dict[str, Letters]
) -> list[Opened]:
    """Those whose campaign can be read, or that have none; ``campaigns`` gets what makes the messages of each."""
    kept = []
    for each in opened:
        name = _campaign_of(each.envelope)
        if name and name not in campaigns:
            try:
                campaigns[name] = process.surely(process.campaigns.letters, name)
            except CampaignNotFound:
                hold(process, batch, each.grant, "its campaign is not in the ledger")
                continue
            except WireError as error:
                hold(process, batch, each.grant, f"its campaign cannot be read: {error}")
                continue
            except LedgerUnavailable:
                raise  # only at the end of a shutdown
            except Exception as error:  # noqa: BLE001 - a template that this worker cannot compile: a deploy may mend it
                logger.error("action=campaign_failed campaign=%s reason=%s", name, deliver.where(error))  # noqa: TRY400 - as `where` says
                _put_off(process, batch, each.grant, type(error).__name__)
                continue
        kept.append(each)
    return kept


def _without_suppressed(
    process: Process, batch: Batch, opened: Sequence[Opened], campaigns: Mapping[str, Letters]
) -> Sequence[Opened]:
    """Settle what goes to suppressed addresses alone, and let the rest of it go to the others."""
    if batch.lane == "urgent":
        return opened
    asked = [
        Asked(grant, envelope.recipients(), campaigns[name].spec.list if (name := _campaign_of(envelope)) else "")
        for grant, envelope, _ in opened
        if batch.lane == "bulk" or _campaign_of(envelope)
    ]
    answers = process.surely(withheld, process.ledger, asked) if asked else {}
    if not answers:
        return opened
    settlements = [answer for answer in answers.values() if isinstance(answer, Settlement)]
    _settle(process, batch, settlements)
    logger.info("action=suppressed messages=%d in_part=%d", len(settlements), len(answers) - len(settlements))
    kept = []
    for each in opened:
        answer = answers.get(each.grant.id, each.grant)
        if not isinstance(answer, Settlement):
            kept.append(each._replace(grant=answer))
    return kept


def _campaign_of(envelope: AnyEnvelope) -> str:
    return envelope.campaign if isinstance(envelope, BulkEnvelope) else ""


def _rendered(letters: Letters, envelope: BulkEnvelope) -> Any:
    return letters.render(envelope.address, envelope.data, date=envelope.date, message_id=envelope.message_id)
