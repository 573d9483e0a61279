"""The Lua scripts of the Redis ledger: put together from their files, known to the store by their digests.

Numbers, sentences and the table of transitions come from ``rules`` and ``states``, so that there is one of each.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, TypeVar

from mailqueue.ledger import rates, rules
from mailqueue.ledger.campaigns import CAMPAIGN_TRANSITIONS, FINAL_LETTERS
from mailqueue.ledger.states import TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPERATIONS", "Script", "load"]

_State = TypeVar("_State", bound=str)

#: The operations that are scripts; each is a file of ``lua/``.
OPERATIONS = (
    "accept",
    "begin",
    "campaign_add",
    "campaign_create",
    "campaign_fed",
    "campaign_finish",
    "campaign_get",
    "campaign_live",
    "campaign_open_until",
    "campaign_recipients",
    "campaign_retry",
    "campaign_sweep",
    "campaign_take",
    "campaign_turn",
    "campaign_unpark",
    "cancel",
    "claim",
    "free",
    "get",
    "hold",
    "list",
    "owners",
    "put_blobs",
    "rates_give_back",
    "rates_leave",
    "rates_limited",
    "rates_override",
    "rates_slow_down",
    "rates_states",
    "rates_take",
    "record",
    "relay_probe",
    "relay_recovered",
    "relay_states",
    "relay_trouble",
    "release",
    "renew",
    "requeue",
    "resolve",
    "schedules_all",
    "schedules_drop",
    "schedules_move",
    "schedules_put",
    "schedules_take",
    "suppressions_add",
    "suppressions_find",
    "suppressions_refused",
    "suppressions_remove",
    "tick",
    "unbegin",
    "unhold",
    "unpublished",
)

#: Constants of ``rules`` in seconds there and in milliseconds in the scripts.
_TIMES = (
    "BARRIER_GAP_MAX", "CRASH_WAIT", "LATCHED_WAIT", "OUTAGE", "PROBE_WAIT", "REST_MAX", "SHIFT", "TICK_GAP",
    "TICK_GAP_MORE",
)  # fmt: skip
#: Constants of ``rates``, where they have no prefix: in seconds there and in milliseconds in the scripts, and as they are.
_RATE_TIMES = ("HOLD", "IDLE", "KNOWN", "OBSERVED", "QUIET", "RECOVERY_STEP", "WAIT_HELD")
_RATE_PLAIN = ("AHEAD", "BURST", "LEAST_SEEN", "LOWEST", "RECOVERY", "SLOTS")
_PLAIN = (
    "BLOB_TTL", "KEPT_OCTETS", "PACK_BYTES", "PACK_MESSAGES", "POISON_CRASHES", "RESENDS", "SWEEP_NAMES", "TICK_BYTES",
)  # fmt: skip
_NEEDS = re.compile(r"-- needs: (.+)\n")
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Script:
    """One operation's source, and the SHA-1 by which EVALSHA calls it."""

    name: str
    source: str
    sha: str


@functools.cache
def load() -> dict[str, Script]:
    """All scripts by name; read once per process."""
    return {name: _assemble(name) for name in OPERATIONS}


def _assemble(name: str) -> Script:
    operation = _read(name)
    needs = _NEEDS.match(operation)
    assert needs, f"{name}.lua does not begin with what it needs"
    body = "\n".join([*map(_read, needs[1].split()), operation])
    source = f"{_constants(body)}\n{body}"
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def _constants(body: str) -> str:
    """Definitions of the generated constants that ``body`` uses: a script runs them at every call."""
    values = {name: str(rules.milliseconds(getattr(rules, name))) for name in _TIMES}
    values |= {name: str(getattr(rules, name)) for name in _PLAIN}
    values |= {f"RATE_{name}": str(rules.milliseconds(getattr(rates, name))) for name in _RATE_TIMES}
    values |= {f"RATE_{name}": repr(getattr(rates, name)) for name in _RATE_PLAIN}
    values |= {name: f'"{getattr(rules, name)}"' for name in rules.__all__ if name.startswith("REASON_")}
    values["SUPPRESSED"] = f'"{rules.SUPPRESSED}"'
    values["WAYS"], values["CAMPAIGN_WAYS"] = _ways(TRANSITIONS), _ways(CAMPAIGN_TRANSITIONS)
    values["LETTERS"] = _letters()
    used = set(_WORDS.findall(body))
    return "\n".join(f"local {name} = {value}" for name, value in values.items() if name in used)


def _ways(transitions: Mapping[_State, frozenset[_State]]) -> str:
    # A function, because most calls move nothing and need not build the table.
    rows = [
        f"{old} = {{{', '.join(f'{new} = true' for new in sorted(following))}}}"
        for old, following in sorted(transitions.items())
    ]
    return f"function() return {{{', '.join(rows)}}} end"


def _letters() -> str:
    """The letters of final records and what they mean: one text, because most calls need no table of them."""
    return '"' + " ".join(f"{letter} {state}" for letter, state in FINAL_LETTERS.items()) + '"'
