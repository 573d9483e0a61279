"""Relays that misbehave, or just refuse, within a transaction: MAIL, RCPT, DATA, content, and replies out of step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailqueue.testing.case import Account, Message
from mailqueue.testing.catalogue.alike import (
    ANN,
    BOB,
    CID,
    EVERYONE,
    HASTY,
    LARGE,
    SENT,
    answered,
    case,
    failed,
    waits,
)
from mailqueue.testing.script import drop, endless, hang, raw, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailqueue.testing.case import Case

__all__ = ["WITHIN"]


def _each_command() -> Iterator[Case]:
    for stage, text in (("mail", "app@example.com"), ("rcpt", ANN), ("data", ANN)):
        word = stage.upper()
        yield waits(f"silent-at-{stage}", f"falls silent at {word}", hang(stage), at=stage, settings=HASTY)
        yield waits(f"drops-at-{stage}", f"hangs up at {word}", drop(stage), at=stage, connections=4)
        closing = reply(stage, f"421 4.3.2 {text}: bye")
        yield waits(f"closing-at-{stage}", f"says 421 to {word}", closing, at=stage, connections=4)
        yield answered(f"later-at-{stage}", f"says 451 to {word}", reply(stage, f"451 4.3.0 {text}: later"), code="451")
        yield answered(f"refused-at-{stage}", f"says 550 to {word}", reply(stage, f"550 5.7.1 {text}: no"), code="550")


_RECIPIENTS: Final = (
    case(
        "takes-some",
        "takes one recipient, refuses one for now (451) and one for good (550)",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        reply("rcpt", "451 4.2.1 later", to=CID),
        messages=(Message((ANN, BOB, CID)),),
        first=(Account("deferred", 1, {ANN: "accepted 250", BOB: "refused 550", CID: "deferred 451"}),),
        then=(Account("partial", 2, {ANN: "accepted 250", BOB: "refused 550", CID: "accepted 250"}),),
    ),
    case(
        "takes-some-then-none",
        "refuses one recipient (550), and says 451 to the final dot",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        reply("final", "451 4.3.0 later"),
        messages=(Message((ANN, BOB)),),
        first=(Account("deferred", 1, {ANN: "deferred 451", BOB: "refused 550"}),),
        then=(Account("partial", 2, {ANN: "accepted 250", BOB: "refused 550"}),),
    ),
    case(
        "greylists",
        "refuses each recipient the first time (451)",
        *(reply("rcpt", "451 4.7.1 greylisted", to=to, times=1) for to in (ANN, BOB)),
        messages=(Message((ANN, BOB)),),
        first=(Account("deferred", 1, {ANN: "deferred 451", BOB: "deferred 451"}),),
        then=(Account("sent", 2, {ANN: "accepted 250", BOB: "accepted 250"}),),
    ),
    case(
        "mailbox-full",
        "has one full mailbox (452 4.2.2)",
        reply("rcpt", "452 4.2.2 mailbox full", to=BOB),
        messages=(Message((ANN, BOB)),),
        first=(Account("deferred", 1, {ANN: "accepted 250", BOB: "deferred 452"}),),
        then=(Account("sent", 2, {ANN: "accepted 250", BOB: "accepted 250"}),),
    ),
    case(
        "too-many-recipients",
        "takes two recipients a transaction (452 4.5.3), of five",
        messages=(Message(EVERYONE),),
        first=(Account("sent", 1, dict.fromkeys(EVERYONE, "accepted 250")),),
        options={"recipients_per_message": 2},
    ),
    case(
        "drops-between-transactions",
        "takes one recipient a transaction, and hangs up before the second",
        drop("mail", nth=2),
        messages=(Message((ANN, BOB)),),
        first=(Account("sent", 1, {ANN: "accepted 250", BOB: "accepted 250"}),),
        connections=2,
        options={"recipients_per_message": 1},
    ),
    case(
        "one-recipient-a-connection",
        "takes one recipient a transaction, and one transaction a connection, of five",
        messages=(Message(EVERYONE),),
        first=(Account("sent", 1, dict.fromkeys(EVERYONE, "accepted 250")),),
        connections=5,
        options={"recipients_per_message": 1, "messages_per_connection": 1},
    ),
    case(
        "greylists-between-transactions",
        "does the same with three recipients, and refuses one of them for now (451)",
        reply("rcpt", "451 4.7.1 greylisted", to=BOB, times=1),
        messages=(Message((ANN, BOB, CID)),),
        first=(Account("deferred", 1, {ANN: "accepted 250", BOB: "deferred 451", CID: "accepted 250"}),),
        then=(Account("sent", 2, dict.fromkeys((ANN, BOB, CID), "accepted 250")),),
        connections=2,
        options={"recipients_per_message": 1, "messages_per_connection": 1},
    ),
)

_CONTENT: Final = (
    *(
        case(
            name,
            what,
            messages=(Message(octets=20_000), Message()),
            first=(failed("552"), SENT),
            options={"size_limit": 10_000, "offers": offers},
        )
        for name, what, offers in (
            ("too-large-at-mail", "refuses at MAIL what is above its SIZE (552)", ("SIZE",)),
            ("too-large-at-final", "offers no SIZE, and refuses a large message at the final dot (552)", ()),
        )
    ),
    answered(
        "too-large-at-content",
        "says 552 in the midst of the content, and hangs up",
        reply("content", "552 5.3.4 too large", close=True),
        code="552",
        messages=(Message(octets=LARGE),),
    ),
    *(
        # The link is lost without a word, twice: it may be the content.
        answered(name, what, step, code="451", messages=(Message(octets=LARGE),), connections=2, settings=settings)
        for name, what, step, settings in (
            ("drops-at-content", "hangs up in the midst of the content", drop("content", after=1000), {}),
            ("silent-at-content", "stops reading in the midst of the content", hang("content"), HASTY),
        )
    ),
    *(
        waits(name, what, *steps, at="content", messages=(Message(octets=LARGE),), connections=4)
        for name, what, *steps in (
            ("closing-at-content", "says 421 in the midst of the content", reply("content", "421 4.3.2 bye")),
            (
                "answers-at-content",
                "says 250 in the midst of the content, and means to refuse it (554)",
                reply("content", "250 2.0.0 ok"),
                reply("final", "554 5.6.0 no"),
            ),
        )
    ),
)

_OUT_OF_STEP: Final = (
    waits("garbage-at-mail", "says no reply to MAIL", raw("mail", b"\0\xff\x17\r\n"), at="mail", connections=4),
    waits("endless-at-rcpt", "never ends its reply to RCPT", endless("rcpt"), at="rcpt", connections=4),
    waits("accepts-at-data", "says 250 to DATA", reply("data", "250 2.0.0 ok"), at="data", connections=4),
    waits(
        "two-replies-to-rcpt",
        "says 250 and 550 to RCPT",
        raw("rcpt", b"250 2.1.5 ok\r\n550 5.1.1 no\r\n"),
        at="data",
        connections=4,
    ),
    waits(
        "two-replies-to-data",
        "says 354 and 250 to DATA",
        raw("data", b"354 go on\r\n250 2.0.0 ok\r\n"),
        at="data",
        connections=4,
    ),
)

WITHIN: Final = (*_each_command(), *_RECIPIENTS, *_CONTENT, *_OUT_OF_STEP)
