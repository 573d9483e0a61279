"""The table of settings: every name, its kind, unit and default, and what it is for.

``docs/settings.md`` is compared with it by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailqueue.conf.consent import HARD_REFUSALS, Codes, Keys, MailAddress, Signature, WebAddress
from mailqueue.conf.kinds import (
    URL,
    Charset,
    Choice,
    DottedPath,
    Entries,
    FilePath,
    Flag,
    Kind,
    Mailers,
    Number,
    Numbers,
    Password,
    People,
    Prefix,
    Text,
    Whole,
)
from mailqueue.conf.limits import DomainLimits, RateLimits, Relays, WarmUpDays
from mailqueue.conf.url import REDIS_SCHEMES, for_kombu, for_redis
from mailqueue.lanes import LANES
from mailqueue.presets import PRESETS

__all__ = ["QUEUE_BACKEND", "REPLACED_BY_MAILERS", "SETTINGS", "SMTP_BACKEND", "Setting"]

QUEUE_BACKEND = "mailqueue.mail.backends.queue.EmailBackend"
SMTP_BACKEND = "mailqueue.mail.backends.smtp.EmailBackend"

_LEDGER = URL(schemes=(*REDIS_SCHEMES, "memory"), spelt=for_redis)
_BROKER = URL(schemes=(*REDIS_SCHEMES, "amqp", "amqps", "pyamqp", "memory"), spelt=for_kombu)

_RELAY_OPTIONS: dict[str, Kind] = {
    "idle_seconds": Number(),
    "max_messages": Whole(),
    "max_age_seconds": Number(),
    "timeout": Number(optional=True),
    "connections": Whole(high=64),
    "window": Whole(high=1000),
    "retry_delays": Numbers(),
    "max_age": Number(),
    "rates": RateLimits(),
    "domains": DomainLimits(),
    "warm_up": WarmUpDays(),
    "urgent_share": Whole(low=0, high=50),
    "slow_down": Flag(),
    "preset": Choice(options=tuple(PRESETS)),
    "dkim": Signature(),
}
_LANE_OPTIONS: dict[str, Kind] = {
    "retry_delays": Numbers(),
    "max_age": Number(),
    "on_unknown": Choice(options=("resend", "hold")),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``default`` is the value itself; ``shown`` tells it in words where the value would not do."""

    name: str
    kind: Kind
    unit: str
    default: Any
    help: str
    shown: str = ""

    @property
    def default_text(self) -> str:
        """The default as people write it."""
        if self.shown:
            return self.shown
        if self.default is None:
            return "unset"
        if self.default == "":
            return "empty"
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)


SETTINGS: tuple[Setting, ...] = (
    # -- the queue
    Setting(
        "MAILQUEUE_BROKER_URL",
        _BROKER,
        "URL",
        "redis://localhost:6379/0",
        "The broker that carries the tasks: Redis or Valkey, or RabbitMQ (amqp).",
    ),
    Setting(
        "MAILQUEUE_LEDGER_URL",
        _LEDGER,
        "URL",
        None,
        "The Redis or Valkey that holds the ledger. To be set if the broker is another kind of server.",
        shown="MAILQUEUE_BROKER_URL, if that is Redis or Valkey",
    ),
    Setting(
        "MAILQUEUE_DELIVERY_BACKEND",
        DottedPath(),
        "dotted path",
        SMTP_BACKEND,
        "The mail backend through which workers deliver what names no alias.",
    ),
    Setting("MAILQUEUE_DEADLINE", Number(), "s", 2, "How long enqueueing may take before it raises BrokerUnavailable."),
    Setting(
        "MAILQUEUE_SPOOL",
        FilePath(optional=True),
        "path",
        None,
        "A file on this host's disk for messages that the ledger cannot take; unset: no spool.",
    ),
    Setting(
        "MAILQUEUE_DURABILITY",
        Choice(options=("default", "always")),
        "default or always",
        "default",
        "When a message counts as accepted: when the store has it, or always when its disk has it (fsync).",
    ),
    Setting(
        "MAILQUEUE_LEASE_SECONDS",
        Number(),
        "s",
        30,
        "How long a silent worker keeps the messages that it claimed.",
    ),
    Setting(
        "MAILQUEUE_TICK_SECONDS",
        Number(high=5),  # a longer pause is taken for an outage of the store, in which no lease ends
        "s",
        1,
        "How often each worker looks for what fell due or was lost; 5 at most.",
    ),
    Setting(
        "MAILQUEUE_BATCH_MESSAGES",
        Whole(),
        "messages",
        100,
        "The most messages that a worker claims at a time, for each connection to a relay.",
    ),
    Setting(
        "MAILQUEUE_BATCH_BYTES",
        Whole(),
        "bytes",
        4 * 1024 * 1024,
        "The most bytes that a worker claims or fetches at a time; one message may always be larger.",
        shown="4194304 (4 MiB)",
    ),
    Setting(
        "MAILQUEUE_RETENTION",
        Number(),
        "s",
        7 * 86400,
        "How long the ledger remembers a message after its end.",
        shown="604800 (7 days)",
    ),
    Setting(
        "MAILQUEUE_MAX_AGE",
        Number(),
        "s",
        5 * 86400,
        "How long a message is tried again before it fails.",
        shown="432000 (5 days)",
    ),
    Setting(
        "MAILQUEUE_RETRY_DELAYS",
        Numbers(),
        "s, list",
        (60, 300, 900, 1800, 3600, 7200, 14400),
        "The waits between attempts at a message that is refused for now; the last one repeats.",
        shown="60, 300, 900, 1800, 3600, 7200, 14400",
    ),
    Setting(
        "MAILQUEUE_ON_UNKNOWN",
        Choice(options=("resend", "hold")),
        "resend or hold",
        "resend",
        "What to do with a message that may have gone out, its answer lost.",
        shown="resend; in the bulk lane hold",
    ),
    Setting(
        "MAILQUEUE_ON_COMMIT",
        Flag(),
        "true or false",
        True,
        "Inside a Django transaction, enqueue when it commits.",
    ),
    Setting(
        "MAILQUEUE_MAX_MESSAGE_BYTES",
        Whole(),
        "bytes",
        25 * 1024 * 1024,
        "The largest message that is accepted.",
        shown="26214400 (25 MiB)",
    ),
    Setting("MAILQUEUE_MAX_RECIPIENTS", Whole(), "recipients", 1000, "The most recipients of one message."),
    Setting(
        "MAILQUEUE_RELAYS",
        Relays(options=_RELAY_OPTIONS),
        "JSON",
        {},
        "What is different for single relays, by their aliases.",
    ),
    Setting(
        "MAILQUEUE_LANES",
        Entries(noun="lane", options=_LANE_OPTIONS, names=LANES),
        "JSON",
        {},
        "What is different for single lanes.",
    ),
    Setting(
        "MAILQUEUE_KEY_PREFIX", Prefix(), "text", "mailqueue", "What the names of all keys of the ledger begin with."
    ),
    # -- consent to bulk mail
    Setting(
        "MAILQUEUE_UNSUBSCRIBE_URL",
        WebAddress(optional=True),
        "URL",
        None,
        "Where the app that takes unsubscriptions is mounted, as the world sees it: https.",
    ),
    Setting(
        "MAILQUEUE_UNSUBSCRIBE_KEYS",
        Keys(optional=True),
        "list",
        None,
        "Secrets that sign the tokens of unsubscriptions: the first one signs, all are taken.",
    ),
    Setting(
        "MAILQUEUE_UNSUBSCRIBE_MAILTO",
        MailAddress(optional=True),
        "address",
        None,
        "A mailbox of yours that takes unsubscriptions by mail as well.",
    ),
    Setting(
        "MAILQUEUE_SUPPRESS_REFUSED",
        Codes(),
        "codes",
        HARD_REFUSALS,
        "The refusals of an address after which it gets no bulk mail any more: hard, off, or a list of codes.",
        shown="hard",
    ),
    Setting(
        "MAILQUEUE_SUPPRESS_AFTER",
        Whole(),
        "campaigns",
        1,
        "In how many campaigns an address has to be refused so before that.",
    ),
    # -- Django's names
    Setting(
        "MAILERS",
        Mailers(),
        "JSON",
        {},
        "Named ways out, as in Django 6.1: alias to backend and options.",
        shown="unset",
    ),
    Setting("EMAIL_BACKEND", DottedPath(), "dotted path", QUEUE_BACKEND, "The backend of send_mail() and its kin."),
    Setting("EMAIL_HOST", Text(), "host", "localhost", "The relay that the SMTP backend delivers to."),
    Setting("EMAIL_PORT", Whole(high=65535), "port", 25, "The relay's port."),
    Setting("EMAIL_HOST_USER", Text(blank=True), "text", "", "The user to log in as; empty: no login."),
    Setting("EMAIL_HOST_PASSWORD", Password(blank=True), "text", "", "The password to log in with; empty: no login."),
    Setting("EMAIL_USE_TLS", Flag(), "true or false", False, "Speak TLS after STARTTLS (usually port 587)."),
    Setting("EMAIL_USE_SSL", Flag(), "true or false", False, "Speak TLS from the first byte (usually port 465)."),
    Setting("EMAIL_SSL_CERTFILE", FilePath(optional=True), "path", None, "The client's certificate chain, in PEM."),
    Setting("EMAIL_SSL_KEYFILE", FilePath(optional=True), "path", None, "The client's private key, in PEM."),
    Setting(
        "EMAIL_TIMEOUT",
        Number(optional=True),
        "s",
        None,
        "How long the relay may keep silent. Unset, workers go by the stages of RFC 5321 section 4.5.3.2.",
    ),
    Setting("EMAIL_FILE_PATH", FilePath(optional=True), "path", None, "The directory of the file backend."),
    Setting("EMAIL_USE_LOCALTIME", Flag(), "true or false", False, "Write the Date header in local time, not UTC."),
    Setting(
        "EMAIL_SUBJECT_PREFIX",
        Text(blank=True),
        "text",
        "[Django] ",
        "What subjects of mail_admins() and mail_managers() begin with.",
    ),
    Setting("DEFAULT_FROM_EMAIL", Text(), "address", "webmaster@localhost", "The sender of what names none."),
    Setting("SERVER_EMAIL", Text(), "address", "root@localhost", "The sender of mail_admins() and mail_managers()."),
    Setting("DEFAULT_CHARSET", Charset(), "charset", "utf-8", "The charset of messages that name none."),
    Setting("ADMINS", People(), "JSON", [], "Who gets mail_admins(): addresses, or pairs of name and address."),
    Setting("MANAGERS", People(), "JSON", [], "Who gets mail_managers(): addresses, or pairs of name and address."),
)

#: What MAILERS replaces in Django 6.1, where reading one of these beside it is an error.
REPLACED_BY_MAILERS: frozenset[str] = frozenset(
    {
        "EMAIL_BACKEND",
        "EMAIL_FILE_PATH",
        "EMAIL_HOST",
        "EMAIL_HOST_PASSWORD",
        "EMAIL_HOST_USER",
        "EMAIL_PORT",
        "EMAIL_SSL_CERTFILE",
        "EMAIL_SSL_KEYFILE",
        "EMAIL_TIMEOUT",
        "EMAIL_USE_SSL",
        "EMAIL_USE_TLS",
    }
)
