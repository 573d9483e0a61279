"""The ways out of a campaign: which of its relays each recipient's message goes through."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mailqueue.errors import InvalidMessage
from mailqueue.route import route_using

if TYPE_CHECKING:
    from mailqueue.envelope import OnUnknown

__all__ = ["choose", "ways"]

_PART: Final = 8  # characters of a digest, 48 bits: more than weights can tell apart


def choose(relays: Mapping[str, float], digest: str) -> str:
    """The relay for the recipient with ``digest``: always the same one, each as often as its weight says.

    ``relays`` has the weights of aliases; empty, it is the default way out.
    """
    if len(relays) < 2:
        return next(iter(relays), "")
    place = int.from_bytes(urlsafe_b64decode(digest[:_PART])) / 2.0**48 * sum(relays.values())
    for relay, weight in relays.items():
        place -= weight
        if place < 0:
            return relay
    return relay  # the last one, after rounding


def ways(
    using: str | Mapping[str, float] | None, *, lane: str, on_unknown: str | None
) -> tuple[dict[str, float], OnUnknown]:
    """The relays that ``using`` stands for, with their weights, and what to do when an answer is lost.

    Raises:
        InvalidMessage: for a weight that is none.
        MailerDoesNotExist, InvalidMailer: for an alias.
    """
    given = using if isinstance(using, Mapping) else {using: 1.0}
    relays: dict[str, float] = {}
    policy: OnUnknown | None = None
    for alias, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise InvalidMessage(f"using: the weight of {alias!r} is a positive number, not {weight!r}")
        route = route_using(alias, lane=lane, on_unknown=on_unknown)
        relays[route.relay] = relays.get(route.relay, 0.0) + float(weight)
        policy = policy or route.on_unknown
    if policy is None:
        raise InvalidMessage("using: name at least one alias of MAILERS, or leave it out")
    return relays, policy
