"""Relays that misbehave when they have a message: at the final dot, and between one message and the next."""

from __future__ import annotations

from typing import Final

from mailqueue.testing.case import Account, Message
from mailqueue.testing.catalogue.alike import (
    ANN,
    BOB,
    CID,
    HASTY,
    LARGE,
    SENT,
    SENT_LATER,
    WAITING,
    answer_lost,
    answered,
    case,
    deferred,
    failed,
    lost,
    resent,
)
from mailqueue.testing.script import drip, drop, endless, hang, raw, reply

__all__ = ["AFTER"]

_FINAL_DOT: Final = (
    answered("later-at-final", "says 451 to the final dot", reply("final", f"451 4.3.0 {ANN}: later"), code="451"),
    answered("refused-at-final", "says 554 to the final dot", reply("final", f"554 5.6.0 {ANN}: no"), code="554"),
    answered("closing-at-final", "says 421 to the final dot", reply("final", "421 4.3.2 bye"), code="421"),
    *(
        answer_lost(name, what, step, copies=copies)
        for name, what, step, copies in (
            ("drops-at-final", "hangs up at the final dot, without accepting", drop("final"), 0),
            ("accepts-and-drops", "accepts, and hangs up before the reply", drop("final", keep=True), 1),
            ("garbage-at-final", "says no reply to the final dot", raw("final", b"what?\r\n"), 0),
            ("endless-at-final", "accepts, and never ends its reply", endless("final"), 1),
            ("wants-more-at-final", "says 354 to the final dot", reply("final", "354 more"), 0),
        )
    ),
    *(
        answer_lost(name, what, step, copies=copies, trouble="final", settings=HASTY)
        for name, what, step, copies in (
            ("silent-at-final", "falls silent at the final dot, without accepting", hang("final"), 0),
            ("accepts-and-is-silent", "accepts, and says nothing", hang("final", keep=True), 1),
            (
                "accepts-and-drips",
                "accepts, and sends its reply an octet at a time",
                drip("final", "250 " + "x" * 100, interval=0.02),
                1,
            ),
        )
    ),
    case(
        "drops-each-answer",
        "accepts each of six messages, and hangs up before the reply",
        drop("final", keep=True),
        first=[lost(1)] * 2 + [WAITING] * 4,
        then=(*[resent(2)] * 2, *[SENT] * 4),
        trouble="final",
        connections=2,
    ),
    case(
        "silent-after-each",
        "accepts each of four messages, and says nothing",
        hang("final", keep=True),
        first=[lost(1)] + [WAITING] * 3,
        then=(resent(2), *[SENT] * 3),
        trouble="final",
        settings=HASTY,
    ),
    case(
        "answers-no-copy",
        "accepts each copy of a message, and hangs up before the reply",
        drop("final", keep=True),
        first=(Account("held", 3, unknowns=3, copies=3),),
        connections=3,
        rounds=3,
    ),
    case(
        "answer-lost-to-be-held",
        'accepts a message with `on_unknown="hold"`, and hangs up before the reply',
        drop("final", keep=True),
        messages=(Message(on_unknown="hold"),),
        first=(Account("unknown", 1, unknowns=1, copies=1),),
    ),
    case(
        "second-answer-lost",
        "takes one recipient a transaction, and hangs up before the second reply",
        drop("final", nth=2, keep=True),
        messages=(Message((ANN, BOB)),),
        first=(Account("deferred", 1, {ANN: "accepted 250"}, unknowns=1, copies={BOB: 1}),),
        then=(Account("sent", 2, {ANN: "accepted 250", BOB: "accepted 250"}, unknowns=1, copies={BOB: 2}),),
        options={"recipients_per_message": 1},
    ),
)

_BETWEEN_MESSAGES: Final = (
    case(
        "limits-messages",
        "takes two messages a connection, then says 421",
        first=[SENT] * 5,
        connections=3,
        options={"messages_per_connection": 2},
    ),
    case(
        "closes-after-each",
        "hangs up after each message",
        reply("final", "250 2.0.0 ok", close=True),
        first=[SENT] * 3,
        connections=3,
    ),
    case(
        "farewell-after-each",
        "says 421 after each message, unasked",
        raw("final", b"250 2.0.0 ok\r\n421 4.4.2 bye\r\n"),
        first=[SENT] * 3,
        connections=3,
    ),
    case(
        "two-replies-to-final",
        "says 250 twice to each final dot",
        raw("final", b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n"),
        first=[SENT] * 3,
        connections=3,
    ),
    case("restarts", "hangs up in mid-session, once", drop("rcpt", nth=2), first=[SENT] * 3, connections=2),
    case(
        "silent-in-mid-session",
        "falls silent in mid-session, once",
        hang("mail", nth=2),
        first=[SENT] * 3,
        connections=2,
        settings=HASTY,
    ),
    case(
        "silent-at-rset",
        "refuses a message at DATA (554), and falls silent at RSET",
        reply("data", "554 5.6.0 no", nth=1),
        hang("rset"),
        first=(failed("554"), SENT),
        connections=2,
        settings=HASTY,
    ),
    case("silent-at-quit", "falls silent at QUIT", hang("quit"), first=(SENT,), settings=HASTY),
)

_ONE_MESSAGE: Final = tuple(
    # It is the first of three, and costs connections. The others must not wait for it.
    case(
        name,
        what,
        step,
        messages=(Message((BOB,), octets), Message(), Message((CID,))),
        first=(deferred(code), SENT, SENT),
        then=(SENT_LATER, SENT, SENT),
        connections=connections,
        settings=settings,
    )
    for name, what, step, octets, code, connections, settings in (
        (
            "closing-for-one",
            "says 421 to one recipient",
            reply("rcpt", f"421 4.7.0 {BOB}: no", to=BOB),
            100,
            "421",
            3,
            {},
        ),
        ("silent-for-one", "falls silent at one recipient", hang("rcpt", to=BOB), 100, "451", 3, HASTY),
        (
            "drops-for-one",
            "hangs up in the midst of one message",
            drop("content", after=1000, to=BOB),
            LARGE,
            "451",
            2,  # the others go before it, over the connection that it breaks then
            {},
        ),
    )
)

AFTER: Final = (*_FINAL_DOT, *_BETWEEN_MESSAGES, *_ONE_MESSAGE)
