"""What can be asked of a campaign and done to it, while it lives and after: status, pause, resume, retry, export..."""

from __future__ import annotations

import csv
import logging
import time
from typing import IO, TYPE_CHECKING, Final

from mailqueue.bulk.address import digest
from mailqueue.bulk.chunks import ChunkBuilder, decode_chunk, encode_recipient, is_again
from mailqueue.bulk.report import CampaignStatus, RecipientRow
from mailqueue.errors import WireError
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailqueue.ledger.campaigns import Campaigns

__all__ = ["campaigns", "cancel", "export", "export_csv", "pause", "resume", "retry", "status", "wait"]

logger = logging.getLogger(__name__)

_LOOK: Final = 0.5  # s between two looks at a campaign that is waited for


def _ledger() -> Campaigns:
    return get_producer().ledger.campaigns


def status(campaign: str) -> CampaignStatus:
    """Tell how a campaign stands.

    Raises:
        CampaignNotFound: never made here, or past its retention.
        LedgerUnavailable: when the ledger does not answer. So do all the others.
    """
    return CampaignStatus.of(_ledger().get(campaign))


def campaigns(limit: int = 100) -> list[CampaignStatus]:
    """The newest campaigns, at most ``limit`` of them."""
    ledger = _ledger()
    return [CampaignStatus.of(ledger.get(campaign)) for campaign in ledger.ids(limit)]


def pause(campaign: str) -> CampaignStatus:
    """Let nothing of it begin from now on; what is on its way to a relay this moment ends as it does.

    Raises:
        CampaignNotFound:
        IllegalTransition: It is loading still, or has ended.
    """
    _ledger().pause(campaign)
    return status(campaign)


def resume(campaign: str) -> CampaignStatus:
    """Go on where it was paused, with exactly the next recipient. Raises as ``pause()``."""
    _ledger().resume(campaign)
    return status(campaign)


def cancel(campaign: str) -> CampaignStatus:
    """Withdraw it: whoever has not got it does not get it. There is no way back. Raises as ``pause()``."""
    _ledger().cancel(campaign)
    return status(campaign)


def retry(campaign: str) -> int:
    """Send it again to those whom it has failed to reach, and to nobody else; returns how many these are.

    Raises:
        CampaignNotFound:
        IllegalTransition: It was cancelled or has expired.
    """
    ledger = _ledger()
    count = 0
    builder = ChunkBuilder()
    for address, data, state, _reply in _rows(ledger, campaign):
        if state != "failed":
            continue
        recipient = encode_recipient(address, data)
        if not builder.has_room(recipient):
            count += _retried(ledger, campaign, builder)
            builder = ChunkBuilder()
        builder.add(digest(address), recipient)
    return count + _retried(ledger, campaign, builder)


def _retried(ledger: Campaigns, campaign: str, builder: ChunkBuilder) -> int:
    while len(builder):
        others = ledger.retry(campaign, builder.digests, builder.encode(again=True))
        if not others:
            break
        builder.drop(others)  # somebody else has just had them tried again
    return len(builder)


def export(campaign: str) -> Iterator[RecipientRow]:
    """What became of each recipient so far, in the order in which they were given; 200 at a time are in memory.

    While it is being sent, a row is as it was when it was read, and one may come twice. A chunk that cannot be read is
    left out, and is in the log.

    Raises:
        CampaignNotFound: before the first row.
    """
    ledger = _ledger()
    ledger.get(campaign)
    return (RecipientRow(address, state, reply) for address, _data, state, reply in _rows(ledger, campaign))


def export_csv(campaign: str, file: IO[str]) -> int:
    """Write ``export()`` as CSV (RFC 4180) with a line of names: address, state, reply. Returns the number of rows.

    ``file`` is to be opened with ``newline=""``, as the csv module wants it.
    """
    writer = csv.writer(file)
    writer.writerow(("address", "state", "reply"))
    count = 0
    for row in export(campaign):
        writer.writerow((row.address, row.state, row.reply))
        count += 1
    return count


def wait(
    campaign: str,
    *,
    timeout: float | None = None,
    progress: Callable[[CampaignStatus], object] | None = None,
    every: float = _LOOK,
) -> CampaignStatus:
    """Wait until a campaign has ended, or ``timeout`` s; returns how it stands then.

    Args:
        campaign: Its id.
        timeout: None: for ever, also while it is paused.
        progress: Called with the status at each look.
        every: s between two looks.
    """
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        found = status(campaign)
        if progress is not None:
            progress(found)
        left = every if until is None else min(every, until - time.monotonic())
        if found.ended or left <= 0:
            return found
        time.sleep(left)


def _rows(ledger: Campaigns, campaign: str) -> Iterator[tuple[str, object, str, str]]:
    """Address, data (JSON), state and reply of each recipient."""
    number = 0
    while number < (chunks := ledger.get(campaign).chunks):  # it may grow meanwhile, by chunks that repeat others
        for number in range(number + 1, chunks + 1):  # noqa: B020 - where it goes on after the next look
            yield from _rows_of(ledger, campaign, number)


def _rows_of(ledger: Campaigns, campaign: str, number: int) -> Iterator[tuple[str, object, str, str]]:
    content = ledger.chunk(campaign, number)
    if not content or is_again(content):
        return
    try:
        recipients = {digest(address): (address, data) for address, data in decode_chunk(content)}
    except WireError as error:  # who was in it cannot be told any more; the others can
        logger.warning("action=chunk_unreadable campaign=%s chunk=%d reason=%s", campaign, number, error)
        return
    found = {entry.digest: entry for entry in ledger.recipients(campaign, list(recipients))}
    for key, (address, data) in recipients.items():
        if entry := found.get(key):
            yield address, data, entry.state, entry.reply
