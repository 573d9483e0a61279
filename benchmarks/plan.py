"""What is run: which system drains how many messages over which link, and how often.

The numbers of messages let a run take a few seconds on two cores of 2024: ten thousand where a system sends thousands a
second, fifty where it waits for a relay that is far away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CHUNKING", "FAR", "OFFERS", "PIPELINING", "PLAIN", "RTTS", "Case", "plan", "rounds_of"]

CHUNKING = ("pipelining", "chunking")
PIPELINING = ("pipelining",)
PLAIN: tuple[str, ...] = ()
#: How a relay is called by what it offers.
OFFERS = {CHUNKING: "CHUNKING", PIPELINING: "PIPELINING only", PLAIN: "neither"}

#: Round-trip times (ms) of the plot, besides that of the loopback.
RTTS = (1, 5, 20, 50)
#: The one of the budget.
FAR = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One run: ``messages`` put into ``system`` in ``shape``, and drained to a relay ``rtt`` ms away.

    ``offer`` is what the relay offers. ``record``: the contents are compared as well, for no figure. ``drained``: False to
    enqueue only.
    """

    scenario: str
    system: str
    messages: int
    shape: str = "one"
    rtt: int = 0
    offer: tuple[str, ...] = CHUNKING
    rounds: int = 1
    record: bool = False
    drained: bool = True

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What runs of the same figure have in common."""
        return self.scenario, self.system, self.rtt, "+".join(self.offer)

    def __str__(self) -> str:
        link = f", {self.rtt} ms" if self.rtt else ""
        offer = "" if self.offer == CHUNKING else f", relay with {'+'.join(self.offer) or 'no extension'}"
        return f"{self.scenario}: {self.system}{link}{offer}"


#: Messages of each system where the relay is near: one a task, and after send_mass_mail.
_NEAR = {
    "mailqueue": (10_000, 10_000),
    "django-celery-email-1": (1_500, 0),
    "django-celery-email-10": (0, 3_000),
    "django-celery-email-100": (0, 4_000),
    "plain-celery": (1_500, 0),
    "post-office-5": (1_500, 2_500),
    "django-mailer": (800, 1_000),
    "smtplib": (10_000, 0),
    "pipelined": (20_000, 0),
    "lpush": (3_000, 10_000),
}
#: Messages a second over a link of 20 ms, about, and the relay's offer; each is given a few seconds' worth.
_DISTANT: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("mailqueue", CHUNKING, 1_500),
    ("mailqueue", PIPELINING, 47),
    ("mailqueue-4", PIPELINING, 180),
    ("mailqueue", PLAIN, 12),
    ("mailqueue-4", PLAIN, 46),
    ("django-celery-email-1", CHUNKING, 5),
    ("django-celery-email-100", CHUNKING, 11),
    ("plain-celery", CHUNKING, 6),
    ("post-office-20", CHUNKING, 100),
    ("django-mailer", CHUNKING, 5),
    ("smtplib", CHUNKING, 12),
    ("pipelined", CHUNKING, 4_000),
    ("pipelined", PIPELINING, 47),
)
_SECONDS = 5  # of a run over a long link
_LEAST = 30  # messages of such a run


def plan(*, rounds: int = 3, quick: bool = False, only: Sequence[str] = ()) -> list[Case]:
    """All cases, each with the number of its rounds; of the systems ``only``, unless it is empty."""
    cases = [*_checks(), *_near(rounds), *_far(rounds)]
    if not quick:
        cases += [*_offers(), *_curve()]
    cases += _memory()
    if quick:
        cases = [
            replace(case, rounds=1, messages=max(_LEAST, case.messages // 2) if case.scenario != "attached" else 100)
            for case in cases
            if case.scenario != "check"
        ]
    return [case for case in cases if not only or case.system in only]


def rounds_of(cases: Sequence[Case]) -> Iterator[tuple[int, Case]]:
    """The cases in turn, round by round, so that what slows the machine for a minute meets all of them alike."""
    for number in range(max((case.rounds for case in cases), default=0)):
        yield from ((number, case) for case in cases if number < case.rounds)


def _checks() -> Iterator[Case]:
    """Each system once with few messages: its mail is compared, and the machine warmed up."""
    for system, (one, mass) in _NEAR.items():
        if system not in {"smtplib", "pipelined", "lpush"}:  # they make up what they send
            for shape, wanted in (("one", one), ("mass", mass)):
                if wanted:
                    yield Case("check", system, 50, shape, record=True)


def _near(rounds: int) -> Iterator[Case]:
    for system, (one, mass) in _NEAR.items():
        drained = system != "lpush"
        if one:
            yield Case("one", system, one, "one", rounds=rounds, drained=drained)
        if mass:
            yield Case("mass", system, mass, "mass", rounds=rounds, drained=drained)


def _offers() -> Iterator[Case]:
    """What our worker makes of relays that offer less, nearby."""
    for offer in (PIPELINING, PLAIN):
        yield Case("mass", "mailqueue", 5_000, "mass", offer=offer)


def _far(rounds: int) -> Iterator[Case]:
    yield from _distant(FAR, rounds)


def _curve() -> Iterator[Case]:
    for rtt in RTTS:
        if rtt != FAR:
            yield from _distant(rtt, 1)


def _distant(rtt: int, rounds: int) -> Iterator[Case]:
    for system, offer, pace in _DISTANT:
        # The nearer, the faster, until it is no longer the link that costs the time.
        faster = min(FAR / rtt, 4.0)
        messages = min(max(_LEAST, int(pace * faster * _SECONDS)), 6_000)
        yield Case("far", system, messages, "mass", rtt, offer, rounds)


def _memory() -> Iterator[Case]:
    for system in ("mailqueue", "django-celery-email-10"):
        yield Case("attached", system, 100, "pdf", drained=False)
