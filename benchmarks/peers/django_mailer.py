"""django-mailer: messages wait in the database; ``send_mail`` sends them one by one.

Enqueues as the other programs do; with ``drain`` it runs that command, once.
"""

from __future__ import annotations

import os
import sys

from benchmarks.peers.produce import api, produce
from benchmarks.peers.project import django

django(
    EMAIL_BACKEND="mailer.backend.DbBackend",
    MAILER_LOCK_PATH=os.environ["BENCH_DIRECTORY"] + "/send_mail",
    INSTALLED_APPS=["mailer"],
)

from django.core import mail  # noqa: E402 - after the settings
from django.core.management import call_command  # noqa: E402 - as above

if __name__ == "__main__":
    if sys.argv[1:] == ["drain"]:
        call_command("send_mail", cron=0)
    else:
        call_command("migrate", verbosity=0)
        produce(api(mail))
