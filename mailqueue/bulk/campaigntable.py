"""The table [campaign] of a template file: the options of ``bulk.send``, each checked."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from mailqueue.bulk.address import bare
from mailqueue.bulk.hours import QuietHours, zone_of
from mailqueue.bulk.listheaders import feedback_id
from mailqueue.bulk.spec import check_id, check_path
from mailqueue.conf.nearest import nearest
from mailqueue.errors import InvalidMessage
from mailqueue.lanes import check_lane
from mailqueue.ledger.suppressions import list_of
from mailqueue.schedule import schedule

if TYPE_CHECKING:
    import zoneinfo
    from collections.abc import Callable, Mapping

    from mailqueue.bulk.tomlplaces import Path

__all__ = ["ARGUMENTS", "CAMPAIGN_KEYS", "campaign_options"]

_UNITS: Final = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_SPAN: Final = re.compile(r"(?:\s*\d+\s*(?:d|h|min|s)\b)+\s*")


class _Refused(Exception):  # noqa: N818 - no error of the package: the table's reader makes one of it
    """A value that the option cannot have; ``keys`` lead to it from the option."""

    def __init__(self, message: str, *keys: str | int) -> None:
        super().__init__(message)
        self.keys = keys


def campaign_options(table: Mapping[str, Any], refuse: Callable[[Path, str], None]) -> dict[str, Any]:
    """The arguments of ``bulk.send`` that ``table`` stands for; ``refuse`` is told of each mistake, and where it is."""
    options: dict[str, Any] = {}
    zone = _zone(table, refuse)
    for key, value in table.items():
        if key == "time_zone":
            continue
        if key not in _READERS:
            refuse(("campaign", key), f"there is no option of this name{_hint(key)}")
            continue
        name, reader = _READERS[key]
        try:
            options[name] = reader(value, zone)
        except _Refused as error:
            refuse(("campaign", key, *error.keys), str(error))
        except InvalidMessage as error:
            refuse(("campaign", key), str(error))
    try:
        schedule(options.get("start_at"), options.get("expires_at"))
    except InvalidMessage as error:
        refuse(("campaign", "expires_at"), str(error))
    return options


def _hint(key: str) -> str:
    return nearest(key, CAMPAIGN_KEYS) or f"; there are {', '.join(CAMPAIGN_KEYS)}"


def _zone(table: Mapping[str, Any], refuse: Callable[[Path, str], None]) -> zoneinfo.ZoneInfo | None:
    if "time_zone" not in table:
        return None
    try:
        return zone_of(_text(table["time_zone"], None))
    except (_Refused, InvalidMessage) as error:
        refuse(("campaign", "time_zone"), str(error))
    return None


# -- kinds of values: each takes the value and the zone of times that name none


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _Refused("it is text, in quotes")
    return value


def _flag(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise _Refused("it is true or false")
    return value


def _one_of(*words: str) -> Callable[[Any, Any], str]:
    def read(value: Any, _: Any) -> str:
        if value not in words:
            raise _Refused(f"it is {' or '.join(repr(word) for word in words)}, not {value!r}")
        return str(value)

    return read


def _name(check: Callable[[str], str]) -> Callable[[Any, Any], str]:
    return lambda value, _: check(_text(value, None))


def _feedback(value: Any, _: Any) -> str:
    feedback_id("", "", _text(value, None))
    return str(value)


def _using(value: Any, _: Any) -> str | dict[str, float]:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not value:
        raise _Refused("it is an alias of MAILERS, or a table of aliases with their weights: { ses = 3, own = 1 }")
    for alias, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise _Refused(f"the weight of {alias!r} is a positive number, not {weight!r}", alias)
    return {alias: float(weight) for alias, weight in value.items()}


def _moment(value: Any, zone: zoneinfo.ZoneInfo | None) -> datetime:
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise _Refused("it is a moment with its time zone, such as 2027-01-31T09:00:00+01:00")
    if moment.utcoffset() is not None:
        return moment
    if zone is None:
        raise _Refused(f"{moment} has no time zone: write it as in {moment.isoformat()}+01:00, or give time_zone")
    return moment.replace(tzinfo=zone)


def _expiry(value: Any, zone: zoneinfo.ZoneInfo | None) -> datetime | timedelta:
    if isinstance(value, str) and _SPAN.fullmatch(value):
        spans = re.findall(r"(\d+)\s*([a-z]+)", value)
        try:
            return timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in spans))
        except OverflowError:
            raise _Refused(f"{value!r} is too long") from None
    try:
        return _moment(value, zone)
    except _Refused as error:
        raise _Refused(f"{error}; or a duration from its start, such as '8h' or '2d 12h'") from None


def _quiet(value: Any, zone: zoneinfo.ZoneInfo | None) -> str:
    text = _text(value, None)
    if zone is not None and len(text.split()) < 2:
        text = f"{text.strip()} {zone.key}"
    return str(QuietHours.parse(text))


def _seeds(value: Any, _: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Refused("it is an array of addresses, or of tables with an email and the data for it")
    seeds: list[Any] = []
    for place, entry in enumerate(value):
        address, data = entry, None
        if isinstance(entry, dict):
            data = {key: str(each) if isinstance(each, date | time) else each for key, each in entry.items()}
            address = data.pop("email", None)
        if not isinstance(address, str):
            raise _Refused("it is an address, or a table with an email and the data for it", place)
        try:
            bare(address)
        except InvalidMessage as error:
            raise _Refused(str(error), place) from None
        seeds.append(address if data is None else (address, data))
    return seeds


#: Keys of the table: the argument of ``bulk.send``, and what reads the value.
_READERS: Final[Mapping[str, tuple[str, Callable[[Any, Any], Any]]]] = {
    "id": ("campaign", _name(check_id)),
    "list": ("list", _name(list_of)),
    "using": ("using", _using),
    "lane": ("lane", _name(check_lane)),
    "start_at": ("start_at", _moment),
    "expires_at": ("expires_at", _expiry),
    "quiet": ("quiet", _quiet),
    "on_error": ("on_error", _one_of("stop", "skip")),
    "seeds": ("seeds", _seeds),
    "unsubscribe": ("unsubscribe", _flag),
    "feedback_id": ("feedback_id", _feedback),
    "on_unknown": ("on_unknown", _one_of("hold", "resend")),
    "on_finish": ("on_finish", _name(check_path)),
}
#: Of ``bulk.send``: those that a table can have.
ARGUMENTS: Final = tuple(name for name, _ in _READERS.values())
#: In the order in which the documentation has them.
CAMPAIGN_KEYS: Final = (*_READERS, "time_zone")
