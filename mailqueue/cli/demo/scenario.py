"""What the demo sends, and what must become of it.

Each case sends through the public API, exactly as an application would; given a connection, it sends the very same
through that, here and now: the reference that arrived mail is compared with.
"""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from email.mime.image import MIMEImage
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mailqueue.cli.demo import documents
from mailqueue.ledger.states import State
from mailqueue.mail import EmailMessage, EmailMultiAlternatives, send_mail, send_mass_mail

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CASES", "GREYLISTED", "MASS", "REFUSED", "Case", "is_mass_mail"]

REFUSED: Final = "nobody@example.com"  # the inbox refuses it for good
GREYLISTED: Final = "careful@example.net"  # the inbox refuses it at first
MASS: Final = 500
_SINGLES: Final = 200
_SENDER: Final = "Demo <demo@mailqueue.example>"


@dataclass(frozen=True)
class Case:
    """One thing to send. ``send(connection)`` returns the number of messages sent, as the API itself does."""

    name: str
    send: Callable[[Any], int]
    count: int = 1
    state: State = State.SENT
    attempts: int = 1
    timed: bool = False  # whether it is one of many like it, whose calls are timed


def is_mass_mail(recipients: tuple[str, ...]) -> bool:
    """Whether an arrival belongs to the mass mail."""
    return recipients[0].startswith("member-")


def _text(connection: Any) -> int:
    return int(
        send_mail(
            "Your order has shipped",
            "Hello Ann,\n\nyour order 1042 is on its way.\n.\nThat dot stood alone on its line.\n",
            _SENDER,
            ["Ann Example <ann@example.com>"],
            connection=connection,
        )
    )


def _inline_image(connection: Any) -> int:
    message = EmailMultiAlternatives(
        "Welcome, with a picture", "Welcome!\n", _SENDER, ["bob@example.com"], connection=connection
    )
    message.attach_alternative('<h1>Welcome!</h1><img src="cid:gradient@mailqueue.example" alt="">\n', "text/html")
    image = MIMEImage(documents.png(), "png")
    image.add_header("Content-ID", "<gradient@mailqueue.example>")
    image.add_header("Content-Disposition", "inline", filename="gradient.png")
    message.attach(image)
    return int(message.send())


def _attachments(connection: Any) -> int:
    message = EmailMessage(
        "Invoice and photo", "Both are attached.\n", _SENDER, ["carol@example.com"], connection=connection
    )
    with tempfile.TemporaryDirectory(prefix="mailqueue-demo-") as directory:
        invoice = Path(directory, "invoice.pdf")
        invoice.write_bytes(documents.pdf("Invoice 1042"))
        message.attach_file(invoice)
    message.attach("photo.png", documents.png(320, 200), "image/png")
    return int(message.send())


def _not_ascii(connection: Any) -> int:
    message = EmailMessage(
        "Grüße aus 東京 \N{ENVELOPE}",
        "Größe, naïveté, 日本語のテキスト: eight bits, as they are.\n",
        "Łukasz Żółć <lukasz@bücher.example>",
        ["Zoë Ångström <zoe@bücher.example>", "山田 太郎 <taro@日本語.example>"],
        connection=connection,
    )
    return int(message.send())


def _copies(connection: Any) -> int:
    message = EmailMessage(
        "Minutes of the meeting",
        "No header may show the last of the three recipients.\n",
        _SENDER,
        ["dave@example.com"],
        ["archive@example.com"],
        connection=connection,
        cc=["erin@example.com"],
        reply_to=["minutes@example.com"],
        headers={"X-Meeting": "42"},
    )
    return int(message.send())


def _one_of_three_refused(connection: Any) -> int:
    message = EmailMessage(
        "Two will get this",
        "The relay refuses one of three recipients.\n",
        _SENDER,
        ["frank@example.com", REFUSED, "grace@example.com"],
        connection=connection,
    )
    return int(message.send())


def _refused(connection: Any) -> int:
    message = EmailMessage("Nobody will get this", "The relay refuses it.\n", _SENDER, [REFUSED], connection=connection)
    return int(message.send())


def _greylisted(connection: Any) -> int:
    message = EmailMessage(
        "Try again later", "Accepted at the second try.\n", _SENDER, [GREYLISTED], connection=connection
    )
    return int(message.send())


def _mass(connection: Any) -> int:
    return int(
        send_mass_mail(
            (
                (f"Newsletter no. {number}", f"Dear member {number},\n\nnews!\n", _SENDER, [_member(number)])
                for number in range(MASS)
            ),
            connection=connection,
        )
    )


def _member(number: int) -> str:
    return f"member-{number:03}@example.org"


def _single(connection: Any, number: int) -> int:
    return int(
        send_mail(
            f"Notice {number}",
            f"{'A line of an ordinary message. ' * 2}\n" * 16,
            _SENDER,
            [f"user-{number:03}@example.org"],
            connection=connection,
            html_message=f"<p>{'A line of an ordinary message. ' * 2}</p>\n" * 15,
        )
    )


CASES: Final = (
    Case("text", _text),
    Case("HTML, inline PNG", _inline_image),
    Case("PDF and PNG", _attachments),
    Case("not ASCII", _not_ascii),
    Case("cc and bcc", _copies),
    Case("1 of 3 refused", _one_of_three_refused, state=State.PARTIAL),
    Case("refused for good", _refused, state=State.FAILED),
    Case("refused at first", _greylisted, attempts=2),
    Case("send_mass_mail", _mass, count=MASS),
    *(Case("send_mail, 2 KB", functools.partial(_single, number=number), timed=True) for number in range(_SINGLES)),
)
