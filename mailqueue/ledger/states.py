"""The states of a message and the one table of the ways between them."""

from __future__ import annotations

import enum

from mailqueue.errors import IllegalTransition

__all__ = ["FINAL", "TRANSITIONS", "State", "check"]


class State(enum.StrEnum):
    """Where a message stands. The docs' diagram is tested against ``TRANSITIONS``."""

    SCHEDULED = "scheduled"  # has a send_at in the future
    QUEUED = "queued"  # published, or about to be, as a Celery task
    SENDING = "sending"  # claimed by a worker, with lease and fence
    DEFERRED = "deferred"  # to be published again at its due time
    UNKNOWN = "unknown"  # bytes may have gone out, the answer was not recorded
    HELD = "held"  # parked by policy or by hand
    SENT = "sent"  # accepted by the relay for all recipients
    PARTIAL = "partial"  # some recipients refused for good
    FAILED = "failed"  # all refused, maximum age reached, or poison
    EXPIRED = "expired"  # past its expires_at
    CANCELLED = "cancelled"  # withdrawn


_S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.CANCELLED, _S.EXPIRED, _S.HELD}),
    _S.QUEUED: frozenset({_S.SENDING, _S.DEFERRED, _S.CANCELLED, _S.EXPIRED, _S.HELD}),
    _S.SENDING: frozenset({_S.SENT, _S.PARTIAL, _S.FAILED, _S.DEFERRED, _S.UNKNOWN, _S.HELD}),
    _S.DEFERRED: frozenset({_S.QUEUED, _S.PARTIAL, _S.FAILED, _S.EXPIRED, _S.CANCELLED, _S.HELD}),
    _S.UNKNOWN: frozenset({_S.SENT, _S.PARTIAL, _S.FAILED, _S.DEFERRED, _S.HELD}),
    _S.HELD: frozenset({_S.DEFERRED, _S.CANCELLED}),
    _S.SENT: frozenset(),
    _S.PARTIAL: frozenset({_S.DEFERRED}),
    _S.FAILED: frozenset({_S.DEFERRED}),
    _S.EXPIRED: frozenset(),
    _S.CANCELLED: frozenset(),
}

#: States that a message rests in; failed and partial may be requeued by hand.
FINAL: frozenset[State] = frozenset({_S.SENT, _S.PARTIAL, _S.FAILED, _S.EXPIRED, _S.CANCELLED})


def check(old: State, new: State) -> None:
    """Raise IllegalTransition unless the table leads from ``old`` to ``new``."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"no way from {old} to {new}")
