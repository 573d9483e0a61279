"""What a campaign is to be: the options of the command line over those of the template's file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from mailqueue.bulk.spec import made_id
from mailqueue.bulk.templatefile import TemplateFile, load
from mailqueue.cli.bulk.words import Clock
from mailqueue.cli.times import moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Plan", "expected"]


@dataclass(frozen=True)
class Plan:
    """``options`` are those of ``bulk.send()``; ``clock`` is how moments are told."""

    file: TemplateFile
    options: Mapping[str, Any]
    clock: Clock

    @property
    def seeds(self) -> Sequence[str]:
        """The addresses that get a copy first."""
        return [seed if isinstance(seed, str) else seed[0] for seed in self.options.get("seeds", ())]

    @classmethod
    def of(cls, template: Path, asked: Mapping[str, Any]) -> Self:
        """Of a template's file and the options on the command line.

        Raises:
            TemplateError: for what is wrong with the file.
            UsageError: for times that cannot be told.
        """
        zone = asked["time_zone"]
        expires_at, quiet = asked["expires_at"], asked["quiet"]
        if quiet and zone is not None and " " not in quiet.strip():
            quiet = f"{quiet.strip()} {zone.key}"
        options = {
            "campaign": asked["campaign"],
            "list": asked["list_name"],
            "using": asked["using"],
            "lane": asked["lane"],
            "start_at": moment(asked["start_at"], zone),
            "expires_at": expires_at if isinstance(expires_at, timedelta) else moment(expires_at, zone),
            "quiet": quiet,
            "on_error": asked["on_error"],
            "seeds": asked["seeds"] or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        file = load(template)
        # Made here, so that it can be told to whoever interrupts the loading.
        options = {"campaign": made_id(), **file.options, **given}
        return cls(file._replace(options={}), options, Clock(zone))


def expected(recipients: Path) -> int | None:
    """About how many recipients the file has, by its lines; None for standard input."""
    if not recipients.is_file():
        return None
    lines, last = 0, b"\n"
    with recipients.open("rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            last = block
    lines += not last.endswith(b"\n")
    return max(0, lines - (recipients.suffix.lower() != ".jsonl"))  # the first line of CSV has the names
