"""The terms of a campaign: what its caller and its template file say of it, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from mailqueue import conf
from mailqueue.bulk.hours import QuietHours
from mailqueue.bulk.spec import CampaignSpec, check_id, check_path, host_of
from mailqueue.bulk.ways import ways
from mailqueue.errors import InvalidMessage
from mailqueue.lanes import check_lane
from mailqueue.ledger.suppressions import list_of
from mailqueue.schedule import schedule

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from mailqueue.bulk.template import Template
    from mailqueue.schedule import Schedule

__all__ = ["Seed", "Terms"]

#: A recipient of a test send: an address, or one with data of its own instead of the first recipient's.
Seed: TypeAlias = str | tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The options of ``send()``, under their names there."""

    campaign: str | None = None
    list: str = ""
    using: str | Mapping[str, float] | None = None
    lane: str = "bulk"
    start_at: datetime | None = None
    expires_at: datetime | timedelta | None = None
    quiet: str | None = None
    on_error: str = "stop"
    seeds: Sequence[Seed] = ()
    on_finish: str = ""
    unsubscribe: bool | None = None
    feedback_id: str = ""
    on_unknown: str | None = None

    def over(self, others: Mapping[str, Any]) -> Self:
        """These, and where they have been left as they are by default, ``others``."""
        silent = {each.name for each in fields(self) if getattr(self, each.name) == each.default}
        return replace(self, **{name: value for name, value in others.items() if name in silent})

    def schedule(self) -> Schedule:
        """When it is sent; raises as ``schedule()``."""
        return schedule(self.start_at, self.expires_at)

    def spec(self, template: Template) -> CampaignSpec:
        """What the messages have in common.

        Raises:
            InvalidMessage: for an option that cannot be.
            MailerDoesNotExist, InvalidMailer: for ``using``.
        """
        if self.on_error not in ("stop", "skip"):
            raise InvalidMessage(f'on_error is "stop" or "skip", not {self.on_error!r}')
        if self.campaign is not None:
            check_id(self.campaign)
        relays, policy = ways(self.using, lane=check_lane(self.lane), on_unknown=self.on_unknown)
        return CampaignSpec(
            template=template,
            list=list_of(self.list),
            relays=relays if [*relays] != [""] else {},
            quiet=str(QuietHours.parse(self.quiet)) if self.quiet else "",
            on_unknown=policy,
            unsubscribe=self._can_be_left,
            feedback_id=self.feedback_id,
            on_finish=check_path(self.on_finish) if self.on_finish else "",
            host=host_of(template.from_email),
        )

    @property
    def _can_be_left(self) -> bool:
        """What goes to a list has a way out of it; else that is left to whether there is one."""
        if self.unsubscribe is not None:
            return self.unsubscribe
        return bool(self.list or (conf.get("MAILQUEUE_UNSUBSCRIBE_URL") and conf.get("MAILQUEUE_UNSUBSCRIBE_KEYS")))
