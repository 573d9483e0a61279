"""The health of the relays, as the whole fleet sees it: one in trouble is left alone, then asked by one process.

The marks are in the ledger. Each process looks at them every few seconds, so that a relay that is well costs a batch
nothing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from mailqueue.errors import LedgerUnavailable
from mailqueue.smtp.classify import Stage
from mailqueue.smtp.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mailqueue.errors import RelayTrouble
    from mailqueue.ledger.base import Ledger, RelayMark, Setback

__all__ = ["Relays"]

logger = logging.getLogger(__name__)

FIRST_PROBE = 5.0  # s after the first trouble; doubles with each
LAST_PROBE = 300.0  # s, RFC 5321 4.5.4.1 wants retries spaced; a relay of ours is asked every five minutes
LOOK_EVERY = 2.0  # s between looks at the marks of the fleet
SPREAD = 0.25  # part of a wait that is added at random, so that those who waited do not come all at once

# Stages before which the relay has heard no address. What it says later may repeat one, and is not logged.
_NO_ADDRESS_YET = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS})


class Relays:
    """Tells for each relay how long to wait before it is asked again. Safe across threads.

    Every method but ``answered``, ``keep`` and ``leave`` may raise LedgerUnavailable, and can then be repeated.

    Args:
        ledger: Has the marks.
        owner: Of this process's claims.
        fingerprint: A text that changes with the credentials that this process has for a relay; "" if it cannot tell.
        clock: Monotonic, in s.
        jitter: From 0 to 1.
    """

    def __init__(
        self,
        ledger: Ledger,
        owner: str,
        fingerprint: Callable[[str], str],
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._owner = owner
        self._fingerprint = fingerprint
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._marks: Mapping[str, RelayMark] = {}
        self._looked_at: float | None = None
        self._probes: dict[str, str] = {}  # relay -> the name under which a thread of this process asks it

    def wait(self, relay: str) -> float:
        """Seconds until ``relay`` may be asked again; 0.0 if it may be asked now, perhaps by us alone."""
        if relay not in self._look():
            return 0.0
        prober = self._me()
        wait = self._ledger.relay_probe(relay, prober, fingerprint=self._fingerprint(relay))
        if wait > 0:
            return self._spread(wait)
        with self._lock:
            self._probes[relay] = prober
        return 0.0

    def is_in_trouble(self, relay: str) -> bool:
        """Whether the fleet leaves ``relay`` alone, as far as this process knows; asks for no leave to find out."""
        return relay in self._look()

    def troubled(self, relay: str, error: RelayTrouble, over: str = "") -> float:
        """Note trouble with ``relay``; returns the seconds that what met it has to wait.

        ``over`` is the id of the message that it was over, if it was over one alone. The same one for a second time
        proves nothing: that message has to wait, the others need not.
        """
        latch = self._fingerprint(relay) if _is_refused_login(error) else ""
        setback = self._ledger.relay_trouble(
            relay,
            owner=self._me(),
            delay=self._spread(FIRST_PROBE),
            longest=LAST_PROBE,
            latch=latch,
            over=over,
            reason=f"{error.stage}: {error.code} {_reason(error)}" if error.code else str(error),
        )
        with self._lock:
            asked = self._probes.pop(relay, None) is not None
            self._looked_at = None
        _log(relay, error, setback, latched=bool(latch), told=setback.news or asked)
        return self._spread(setback.wait)

    def answered(self, relay: str) -> None:
        """``relay`` has answered for a message. If it was in trouble, and we the ones to find out, that is over."""
        if not self._probes or self._probes.get(relay) != self._me():
            return
        try:
            over = self._ledger.relay_recovered(relay)
        except LedgerUnavailable:
            return  # the next answer tells it, or the next prober
        with self._lock:
            self._probes.pop(relay, None)
            self._looked_at = None
        if over:
            logger.warning("action=relay_recovered relay=%s", relay or "default")

    def is_probed(self, relay: str) -> bool:
        """Whether a thread of this process is finding out how ``relay`` is."""
        return relay in self._probes

    def leave(self, relay: str) -> None:
        """Nothing more is sent to ``relay`` for now: if we were to find out how it is, another may."""
        with self._lock:
            self._probes.pop(relay, None)

    def keep(self) -> None:
        """Stay the prober of what this process is asking; called by a thread of it several times a lease."""
        with self._lock:
            probes = dict(self._probes)
        for relay, prober in probes.items():
            try:
                self._ledger.relay_probe(relay, prober)
            except LedgerUnavailable:
                return

    def _look(self) -> Mapping[str, RelayMark]:
        """The marks of the fleet, at most a few seconds old."""
        now = self._clock()
        with self._lock:
            looked_at = self._looked_at
        if looked_at is None or now - looked_at >= LOOK_EVERY:
            marks = self._ledger.relay_states()
            with self._lock:
                self._marks, self._looked_at = marks, now
        return self._marks

    def _me(self) -> str:
        # One thread asks a relay, not one process: each has a connection of its own.
        return f"{self._owner}:{threading.get_ident()}"

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + SPREAD * self._jitter())


def _is_refused_login(error: RelayTrouble) -> bool:
    """Whether the relay has refused our credentials for good (RFC 4954 section 6: 535 and its like)."""
    return error.stage == Stage.AUTH and error.code is not None and error.code >= 500


def _log(relay: str, error: RelayTrouble, setback: Setback, *, latched: bool, told: bool) -> None:
    """One line for the whole fleet when trouble begins, and for each probe that fails; what others met is detail."""
    facts = f"relay={relay or 'default'} stage={error.stage} code={error.code}"
    reason = _reason(error)
    if latched:
        logger.log(
            logging.ERROR if told else logging.DEBUG,
            "action=relay_latched %s reason=%s: it refuses our user or password, and is not asked again until they change",
            facts,
            reason,
        )
        return
    logger.log(
        logging.WARNING if told else logging.INFO,
        "action=%s %s next_probe=%.0fs reason=%s",
        "relay_trouble" if setback.down else "relay_trouble_over_one_message",
        facts,
        setback.wait,
        reason,
    )


def _reason(error: RelayTrouble) -> str:
    """What went wrong, without a text that may hold addresses."""
    if error.stage in _NO_ADDRESS_YET:
        return str(error)
    if error.code is None:
        # At a login the exception's text may hold some of the password; elsewhere it is smtplib's or the system's.
        return type(error.__cause__).__name__ if error.stage == Stage.AUTH and error.__cause__ else str(error)
    return Reply(error.code, error.text).enhanced or "see the code"
