"""A template file is read, and each mistake in it is told with its line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mailqueue.bulk.templatefile import load
from mailqueue.errors import TemplateError
from mailqueue.mail.write import write

MINIMAL = 'subject = "News"\ntext = "Hello {{ name }}"\n'


@pytest.fixture
def file(tmp_path):
    def write_file(text, **others):
        for name, content in others.items():
            path = tmp_path / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path = tmp_path / "news.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


@pytest.fixture
def mistakes(file):
    def found(text, **others):
        path = file(text, **others)
        with pytest.raises(TemplateError) as caught:
            load(path)
        errors = caught.value.errors or (caught.value,)
        return [str(error).replace(f"{path.parent}/", "") for error in errors]

    return found


def test_the_least_there_is(file):
    template, options, blobs, _ = load(file(MINIMAL))
    assert (template.subject, template.text) == ("News", "Hello {{ name }}")
    assert (options, blobs) == ({}, {})


def test_all_of_it(file):
    template, options, blobs, origins = load(
        file(
            """
            subject = "News of {{ month }}"
            from = "Example <news@example.com>"
            to = "{{ name }} <{{ email }}>"
            reply_to = ["desk@example.com", "{{ agent }}"]
            text_file = "news.txt"
            html_file = "news.html"
            attachments = ["terms.pdf", { file = "logo.png", cid = "logo" }]
            [headers]
            X-Issue = "{{ month }}"
            [campaign]
            id = "news-42"
            list = "news"
            using = { ses = 3, own = 1 }
            lane = "bulk"
            start_at = 2027-01-31T09:00:00
            expires_at = "8h"
            quiet = "22:00-07:00"
            time_zone = "Europe/Paris"
            on_error = "skip"
            seeds = ["me@example.com", { email = "you@example.com", name = "You" }]
            unsubscribe = true
            feedback_id = "example"
            on_unknown = "resend"
            on_finish = "shop.mail.finished"
            """,
            news__txt="Hello\n",
            news__html="\ufeff<img src='cid:logo'>",
            terms__pdf=b"%PDF" * 10_000,
            logo__png=b"\x89PNG",
        )
    )
    assert template.from_email == "Example <news@example.com>"
    assert template.reply_to == ("desk@example.com", "{{ agent }}")
    assert (template.text, template.html) == ("Hello\n", "<img src='cid:logo'>")
    assert template.headers == {"X-Issue": "{{ month }}"}
    assert len(blobs) == 1
    assert options == {
        "campaign": "news-42",
        "list": "news",
        "using": {"ses": 3.0, "own": 1.0},
        "lane": "bulk",
        "start_at": datetime(2027, 1, 31, 9, tzinfo=ZoneInfo("Europe/Paris")),
        "expires_at": timedelta(hours=8),
        "quiet": "22:00-07:00 Europe/Paris",
        "on_error": "skip",
        "seeds": ["me@example.com", ("you@example.com", {"name": "You"})],
        "unsubscribe": True,
        "feedback_id": "example",
        "on_unknown": "resend",
        "on_finish": "shop.mail.finished",
    }
    message = template.compile(blobs, origins=origins).render(
        "jane@example.org", {"month": "May", "name": "Jane", "agent": "a@example.com"}
    )
    octets = write(message)
    assert b"Content-ID: <logo>" in octets
    assert b'Content-Disposition: attachment; filename="terms.pdf"' in octets


def test_pictures_alone_are_related_to_the_html(file):
    text = 'subject = "x"\nhtml = "<img src=cid:a.png>"\nattachments = [{ file = "a.png", inline = true }]\n'
    template, _, blobs, _ = load(file(text, a__png=b"x"))
    assert b"multipart/related" in write(template.compile(blobs).render("a@b.c", {}))


def test_no_toml(mistakes):
    assert mistakes('subject = "x"\ntext = oops\n') == ["news.toml, line 2: it is no TOML: Invalid value"]
    assert mistakes('subject = "x')[0].startswith("news.toml, line 1: it is no TOML")
    for hostile in (f"x = {'[' * 3000}", f"x = {'9' * 5000}"):
        assert "it is no TOML" in mistakes(f'subject = "x"\n{hostile}\n')[0]
    assert mistakes(b'subject = "x"\ntext = "\xff"') == ["news.toml, line 2: it is no UTF-8: save the file as UTF-8"]


def test_all_mistakes_at_once_each_with_its_line(mistakes):
    text = '''# A newsletter
subjekt = "News"
from = 5
reply_to = ["a@example.com",
            true]
html_file = "none.html"
attachments = [{ file = "none.pdf", nmae = "x" }, 5]
text = """
Dear {{ name }},
{% if %}
"""
[headers]
X-One = 1
Bcc = "all@example.com"
[campaign]
lnae = "bulk"
lane = "fast"
on_error = "ignore"
start_at = 2027-01-31T09:00:00
'''
    assert mistakes(text) == [
        "news.toml, subject, line 1: it is empty",
        "news.toml, subjekt, line 2: there is no key of this name; did you mean subject?",
        "news.toml, from, line 3: it is text, in quotes, not a number",
        "news.toml, reply_to[2], line 5: it is text, in quotes, not true or false",
        (
            "news.toml, html_file, line 6: none.html cannot be read: No such file or directory; "
            "paths count from where the template file is"
        ),
        "news.toml, attachments[1].nmae, line 7: there is no key of this name; did you mean name?",
        (
            "news.toml, attachments[1], line 7: none.pdf cannot be read: No such file or directory; "
            "paths count from where the template file is"
        ),
        "news.toml, attachments[2], line 7: it is a file's name or a table with file, not a number",
        "news.toml, text, line 10: Expected an expression, got 'end of statement block'",
        "news.toml, headers.X-One, line 13: it is text, in quotes, not a number",
        "news.toml, header Bcc, line 14: a campaign writes to one recipient at a time",
        "news.toml, campaign.lnae, line 16: there is no option of this name; did you mean lane?",
        "news.toml, campaign.lane, line 17: no lane 'fast': the lanes are urgent, default, bulk",
        "news.toml, campaign.on_error, line 18: it is 'stop' or 'skip', not 'ignore'",
        (
            "news.toml, campaign.start_at, line 19: 2027-01-31 09:00:00 has no time zone: write it as in "
            "2027-01-31T09:00:00+01:00, or give time_zone"
        ),
    ]


def test_a_mistake_in_a_text_of_its_own_file_is_told_there(mistakes):
    assert mistakes('subject = "x"\nhtml_file = "news.html"\n', news__html="<p>\n\n{{ oops") == [
        "news.html, html, line 3: unexpected end of template, expected 'end of print statement'."
    ]
    assert (
        mistakes('subject = "x"\ntext_file = "news.txt"\n', news__txt=b"a\n\xe9")
        == [
            "news.txt, text, line 2: it is no UTF-8: save the file as UTF-8",
            "news.toml, text, line 2: it has neither text nor html",
        ][:1]
    )


def test_a_text_that_makes_lines_on_one_is_told_there(mistakes):
    assert mistakes('subject = "x"\ntext = "a\\nb\\n{{ c"\n') == [
        "news.toml, text, line 2: unexpected end of template, expected 'end of print statement'."
    ]


def test_an_undefined_name_is_told_by_the_line_of_the_file(file):
    template, _, _, origins = load(file('subject = "x"\ntext = """\nHello\n{{ nmae }}\n"""\n'))
    with pytest.raises(TemplateError, match=r"news\.toml, text, line 4: 'nmae' is undefined; did you mean name\?"):
        template.compile(origins=origins).render("a@b.c", {"name": "x"})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('using = { ses = "x" }', "the weight of 'ses' is a positive number"),
        ("using = []", "an alias of MAILERS, or a table"),
        ("unsubscribe = 1", "it is true or false"),
        ('time_zone = "Europe/Pairs"', "no time zone is called 'Europe/Pairs'; did you mean Europe/Paris?"),
        ('time_zone = "Europe"', "no time zone is called 'Europe'"),
        ('start_at = "tomorrow"', "a moment with its time zone"),
        ("start_at = 2027-01-31", "a moment with its time zone"),
        ('expires_at = "soon"', "or a duration from its start"),
        ('expires_at = "0s"', "never sent"),
        ('list = "My List"', "no name of a list"),
        ('id = "My Campaign"', "id"),
        ('quiet = "at night"', "quiet hours"),
        ('quiet = "22:00-07:00"', "no time zone"),
        ('seeds = "me@example.com"', "an array of addresses"),
        ('seeds = ["me"]', "'me' is no address"),
        ("seeds = [{ name = 1 }]", "a table with an email"),
        ('on_finish = "x y"', "no dotted path"),
        ('feedback_id = "?"', "the sender of a Feedback-ID"),
    ],
)
def test_options_are_checked(mistakes, line, why):
    (found,) = mistakes(f"{MINIMAL}[campaign]\n{line}\n")
    assert why in found
    assert ", line 4: " in found


def test_times_with_their_zone(file):
    _, options, _, _ = load(
        file(f'{MINIMAL}[campaign]\nstart_at = 2027-01-31T09:00:00Z\nexpires_at = "2027-01-31 20:00+00:00"\n')
    )
    assert options == {
        "start_at": datetime(2027, 1, 31, 9, tzinfo=UTC),
        "expires_at": datetime(2027, 1, 31, 20, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    ("attachments", "why"),
    [
        ("5", "an array of files"),
        ('[{ name = "x" }]', "it has no file"),
        ('[{ file = "a.png", type = "png" }]', "no MIME type"),
        ('[{ file = "a.png", inline = "yes" }]', "true or false"),
        ('[{ file = "a.png", cid = "a b" }]', "cannot be a cid"),
        ('[{ file = "a.png", name = "a\\nBcc: b", cid = "a" }]', "attachments[1].name, line 3: 'a\\nBcc: b' cannot be"),
        ('[{ file = "a.png", cid = "a" }, { file = "a.png", cid = "a" }]', "two files have the cid 'a'"),
    ],
)
def test_attachments_are_checked(mistakes, attachments, why):
    assert why in "\n".join(mistakes(f"{MINIMAL}attachments = {attachments}\n", a__png=b"x"))


def test_a_picture_that_is_not_there_is_told(mistakes):
    (found,) = mistakes('subject = "x"\nhtml = "<img src=\'cid:logo\'>"\n')
    assert "the html shows cid:logo, and no file here has inline = true" in found


def test_a_text_and_its_file_are_one_too_many(mistakes):
    assert "there is text as well" in mistakes(f'{MINIMAL}text_file = "a.txt"\n')[0]
