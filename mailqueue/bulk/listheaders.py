"""The header fields that say of a message that it is one of many: which list it is of, and that no person wrote it."""

from __future__ import annotations

import re
from email.header import Header
from typing import Final

from mailqueue.errors import InvalidMessage
from mailqueue.ledger.suppressions import list_of

__all__ = ["bulk_headers", "feedback_id", "list_id"]

_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE)
_SENDER: Final = re.compile(r"[A-Za-z0-9._-]{5,15}", re.ASCII)
_FEEDBACK: Final = re.compile(r"[^\s:<>,;]*", re.ASCII)


def list_id(list: str, domain: str, title: str = "") -> str:  # noqa: A002 - the field's name
    """The value of List-Id (RFC 2919): ``Title <news.example.com>``.

    The same for all mail of the list, for ever: filters go by it. ``domain`` is one that you own. Raises InvalidMessage.
    """
    if not list or not _DOMAIN.fullmatch(domain):
        raise InvalidMessage(
            f"a List-Id is made of a list and a domain of yours, such as news and example.com, not {list!r} and {domain!r}"
        )
    identifier = f"<{list_of(list)}.{domain.lower()}>"
    phrase = " ".join(title.split())
    if not phrase:
        return identifier
    if not phrase.isascii():  # the phrase alone: an encoded identifier is none
        return f"{Header(phrase, 'utf-8').encode(linesep='')} {identifier}"
    quoted = phrase.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" {identifier}'


def feedback_id(campaign: str, list: str, sender: str, kind: str = "bulk") -> str:  # noqa: A002 - the field's name
    """The value of Feedback-ID: ``campaign:list:kind:sender``, by which Gmail's Postmaster Tools tell spam rates.

    ``sender`` names who sends, the same for all their mail, in 5 to 15 characters. The field counts only where a DKIM
    signature of a domain of yours covers it. Raises InvalidMessage.
    """
    if not _SENDER.fullmatch(sender):
        raise InvalidMessage(f"the sender of a Feedback-ID has 5 to 15 letters, digits and . _ -, not {sender!r}")
    for part in (campaign, list, kind):
        if not _FEEDBACK.fullmatch(part):
            raise InvalidMessage(f"{part!r} cannot be a part of a Feedback-ID: no blanks, no : < > , ; and ASCII only")
    return f"{campaign}:{list}:{kind}:{sender}"


def bulk_headers(
    list: str = "",  # noqa: A002 - the field's name
    *,
    domain: str = "",
    title: str = "",
    campaign: str = "",
    sender: str = "",
) -> dict[str, str]:
    """All of them that can be made of what is given; the first two always.

    Precedence: bulk keeps old responders still, Auto-Submitted the others (RFC 3834 section 5). List-Id needs ``list``
    and ``domain``, Feedback-ID ``sender``. Raises InvalidMessage.
    """
    headers = {"Precedence": "bulk", "Auto-Submitted": "auto-generated"}
    if list and domain:
        headers["List-Id"] = list_id(list, domain, title)
    if sender:
        headers["Feedback-ID"] = feedback_id(campaign, list, sender)
    return headers
