"""The mail API: that of ``django.core.mail`` (5.2, with the additions of 6.0 and 6.1), without needing Django.

The helpers use the backend that EMAIL_BACKEND or MAILERS names; unless one of them is set, that is the queue.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mailqueue import conf
from mailqueue.errors import BadHeaderError, ImproperlyConfigured, InvalidMailer, MailerDoesNotExist
from mailqueue.mail.mailers import DEFAULT_MAILER_ALIAS, get_connection, import_string, mailers, refuse_mix
from mailqueue.mail.message import (
    DEFAULT_ATTACHMENT_MIME_TYPE,
    EmailAlternative,
    EmailAttachment,
    EmailMessage,
    EmailMultiAlternatives,
    SafeMIMEMultipart,
    SafeMIMEText,
    forbid_multi_line_headers,
    make_msgid,
)
from mailqueue.mail.utils import DNS_NAME, CachedDnsName

__all__ = [
    "DEFAULT_ATTACHMENT_MIME_TYPE",
    "DEFAULT_MAILER_ALIAS",
    "DNS_NAME",
    "BadHeaderError",
    "CachedDnsName",
    "EmailAlternative",
    "EmailAttachment",
    "EmailMessage",
    "EmailMultiAlternatives",
    "InvalidMailer",
    "MailerDoesNotExist",
    "SafeMIMEMultipart",
    "SafeMIMEText",
    "forbid_multi_line_headers",
    "get_connection",
    "mail_admins",
    "mail_managers",
    "mailers",
    "make_msgid",
    "send_mail",
    "send_mass_mail",
]

#: The messages sent through the locmem backend, which creates it; tests may rebind and delete it.
outbox: list[Any]

if TYPE_CHECKING:
    SMTPConnection: Any  # deprecated; see below


class _PeopleError(ImproperlyConfigured, ValueError):
    """ADMINS or MANAGERS in a shape that names no recipients: a ValueError in Django 5.2, since 6.0 the other."""


def send_mail(
    subject: Any,
    message: Any,
    from_email: Any,
    recipient_list: Iterable[Any],
    fail_silently: bool = False,
    auth_user: str | None = None,
    auth_password: str | None = None,
    connection: Any = None,
    html_message: Any = None,
    *,
    using: str | None = None,
) -> Any:
    """Send one message; the number of messages sent, so 1, or 0 without recipients.

    ``from_email`` None stands for DEFAULT_FROM_EMAIL. ``html_message`` makes it multipart/alternative. ``connection``
    is a backend to use here and now, ``using`` an alias of MAILERS. Raises BadHeaderError and ValueError for what
    must not be sent, TypeError for arguments that exclude each other, and what the backend raises.
    """
    backend = _backend(using, connection, fail_silently, auth_user, auth_password)
    mail = EmailMultiAlternatives(subject, message, from_email, recipient_list, connection=backend)
    if html_message:
        mail.attach_alternative(html_message, "text/html")
    return mail.send()


def send_mass_mail(
    datatuple: Iterable[tuple[Any, Any, Any, Iterable[Any]]],
    fail_silently: bool = False,
    auth_user: str | None = None,
    auth_password: str | None = None,
    connection: Any = None,
    *,
    using: str | None = None,
) -> Any:
    """Send a message for each ``(subject, message, from_email, recipient_list)``; the number of messages sent.

    All go through one backend, in one call of its ``send_messages()``. An iterator is not collected first if the
    backend says (``takes_iterators``) that it can do without a list. Otherwise as ``send_mail()``.
    """
    backend = _backend(using, connection, fail_silently, auth_user, auth_password)
    messages: Iterable[EmailMessage] = (
        EmailMessage(subject, message, sender, recipients, connection=backend)
        for subject, message, sender, recipients in datatuple
    )
    if not (isinstance(datatuple, Iterator) and getattr(backend, "takes_iterators", False)):
        messages = list(messages)  # an entry that is no message raises before anything is sent
    return backend.send_messages(messages)


def mail_admins(
    subject: Any,
    message: Any,
    fail_silently: bool = False,
    connection: Any = None,
    html_message: Any = None,
    *,
    using: str | None = None,
) -> None:
    """Send a message from SERVER_EMAIL to ADMINS, its subject after EMAIL_SUBJECT_PREFIX. Raises as ``send_mail()``.

    Nothing happens if ADMINS is empty; in a wrong shape it is an ImproperlyConfigured that is a ValueError, too.
    """
    _mail_people("ADMINS", subject, message, fail_silently, connection, html_message, using)


def mail_managers(
    subject: Any,
    message: Any,
    fail_silently: bool = False,
    connection: Any = None,
    html_message: Any = None,
    *,
    using: str | None = None,
) -> None:
    """As ``mail_admins()``, to MANAGERS."""
    _mail_people("MANAGERS", subject, message, fail_silently, connection, html_message, using)


def _backend(
    using: str | None, connection: Any, fail_silently: bool, auth_user: str | None, auth_password: str | None
) -> Any:
    """The backend that the arguments of a helper name."""
    refuse_mix(
        connection=connection,
        fail_silently=fail_silently,
        using=using,
        auth_user=auth_user,
        auth_password=auth_password,
    )
    if connection is not None:
        return connection
    if using is not None:
        return mailers[using]
    login = {"username": auth_user, "password": auth_password}
    return get_connection(
        fail_silently=fail_silently, **{name: value for name, value in login.items() if value is not None}
    )


def _mail_people(
    setting: str,
    subject: Any,
    message: Any,
    fail_silently: bool,
    connection: Any,
    html_message: Any,
    using: str | None,
) -> None:
    refuse_mix(connection=connection, fail_silently=fail_silently, using=using)
    people = conf.get(setting)
    if not people:
        return
    mail = EmailMultiAlternatives(
        f"{conf.get('EMAIL_SUBJECT_PREFIX')}{subject}",
        message,
        conf.get("SERVER_EMAIL"),
        _addresses(setting, people),
        connection=connection,
    )
    if html_message:
        mail.attach_alternative(html_message, "text/html")
    mail.send(fail_silently=fail_silently, using=using)


def _addresses(setting: str, people: Any) -> list[Any]:
    """The addresses in ADMINS or MANAGERS: each is one by itself, or the second of a pair with a name."""
    wrong = _PeopleError(
        f"The {setting} setting must be a list of 2-tuples. Names are optional: it may as well hold addresses alone, "
        "and then must be a list of email address strings."
    )
    if isinstance(people, (str, bytes, Mapping)) or not isinstance(people, Iterable):
        raise wrong
    addresses = []
    for person in people:
        if isinstance(person, (list, tuple)):
            if len(person) != 2:
                raise wrong
            addresses.append(person[1])
        elif hasattr(person, "encode"):  # text, lazy or not
            addresses.append(person)
        else:
            raise wrong
    return addresses


if not TYPE_CHECKING:  # a checker would take every misspelt name for this one

    def __getattr__(name: str) -> Any:
        if name == "SMTPConnection":
            warnings.warn(
                "mailqueue.mail.SMTPConnection is the SMTP backend under its name of Django 1.2; use get_connection().",
                DeprecationWarning,
                stacklevel=2,
            )
            return import_string(conf.SMTP_BACKEND)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
