"""What the cases of the catalogue have in common: what the ledger says of a message, and the kinds of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mailqueue.testing.case import Account, Case, Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mailqueue.testing.script import Step

__all__ = [
    "ANN", "BOB", "CID", "EVERYONE", "HASTY", "LARGE", "SENT", "SENT_LATER", "WAITING",
    "answer_lost", "answered", "case", "deferred", "failed", "lost", "resent", "waits",
]  # fmt: skip

EVERYONE: Final = tuple(f"{name}@example.com" for name in ("ann", "bob", "cid", "dan", "eve"))
ANN, BOB, CID = EVERYONE[:3]
LARGE: Final = 8_000_000  # octets: more than the sockets of both sides take before the relay has read it
HASTY: Final[Mapping[str, Any]] = {"EMAIL_TIMEOUT": 0.3}  # s

# -- what the ledger says of a message

WAITING: Final = Account("deferred", 0)  # it was the relay: nothing is charged
SENT: Final = Account("sent", 1, "accepted 250")
SENT_LATER: Final = Account("sent", 2, "accepted 250")


def deferred(code: str) -> Account:
    """Refused for now."""
    return Account("deferred", 1, f"deferred {code}")


def failed(code: str) -> Account:
    """Refused for good."""
    return Account("failed", 1, f"refused {code}")


def lost(copies: int) -> Account:
    """Without an answer; accepted ``copies`` times in truth. To be sent again."""
    return Account("deferred", 1, unknowns=1, copies=copies)


def resent(copies: int) -> Account:
    """Sent again after its answer was lost; ``copies`` of it are out."""
    return Account("sent", 2, "accepted 250", unknowns=1, copies=copies)


# -- kinds of cases


def case(
    name: str, what: str, *steps: Step, first: Iterable[Account], messages: Iterable[Message] = (), **more: Any
) -> Case:
    """A case; without ``messages`` it has as many usual ones as it has accounts."""
    first = tuple(first)
    return Case(name, what, steps, tuple(messages) or (Message(),) * len(first), first, **more)


def waits(name: str, what: str, *steps: Step, at: str, **more: Any) -> Case:
    """Trouble with the relay that costs the message nothing: it is sent when the relay has recovered."""
    return case(name, what, *steps, first=(WAITING,), then=(SENT,), trouble=at, **more)


def answered(name: str, what: str, *steps: Step, code: str, **more: Any) -> Case:
    """The message is refused, for now (it is sent at the second attempt) or for good."""
    if code.startswith("4"):
        return case(name, what, *steps, first=(deferred(code),), then=(SENT_LATER,), **more)
    return case(name, what, *steps, first=(failed(code),), **more)


def answer_lost(name: str, what: str, *steps: Step, copies: int, **more: Any) -> Case:
    """The message may have been accepted, and was ``copies`` times: it is unknown, and sent again."""
    return case(name, what, *steps, first=(lost(copies),), then=(resent(copies + 1),), **more)
