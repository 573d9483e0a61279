"""Where an enqueued message goes: its lane, and the alias of the relay that a worker delivers it through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mailqueue import conf
from mailqueue.errors import InvalidMailer, InvalidMessage, MailerDoesNotExist
from mailqueue.lanes import DEFAULT_LANE, check_lane
from mailqueue.mail.mailers import DEFAULT_MAILER_ALIAS, import_string

if TYPE_CHECKING:
    from mailqueue.envelope import OnUnknown

__all__ = ["Route", "enqueues", "route_to", "route_using"]


@dataclass(frozen=True, slots=True)
class Route:
    """``relay`` is an alias of MAILERS, or empty for MAILQUEUE_DELIVERY_BACKEND."""

    lane: str
    relay: str
    on_unknown: OnUnknown


def route_using(using: str | None, *, lane: str | None = None, on_unknown: str | None = None) -> Route:
    """The route that the alias ``using`` stands for; None is the entry "default" of MAILERS, if there is one.

    An alias that enqueues says in its OPTIONS who delivers (``deliver_with``) and in which ``lane``; any other alias
    delivers itself, in the worker. An explicit ``lane`` wins.

    Raises:
        MailerDoesNotExist: for an alias that MAILERS does not have.
        InvalidMailer: for an entry that cannot work.
        InvalidMessage: for a lane that is none.
    """
    entries = conf.get("MAILERS")
    if using is None:
        if DEFAULT_MAILER_ALIAS not in entries:
            return route_to(None, lane=lane, on_unknown=on_unknown)
        using = DEFAULT_MAILER_ALIAS
    backend, options = _entry(using, entries)
    if not enqueues(backend):
        return route_to(using, lane=lane, on_unknown=on_unknown)
    return route_to(options.get("deliver_with"), lane=lane or options.get("lane"), on_unknown=on_unknown)


def route_to(relay: str | None, *, lane: str | None = None, on_unknown: str | None = None) -> Route:
    """The route through the alias ``relay``, or through the default delivery backend. Raises as ``route_using``."""
    lane = check_lane(lane or DEFAULT_LANE)
    if relay:
        backend, _options = _entry(relay, conf.get("MAILERS"))
        if enqueues(backend):
            raise InvalidMailer(
                f"MAILERS[{relay!r}] enqueues, and cannot deliver what is queued: name an alias that sends"
            )
    return Route(lane, relay or "", _on_unknown(on_unknown, lane))


def _entry(alias: str, entries: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    try:
        entry = entries[alias]
    except KeyError:
        raise MailerDoesNotExist(f"The mailer '{alias}' is not configured.") from None
    if not isinstance(entry, Mapping):
        raise InvalidMailer(f"MAILERS[{alias!r}]: it must be {{'BACKEND': '...', 'OPTIONS': {{...}}}}.")
    return str(entry.get("BACKEND", conf.SMTP_BACKEND)), entry.get("OPTIONS") or {}


def enqueues(path: str) -> bool:
    """Whether the backend at the dotted path ``path`` is the queue's, or a kind of it; False if it is not there."""
    if path in (conf.QUEUE_BACKEND, conf.SMTP_BACKEND):
        return path == conf.QUEUE_BACKEND
    try:
        return bool(getattr(import_string(path), "enqueues", False))  # a subclass of the queue backend
    except ImportError:
        return False  # what only workers have installed is theirs to deliver with


def _on_unknown(given: str | None, lane: str) -> OnUnknown:
    if given is None:
        given = conf.get("MAILQUEUE_LANES").get(lane, {}).get("on_unknown")
    if given is None:
        # A second copy of a newsletter is worse than a late one; of a password reset it is not.
        given = conf.get("MAILQUEUE_ON_UNKNOWN") if lane != "bulk" or conf.is_set("MAILQUEUE_ON_UNKNOWN") else "hold"
    if given not in ("resend", "hold"):
        raise InvalidMessage(f'on_unknown is "resend" or "hold", not {given!r}')
    return cast("OnUnknown", given)
