"""What a scripted SMTP server does instead of what it should: steps, each a line to read.

A step names a stage and what happens there; ``nth``, ``times``, ``to`` and ``connection`` say when. ``scripted`` plays
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "STAGES",
    "Action",
    "Drip",
    "Drop",
    "Endless",
    "Hang",
    "Say",
    "Step",
    "drip",
    "drop",
    "endless",
    "hang",
    "raw",
    "reply",
]

#: Where a step can happen. "connect" is before anything is said: there a Drop refuses connections and a Hang leaves
#: them without an answer, always. "content" is while the message comes in, "final" after its last dot, or
#: chunk.
STAGES = (
    "connect", "greeting", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "data", "content", "final", "rset", "quit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Say:
    """Send ``octets`` as the reply, and close if ``close``. Their first digit decides what the server thinks it said."""

    octets: bytes
    close: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing more, and do not close. ``keep``: the message is accepted all the same."""

    keep: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Close without a reply. ``keep``: the message is accepted all the same; ``after`` octets of content."""

    keep: bool = False
    after: int = 0


@dataclass(frozen=True, slots=True)
class Drip:
    """Send ``octets`` one by one, ``interval`` s apart."""

    octets: bytes
    interval: float


@dataclass(frozen=True, slots=True)
class Endless:
    """Send ``octets`` over and over."""

    octets: bytes


Action: TypeAlias = Say | Hang | Drop | Drip | Endless


@dataclass(frozen=True, slots=True)
class Step:
    """``action`` at ``stage``: each time, or as the conditions say."""

    stage: str
    action: Action
    nth: int | None = None  # only the n-th time that the other conditions hold, from 1
    times: int | None = None  # only the first so many times that they hold
    to: str | None = None  # only for this recipient at "rcpt", and for messages to it from "data" to "final"
    connection: int | None = None  # only on this connection, from 1

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"no stage {self.stage!r}; there are {', '.join(STAGES)}")
        if self.stage == "connect" and not isinstance(self.action, Drop | Hang):
            raise ValueError("nothing can be said at connect: drop or hang")

    def concerns(self, stage: str, recipients: Collection[str], connection: int) -> bool:
        """Whether the conditions hold, but for those that count. ``recipients`` are those that the stage is about."""
        return (
            stage == self.stage
            and self.connection in (None, connection)
            and (self.to is None or self.to.lower() in (recipient.lower() for recipient in recipients))
        )

    def is_due(self, count: int) -> bool:
        """Whether it happens the ``count``-th time that the conditions hold."""
        return self.nth in (None, count) and (self.times is None or count <= self.times)


def reply(stage: str, *lines: str, close: bool | None = None, **when: Any) -> Step:
    """Reply with ``lines`` ("550 5.1.1 no such user"); several make a multi-line reply of the last one's code.

    The connection is closed after it if ``close``, unless told also after a 421.
    """
    code = lines[-1][:3]
    texts = [line.removeprefix(code).lstrip(" -") for line in lines]
    parts = [f"{code}-{text}\r\n" for text in texts[:-1]] + [f"{code} {texts[-1]}\r\n"]
    return Step(stage, Say("".join(parts).encode(), code == "421" if close is None else close), **when)


def raw(stage: str, octets: bytes, *, close: bool = False, **when: Any) -> Step:
    """Send ``octets`` as they are, and close if ``close``."""
    return Step(stage, Say(octets, close), **when)


def hang(stage: str, *, keep: bool = False, **when: Any) -> Step:
    """Fall silent. At "final" ``keep`` says that the message was accepted; at "content" nothing more is read."""
    return Step(stage, Hang(keep), **when)


def drop(stage: str, *, keep: bool = False, after: int = 0, **when: Any) -> Step:
    """Close the connection. At "final" ``keep`` says that the message was accepted, at "content" when it happens."""
    return Step(stage, Drop(keep, after), **when)


def drip(stage: str, line: str, *, interval: float, **when: Any) -> Step:
    """Reply with ``line``, one octet each ``interval`` s."""
    return Step(stage, Drip(f"{line}\r\n".encode(), interval), **when)


def endless(stage: str, line: str = "250-and then", **when: Any) -> Step:
    """Reply with a line that is repeated for ever."""
    return Step(stage, Endless(f"{line}\r\n".encode()), **when)
