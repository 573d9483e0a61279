"""What can at best be reached: the wire without a queue, and the queue without a message in it.

    python -m benchmarks.floors smtplib --count 1000

``smtplib``: a loop over smtplib's ``sendmail()`` with ready-made bytes, one connection. ``pipelined``: the same bytes, a window
of them in a write where the relay takes BDAT, else what RFC 2920 lets one write together. ``lpush``: prints what a raw
LPUSH of 2.5 KB costs (redis-py), one by one as ``--shape one``, pipelined by 100 as ``mass``.
"""

from __future__ import annotations

import argparse
import json
import os
import smtplib
import socket
import sys
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING

import redis

from benchmarks.letters import SENDER, letters
from benchmarks.peers.produce import port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WINDOW = 128  # messages in a write
_TASK = 2500  # octets: a task with a message of 2 KB in it, not compressed
_HOST = "127.0.0.1"
_FROM = b"orders@shop.example"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floor", choices=("smtplib", "pipelined", "lpush"))
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--shape", choices=("one", "mass"), default="one")
    given = parser.parse_args(arguments)
    if given.floor == "lpush":
        sys.stdout.write(json.dumps(_lpush(given.count, together=given.shape == "mass")) + "\n")
    elif given.floor == "smtplib":
        _smtplib(given.count)
    else:
        _pipelined(given.count)


def _ready_made(count: int) -> Iterator[tuple[str, bytes]]:
    """Recipient and bytes of each message; only headers differ, so that making them takes no time."""
    mail = EmailMessage(policy=SMTP)
    first = next(letters(1))
    mail["From"], mail["Date"] = SENDER, formatdate()
    mail.set_content(first.text)
    mail.add_alternative(first.html, subtype="html")
    rest = mail.as_bytes()
    domain = "shop.example"
    stem = make_msgid(domain=domain)[1:].partition("@")[0]
    for number in range(count):
        recipient = f"user{number}@example.com"
        own = f"Subject: Your order {number}\r\nTo: {recipient}\r\nMessage-ID: <{stem}.{number}@{domain}>\r\n"
        yield recipient, own.encode() + rest


def _smtplib(count: int) -> None:
    ready = list(_ready_made(count))
    with smtplib.SMTP(_HOST, port()) as relay:
        for recipient, content in ready:
            relay.sendmail(_FROM.decode(), [recipient], content)


def _pipelined(count: int) -> None:
    ready = [(recipient.encode(), content) for recipient, content in _ready_made(count)]
    with socket.create_connection((_HOST, port())) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.recv(4096)
        link.sendall(b"EHLO bench\r\n")
        if b"CHUNKING" in link.recv(4096):
            _in_chunks(link, ready)
        else:
            _in_groups(link, ready)
        link.sendall(b"QUIT\r\n")
        link.recv(4096)


def _in_chunks(link: socket.socket, ready: Sequence[tuple[bytes, bytes]]) -> None:
    for start in range(0, len(ready), _WINDOW):
        window = ready[start : start + _WINDOW]
        link.sendall(
            b"".join(
                b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nBDAT %d LAST\r\n%b" % (_FROM, recipient, len(content), content)
                for recipient, content in window
            )
        )
        _replies(link, 3 * len(window))


def _in_groups(link: socket.socket, ready: Sequence[tuple[bytes, bytes]]) -> None:
    # DATA ends a group (RFC 2920 section 3.1); the end of the data may have the next group behind it.
    ending, due = b"", 3
    for recipient, content in ready:
        link.sendall(b"%bMAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (ending, _FROM, recipient))
        _replies(link, due)
        ending, due = content + b".\r\n", 4  # no line of ours begins with a dot
    link.sendall(ending)
    _replies(link, 1)


def _replies(link: socket.socket, count: int) -> None:
    while count > 0:
        count -= link.recv(65536).count(b"\n")


def _lpush(count: int, *, together: bool) -> dict[str, float]:
    client = redis.Redis.from_url(os.environ["BENCH_STORE"])
    task = b"x" * _TASK
    client.ping()
    times = []
    for _ in range(count // 100 if together else count):
        began = time.perf_counter()
        if together:
            pipe = client.pipeline(transaction=False)
            for _ in range(100):
                pipe.lpush("floor", task)
            pipe.execute()
        else:
            client.lpush("floor", task)
        times.append(time.perf_counter() - began)
    timed = len(times) * (100 if together else 1)
    times.sort()
    spread = {} if together else {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
    return {"timed": timed, "seconds": sum(times), **spread}


if __name__ == "__main__":
    main()
