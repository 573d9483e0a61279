"""The pages of unsubscribing: their words, and the plain HTML that they stand in. Both can be replaced."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["PAGE_POLICY", "Page", "View", "Words", "page"]


@dataclass(frozen=True, slots=True)
class Words:
    """All words of the pages, to be translated or said differently; ``{address}`` and ``{list}`` stand for what they are."""

    language: str = "en"
    all_mail: str = "our mailings"  # what {list} is for those who leave all of them
    confirm_title: str = "Unsubscribe"
    confirm_text: str = "Do you want to stop {list} to {address}?"
    confirm_button: str = "Unsubscribe"
    done_title: str = "You are unsubscribed"
    done_text: str = "{address} will get no more of {list}. What is on its way already may still arrive."
    done_button: str = "That was a mistake: subscribe again"
    undone_title: str = "You are subscribed again"
    undone_text: str = "{address} will go on getting {list}."
    undone_button: str = "Unsubscribe"
    kept_title: str = "You are still unsubscribed"
    kept_text: str = (
        "{address} gets no {list} for another reason as well, which this page cannot change. Please write to us."
    )
    invalid_title: str = "This link does not work"
    invalid_text: str = (
        "It may have been cut off or changed on its way. Please use the link in the newest mail that you have."
    )
    refused_title: str = "That did not work"
    refused_text: str = "What was sent is no request to unsubscribe. Please go back, and use the button there."
    away_title: str = "Please try again in a minute"
    away_text: str = "We could not note your request just now. Nothing has changed yet."


@dataclass(frozen=True, slots=True)
class View:
    """What a page has to show. ``button`` sends a form that has ``action`` as the field "action"; "" for none.

    ``kind`` is confirm, done, undone, kept, invalid, refused or away; ``address`` and ``list`` are empty for the last three.
    """

    kind: str
    title: str
    text: str
    button: str = ""
    action: str = ""
    language: str = "en"
    address: str = ""
    list: str = ""


#: Makes the whole HTML of a page.
Page: TypeAlias = Callable[[View], str]

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1.125rem/1.6 system-ui, sans-serif; margin: 0; padding: 12vh 1.5rem 3rem; }
main { max-width: 34rem; margin: 0 auto; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 1rem; }
button { font: inherit; font-weight: 600; padding: .6em 1.2em; border: 2px solid; border-radius: .4em; cursor: pointer; }
button:focus-visible { outline: 3px solid Highlight; outline-offset: 2px; }
"""

#: The Content-Security-Policy of these pages: this style, a form to where they come from, and nothing else.
PAGE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_FORM: Final = """<form method="post">
<input type="hidden" name="action" value="{action}">
<button type="submit">{button}</button>
</form>
"""
_PAGE: Final = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
{form}</main>
</body>
</html>
"""


def page(view: View) -> str:
    """The page as it is unless you make your own: plain HTML, for every screen, reader and colour scheme."""
    form = _FORM.format(action=html.escape(view.action), button=html.escape(view.button)) if view.button else ""
    return _PAGE.format(
        language=html.escape(view.language),
        title=html.escape(view.title),
        text=html.escape(view.text),
        style=_STYLE,
        form=form,
    )
