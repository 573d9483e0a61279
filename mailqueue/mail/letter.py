"""A message made ready for a transaction: its envelope in the form that commands carry, and its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from email.errors import MessageError
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.mail.address import envelope_address
from mailqueue.mail.render import render
from mailqueue.outcome import Result, Verdict
from mailqueue.smtp.reply import Reply, reply_text
from mailqueue.smtp.session import Mail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["BAD_MESSAGE", "Letter", "bad_message"]

#: What code raises that is given a message it cannot make mail of. Neither Exception, which would take an interruption
#: of the worker (a soft time limit) for a fault of the message and refuse it for good, nor OSError, which would do so
#: for a store that cannot be reached.
BAD_MESSAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MessageError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)

_WHY_CHARACTERS = 400  # with its code a reply line stays below 512 octets (RFC 5321 section 4.5.3.1.5)


@dataclass(frozen=True, slots=True)
class Letter:
    """``mail`` is for the wire; ``names`` has for each address there the recipients that the message knows by it."""

    mail: Mail
    names: Mapping[str, list[Any]]

    @classmethod
    def of(cls, message: Any, recipients: Iterable[Any]) -> Letter:
        """Make ``message`` ready for ``recipients``, no address twice. Raises one of BAD_MESSAGE if it is no mail."""
        encoding = getattr(message, "encoding", None) or conf.get("DEFAULT_CHARSET")
        sender = _wire_address(message.from_email, encoding)
        names: dict[str, list[Any]] = {}
        for recipient in recipients:
            names.setdefault(_wire_address(recipient, encoding), []).append(recipient)
        return cls(Mail(sender, tuple(names), render(message)), names)

    def results(self, by_address: Mapping[str, Result]) -> dict[Any, Result]:
        """The same results by the recipients as the message names them."""
        return {name: result for address, result in by_address.items() for name in self.names[address]}


def bad_message(error: Exception) -> Result:
    """The result for the recipients of a message that is no mail: refused for good, by ourselves."""
    why = reply_text(f"{type(error).__name__}: {error}").replace("\n", " ")[:_WHY_CHARACTERS]
    return Result(Verdict.REFUSED, Reply(554, f"5.6.0 {why}"))  # RFC 3463: other or undefined media error


def _wire_address(address: Any, encoding: Any) -> str:
    """The bare addr-spec, fit to stand in a command line."""
    wire = envelope_address(address, encoding)
    if not wire.isprintable():
        raise ValueError(f"Invalid address {wire!r}; it has control characters.")
    return wire
