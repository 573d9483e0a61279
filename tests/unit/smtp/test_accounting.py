"""What becomes of messages whose replies will not all come."""

from __future__ import annotations

import pytest

from mailqueue.outcome import Ending
from mailqueue.smtp.accounting import Accounting, Transaction
from mailqueue.smtp.session import Mail

CHECK = b"2.0.0 Flushed"
USUAL = b"2.0.0 Ok: queued as 4C2F"
STRANGE = b"2.0.0 Ok: queued as ACDC"  # no digit: nothing tells that it is an id
CLOSING = b"4.7.0 too many messages"


def begun(count):
    """Messages of one recipient whose last bytes are out, 100 octets each."""
    accounting = Accounting(CHECK, USUAL)
    for number in range(count):
        transaction = Transaction(number, Mail("a@x.org", ("b@x.org",), b"text"), {}, chunked=True)
        transaction.end = 100 * (number + 1)
        accounting.owe(transaction)
    return accounting


def hear(accounting, *replies):
    for code, text in replies:
        accounting.hear(code, text, 1000)


def endings(accounting, **how):
    return [answer.ending for _transaction, answer in accounting.end(1000, **how)]


@pytest.mark.parametrize(("said", "ending"), [(USUAL, Ending.ANSWERED), (STRANGE, Ending.UNKNOWN)])
@pytest.mark.parametrize("closed", [True, False])
def test_a_message_accepted_before_the_end_is_never_unsent(said, ending, closed):
    """421 to the RSET behind it says nothing of the message, and what is behind that was not carried out."""
    accounting = begun(2)
    hear(accounting, (250, b"ok"), (250, b"ok"), (250, said))
    if closed:
        hear(accounting, (421, CLOSING))
    assert endings(accounting, trusted=True, closed=closed) == [ending, Ending.UNSENT if closed else Ending.UNKNOWN]


def test_421_to_the_content_is_its_answer():
    accounting = begun(2)
    hear(accounting, (250, b"ok"), (250, b"ok"), (421, CLOSING))
    ended = accounting.end(1000, trusted=True, closed=True)
    assert [answer.ending for _transaction, answer in ended] == [Ending.ANSWERED, Ending.UNSENT]
    assert ended[0][1].results["b@x.org"].reply.code == 421
