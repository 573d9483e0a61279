"""The campaigns' messages in a child: made from the cached template, and given one of the campaign's relays.

Each is rendered once, and goes to the backend as it is. Leaves what becomes of the others to ``drain``.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailqueue.bulk.letters import Letters
from mailqueue.bulk.spec import decode_spec
from mailqueue.errors import TemplateError
from mailqueue.ledger.base import Settlement
from mailqueue.ledger.states import State
from mailqueue.mail.letter import bad_message
from mailqueue.rate import URGENT_SHARE, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mailqueue.ledger.base import Grant, Ledger
    from mailqueue.ledger.rates import Rates, RelayRates
    from workers.blobs import BlobCache
    from workers.relays import Relays

__all__ = ["CampaignCache", "Ways", "failure"]

logger = logging.getLogger(__name__)

_KEPT: Final = 32  # campaigns that a process has ready, with their attachments
#: s after which the ledger is asked again: by then another campaign may have the id of one that is long forgotten.
_FRESH: Final = 3600.0
_LOOK: Final = 5.0  # s between two looks at what is left of quotas
#: Who may find out how a relay in trouble is: a message of so many s, and of the older ones so many, for there may be
#: no young one. One that has found out waits for the next time, and is then not to be the one to find out for ever.
_YOUNG: Final = 20.0
_OF_THE_OLD: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Ready:
    letters: Letters
    since: float


class CampaignCache:
    """The campaigns that this process is sending, ready to make messages. Safe across threads.

    Args:
        ledger: Has them.
        blobs: Has their large attachments.
        clock: Monotonic, in s.
        retention: s for which the ledger keeps a campaign that has ended.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobCache,
        clock: Callable[[], float] = time.monotonic,
        *,
        retention: float = _FRESH,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._clock = clock
        self._fresh = min(_FRESH, retention)
        self._lock = threading.Lock()
        self._ready: OrderedDict[str, _Ready] = OrderedDict()

    def letters(self, campaign: str) -> Letters:
        """What makes the messages of ``campaign``.

        Raises:
            CampaignNotFound: The ledger does not know it.
            WireError: Its spec cannot be read, or one of its attachments is lacking.
            TemplateError: Its template cannot be compiled.
            LedgerUnavailable: So may all of it be repeated.
        """
        now = self._clock()
        with self._lock:
            found = self._ready.get(campaign)
            if found is not None and now - found.since < self._fresh:
                self._ready.move_to_end(campaign)
                return found.letters
        spec = decode_spec(self._ledger.campaigns.get(campaign).spec)
        hashes = spec.blobs()
        blobs = self._blobs.get(hashes) if hashes else {}
        letters = Letters(campaign, spec, blobs)
        with self._lock:
            self._ready[campaign] = _Ready(letters, now)
            while len(self._ready) > _KEPT:
                self._ready.popitem(last=False)
        return letters


def failure(grant: Grant, address: str, error: Exception) -> Settlement:
    """The settlement of a message that cannot be made for its recipient: it is not tried again."""
    where = f": {error.field}, line {error.line}" if isinstance(error, TemplateError) and error.field else ""
    return Settlement(grant.id, State.FAILED, {address: bad_message(error)}, reason=f"template error{where}")


class Ways:
    """Which of a campaign's relays a message goes through: its own, or another one while that cannot take it.

    Safe across threads.

    Args:
        relays: The health of the relays.
        rates: The accounts of the fleet.
        clock: Monotonic, in s.
        chance: From 0 to 1.
    """

    def __init__(
        self,
        relays: Relays,
        rates: Rates,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._relays = relays
        self._rates = rates
        self._clock = clock
        self._chance = chance
        self._states: Mapping[str, RelayRates] = {}
        self._looked_at = -_LOOK

    def choose(self, relay: str, relays: Mapping[str, float], *, age: float, probing: set[str]) -> str:
        """The relay for a message whose own is ``relay``, in a campaign of ``relays``; raises LedgerUnavailable.

        If none can take it, it stays with its own.

        Args:
            relay: An alias.
            relays: Those of the campaign.
            age: Of the message, in s.
            probing: Of this batch: the relays that a message finds out about, which the others are not to wait for.
        """
        if len(relays) < 2:
            return relay
        if not self._is_used_up(relay):
            if not self._relays.is_in_trouble(relay):
                return relay
            may_ask = relay not in probing and (age < _YOUNG or self._chance() < _OF_THE_OLD)
            if may_ask and self._relays.wait(relay) <= 0:
                probing.add(relay)
                return relay
        return next((other for other in relays if other != relay and self._is_well(other)), relay)

    def _is_well(self, relay: str) -> bool:
        return not (self._is_used_up(relay) or self._relays.is_in_trouble(relay))

    def _is_used_up(self, relay: str) -> bool:
        now = self._clock()
        if now - self._looked_at >= _LOOK:
            self._states = self._rates.states()
            self._looked_at = now
        return _is_used_up(self._states.get(relay))


def _is_used_up(state: RelayRates | None) -> bool:
    if state is None or not state.used:
        return False
    limits = Limits.parse(state.limits)
    return any(
        state.used.get(str(rate).partition("/")[2], 0) >= rate.messages * (1 - URGENT_SHARE)
        for rate in limits.rates
        if rate.seconds > 1
    )
