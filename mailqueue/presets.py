"""What big providers of relays publish of their limits, by name: to be named in MAILQUEUE_RELAYS instead of written out.

Only numbers that a provider itself has published are here, with its page; seen in November 2026, those of Google and of
Brevo's and Mailjet's free plans in quotation. Providers raise most of them on request, and lower them for those who are
new: what your account's page says goes before, and is written as ``rates`` beside the preset. Who is not here publishes no
number for SMTP that could be found (Postmark, Mailgun, Fastmail, a personal Gmail account), or tells each account its own
(Amazon SES outside its sandbox).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider's limits. ``rates`` as ``Limits.parse`` reads them; ``recipients`` is for who writes the mail."""

    rates: str = ""
    max_messages: int | None = None  # over one connection
    recipients: int | None = None  # of one message
    source: str = ""

    def options(self) -> dict[str, str | int]:
        """The options of MAILQUEUE_RELAYS that it stands for."""
        named = {"rates": self.rates, "max_messages": self.max_messages}
        return {name: value for name, value in named.items() if value}


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        # What holds for 300 a day is the free plan; paid ones have no daily limit.
        "brevo-free": Preset("300/d", source="help.brevo.com/hc/en-us/articles/8292912279954"),
        # What a new workspace starts with; "SMTP counts transactions".
        "emailit": Preset("2/s, 5000/d", source="emailit.com/docs/limits"),
        # One user of Google Workspace over smtp.gmail.com, over a rolling 24 hours; 500 a day while on trial.
        "google-workspace": Preset("2000/d", recipients=100, source="support.google.com/a/answer/166852"),
        # smtp-relay.gmail.com: messages of one user in 24 hours. What the whole organisation may send depends on it.
        "google-workspace-relay": Preset("10000/d", recipients=100, source="support.google.com/a/answer/2956491"),
        "mailjet-free": Preset("200/d", source="www.mailjet.com/blog/mj_faq_category/pricing"),
        # SMTP AUTH of one mailbox. The day's limit counts recipients.
        "microsoft-365": Preset(
            "30/min, 10000/d, 3 connections",
            source="learn.microsoft.com/en-us/exchange/troubleshoot/send-emails/smtp-submission-improvements",
        ),
        # It limits no rate; 10,000 connections from one server are more than ours will ever open.
        "sendgrid": Preset(
            max_messages=5000,
            source="www.twilio.com/docs/sendgrid/for-developers/sending-email/integrating-with-the-smtp-api",
        ),
        # To verified recipients only; it counts recipients. Out of it the account's page says how much.
        "ses-sandbox": Preset("1/s, 200/d", source="docs.aws.amazon.com/ses/latest/dg/quotas.html"),
        "socketlabs": Preset(
            "10 connections",
            max_messages=50,
            recipients=500,
            source="help.socketlabs.com/docs/smtp-server-restrictions",
        ),
    }
)
