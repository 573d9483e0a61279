"""What the store's errors mean: which store, what is wrong, what to do. Credentials never appear.

Leaves it to the ledger to raise them as LedgerUnavailable, or as LedgerFault if ``is_fault``.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["explain", "is_fault"]

# What a script says that has failed itself, newer and older servers, and what a key says that is another's.
_FAULT: Final = re.compile(
    r"(ERR )?(Error running script [^@]*@user_script:\d+: )?user_script:\d+: |(ERR )?(.*: )?-?WRONGTYPE "
)

# Looked for in the class and the text of an error, in this order: inside scripts, older servers wrap the store's
# error codes into an ERR of their own, and redis-py strips the codes that it knows.
_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("OutOfMemoryError", "OOM "),
        "is full and takes no new mail: raise its maxmemory (the policy must be noeviction), or let workers drain it",
    ),
    (
        ("MISCONF",),
        "cannot write to its disk and refuses every change: free disk space, look into its log",
    ),
    (
        ("ReadOnlyError", "READONLY"),
        "is a read-only replica: point MAILQUEUE_LEDGER_URL at the primary, or use sentinel://",
    ),
    (("NOREPLICAS",), "has too few replicas connected to take writes (min-replicas-to-write)"),
    (("BusyLoadingError", "LOADING "), "is loading its data from disk; it answers when that is done"),
    (
        ("NoPermissionError", "NOPERM", "user executing the script can't"),
        "does not let our user do this: grant it the commands and keys that docs/ledger.md names",
    ),
    (
        ("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "NOAUTH", "WRONGPASS", "invalid password"),
        "refused our user or password: correct MAILQUEUE_LEDGER_URL",
    ),
    (("BUSY ", "UNKILLABLE"), "is busy with another client's script"),
    (
        ("MasterNotFoundError",),
        "has no primary that its sentinels agree on: check the service's name, and the sentinels' log",
    ),
    (("MASTERDOWN", "MasterDownError"), "is a replica that has lost its primary"),
    (
        ("MovedError", "AskError", "CLUSTERDOWN", "ClusterDownError", "CROSSSLOT"),
        "is a node of a cluster, and not the one that has our keys; the ledger wants a single primary",
    ),
    (("MaxConnectionsError", "max number of clients"), "accepts no further connection: raise its maxclients"),
    (
        ("SSL", "certificate"),
        "could not be reached through TLS: check its certificate and the ssl_* options of the URL",
    ),
)


def explain(error: BaseException, where: str, timeout: float) -> str:
    """One or two sentences on ``error``: the store at ``where`` (no credentials), what is wrong and what to do."""
    names, text = _look_at(error)
    if "TimeoutError" in names:
        return (
            f"the ledger's store at {where} did not answer within {timeout:g} s: "
            "it is overloaded or frozen, or the network is broken"
        )
    if meaning := _meaning(names, text):
        return f"the ledger's store at {where} {meaning} ({text})"
    if "ConnectionError" in names or "OSError" in names:
        return f"the ledger's store at {where} cannot be reached: start it, or correct MAILQUEUE_LEDGER_URL ({text})"
    return f"the ledger's store at {where} refused the call ({text})"


def is_fault(error: BaseException) -> bool:
    """Whether a script of ours, or what it found in its keys, is the trouble, and not the store: it will fail again."""
    names, text = _look_at(error)
    return "ResponseError" in names and not _meaning(names, text) and _FAULT.match(text) is not None


def _look_at(error: BaseException) -> tuple[set[str], str]:
    return {cls.__name__ for cls in type(error).__mro__}, " ".join(str(error).split())


def _meaning(names: set[str], text: str) -> str:
    """What is the matter with the store, as far as an operator can do something about it."""
    for marks, meaning in _KINDS:
        if any(mark in names or mark in text for mark in marks):
            return meaning
    return ""
