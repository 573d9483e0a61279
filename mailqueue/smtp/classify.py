"""What a relay's reply means: the one place in the code that looks at a reply code.

The first digit says whether it is for now or for good, the stage says whom it concerns, as in Postfix's
``smtp_trouble.c``. What is then to be done is the session's business.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailqueue.outcome import Verdict

if TYPE_CHECKING:
    from mailqueue.smtp.reply import Reply

__all__ = ["Meaning", "Scope", "Stage", "asks_for_less", "classify", "goes_on"]


class Stage(enum.StrEnum):
    """Where a conversation stands: the command that a reply answers."""

    CONNECT = "connect"  # no reply belongs here: the relay was not reached
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"  # while it goes out; a relay that cannot wait for its end says something all the same
    FINAL = "final"  # the dot, or the last chunk, that ends the content
    RSET = "rset"
    QUIT = "quit"
    IDLE = "idle"  # nothing was asked; 421 is the only thing a relay may say unasked


class Scope(enum.StrEnum):
    """Whom a reply concerns."""

    RECIPIENT = "recipient"
    TRANSACTION = "transaction"  # it holds no more recipients: the others go into another one
    MESSAGE = "message"
    RELAY = "relay"  # the connection, the login or the host; no message is to blame


@dataclass(frozen=True, slots=True)
class Meaning:
    """``verdict`` for now or for good on whatever ``scope`` names.

    ``surprise`` marks a reply that the protocol does not allow there: commands and replies may be out of step, so the
    connection must not be used any more. ``closing``: the relay hangs up now, and does nothing more of what it was
    asked (RFC 5321 section 3.8).
    """

    verdict: Verdict
    scope: Scope
    surprise: bool = False
    closing: bool = False


# The first digit that says "go on" (RFC 5321 section 4.2.1): 3yz where more is to be sent, 2yz otherwise.
_GO_ON: dict[Stage, tuple[int, ...]] = dict.fromkeys(Stage, (2,)) | {
    Stage.AUTH: (2, 3),  # 334 is a challenge (RFC 4954 section 4)
    Stage.DATA: (3,),
    Stage.CONTENT: (),
    Stage.IDLE: (),
}

_SCOPES: dict[Stage, Scope] = dict.fromkeys(Stage, Scope.RELAY) | {
    Stage.MAIL: Scope.MESSAGE,
    Stage.RCPT: Scope.RECIPIENT,
    Stage.DATA: Scope.MESSAGE,
    Stage.CONTENT: Scope.MESSAGE,
    Stage.FINAL: Scope.MESSAGE,
}

# "Authentication required" and its kin (RFC 4954 section 6): said of the session, whichever message asked first.
_LOGIN = frozenset({530, 534, 535, 538})


# What relays and the servers behind them say to those who send too much, or too fast.
_LESS = frozenset({421, 450, 451, 452, 454})
# Subjects and details of an enhanced code that say it is over something else: an address (X.1), a full mailbox (X.2.2),
# the state of the relay itself or what it can hold (X.3), the protocol, and so the number of recipients (X.5), the content
# (X.6). RFC 3463 section 3.
_OVER_SOMETHING_ELSE = re.compile(r"4\.(1\.|2\.2$|3\.|5\.|6\.)")


def asks_for_less(reply: Reply) -> bool:
    """Whether a reply that one recipient was refused with, for now, asks us to send less to its domain."""
    return reply.code in _LESS and not _OVER_SOMETHING_ELSE.match(reply.enhanced or "")


def goes_on(code: int, stage: Stage) -> bool:
    """Whether a reply with ``code`` is the usual one to ``stage``, and says no more than that all is well."""
    return code // 100 in _GO_ON[stage]


def classify(reply: Reply, stage: Stage) -> Meaning:
    """What ``reply`` means as the answer to ``stage``."""
    digit = reply.code // 100
    scope = _SCOPES[stage]
    if goes_on(reply.code, stage):
        return Meaning(Verdict.ACCEPTED, scope)
    if reply.code == 421:  # "closing transmission channel", at any time (RFC 5321 section 3.8)
        return Meaning(Verdict.DEFERRED, Scope.RELAY, closing=True)
    if digit not in (4, 5) or stage is Stage.IDLE:
        return Meaning(Verdict.DEFERRED, Scope.RELAY, surprise=True)
    if stage is Stage.MAIL and reply.code in _LOGIN:
        return Meaning(Verdict.REFUSED, Scope.RELAY)
    if stage is Stage.RCPT and _too_many(reply):
        return Meaning(Verdict.DEFERRED, Scope.TRANSACTION)
    return Meaning(Verdict.DEFERRED if digit == 4 else Verdict.REFUSED, scope)


def _too_many(reply: Reply) -> bool:
    """Whether a refused RCPT says that there were too many of them (RFC 5321 section 4.5.3.1.10, RFC 3463 X.5.3).

    452 without an enhanced code says so by itself; with another one it is a full mailbox or disk. 552 is how servers
    before RFC 2821 put it, but today mostly a full mailbox, so that one has to be explicit.
    """
    if reply.enhanced == "4.5.3":
        return reply.code < 500
    if reply.code == 452 and reply.enhanced is None:
        return True
    return reply.code in (452, 552) and (reply.enhanced == "5.5.3" or "too many recipients" in reply.text.lower())
