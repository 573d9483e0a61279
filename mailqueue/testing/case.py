"""One case of the catalogue of badly behaved relays: what the relay does, what is sent, what the ledger must say."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mailqueue.testing.scripted import ScriptedServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from mailqueue.testing.certificates import Authority
    from mailqueue.testing.script import Step

__all__ = ["Account", "Case", "Message"]


_TIMES = {1: "once", 2: "twice", 3: "three times"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is sent: its recipients, the size of its body in octets, and what to do if its answer is lost."""

    to: tuple[str, ...] = ("ann@example.com",)
    octets: int = 100
    on_unknown: str = "resend"  # or "hold"


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger must say of one message, and how often the relay has accepted it.

    ``replies`` has a verdict and a code for each recipient who has an answer ("accepted 250"); text alone holds for
    all of them. ``copies``, by recipient or for all alike, is one for those accepted unless told.
    """

    state: str
    attempts: int
    replies: str | Mapping[str, str] = ""
    unknowns: int = 0
    copies: int | Mapping[str, int] | None = None

    def reply(self, recipient: str) -> str:
        """The verdict on ``recipient`` and the code of the reply; "" without an answer."""
        return self.replies if isinstance(self.replies, str) else self.replies.get(recipient, "")

    def copies_for(self, recipient: str) -> int:
        """How often the relay has accepted the message for ``recipient``."""
        if isinstance(self.copies, int):
            return self.copies
        if self.copies is not None and recipient in self.copies:
            return self.copies[recipient]
        return int(self.reply(recipient).startswith("accepted"))

    def __str__(self) -> str:
        """As the table in docs/reliability.md has it; one attempt goes without saying."""
        replies = [self.replies] if isinstance(self.replies, str) else list(self.replies.values())
        codes = [reply.rpartition(" ")[2] for reply in replies if reply]
        text = self.state if set(codes) <= {"250"} else f"{self.state} ({', '.join(codes)})"
        if not self.attempts:
            text += " at no charge"
        elif self.attempts > 1:
            text += f" after {self.attempts} attempts"
        if self.unknowns:
            text += f", unknown {_TIMES[self.unknowns]}"
        most = max(self.copies.values()) if isinstance(self.copies, Mapping) else self.copies or 0
        return text if most < 2 else f"{text}, {most} copies"


@dataclass(frozen=True, slots=True)
class Case:
    """A relay that misbehaves, and what must come of it.

    Args:
        name: Its name in the catalogue.
        what: What the relay does, in a line.
        steps: The script, for ``ScriptedServer``.
        messages: What is sent.
        first: What the ledger must say of each message after the first attempt; with ``rounds`` after so many.
        then: What it must say after one more, the relay having recovered. Empty if there is nothing left to be done.
        trouble: The stage at which the relay counts as being in trouble after the first attempt; "" if it does not.
        connections: How many connections the first attempt costs.
        options: Further arguments of the ScriptedServer. ``tls`` names a certificate: "valid", "expired",
            "misnamed" (it is another host's) or "strange" (of a CA that nobody trusts).
        recovered: Those of ``options`` that the recovery changes. The steps are over then.
        settings: What the sending side must be configured with, by the names of the settings.
        rounds: How many attempts are made before the relay recovers.
    """

    name: str
    what: str
    steps: tuple[Step, ...]
    messages: tuple[Message, ...]
    first: tuple[Account, ...]
    then: tuple[Account, ...] = ()
    trouble: str = ""
    connections: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    recovered: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 1

    def __post_init__(self) -> None:
        if len(self.messages) != len(self.first) or (self.then and len(self.then) != len(self.messages)):
            raise ValueError(f"{self.name}: not one account for each message")

    def server(self, authority: Authority | None = None, *, port: int = 0) -> ScriptedServer:
        """The relay that misbehaves. ``authority`` issues its certificate, if it has one."""
        return _server(self.steps, self.options, authority, port)

    def recovered_server(self, authority: Authority | None = None, *, port: int = 0) -> ScriptedServer:
        """The same relay, behaving well."""
        return _server((), {**self.options, **self.recovered}, authority, port)

    def row(self) -> str:
        """The case as a row of the table in docs/reliability.md."""
        there = _accounts(self.first)
        if self.trouble:
            there += f"; trouble at {self.trouble}"
        return f"| `{self.name}` | {self.what} | {there} | {_accounts(self.then) or 'the same'} |"


def _server(
    steps: tuple[Step, ...], options: Mapping[str, Any], authority: Authority | None, port: int
) -> ScriptedServer:
    options = dict(options)
    if certificate := options.pop("tls", None):
        options["tls"] = _context(certificate, authority)
    return ScriptedServer(*steps, port=port, **options)


def _context(certificate: str, authority: Authority | None) -> ssl.SSLContext:
    if authority is None:
        raise ValueError(f"this relay has a certificate ({certificate}): give an Authority that issues it")
    match certificate:
        case "valid":
            return authority.valid()
        case "expired":
            return authority.expired()
        case "misnamed":
            return authority.valid("relay.example.net")
        case "strange":
            return type(authority)().valid()
        case _:
            raise ValueError(f"no certificate is called {certificate!r}")


def _accounts(accounts: Iterable[Account]) -> str:
    """Accounts as text, equal ones in a row as one."""
    texts = []
    for text, group in itertools.groupby(map(str, accounts)):
        count = len(list(group))
        texts.append(text if count == 1 else f"{count} × {text}")  # noqa: RUF001 - a count of them, in prose
    return "; ".join(texts)
