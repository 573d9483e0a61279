"""Kill a worker again and again while it drains a queue, and count: what was lost, what was sent twice.

    python benchmarks/kills.py [--messages 2000] [--kills 6]

Needs ``mailqueue[embedded]``. All settings are the defaults; the worker has two processes. It is killed as a whole, with
``kill -9``, whenever another share of the messages has arrived, and started again. Takes two minutes, most of it the
wait for leases (30 s) that kills have left.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import TYPE_CHECKING

from mailqueue import EmailMessage, conf, enqueue_many, status
from mailqueue.testing import EmbeddedValkey, Inbox, Worker, settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 600.0  # s, from the last kill until nothing is on its way


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print one line; 1 if a message is lost, or was sent again and is not counted as unknown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=6)
    given = parser.parse_args(arguments)
    began = time.monotonic()
    with EmbeddedValkey() as store, Inbox() as inbox:
        conf.configure(MAILQUEUE_BROKER_URL=store.url)
        receipts = enqueue_many(_mails(given.messages))
        relay = {"MAILQUEUE_BROKER_URL": store.url, "EMAIL_HOST": inbox.host, "EMAIL_PORT": str(inbox.port)}
        _drain(Worker(relay, concurrency=2), inbox, given.messages // (given.kills + 1), given.kills)
        arrived = Counter(arrival.recipients[0] for arrival in inbox.arrivals)
        doubts = {_address(number): status(receipt.id).unknowns for number, receipt in enumerate(receipts)}
    lost = sum(address not in arrived for address in doubts)
    twice = sum(count - 1 for count in arrived.values())
    uncounted = sum(arrived[address] - 1 > doubt for address, doubt in doubts.items() if address in arrived)
    print(
        f"{given.messages} messages, {given.kills} kills: lost {lost}, sent twice {twice}, "
        f"counted as unknown {sum(doubts.values())}, sent twice and not counted {uncounted}; "
        f"{time.monotonic() - began:.0f} s"
    )
    return int(bool(lost or uncounted))


def _mails(count: int) -> Iterator[EmailMessage]:
    return (EmailMessage(f"Message {n}", "Hello!", "f@example.com", [_address(n)]) for n in range(count))


def _address(number: int) -> str:
    return f"user{number}@example.com"


def _drain(worker: Worker, inbox: Inbox, share: int, kills: int) -> None:
    with worker:
        for _ in range(kills):
            inbox.wait_for(inbox.count + share, timeout=PATIENCE)
            worker.kill()
            worker.start()
        settled(timeout=PATIENCE)


if __name__ == "__main__":
    raise SystemExit(main())
