"""The producer of a rig: enqueues mail of all kinds at a pace of its own, and keeps what it was told of each."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mailqueue import EmailMessage
from mailqueue.errors import BrokerUnavailable, LedgerUnavailable
from mailqueue.producer import Receipt, enqueue, enqueue_many

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Mail", "Writer"]

_LANES = ("default", "bulk", "urgent")
_LANE_WEIGHTS = (70, 20, 10)
_LARGE = 40_000  # octets of an attachment that becomes a part of its own in the ledger
_TRIES = 3  # of a message under a key


@dataclass(slots=True)
class Mail:
    """One message, by its number in the round, and what the producer said of it.

    ``accepted``: enqueue() returned. Else, with ``ids``, it raised and the message may be in the ledger all the same.
    """

    number: int
    recipients: tuple[str, ...]
    lane: str
    ids: list[str] = field(default_factory=list)
    accepted: bool = False
    spooled: bool = False
    not_before: float = 0.0  # its send_at
    cancelled: str = ""  # what cancel() answered; "perhaps" if it raised
    receipt: Receipt | None = field(default=None, repr=False)


class Writer:
    """Enqueues messages, about ``rate`` a second, from a thread until it is stopped; changes its mind about some."""

    def __init__(self, seed: str, rate: float) -> None:
        self.mails: list[Mail] = []
        self.refusals = 0
        self._random = random.Random(seed)
        self._rate = rate
        self._stop = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def ids_of(self, number: int) -> Sequence[str]:
        """Under which ids a message may be in the ledger."""
        return self.mails[number].ids

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with what is under way; raises what the thread could not cope with."""
        self._stop.set()
        self._thread.join(30)
        if self._trouble is not None:
            raise self._trouble

    def _run(self) -> None:
        try:
            began = time.monotonic()
            while not self._stop.is_set():
                if self._random.random() < 0.6:
                    self._write_one()
                else:
                    self._write_many(self._random.randint(2, 25))
                if self._random.random() < 0.08:
                    self._cancel(self._random.choice(self.mails[-100:]))
                ahead = len(self.mails) / self._rate - (time.monotonic() - began)
                self._stop.wait(max(0.0, ahead))
        except BaseException as trouble:  # noqa: BLE001 - told by stop()
            self._trouble = trouble

    def _write_one(self) -> None:
        options = self._options()
        [mail], [message] = self._make(1, options["lane"])
        key = f"key-{mail.number}" if self._random.random() < 0.3 else None
        if self._random.random() < 0.15:
            options["send_at"] = datetime.now(UTC) + timedelta(seconds=self._random.uniform(0.3, 6))
            mail.not_before = options["send_at"].timestamp()
        if self._random.random() < 0.1:
            options["expires_at"] = timedelta(seconds=self._random.uniform(0.2, 6))
        for _ in range(_TRIES if key else 1):  # under a key it is safe to ask again
            try:
                receipt = enqueue(message, idempotency_key=key, **options)
            except BrokerUnavailable as refusal:
                self.refusals += 1
                mail.ids += refusal.message_ids
            else:
                self._note(mail, receipt)
                return

    def _write_many(self, count: int) -> None:
        options = self._options()
        mails, messages = self._make(count, options["lane"])
        try:
            receipts = enqueue_many(messages, **options)
        except BrokerUnavailable as refusal:
            self.refusals += 1
            receipts = getattr(refusal, "receipts", [])
            for mail, message_id in zip(mails[len(receipts) :], refusal.message_ids, strict=False):
                mail.ids.append(message_id)
        for mail, receipt in zip(mails, receipts, strict=False):
            self._note(mail, receipt)

    @staticmethod
    def _note(mail: Mail, receipt: Receipt) -> None:
        mail.ids.append(receipt.id)
        mail.accepted, mail.spooled, mail.receipt = True, receipt.spooled, receipt

    def _cancel(self, mail: Mail) -> None:
        if mail.receipt is None or mail.cancelled:
            return
        try:
            mail.cancelled = str(mail.receipt.cancel())
        except LedgerUnavailable:
            mail.cancelled = "perhaps"

    def _options(self) -> dict[str, Any]:
        lane = self._random.choices(_LANES, _LANE_WEIGHTS)[0]
        return {"lane": lane, "on_unknown": self._random.choice((None, None, "hold", "resend"))}

    def _make(self, count: int, lane: str) -> tuple[Sequence[Mail], Sequence[EmailMessage]]:
        mails = [Mail(len(self.mails) + n, (), lane) for n in range(count)]
        messages = [self._message(mail) for mail in mails]
        self.mails += mails
        return mails, messages

    def _message(self, mail: Mail) -> EmailMessage:
        chance, number = self._random.random(), mail.number
        if chance < 0.70:
            recipients = [f"ann{number}@example.com"]
        elif chance < 0.90:
            recipients = [f"{name}{number}@example.com" for name in ("ann", "bob", "cid", "dan")]
            recipients = recipients[: self._random.randint(2, 4)]
        elif chance < 0.95:
            recipients = [f"later{number}@example.com", f"ann{number}@example.com"]
        else:
            recipients = [f"nobody{number}@example.com"]
            if self._random.random() < 0.7:
                recipients.append(f"ann{number}@example.com")
        mail.recipients = tuple(recipients)
        message = EmailMessage(
            f"Number {number}",
            "Hello\n" * self._random.choice((1, 20, 400)),
            "app@example.com",
            recipients,
            headers={"X-Crashproof": str(number)},
        )
        if self._random.random() < 0.03:
            message.attach("large.bin", self._random.randbytes(_LARGE), "application/octet-stream")
        return message
