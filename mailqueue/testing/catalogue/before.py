"""Relays that misbehave before they are given a message: connection, greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

from typing import Any, Final

from mailqueue.testing.catalogue.alike import HASTY, SENT, case, waits
from mailqueue.testing.script import drip, drop, endless, hang, raw, reply

__all__ = ["BEFORE"]

_TLS: Final[dict[str, Any]] = {"options": {"tls": "valid"}, "settings": {"EMAIL_USE_TLS": True}}
_LOGIN: Final[dict[str, Any]] = {
    "options": {"users": {"app": "secret"}},
    "settings": {"EMAIL_HOST_USER": "app", "EMAIL_HOST_PASSWORD": "secret"},
}


def _hasty(more: dict[str, Any]) -> dict[str, Any]:
    return more | {"settings": more.get("settings", {}) | HASTY}


_CONNECTION: Final = (
    waits("refuses-connections", "refuses connections", drop("connect"), at="connect", connections=0),
    waits("unreachable", "answers no connection", hang("connect"), at="connect", connections=0, settings=HASTY),
)

_GREETING: Final = (
    waits("silent-at-greeting", "says nothing", hang("greeting"), at="greeting", settings=HASTY),
    waits("drops-at-greeting", "hangs up at once", drop("greeting"), at="greeting", connections=4),
    waits("closing-at-greeting", "greets with 421", reply("greeting", "421 4.3.2 bye"), at="greeting", connections=4),
    waits("later-at-greeting", "greets with 450", reply("greeting", "450 4.3.2 busy"), at="greeting", connections=4),
    waits("refused-at-greeting", "greets with 554", reply("greeting", "554 5.7.1 go away"), at="greeting"),
    waits("no-relay", "speaks another protocol", raw("greeting", b"HTTP/1.1 400 Bad Request\r\n"), at="greeting"),
    waits(
        "drips",
        "sends its greeting an octet at a time",
        drip("greeting", "220 " + "x" * 100, interval=0.02),
        at="greeting",
        settings=HASTY,
    ),
    waits(
        "greets-twice",
        "greets twice",
        raw("greeting", b"220 hello\r\n220 hello again\r\n"),
        at="ehlo",
        connections=4,
    ),
)

_EHLO: Final = (
    waits("silent-at-ehlo", "falls silent at EHLO", hang("ehlo"), at="ehlo", settings=HASTY),
    waits("drops-at-ehlo", "hangs up at EHLO", drop("ehlo"), at="ehlo", connections=4),
    waits("closing-at-ehlo", "says 421 to EHLO", reply("ehlo", "421 4.3.2 bye"), at="ehlo", connections=4),
    waits("endless-at-ehlo", "never ends its reply to EHLO", endless("ehlo", "250-X-MORE"), at="ehlo", connections=4),
    case("later-at-ehlo", "says 451 to EHLO, takes HELO", reply("ehlo", "451 4.3.0 later"), first=(SENT,)),
    case("knows-helo-only", "says 502 to EHLO, takes HELO", reply("ehlo", "502 5.5.1 what?"), first=(SENT,)),
    waits(
        "refused-at-helo",
        "says 550 to EHLO and HELO",
        reply("ehlo", "550 5.7.1 no"),
        reply("helo", "550 5.7.1 no"),
        at="ehlo",
    ),
)

_STARTTLS: Final = (
    waits("silent-at-starttls", "falls silent at STARTTLS", hang("starttls"), at="starttls", **_hasty(_TLS)),
    waits("drops-at-starttls", "hangs up at STARTTLS", drop("starttls"), at="starttls", connections=4, **_TLS),
    *(
        waits(
            f"{kind}-at-starttls",
            f"says {code} to STARTTLS",
            reply("starttls", f"{code} no"),
            at="starttls",
            connections=connections,
            **_TLS,
        )
        for kind, code, connections in (("closing", 421, 4), ("later", 454, 4), ("refused", 554, 1))
    ),
    waits(
        "strips-tls",
        "offers no STARTTLS where it is required",
        at="starttls",
        recovered={"tls": "valid"},
        settings={"EMAIL_USE_TLS": True},
    ),
    waits(
        "speaks-no-tls",
        "speaks plain SMTP where TLS is expected from the first octet",
        at="starttls",
        recovered={"tls": "valid", "implicit_tls": True},
        settings={"EMAIL_USE_SSL": True},
    ),
    *(
        waits(
            f"certificate-{certificate}",
            f"has a certificate that {what}",
            at="starttls",
            options={"tls": certificate},
            recovered={"tls": "valid"},
            settings={"EMAIL_USE_TLS": True},
        )
        for certificate, what in (
            ("expired", "has expired"),
            ("misnamed", "is another host's"),
            ("strange", "no trusted CA has issued"),
        )
    ),
    case(
        "speaks-before-tls",
        "adds a reply in the clear to the one to STARTTLS",
        raw("starttls", b"220 2.0.0 go ahead\r\n250 2.0.0 all yours\r\n"),
        first=(SENT,),
        **_TLS,
    ),
)

_AUTH: Final = (
    waits("silent-at-auth", "falls silent at AUTH", hang("auth"), at="auth", **_hasty(_LOGIN)),
    waits("drops-at-auth", "hangs up at AUTH", drop("auth"), at="auth", connections=4, **_LOGIN),
    *(
        waits(
            f"{kind}-at-auth",
            f"says {code} to AUTH",
            reply("auth", f"{code} {text}"),
            at="auth",
            connections=connections,
            **_LOGIN,
        )
        for kind, code, text, connections in (
            ("closing", 421, "4.3.2 bye", 4),
            ("later", 454, "4.7.0 later", 4),
            ("refused", 535, "5.7.8 ann@example.com: bad credentials", 1),
        )
    ),
    waits(
        "offers-no-auth",
        "offers no AUTH where there are credentials",
        at="auth",
        recovered=_LOGIN["options"],
        settings=_LOGIN["settings"],
    ),
    waits(
        "wants-login",
        "wants a login (530 to MAIL) where there are no credentials",
        at="mail",
        options={"login_required": True},
        recovered={"login_required": False},
    ),
)

BEFORE: Final = (*_CONNECTION, *_GREETING, *_EHLO, *_STARTTLS, *_AUTH)
