"""What is right and what is wrong about each message of the demo. Pure: it judges what others have gathered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailqueue.cli.demo.scenario import REFUSED
from mailqueue.ledger.states import State
from mailqueue.outcome import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailqueue.cli.demo.scenario import Case
    from mailqueue.report import MessageStatus
    from mailqueue.testing.inbox import Arrival

__all__ = ["Story", "judge", "pinned"]

_DATE = re.compile(rb"^Date: .*\r\n", re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^Message-ID: .*\r\n(?:[ \t].*\r\n)*", re.MULTILINE)
#: As email.generator makes them: fifteen equals signs, a random number of fixed width, two equals signs.
_BOUNDARY = re.compile(rb"={15}\d+==")


@dataclass(frozen=True)
class Story:
    """One message, from the call to its end."""

    case: Case
    message_id: str  # the header that its receipt has told
    recipients: Sequence[str]
    called_at: float  # s since the epoch
    status: MessageStatus
    arrivals: list[Arrival]  # more than one: it was sent again, because an answer was lost
    reference: Arrival | None  # what a synchronous send of the same has delivered; None if nobody accepted it


def pinned(content: bytes) -> bytes:
    """The message with what differs by nature between two sends of the same made equal.

    Those are the Date, the Message-ID and the boundaries, which are drawn at random. The first two become fixed
    values, the boundaries are numbered in the order of their first use, so that their nesting is compared as well.
    Everything else stays as it is, byte for byte.
    """
    head, blank, body = content.partition(b"\r\n\r\n")
    head = _MESSAGE_ID.sub(b"Message-ID: <pinned>\r\n", _DATE.sub(b"Date: pinned\r\n", head + b"\r\n"))
    names: dict[bytes, bytes] = {}
    return _BOUNDARY.sub(
        lambda match: names.setdefault(match[0], b"boundary-%d" % len(names)), head[:-2] + blank + body
    )


def judge(story: Story) -> list[str]:
    """Everything that is not as it must be, a line each; empty if all is right."""
    problems = [*_ending(story), *_copies(story)]
    for arrival in story.arrivals:
        problems += _differences(story, arrival)
    return problems


def _ending(story: Story) -> Iterator[str]:
    """State, attempts, and the account of every recipient."""
    status, case = story.status, story.case
    if status.state != case.state:
        yield f"is {status.state}, not {case.state} ({status.reason or 'no reason given'})"
    # An attempt whose answer was lost, or whose worker died, is made again and counted.
    if not case.attempts <= status.attempts <= case.attempts + status.unknowns + status.crashes:
        yield f"took {status.attempts} attempts, not {case.attempts}"
    expected = {
        recipient: Verdict.REFUSED if recipient == REFUSED else Verdict.ACCEPTED for recipient in story.recipients
    }
    if {recipient: result.verdict for recipient, result in status.recipients.items()} != expected:
        yield f"has not accounted for each of its {len(expected)} recipients as the relay did"


def _copies(story: Story) -> Iterator[str]:
    if story.case.state == State.FAILED:
        if story.arrivals:
            yield "arrived although the relay had refused it"
    elif not story.arrivals:
        yield "never arrived"
    elif len(story.arrivals) > 1 + story.status.unknowns:
        yield f"arrived {len(story.arrivals)} times, with {story.status.unknowns} lost answers on record"


def _differences(story: Story, arrival: Arrival) -> Iterator[str]:
    """How an arrival differs from what was promised at the call, and from the synchronous send."""
    if arrival.message_id != story.message_id:
        yield f"arrived as {arrival.message_id}, not under the Message-ID of its receipt"
    reference = story.reference
    if reference is None:
        yield "cannot be compared: the synchronous send has delivered nothing"
        return
    if (arrival.sender, arrival.recipients) != (reference.sender, reference.recipients):
        yield "arrived with another envelope than a synchronous send has"
    ours, theirs = pinned(arrival.content), pinned(reference.content)
    if ours != theirs:
        at = next(
            (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
        yield f"differs from a synchronous send at octet {at}: {ours[at : at + 40]!r}, not {theirs[at : at + 40]!r}"
