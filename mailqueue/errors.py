"""Every exception that mailqueue raises, in one tree.

Each also inherits the builtin that a caller would catch, carries its facts as attributes, and pickles.
Configuration errors stand apart from those of delivery.
"""

# ruff: noqa: N818 - Django's names, and names that say what is the matter: no "Error" makes them clearer

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BadHeaderError",
    "BrokerUnavailable",
    "CampaignConflict",
    "CampaignNotFound",
    "IdempotencyConflict",
    "IllegalTransition",
    "ImproperlyConfigured",
    "InvalidMailer",
    "InvalidMessage",
    "InvalidToken",
    "LedgerFault",
    "LedgerUnavailable",
    "MailQueueError",
    "MailerDoesNotExist",
    "MessageNotFound",
    "MessageTooLarge",
    "RecipientError",
    "RelayTrouble",
    "SpoolError",
    "TemplateError",
    "TooManyRecipients",
    "UnsupportedVersion",
    "WireError",
]


def _rebuild(cls: type[MailQueueError], args: tuple[Any, ...], state: dict[str, Any]) -> MailQueueError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class MailQueueError(Exception):
    """The root of the tree."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own pickling calls the class with `args`, which fails for every signature but its own.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class ImproperlyConfigured(MailQueueError):
    """Settings that cannot work. ``problems`` holds all of them, one sentence each with its remedy."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class InvalidMailer(ImproperlyConfigured):
    """An entry of MAILERS that cannot be built (Django 6.1)."""


class MailerDoesNotExist(InvalidMailer, KeyError):
    """An alias that MAILERS does not have (Django 6.1)."""

    __str__ = Exception.__str__  # KeyError would show the repr


class BadHeaderError(MailQueueError, ValueError):
    """A header value with a line break in it: an attempt at header injection, or a mistake."""


class InvalidMessage(MailQueueError, ValueError):
    """A message that cannot be queued as it is; raised in the caller, and nothing of the message is stored."""


class MessageTooLarge(InvalidMessage):
    """A message above MAILQUEUE_MAX_MESSAGE_BYTES. ``size`` and ``limit`` are in octets."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class TooManyRecipients(InvalidMessage):
    """A message for more than MAILQUEUE_MAX_RECIPIENTS. ``count`` and ``limit`` are numbers of recipients."""

    def __init__(self, message: str, *, count: int, limit: int) -> None:
        super().__init__(message)
        self.count = count
        self.limit = limit


class IdempotencyConflict(InvalidMessage):
    """An idempotency ``key`` that was given before, to a message of other content: that with id ``message_id``."""

    def __init__(self, *, key: str, message_id: str) -> None:
        super().__init__(
            f"the idempotency key {key!r} belongs to message {message_id}, which has another content: "
            "use a new key for a new message"
        )
        self.key = key
        self.message_id = message_id


class TemplateError(InvalidMessage):
    """A template that cannot be used. ``field`` is the part of it (subject, text, html...), ``line`` counts in there.

    ``file`` is where it was read from, if it was: then lines are those of the file. ``errors`` are all that were found,
    if they were looked for together.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        line: int | None = None,
        file: str = "",
        errors: Iterable[TemplateError] = (),
    ) -> None:
        at = ", ".join(filter(None, (file, field, f"line {line}" if line else "")))
        super().__init__(f"{at}: {message}" if at else message)
        self.field = field
        self.line = line
        self.file = file
        self.errors = tuple(errors)


class RecipientError(InvalidMessage):
    """A recipient of a campaign that cannot be used. ``row`` counts from 1, ``column`` is the field's name.

    ``errors`` are those of all recipients that cannot be used, the first 1,000, if they were looked for together.
    """

    def __init__(
        self,
        message: str,
        *,
        row: int = 0,
        column: str = "",
        file: str = "",
        errors: Iterable[RecipientError] = (),
    ) -> None:
        at = ", ".join(filter(None, (file, f"row {row}" if row else "", f"column {column}" if column else "")))
        super().__init__(f"{at}: {message}" if at else message)
        self.row = row
        self.column = column
        self.file = file
        self.errors = tuple(errors)


class CampaignConflict(InvalidMessage):
    """There is a campaign under this id, of another template or other options: ``campaign``."""

    def __init__(self, campaign: str) -> None:
        super().__init__(
            f"there is a campaign {campaign!r} of another template or other options: use a new id for a new campaign"
        )
        self.campaign = campaign


class CampaignNotFound(MailQueueError, LookupError):
    """The ledger does not know this campaign: never made, or past its retention."""

    def __init__(self, campaign: str) -> None:
        super().__init__(f"no campaign {campaign!r} in the ledger: never made here, or past its retention")
        self.campaign = campaign


class InvalidToken(MailQueueError, ValueError):
    """A token to unsubscribe that no key of ours has made: cut off, changed, or of a key that is not there any more."""


class BrokerUnavailable(MailQueueError, ConnectionError):
    """The message could not be accepted within MAILQUEUE_DEADLINE.

    The store may have taken it all the same, its answer lost: enqueueing the same message again may therefore
    queue it twice, unless both calls give it the same ``idempotency_key``. Without one, ask ``status()`` of the ids in
    ``message_ids`` first: MessageNotFound says that the store does not have it.
    """

    def __init__(self, message: str, *, message_ids: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message_ids = tuple(message_ids)


class LedgerUnavailable(MailQueueError, ConnectionError):
    """The store of the ledger did not answer, or refused to write. The call may have taken effect."""


class LedgerFault(MailQueueError, RuntimeError):
    """The store answers, and cannot carry out our call: a bug, or keys that are not ours. To repeat it mends nothing.

    The call may have taken effect in part.
    """


class SpoolError(MailQueueError, OSError):
    """The spool of this host could not be read or written; what it was to take is not in it. ``path`` is its file."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class MessageNotFound(MailQueueError, LookupError):
    """The ledger does not know this id: never accepted, or past its retention; or ``spooled``, and not there yet."""

    def __init__(self, message_id: str, *, spooled: bool = False) -> None:
        why = "it waits in this host's spool" if spooled else "never accepted here, or past its retention"
        super().__init__(f"no message {message_id!r} in the ledger: {why}")
        self.message_id = message_id
        self.spooled = spooled


class IllegalTransition(MailQueueError, ValueError):
    """A change of state that the table of ``mailqueue.ledger.states`` does not have."""


class WireError(MailQueueError, ValueError):
    """Bytes that are no envelope or no parcel."""


class UnsupportedVersion(WireError):
    """An envelope or parcel of a version that this release does not know. ``version`` is what it said."""

    def __init__(self, message: str, *, version: object) -> None:
        super().__init__(message)
        self.version = version


class RelayTrouble(MailQueueError, OSError):
    """The relay, not a message, is the trouble: refused, timed out, login failed, closed between messages.

    ``stage`` is where it happened, ``code`` and ``text`` the relay's reply if there was one; ``reconnect`` says
    whether a new connection within seconds may help (a dropped link, a 421 after good messages) or not (bad
    credentials, a certificate that does not verify).
    """

    def __init__(
        self, message: str, *, stage: str, code: int | None = None, text: str = "", reconnect: bool = False
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code
        self.text = text
        self.reconnect = reconnect
