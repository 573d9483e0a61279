"""docs/mail-api.md tells the truth: its examples are one program, which runs, and its tables name what there is."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path

import pytest

import mailqueue
from mailqueue import errors, mail
from mailqueue.mail.mailers import import_string

PAGE = Path(mailqueue.__file__).parents[1] / "docs" / "mail-api.md"
TEXT = PAGE.read_text()


def test_the_examples_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
    assert len(blocks) > 10
    for block in blocks:
        line = TEXT[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), namespace)  # errors then name the line of the page


def test_every_public_name_is_on_the_page():
    told = set(re.findall(r"\w+", TEXT))
    # What Django itself does not document.
    apart = (
        "CachedDnsName DNS_NAME DEFAULT_ATTACHMENT_MIME_TYPE DEFAULT_MAILER_ALIAS forbid_multi_line_headers make_msgid"
    )
    assert set(mail.__all__) - set(apart.split()) - told == set()


@pytest.mark.parametrize("name", ["send_mail", "send_mass_mail", "mail_admins"])
def test_signatures_are_those_of_the_code(name):
    (written,) = re.findall(rf"^\| `{name}(\(.*?\))`", TEXT, re.MULTILINE)
    signature = inspect.signature(getattr(mail, name))
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert written == str(inspect.Signature(plain))


def test_the_backends_are_there():
    table = TEXT[TEXT.index("| module |") :]
    names = re.findall(r"^\| `(\w+)` \|", table[: table.index("\n\n")], re.MULTILINE)
    assert sorted(names) == ["console", "dummy", "filebased", "locmem", "queue", "smtp"]
    for name in names:
        assert import_string(f"mailqueue.mail.backends.{name}.EmailBackend")


def test_the_exceptions_are_there():
    for name in re.findall(r"`(\w+(?:Error|Unavailable|Exist|Configured|Mailer|Message|TooLarge|Recipients))`", TEXT):
        assert any(hasattr(module, name) for module in (errors, builtins, mail)), name
