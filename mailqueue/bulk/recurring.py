"""Campaigns that recur: stored in the ledger, and started by the workers, each due moment once.

No beat process is needed, and none can stop it by dying: any worker starts what is due, and another one takes over if
that one dies on the way.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from mailqueue.bulk.hours import QuietHours, zone_of
from mailqueue.bulk.moments import Turn, next_moment, read_crontab, turn
from mailqueue.bulk.sending import send
from mailqueue.bulk.template import Template
from mailqueue.bulk.ways import ways
from mailqueue.errors import InvalidMessage, WireError
from mailqueue.lanes import check_lane
from mailqueue.ledger.suppressions import list_of
from mailqueue.mail.mailers import import_string
from mailqueue.producer import get_producer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mailqueue.bulk.campaign import Campaign
    from mailqueue.bulk.loading import Loaded
    from mailqueue.ledger.base import Ledger
    from mailqueue.ledger.schedules import ScheduleEntry

__all__ = ["Plan", "Schedule", "read_plan", "schedule", "schedules", "start", "unschedule"]

#: With the moment that it is started for, a name makes the id of a campaign, which has 40 characters at most.
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,22}[a-z0-9])?", re.ASCII)
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_FILE: Final = re.compile(r"\.(csv|tsv|tab|jsonl|ndjson|txt)\Z", re.IGNORECASE)


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="v", tag=1):
    """What recurs, as the ledger keeps it."""

    crontab: str
    time_zone: str
    template: str | Template  # a path, which is read each time
    recipients: str  # a path, or the dotted path of what gives them, likewise
    catch_up: Literal["skip", "once"] = "skip"
    lasts: float = 0.0  # s from each start; 0.0: it does not expire
    options: dict[str, Any] = {}  # of send()

    def turn(self, entry: ScheduleEntry) -> Turn:
        """What to do about it now."""
        return turn(self.crontab, self.time_zone, due=entry.due_at, now=entry.now, catch_up=self.catch_up)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A campaign that recurs. ``next_at`` is when it is started next, in its own time zone."""

    name: str
    crontab: str
    time_zone: str
    next_at: datetime
    recipients: str
    catch_up: Literal["skip", "once"]


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Plan)


def schedule(
    name: str,
    crontab: str,
    *,
    time_zone: str,
    template: Template | str | os.PathLike[str],
    recipients: str | os.PathLike[str],
    catch_up: Literal["skip", "once"] = "skip",
    expires_in: timedelta | None = None,
    using: str | Mapping[str, float] | None = None,
    lane: str = "bulk",
    list: str = "",  # noqa: A002 - as in send()
    quiet: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    on_finish: str = "",
    unsubscribe: bool | None = None,
    feedback_id: str = "",
    on_unknown: Literal["resend", "hold"] | None = None,
) -> Schedule:
    """Start a campaign at each moment that ``crontab`` names; under a name that is taken, another one in its place.

    The campaign's id is the name and the moment: ``digest-20260105t0800z``. Exactly one is started for each, however
    many workers there are.

    Args:
        name: Up to 24 of ``a-z 0-9 _ -``.
        crontab: Minute, hour, day of the month, month, day of the week, as Celery's crontab has them: ``0 9 * * mon``.
        time_zone: On whose clocks: ``Europe/Paris``.
        template: The path of a template file that the workers can read, and do each time; or a ``Template``.
        recipients: The path of a file that the workers can read, or the dotted path of a function, called without
            arguments each time, which gives what ``send()`` takes.
        catch_up: What to do about moments at which no worker ran: "skip" them, or make up for the last one "once".
        expires_in: Nothing of a campaign is sent so long after its start.
        using: This and all that follows is as for ``send()``.
        lane: The lane of its messages.
        list: The name of the list.
        quiet: Quiet hours, with their time zone.
        on_error: What to do about recipients that cannot be used.
        on_finish: The dotted path of what is called at the end of each.
        unsubscribe: Whether recipients can leave the list.
        feedback_id: The sender in Feedback-ID fields.
        on_unknown: What to do if an answer is lost.

    Raises:
        InvalidMessage: for a name, an expression, a time zone or an option that cannot be.
        MailerDoesNotExist, InvalidMailer: for ``using``.
        LedgerUnavailable: when the ledger does not answer.
    """
    if not _NAME.fullmatch(name):
        raise InvalidMessage(f"{name!r} cannot be the name of a schedule: up to 24 of a-z, 0-9, '_' and '-'")
    if catch_up not in ("skip", "once"):
        raise InvalidMessage(f'catch_up is "skip" or "once", not {catch_up!r}')
    if expires_in is not None and expires_in <= timedelta():
        raise InvalidMessage(f"expires_in is {expires_in}: nothing would ever be sent")
    ways(using, lane=check_lane(lane), on_unknown=on_unknown)
    zone = zone_of(time_zone)
    read_crontab(crontab, zone)
    options = {
        "using": dict(using) if not isinstance(using, str | None) else using,
        "lane": lane,
        "list": list_of(list),
        "quiet": str(QuietHours.parse(quiet)) if quiet else None,
        "on_error": on_error,
        "on_finish": on_finish,
        "unsubscribe": unsubscribe,
        "feedback_id": feedback_id,
        "on_unknown": on_unknown,
    }
    plan = Plan(
        crontab=" ".join(crontab.split()),
        time_zone=time_zone,
        template=_checked_template(template),
        recipients=_checked_recipients(os.fspath(recipients)),
        catch_up=catch_up,
        lasts=expires_in.total_seconds() if expires_in else 0.0,
        options={key: value for key, value in options.items() if value not in (None, "")},
    )
    ledger = get_producer().ledger
    next_at = next_moment(plan.crontab, time_zone, _now(ledger))
    ledger.schedules.put(name, _encoder.encode(plan), next_at)
    return _told(next(entry for entry in ledger.schedules.all() if entry.name == name), plan)


def unschedule(name: str) -> bool:
    """Start no more of it; False if there is none of this name. What has been started goes on."""
    return get_producer().ledger.schedules.drop(name)


def schedules() -> list[Schedule]:
    """All campaigns that recur, the one that is started next at the head."""
    return [_told(entry, read_plan(entry.spec)) for entry in get_producer().ledger.schedules.all()]


def read_plan(spec: bytes) -> Plan:
    """The plan of a schedule; raises WireError if it is none that this release can read."""
    try:
        return _decoder.decode(spec)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        raise WireError(f"no schedule that this release can read: {trouble}") from trouble


def start(name: str, plan: Plan, moment: float, *, progress: Callable[[Loaded], object] | None = None) -> Campaign:
    """Send the campaign of ``name`` for ``moment``; what another one has begun to load is gone on with.

    Raises as ``send()``, and whatever the function raises that gives the recipients.
    """
    source: Any = plan.recipients
    if not _is_file(source):
        source = import_string(source)()
    begins = datetime.fromtimestamp(moment, UTC)
    return send(
        plan.template,
        source,
        campaign=f"{name}-{begins:%Y%m%dt%H%Mz}",
        expires_at=begins + timedelta(seconds=plan.lasts) if plan.lasts else None,
        progress=progress,
        **plan.options,
    )


def _told(entry: ScheduleEntry, plan: Plan) -> Schedule:
    next_at = datetime.fromtimestamp(entry.due_at, zone_of(plan.time_zone))
    return Schedule(entry.name, plan.crontab, plan.time_zone, next_at, plan.recipients, plan.catch_up)


def _now(ledger: Ledger) -> float:
    return float(getattr(ledger, "now", time.time)())


def _checked_template(template: Template | str | os.PathLike[str]) -> Template | str:
    if isinstance(template, Template):
        template.compile()  # its attachments are in it: nothing keeps large ones from one time to the next
        return template
    return str(Path(template).absolute())


def _checked_recipients(recipients: str) -> str:
    if _is_file(recipients):
        return str(Path(recipients).absolute())
    if not _DOTTED.fullmatch(recipients):
        raise InvalidMessage(
            f"recipients: {recipients!r} is neither a file of recipients nor a dotted path: write '/path/people.csv' or "
            "'package.module.function'"
        )
    return recipients


def _is_file(recipients: str) -> bool:
    return "/" in recipients or _FILE.search(recipients) is not None
