"""Relays that offer PIPELINING, with CHUNKING or without, and misbehave while several messages are on their way."""

from __future__ import annotations

from typing import Any, Final

from mailqueue.testing.case import Account, Case, Message
from mailqueue.testing.catalogue.alike import ANN, BOB, CID, EVERYONE, HASTY, SENT, case, failed, lost, resent
from mailqueue.testing.script import drop, hang, raw, reply

__all__ = ["WINDOW"]

_PIPELINING: Final = ("SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING")
_CHUNKING: Final = (*_PIPELINING, "CHUNKING")


def _chunks(name: str, what: str, *steps: Any, options: dict[str, Any] | None = None, **more: Any) -> Case:
    return case(name, what, *steps, options={"offers": _CHUNKING} | (options or {}), **more)


def _pipe(name: str, what: str, *steps: Any, options: dict[str, Any] | None = None, **more: Any) -> Case:
    return case(name, what, *steps, options={"offers": _PIPELINING} | (options or {}), **more)


# The first message on a connection goes alone, the next two together.
WINDOW: Final = (
    _pipe(
        "loses-what-is-pipelined",
        "offers PIPELINING, and loses what comes together with a command",
        first=[SENT] * 5,
        connections=2,
        settings=HASTY,
        options={"loses": "ALL"},
    ),
    _chunks(
        "loses-what-follows-rset",
        "offers CHUNKING, and loses what comes behind RSET",
        first=[SENT] * 5,
        connections=2,
        settings=HASTY,
        options={"loses": "RSET"},
    ),
    _chunks(
        "loses-chunks",
        "offers CHUNKING, and waits for ever for a chunk that it has lost",
        first=[SENT, lost(0), lost(0), SENT, SENT],
        then=[SENT, resent(1), resent(1), SENT, SENT],
        connections=2,
        settings=HASTY,
        options={"loses": "BDAT"},
    ),
    *(
        kind(
            f"refuses-within-a-{word}",
            f"refuses a recipient, a sender and a content among messages that come {how}",
            reply("rcpt", "550 5.1.1 unknown", to=BOB),
            reply("mail", "550 5.1.8 no", nth=4),
            reply("final", "554 5.6.0 no", to=CID),
            messages=(Message(), Message((BOB,)), Message((ANN, BOB)), Message(), Message((CID,)), Message()),
            first=(
                SENT,
                failed("550"),
                Account("partial", 1, {ANN: "accepted 250", BOB: "refused 550"}),
                failed("550"),
                failed("554"),
                SENT,
            ),
        )
        for kind, word, how in ((_chunks, "window", "by BDAT"), (_pipe, "pipeline", "in a pipeline"))
    ),
    _chunks(
        "accepts-chunks-for-nobody",
        "refuses a recipient, and accepts the content all the same",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        reply("data", "250 2.0.0 fine", nth=2),
        messages=(Message(), Message((BOB,)), Message()),
        first=(SENT, failed("550"), SENT),
    ),
    _pipe(
        "wants-content-for-nobody",
        "refuses a recipient, and says 354 to DATA all the same",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        reply("data", "354 go ahead", nth=2),
        messages=(Message(), Message((BOB,)), Message()),
        first=(SENT, failed("550"), SENT),
    ),
    _chunks(
        "too-many-recipients-in-chunks",
        "takes two recipients a transaction (452 4.5.3), of five, by BDAT",
        messages=(Message(EVERYONE),) * 3,
        first=(Account("sent", 1, dict.fromkeys(EVERYONE, "accepted 250")),) * 3,
        options={"recipients_per_message": 2},
    ),
    *(
        kind(
            f"closing-within-a-{word}",
            f"says 421 to MAIL while further messages are on their way {how}",
            reply("mail", "421 4.3.2 bye", nth=4),
            first=[SENT] * 8,
            connections=2,
        )
        for kind, word, how in ((_chunks, "window", "by BDAT"), (_pipe, "pipeline", "in a pipeline"))
    ),
    _pipe(
        "closing-behind-a-refusal",
        "refuses a recipient, then DATA for want of one (554), and says 421 unasked right behind that",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        raw("data", b"554 5.5.1 no valid recipients\r\n421 4.7.0 too many errors\r\n", close=True, nth=2),
        messages=(Message(), Message((BOB,)), Message(), Message()),
        first=(SENT, failed("550"), SENT, SENT),
        connections=2,
    ),
    _chunks(
        "limits-messages-by-chunks",
        "takes three messages a connection (421), of eight, by BDAT",
        first=[SENT] * 8,
        connections=3,
        options={"messages_per_connection": 3},
    ),
    _chunks(
        "goes-on-after-its-limit",
        "takes three messages a connection, of eight, by BDAT, and does not hang up after the 421",
        first=[SENT] * 8,
        connections=3,
        options={"messages_per_connection": 3, "lingers": True},
    ),
    _chunks(
        "closing-for-one-goes-on",
        "says 421 to a recipient among messages that come by BDAT, and goes on",
        reply("rcpt", f"421 4.7.0 {BOB}: no", to=BOB, close=False),
        messages=(Message(), Message((ANN, BOB)), Message()),
        first=(SENT, Account("deferred", 1, {ANN: "accepted 250", BOB: "deferred 421"}), SENT),
        then=(SENT, Account("sent", 2, {ANN: "accepted 250", BOB: "accepted 250"}), SENT),
    ),
    _chunks(
        "hangs-up-after-each-message",
        "takes one message a connection, and hangs up without a word when the next ones come by BDAT",
        first=[SENT, lost(0), lost(0), SENT, SENT, SENT],
        then=[SENT, resent(1), resent(1), SENT, SENT, SENT],
        connections=4,
        options={"hangs_up_after": 1},
        recovered={"hangs_up_after": None},
    ),
    _chunks(
        "takes-a-chunk-for-commands",
        "refuses a recipient, and does not read the chunk that comes all the same as one",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        messages=(Message(), Message((BOB,)), Message(), Message()),
        first=(SENT, lost(0), lost(0), SENT),
        then=(SENT, resent(1), resent(1), SENT),
        connections=2,
        options={"discards_chunks": False},
    ),
    _chunks(
        "refuses-rset-and-closes",
        "refuses a recipient, then RSET (554), and hangs up while further messages are on their way by BDAT",
        reply("rcpt", "550 5.1.1 unknown", to=BOB),
        reply("rset", "554 5.7.0 too many nonmail commands", nth=2, close=True),
        messages=(Message(), Message((BOB,)), Message(), Message()),
        first=(SENT, failed("550"), SENT, SENT),
        connections=2,
    ),
    _chunks(
        "closes-behind-each-second",
        "takes two messages a connection by BDAT, and closes right behind the reply to the second",
        first=[SENT, SENT, lost(0), SENT, SENT],
        then=[SENT, SENT, resent(1), SENT, SENT],
        connections=2,
        options={"closes_after": 2},
        recovered={"closes_after": None},
    ),
    _chunks(
        "accepts-a-chunk-and-drops",
        "accepts the second of three messages that come by BDAT, and hangs up before the reply",
        drop("final", keep=True, nth=2),
        first=[SENT, lost(1), lost(0)],
        then=[SENT, resent(2), resent(1)],
    ),
    _chunks(
        "two-replies-within-a-window",
        "says 250 twice to RCPT, and refuses the content (554)",
        raw("rcpt", b"250 2.1.5 ok\r\n250 2.1.5 ok\r\n", nth=2),
        reply("final", "554 5.6.0 no", nth=2),
        reply("final", "554 5.6.0 no", nth=3),
        first=[SENT, lost(0), lost(0)],
        then=[SENT, resent(1), resent(1)],
    ),
    _chunks(
        "silent-within-a-window",
        "falls silent at MAIL while further messages are on their way by BDAT",
        hang("mail", nth=2),
        first=[SENT, lost(0), lost(0), SENT],
        then=[SENT, resent(1), resent(1), SENT],
        connections=2,
        settings=HASTY,
    ),
)
