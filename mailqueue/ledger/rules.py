"""The numbers of the recovery rules, and the few sentences that the ledger itself writes.

One place for both implementations: the Lua scripts get them as generated constants.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mailqueue.errors import IllegalTransition
from mailqueue.ledger.states import State
from mailqueue.outcome import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailqueue.ledger.base import Settlement

__all__ = [
    "BARRIER_GAP_MAX",
    "BLOB_TTL",
    "CRASH_WAIT",
    "EVENTS",
    "KEPT_OCTETS",
    "KEY_OCTETS",
    "LATCHED_WAIT",
    "LIST_LOOKS",
    "OUTAGE",
    "PACK_BYTES",
    "PACK_MESSAGES",
    "POISON_CRASHES",
    "PROBE_WAIT",
    "REASON_ALONE",
    "REASON_ANSWER_LOST",
    "REASON_CAMPAIGN_CANCELLED",
    "REASON_CANCELLED",
    "REASON_CRASHED",
    "REASON_ENVELOPE_LOST",
    "REASON_EXPIRED",
    "REASON_HELD",
    "REASON_LOST",
    "REASON_NOT_WRITTEN",
    "REASON_OCTETS",
    "REASON_PARKED",
    "REASON_POISON",
    "REASON_REQUEUED",
    "REASON_UNHELD",
    "REASON_UNPARKED",
    "REASON_UNPUBLISHED",
    "RESENDS",
    "RESOLUTIONS",
    "SETTLEMENT_STATES",
    "SHIFT",
    "SUPPRESSED",
    "SWEEP_NAMES",
    "TICK_BYTES",
    "TICK_GAP",
    "TICK_GAP_MORE",
    "ahead",
    "kept_key",
    "listable",
    "milliseconds",
    "nameable",
    "reason_of",
    "resolvable",
    "settleable",
    "short",
]

#: s between two ticks that are answered in full, for the whole fleet; and after one that has met a limit of its own, so
#: that more may be due. Each then takes 10 ms of the store for 500 messages (measured): 5,000 a second, a tenth of it.
TICK_GAP = 0.5
TICK_GAP_MORE = 0.1
#: s without a tick after which the fleet is taken to have been cut off from the store: then no lease expires.
OUTAGE = 5.0
#: s between two shifts of a lane's marks, and for which the mark must stand before a barrier is published.
SHIFT = 20.0
#: s between barriers of a lane that nobody drains, at most; the gap doubles from SHIFT up to this.
BARRIER_GAP_MAX = 600.0
#: Crashes while claimed alone, after which a message is poison.
POISON_CRASHES = 3
#: s until a message is tried again after its first crash alone; thrice that after the next. A deployment that crashes
#: every worker is found and undone in the meantime: it must not make poison of all that waits.
CRASH_WAIT = 30.0
#: Copies of a message that the ledger has sent again by itself after lost answers; then it is held.
RESENDS = 2
#: s that others wait while a relay in trouble is being probed, and before they ask after a relay whose credentials
#: are latched: not for the relay, but for a worker that has new ones.
PROBE_WAIT = 5.0
LATCHED_WAIT = 300.0
#: Octets of an idempotency key that are kept as they are; longer ones are kept as a digest.
KEY_OCTETS = 64
#: Messages that one call of a list looks at when it is to find those of one relay.
LIST_LOOKS = 1000
#: s that a blob without users is kept.
BLOB_TTL = 3600
#: Messages and octets of envelopes that one publication of the tick carries, like a parcel of the producer.
PACK_MESSAGES = 100
PACK_BYTES = 256 * 1024
#: Octets of envelopes that one tick answers with for each lane: what sockets move well within a second.
TICK_BYTES = 2 * 1024 * 1024
#: Octets of a reason. Longer values would turn a message's hash from a listpack into a table, at thrice the memory
#: (hash-max-listpack-value is 64 by default in Redis and Valkey).
REASON_OCTETS = 64
#: Octets of a reply in a campaign's final record: with its letter 62, so that the hash that it is in stays a listpack.
KEPT_OCTETS = 61
#: Names of keys that one tick goes through where an ended campaign is dropped: half a millisecond of the store.
SWEEP_NAMES = 1000
#: s for which a domain's queue rests after a piece of it was fed, at most: at less than one message in ten minutes more
#: is fed than sent.
REST_MAX = 600.0
#: What the reason begins with of a message that was cancelled because its address is on the suppression list.
SUPPRESSED = "suppressed"

REASON_ALONE = "suspect met in company; to be sent alone"
REASON_CAMPAIGN_CANCELLED = "its campaign was cancelled"
REASON_CANCELLED = "withdrawn"
REASON_EXPIRED = "past its expires_at"
REASON_REQUEUED = "requeued by hand"
REASON_UNHELD = "let go by hand"
REASON_ANSWER_LOST = "answer lost; may have been sent"
REASON_CRASHED = "claim ended in a crash before it was begun"
REASON_ENVELOPE_LOST = "its envelope is not in the store"
REASON_HELD = "answer lost three times; held instead of a third copy"
REASON_LOST = "task lost by the broker"
REASON_NOT_WRITTEN = "its last byte was not written after all"
REASON_PARKED = "its campaign is paused"
REASON_POISON = "poison: three crashes while alone in a worker"
REASON_UNPARKED = "its campaign goes on"
REASON_UNPUBLISHED = "its task could not be published"

#: What ``counters()`` counts.
EVENTS = (
    "alone",  # suspects met in company and put back to be sent alone
    "barriers",  # empty tasks published so that quiet lanes have a mark
    "crashed",  # claims that ended in a crash: freed, or their lease expired
    "envelopes_lost",  # messages held because their envelope was not in the store
    "expired",  # messages that were not sent before their expires_at
    "expired_leases",
    "fenced",  # begins and records refused because the claim was over
    "illegal",  # transitions that the table does not have: always a bug
    "late",  # answers under a standing fence, after the claim was over
    "lost",  # messages whose task was lost by the broker
    "outages",  # times that nobody had ticked for more than OUTAGE, or the clock jumped
    "poisoned",
    "repeated",  # messages that were not accepted because their idempotency key was taken
    "requeued",  # failed and partial messages sent again by hand
    "resent",  # lost answers that led to another copy
    "resolved",  # lost answers settled by hand
    "restored",  # messages accepted again from their task
    "rolled_back",  # tasks met with numbers that the store had not given out
    "swept",  # failed and partial messages dropped after their retention
    "unknown",  # answers lost
    "unpublished",
)

#: What a settlement may say.
SETTLEMENT_STATES = frozenset(
    {State.SENT, State.PARTIAL, State.FAILED, State.DEFERRED, State.UNKNOWN, State.HELD, State.SENDING, State.CANCELLED}
)

_ANSWERED = frozenset({State.SENT, State.PARTIAL, State.FAILED, State.DEFERRED})

#: What an operator may say of a message whose answer was lost.
RESOLUTIONS = frozenset({State.SENT, State.PARTIAL, State.FAILED, State.DEFERRED, State.HELD})


def settleable(settlements: Sequence[Settlement]) -> None:
    """Raise IllegalTransition if an attempt cannot end so."""
    for settlement in settlements:
        if settlement.state not in SETTLEMENT_STATES:
            raise IllegalTransition(f"an attempt cannot end as {settlement.state}")


def milliseconds(seconds: float) -> int:
    """The unit of time inside the ledger: whole milliseconds."""
    return round(seconds * 1000)


def ahead(seconds: float) -> int:
    """Milliseconds to a moment, from now or from the epoch; 0 if it lies behind."""
    return max(0, milliseconds(seconds))


def short(reason: str, octets: int = REASON_OCTETS) -> str:
    """``reason`` as one line of at most ``octets`` octets of UTF-8."""
    line = " ".join(reason.split())
    encoded = line.encode("utf-8", "backslashreplace")
    if len(encoded) <= octets:
        return encoded.decode()
    return encoded[: octets - 3].decode("utf-8", "ignore") + "…"


def reason_of(settlement: Settlement) -> str:
    """Why, as it is kept. A campaign's message that ends keeps nothing but this, so there it is the relay's reply.

    So it is of one that is refused for now: who asks about a campaign's recipients is told nothing else either.
    """
    if "~" in settlement.id and settlement.results and settlement.state in _ANSWERED:
        replies = [each.reply for each in settlement.results.values() if each.verdict is not Verdict.ACCEPTED]
        reply = replies[0] if replies else next(iter(settlement.results.values())).reply
        return short(str(reply), KEPT_OCTETS)
    return short(settlement.reason) if settlement.reason else ""


def nameable(owner: str) -> None:
    """Raise ValueError unless ``owner`` can be the name of one who claims."""
    if not owner or "\n" in owner:
        raise ValueError("an owner's name is one line of text")


def resolvable(state: State) -> None:
    """Raise IllegalTransition if a message whose answer was lost cannot be settled so by hand."""
    if state not in RESOLUTIONS:
        raise IllegalTransition(f"a lost answer cannot be resolved as {state}")


def kept_key(key: str) -> str:
    """The idempotency key as the ledger keeps it: a long one, which its record could not hold cheaply, as a digest."""
    encoded = key.encode("utf-8", "surrogatepass")
    if len(encoded) <= KEY_OCTETS and encoded == key.encode("utf-8", "replace"):
        return key
    return hashlib.sha256(encoded).hexdigest()


def listable(state: State) -> None:
    """Raise ValueError for states whose messages are not indexed."""
    if state in {State.SENT, State.CANCELLED, State.EXPIRED}:
        raise ValueError(f"messages that are {state} are not indexed: ask for one by its id, or for counts()")
