"""The backend that enqueues: what ``send_mail()`` and its kin use unless told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailqueue.errors import BrokerUnavailable, ImproperlyConfigured
from mailqueue.mail.backends.base import BaseEmailBackend
from mailqueue.producer import Count, get_producer
from mailqueue.route import route_to

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EmailBackend"]


class EmailBackend(BaseEmailBackend):
    """Enqueues messages for the workers; there is no link to open or close.

    Args:
        fail_silently: Return what was accepted, instead of raising, when the ledger cannot be reached.
        username: None, as ``password``: a login cannot travel through the queue.
        password: See above.
        lane: urgent, default or bulk.
        deliver_with: The alias of MAILERS that workers deliver through; None for MAILQUEUE_DELIVERY_BACKEND.

    Raises:
        ImproperlyConfigured: for a login, and for ``deliver_with`` that cannot deliver (InvalidMailer, MailerDoesNotExist).
        InvalidMessage: for a lane that is none.
    """

    takes_iterators = True
    #: Tells aliases that enqueue from those that deliver, for subclasses too.
    enqueues = True

    def __init__(
        self,
        fail_silently: bool = False,
        username: str | None = None,
        password: str | None = None,
        lane: str | None = None,
        deliver_with: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fail_silently=fail_silently, **kwargs)
        if username or password:
            raise ImproperlyConfigured(
                "A user and password cannot travel through the queue. Put them into the OPTIONS of an alias of MAILERS "
                "that sends (the SMTP backend's, say), and name it: using=alias, or deliver_with in the OPTIONS of "
                "the alias that enqueues; workers then log in with them."
            )
        self._route = route_to(deliver_with, lane=lane)

    def send_messages(self, email_messages: Iterable[Any] | None) -> int:
        """Enqueue the messages; returns the number of those durably accepted (in a transaction: to be, on commit).

        Each gets its ``receipt``. Messages without recipients are passed over, and not counted. Raises as
        ``mailqueue.enqueue_many()``, but for the exception's ``receipts``: its ``accepted`` tells the number of messages
        accepted before it. When silenced, only for messages that are refused.
        """
        accepted = Count()
        messages = () if email_messages is None else email_messages
        addressed = (message for message in messages if _has_recipients(message))
        try:
            get_producer().enqueue_many(addressed, self._route, accepted=accepted)
        except BrokerUnavailable:
            if not self.fail_silently:
                raise
        return len(accepted)


def _has_recipients(message: Any) -> bool:
    ask = getattr(message, "recipients", None)
    return ask is None or bool(ask())  # what is no message at all is refused as such
