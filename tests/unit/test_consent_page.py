"""docs/consent.md tells the truth: its programs run, one after the other, and its facts are the code's."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from mailqueue import conf, counts
from mailqueue.bulk.web import BODY_LIMIT
from mailqueue.conf.consent import HARD_REFUSALS, Signature
from mailqueue.ledger import suppressions

PAGE = (Path(__file__).parents[2] / "docs" / "consent.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_its_programs_run_in_their_order(capsys):
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    names: dict[str, object] = {"__name__": "__main__"}
    for code in PROGRAMS:
        exec(compile(code, "docs/consent.md", "exec"), names)
    assert len(PROGRAMS) >= 6
    assert counts() == {"default": {"queued": 1}}
    assert capsys.readouterr().out == ""


def test_its_django_view_answers(django_settings, monkeypatch):
    monkeypatch.setattr(django_settings, "DEFAULT_CHARSET", "utf-8", raising=False)
    from django.test import RequestFactory  # noqa: PLC0415

    names: dict[str, object] = {}
    conf.configure(MAILQUEUE_BROKER_URL="memory://", MAILQUEUE_LEDGER_URL=f"memory://{uuid.uuid4().hex}")
    exec(PROGRAMS[0], names)
    token = names["token"]
    (view,) = [code for code in PROGRAMS if "def unsubscribe(request" in code]
    exec(view, names)
    request = RequestFactory().post(f"/unsubscribe/{token}", {"List-Unsubscribe": "One-Click"})
    assert names["unsubscribe"](request, token).status_code == 200
    assert names["unsubscribe"](RequestFactory().get("/unsubscribe/x"), "x").status_code == 404


@pytest.mark.parametrize("code", HARD_REFUSALS)
def test_every_hard_refusal_is_told(code):
    (row,) = re.findall(r"^\| `hard` .*$", PAGE, re.MULTILINE)
    assert re.search(rf"\b{re.escape(code)}\b", row)


def test_every_option_of_a_signature_is_told():
    section = PAGE.partition("## Signatures")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(Signature._NAMES)


def test_its_numbers_are_the_codes():
    assert BODY_LIMIT == 16 * 1024
    assert suppressions.REASON_OCTETS == 64
