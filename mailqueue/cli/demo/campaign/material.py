"""What the bulk demo sends: a template and its recipients as files, and what each recipient must see in the end.

What they must see is made here by plain formatting, not by the library's own rendering: otherwise both could be wrong
alike.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailqueue.cli.demo.documents import pdf
from mailqueue.testing.likeness import likeness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CAMPAIGN", "GONE", "LIST", "Material", "Person"]

CAMPAIGN: Final = "spring-news"
LIST: Final = "news"
#: The relay refuses its recipients for good.
GONE: Final = "gone.example"

#: One in so many is refused, is on the suppression list, is given twice.
_REFUSED, _SUPPRESSED, _TWICE = 500, 700, 900

_NAMES: Final = ("Ann", "Zoë", "Łukasz", "José", "Bob", "花子", "O'Brien & Sons", "Müller <Q>")
_TOWNS: Final = ("Bern", "Köln", "Łódź", "Oslo", "Porto", "Tromsø", "York")

_TEMPLATE: Final = """\
subject = "{{ name }}, you have {{ points }} points"
from = "The shop <news@shop.example>"
text = '''
Dear {{ name }},

you have {{ points }} points{% if points | int >= 500 %}, and the next coffee is ours{% endif %}.
The shop in {{ town }} is looking forward to your visit; what is new there is in the PDF.
'''
attachments = ["spring.pdf"]

[campaign]
list = "news"
"""


@dataclass(frozen=True, slots=True)
class Person:
    """One recipient, by number."""

    number: int

    @property
    def address(self) -> str:
        """Where the message goes."""
        domain = GONE if self.is_refused else f"mail{self.number % 7}.example"
        return f"member{self.number}@{domain}"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its row in the recipients' file."""
        return self.address, self.name, str(self.points), self.town

    @property
    def name(self) -> str:
        """What the message calls it."""
        return f"{_NAMES[self.number % len(_NAMES)]} {self.number}"

    @property
    def points(self) -> int:
        """What the message is about."""
        return self.number * 7919 % 1000

    @property
    def town(self) -> str:
        """And where."""
        return _TOWNS[self.number // 3 % len(_TOWNS)]

    @property
    def is_refused(self) -> bool:
        """Whether the relay refuses it."""
        return self.number % _REFUSED == 3

    @property
    def is_suppressed(self) -> bool:
        """Whether it is on the suppression list."""
        return self.number % _SUPPRESSED == 5 and not self.is_refused

    @property
    def is_given_twice(self) -> bool:
        """Whether the file has it another time, in capitals."""
        return self.number % _TWICE == 7


class Material:
    """The files of a campaign to ``count`` people.

    Args:
        count: People; those who are given twice count once.
        directory: Where the files go.
    """

    def __init__(self, count: int, directory: Path) -> None:
        self.count = count
        self.template = directory / "spring.toml"
        self.recipients = directory / "members.csv"
        self._pdf = pdf("Spring at the shop", 160, 100)
        (directory / "spring.pdf").write_bytes(self._pdf)
        self.template.write_text(_TEMPLATE, encoding="utf-8")
        with self.recipients.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("address", "name", "points", "town"))
            for person in self.people():
                rows.writerow(person.row)
                if person.is_given_twice:
                    rows.writerow((person.address.upper(), *person.row[1:]))

    def people(self) -> Iterator[Person]:
        """Everybody, in order."""
        return map(Person, range(self.count))

    @functools.cached_property
    def octets(self) -> int:
        """What the recipients' own data have, without their names in the file's first row."""
        return sum(len(",".join(person.row).encode()) for person in self.people())

    @property
    def pdf_octets(self) -> int:
        """The size of the attachment."""
        return len(self._pdf)

    def likeness(self, person: Person) -> str:
        """What the message to ``person`` must look like."""
        gift = ", and the next coffee is ours" if person.points >= 500 else ""
        text = (
            f"Dear {person.name},\n\nyou have {person.points} points{gift}.\n"
            f"The shop in {person.town} is looking forward to your visit; what is new there is in the PDF.\n"
        )
        subject = f"{person.name}, you have {person.points} points"
        return likeness(subject, (("text/plain", text.encode()), ("application/pdf", self._pdf)))
