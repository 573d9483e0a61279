"""django-celery-email: messages travel in Celery tasks, BENCH_CHUNK of them in each.

Also its worker's application: ``celery -A benchmarks.peers.django_celery_email worker``.
"""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.peers.produce import api, produce
from benchmarks.peers.project import django

django(
    EMAIL_BACKEND="djcelery_email.backends.CeleryEmailBackend",
    CELERY_EMAIL_CHUNK_SIZE=int(os.environ["BENCH_CHUNK"]),
    INSTALLED_APPS=["djcelery_email"],
)

from djcelery_email import tasks  # noqa: E402 - reads Django's settings when it is imported

app = Celery("bench", broker=os.environ["BENCH_STORE"], set_as_current=True)
app.conf.broker_connection_retry_on_startup = True
app.set_default()
app.finalize()
assert tasks.send_emails.name in app.tasks

if __name__ == "__main__":
    from django.core import mail

    produce(api(mail))
