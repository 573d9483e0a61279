"""What one attempt at a message yields: an outcome, with a result per recipient.

The vocabulary between the backends that deliver, the workers that drive them and the ledger that records.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mailqueue.smtp.reply import Reply

__all__ = ["Ending", "OnBegin", "Outcome", "Result", "Verdict"]


class Verdict(enum.StrEnum):
    """What the relay said about one recipient."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"  # refused for now (4yz); to be tried again
    REFUSED = "refused"  # refused for good (5yz)


class Ending(enum.StrEnum):
    """How the attempt at one message ended."""

    ANSWERED = "answered"  # every recipient has a result
    PROGRESS = "progress"  # the recipients in `results` are settled; the same attempt goes on with the others
    UNKNOWN = "unknown"  # its last byte may have gone out, the reply was not read
    UNSENT = "unsent"  # its last byte was never written; no attempt is charged


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one recipient, with the reply that it rests on."""

    verdict: Verdict
    reply: Reply


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the attempt at ``message`` ended; ``results`` maps each settled recipient (addr-spec) to its result.

    ``local``: no relay was asked, the backend itself has refused what is no mail.
    """

    message: Any
    ending: Ending
    results: Mapping[str, Result] = field(default_factory=dict)
    reason: str = ""
    local: bool = False


#: Called with the messages whose last bytes are about to go out; says for each whether it is still to be sent.
OnBegin: TypeAlias = Callable[[Sequence[Any]], Sequence[bool]]
