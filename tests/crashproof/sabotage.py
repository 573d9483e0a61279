"""Takes away one of the four things that the promises stand on, to see that the proof would notice.

By changing the ledger's scripts on their way to the store, in processes that ask for it. What is to be changed must be
there exactly once: a sabotage that misses its aim is an error and no proof.
"""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

from mailqueue.ledger import scripts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SABOTAGES", "TAKES_AWAY", "VARIABLE", "sabotage"]

#: The environment variable that names the sabotage of a worker.
VARIABLE = "CRASHPROOF_SABOTAGE"

#: What each takes away, in a few words.
TAKES_AWAY = {
    "fence": "one claim is as good as another",
    "begin": "nobody knows whose last byte may be out",
    "lost-task": "what the broker loses stays lost",
    "lease": "a claim is for ever",
}

#: And in fact: by script, the text and what takes its place.
SABOTAGES: dict[str, dict[str, tuple[str, str]]] = {
    # Of a message that is being sent, one claim is as good as another. All else still goes by its state: what is not
    # being sent cannot be begun. `claim` compares tokens as well, to know a call that it has answered; that stays.
    "fence": {
        "begin": (" or v[2] ~= token", ""),
        "record": (" or m.fence ~= token", ""),
        "unbegin": (" or m.fence ~= token", ""),
        "renew": (" and v[2] == token", ""),
        "release": (" and m.fence == token", ""),
    },
    "begin": {
        "begin": ('call("HSET", message(id), "p", "begun", "b", turn)', ""),
    },
    "lost-task": {
        "tick": ("if older_mark == 0 then return end", "if true then return end"),
    },
    "lease": {
        "tick": ('for _, id in ipairs(up_to("leased", now)) do', "for _, id in ipairs({}) do"),
    },
}


def sabotage(name: str) -> Callable[[], None]:
    """From now on this process's ledgers run scripts that lack what ``name`` takes away; returns what undoes it."""
    changes = SABOTAGES[name]
    genuine = scripts.load

    @functools.cache
    def load() -> dict[str, scripts.Script]:
        return {script.name: _changed(script, *changes.get(script.name, ("", ""))) for script in genuine().values()}

    scripts.load = load

    def undo() -> None:
        scripts.load = genuine

    return undo


def _changed(script: scripts.Script, old: str, new: str) -> scripts.Script:
    if not old:
        return script
    if script.source.count(old) != 1:
        raise RuntimeError(f"{script.name}.lua has changed: {old!r} is not there once")
    source = script.source.replace(old, new)
    return scripts.Script(script.name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
