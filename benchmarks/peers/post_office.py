"""django-post_office: messages wait in the database; ``send_queued_mail`` sends them in BENCH_THREADS threads.

Enqueues as the other programs do; with ``drain`` it runs that command, once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.letters import SENDER
from benchmarks.peers.produce import api, produce
from benchmarks.peers.project import django

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.letters import Letter

django(
    EMAIL_BACKEND="post_office.EmailBackend",
    POST_OFFICE={"THREADS_PER_PROCESS": int(os.environ["BENCH_THREADS"])},
    INSTALLED_APPS=["django.contrib.contenttypes", "post_office"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)

from django.core import mail  # noqa: E402 - after the settings
from django.core.management import call_command  # noqa: E402 - as above
from post_office.mail import send_many  # noqa: E402 - as above


class _PostOffice:
    """Django's mail API, and for many messages post_office's own call, which inserts them together."""

    def __init__(self) -> None:
        self._api = api(mail)

    def one(self, item: Letter) -> Any:
        return self._api.one(item)

    def mass(self, items: Iterable[Letter]) -> Any:
        return send_many(
            {"sender": SENDER, "recipients": item.recipient, "subject": item.subject, "message": item.plain}
            for item in items
        )

    def attached(self, items: Iterable[Letter], name: str, content: bytes) -> Any:
        return self._api.attached(items, name, content)


if __name__ == "__main__":
    if sys.argv[1:] == ["drain"]:
        call_command("send_queued_mail", processes=1, lockfile=os.environ["BENCH_DIRECTORY"] + "/lock")
    else:
        call_command("migrate", verbosity=0)
        produce(_PostOffice())
