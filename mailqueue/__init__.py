"""A durable background task queue for outgoing mail: Django's mail API, Celery workers, an outcome per recipient.

The public API. ``mailqueue.mail`` has all of ``django.core.mail``; its everyday names are here as well.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from mailqueue.conf import configure
from mailqueue.errors import (
    BadHeaderError,
    BrokerUnavailable,
    IdempotencyConflict,
    ImproperlyConfigured,
    InvalidMailer,
    InvalidMessage,
    LedgerFault,
    LedgerUnavailable,
    MailerDoesNotExist,
    MailQueueError,
    MessageNotFound,
    MessageTooLarge,
    SpoolError,
    TooManyRecipients,
)
from mailqueue.ledger.states import State
from mailqueue.mail import (
    EmailAlternative,
    EmailAttachment,
    EmailMessage,
    EmailMultiAlternatives,
    get_connection,
    mail_admins,
    mail_managers,
    mailers,
    send_mail,
    send_mass_mail,
)
from mailqueue.outcome import Verdict

if TYPE_CHECKING:
    from mailqueue.control import cancel, hold, release, requeue, resolve
    from mailqueue.producer import (
        Cancellation,
        MessageStatus,
        Receipt,
        RecipientStatus,
        counts,
        enqueue,
        enqueue_many,
        prepare,
        status,
    )

__all__ = [
    "BadHeaderError",
    "BrokerUnavailable",
    "Cancellation",
    "EmailAlternative",
    "EmailAttachment",
    "EmailMessage",
    "EmailMultiAlternatives",
    "IdempotencyConflict",
    "ImproperlyConfigured",
    "InvalidMailer",
    "InvalidMessage",
    "LedgerFault",
    "LedgerUnavailable",
    "MailQueueError",
    "MailerDoesNotExist",
    "MessageNotFound",
    "MessageStatus",
    "MessageTooLarge",
    "Receipt",
    "RecipientStatus",
    "SpoolError",
    "State",
    "TooManyRecipients",
    "Verdict",
    "__version__",
    "cancel",
    "configure",
    "counts",
    "enqueue",
    "enqueue_many",
    "get_connection",
    "hold",
    "mail_admins",
    "mail_managers",
    "mailers",
    "prepare",
    "release",
    "requeue",
    "resolve",
    "send_mail",
    "send_mass_mail",
    "status",
]

__version__: Final = "0.1.0"

#: Where names come from that are loaded when they are first used: these stand on kombu and the ledger, and a process
#: that only builds messages does not pay for them.
_LAZY: Final = {
    **dict.fromkeys(
        (
            "Cancellation",
            "MessageStatus",
            "Receipt",
            "RecipientStatus",
            "counts",
            "enqueue",
            "enqueue_many",
            "prepare",
            "status",
        ),
        "mailqueue.producer",
    ),
    **dict.fromkeys(("cancel", "hold", "release", "requeue", "resolve"), "mailqueue.control"),
}


if not TYPE_CHECKING:  # a checker would take every misspelt name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
