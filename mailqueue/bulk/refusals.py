"""Which refusals put an address on the suppression list: those that say that it will never take mail from anybody.

To go on writing to addresses that do not exist is what makes a sender a spammer in the eyes of mailbox providers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailqueue import conf
from mailqueue.bulk.address import normalise
from mailqueue.errors import RecipientError
from mailqueue.ledger.suppressions import Suppression
from mailqueue.outcome import Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mailqueue.ledger.base import Ledger
    from mailqueue.smtp.reply import Reply

__all__ = ["after_refusal", "code_of"]

#: Refusals in different campaigns count together if no more than half a year lies between them.
WITHIN: Final = 180 * 86400.0

# A bare 550 is also what servers say who do not like the sender, and then it is not the address that is at fault.
_NOT_THE_ADDRESS: Final = re.compile(
    r"spam|block|listed|policy|reputation|relay|spf|dkim|dmarc|authenticat|sender|\bip\b|content", re.IGNORECASE
)
_RCPT: Final = "rcpt"


def code_of(reply: Reply, stage: str, codes: Collection[str]) -> str:
    """The one of ``codes`` that ``reply`` is; "" if it is none.

    An enhanced code says itself what it is about. One of three digits does so only as the answer to RCPT (``stage``),
    and as long as its text does not speak of the sender.
    """
    enhanced = reply.enhanced
    if enhanced:
        return enhanced if enhanced in codes else ""
    bare = str(reply.code)
    if bare in codes and stage == _RCPT and not _NOT_THE_ADDRESS.search(reply.text):
        return bare
    return ""


def after_refusal(
    ledger: Ledger, campaign: str, results: Mapping[str, Result], *, stages: Mapping[str, str] | None = None
) -> int:
    """Send those no more bulk mail who were refused for good, if MAILQUEUE_SUPPRESS_REFUSED says so.

    To be told again of a refusal is harmless.

    Args:
        ledger: That with the suppression list.
        campaign: In which it happened, or the id of the message.
        results: The results of all of its recipients, by their addresses.
        stages: By address, the command that was refused ("rcpt"), as far as that is known.

    Returns:
        How many addresses are new on the list.

    Raises:
        LedgerUnavailable:
    """
    codes = conf.get("MAILQUEUE_SUPPRESS_REFUSED")
    refused = {
        address: code
        for address, result in results.items()
        if result.verdict is Verdict.REFUSED and (code := code_of(result.reply, (stages or {}).get(address, ""), codes))
    }
    enough: int = conf.get("MAILQUEUE_SUPPRESS_AFTER")
    refused = {key: code for address, code in refused.items() if (key := _key(address))}
    if refused and enough > 1:
        counts = ledger.suppressions.refused([*refused], campaign, within=WITHIN)
        refused = {key: code for key, code in refused.items() if counts[key] >= enough}
    if not refused:
        return 0
    entries = [Suppression(key, reason="refused", source=f"{code} {campaign}") for key, code in refused.items()]
    return ledger.suppressions.add(entries)


def _key(address: str) -> str:
    """The address by which a recipient is suppressed, who may be written with a name; "" for what is none."""
    try:
        return normalise(address)
    except RecipientError:
        return ""
