"""A bare 550 to RCPT, as a real session tells it, puts an address of bulk mail on the suppression list."""

from __future__ import annotations

import pytest

from mailqueue import EmailMessage, enqueue
from mailqueue.testing import inbox as inboxes
from mailqueue.testing.memory import MemoryQueue


@pytest.mark.parametrize(
    ("reply", "learned"),
    [("550 no such user", ["gone@example.com"]), ("550 blocked by our policy", []), ("554 5.7.1 no", [])],
)
def test_what_is_said_to_rcpt_is_learned(monkeypatch, reply, learned):
    monkeypatch.setattr(inboxes, "_REFUSED", reply)
    with inboxes.Inbox() as inbox, MemoryQueue(inbox) as queue:
        inbox.refuse("gone@example.com")
        for recipient in ("ann@example.com", "gone@example.com", "bob@example.com"):
            enqueue(EmailMessage("s", "b", "from@example.org", [recipient]), lane="bulk")
        enqueue(EmailMessage("s", "b", "from@example.org", ["gone@example.com"]), lane="urgent")
        queue.run()
        assert inbox.count == 2
        assert [entry.key for entry in queue.ledger.suppressions.page()[0]] == learned
