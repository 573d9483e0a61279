"""The pace of a rig: leases of seconds, so that what takes minutes in a fleet happens many times a minute here.

Settings where there is one. The recovery's own numbers (``mailqueue.ledger.rules`` and the workers') have none: they
keep their proportions to the lease and are set in the rig's workers before anything uses them.
"""

from __future__ import annotations

import functools

from kombu.connection import Connection

from mailqueue import spool
from mailqueue.bulk import chunks, loading
from mailqueue.ledger import rates, rules
from workers import deliver, feed, pace, relays, room

__all__ = ["LEASE", "SETTINGS", "hasten"]

LEASE = 2.0  # s; 30 by default

#: Of the workers, besides where everything is.
SETTINGS = {
    "MAILQUEUE_LEASE_SECONDS": str(LEASE),
    "MAILQUEUE_TICK_SECONDS": "0.2",
    "MAILQUEUE_RETRY_DELAYS": "0.2, 0.5, 1",
    "MAILQUEUE_BATCH_MESSAGES": "20",
}

_ROOM = 50  # messages of a campaign that are under way


def hasten() -> None:
    """A fifteenth of every wait, as of the lease, and less of every number; the gap of the ticks and the outage a little more."""
    for module, name, value in (
        (rules, "TICK_GAP", 0.1),
        (rules, "OUTAGE", 0.8),
        (rules, "SHIFT", 1.4),
        (rules, "BARRIER_GAP_MAX", 10.0),
        (rules, "CRASH_WAIT", 2.0),
        (rules, "PROBE_WAIT", 0.3),
        (rules, "LATCHED_WAIT", 20.0),
        (relays, "FIRST_PROBE", 0.3),
        (relays, "LAST_PROBE", 2.0),
        (deliver, "LATER", 1.0),
        # All of its mail is for one domain, which asks for less with every fault of the relay.
        (rates, "QUIET", 0.7),
        (rates, "RECOVERY_STEP", 0.2),
        (rates, "LEAST_SEEN", 40.0),
        (rates, "LOWEST", 20.0),
        (pace, "QUIET", 0.7),
        (pace, "LOOK_EVERY", 0.2),
        (pace, "LONGEST", 2.0),
        # Campaigns of some hundred recipients are loaded and fed in many steps.
        (chunks, "CHUNK_RECIPIENTS", 20),
        (loading, "_WAITS", (0.01, 0.03, 0.07, 0.1, 0.3, 0.5)),
        (feed, "_LATER", 4.0),
        (room, "PIECE_SECONDS", 0.7),
        (spool, "_TAKEN", LEASE),  # a worker may die over the rows that it replays
    ):
        getattr(module, name)  # or what is set is nobody's
        setattr(module, name, value)
    setattr(feed.Feeder, "__init__", functools.partialmethod(feed.Feeder.__init__, room=_ROOM))  # noqa: B010
    # Celery waits for 2 s and more before it connects again to a broker that has gone.
    quick = {"interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5}
    setattr(Connection, "ensure_connection", functools.partialmethod(Connection.ensure_connection, **quick))  # noqa: B010
