"""The app that takes unsubscriptions, through both of its doors."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.bulk.web import BODY_LIMIT, Unsubscriptions, asgi_app, wsgi_app
from mailqueue.bulk.webpage import PAGE_POLICY, Words
from mailqueue.errors import ImproperlyConfigured
from mailqueue.ledger.suppressions import Suppression
from mailqueue.testing.watched import WatchedLedger

ADDRESS = "ann@example.com"
UNSUBSCRIBE = Unsubscribe("https://example.com/u", ["k" * 30])
TOKEN = UNSUBSCRIBE.token("news", ADDRESS)
FORM = "application/x-www-form-urlencoded"
ONE_CLICK = b"List-Unsubscribe=One-Click"
MULTIPART = "multipart/form-data; boundary=x"
ONE_CLICK_PARTS = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'


class WSGI:
    def __init__(self, **options):
        self.app = validator(wsgi_app(UNSUBSCRIBE, **options))

    def __call__(self, method, path, content_type="", body=b"", *, mount="", **more):
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": mount, "wsgi.input": io.BytesIO(body)}
        environ |= {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "QUERY_STRING": ""} | more
        setup_testing_defaults(environ)
        answer = {}

        def start_response(status, headers, _info=None):
            answer.update(status=int(status.split()[0]), headers=dict(headers))

        chunks = self.app(environ, start_response)
        answer["body"] = b"".join(chunks).decode()
        chunks.close()
        return answer


class ASGI:
    def __init__(self, **options):
        self.app = asgi_app(UNSUBSCRIBE, **options)

    def __call__(self, method, path, content_type="", body=b"", *, mount=""):
        headers = [(b"content-type", content_type.encode())] if content_type else []
        scope = {"type": "http", "method": method, "path": mount + path, "root_path": mount, "headers": headers}
        half = len(body) // 2
        events = [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:], "more_body": False},
        ]
        sent = self.events(scope, events)
        assert [event["type"] for event in sent] == ["http.response.start", "http.response.body"]
        names = {b"-".join(word.capitalize() for word in name.split(b"-")): value for name, value in sent[0]["headers"]}
        decoded = {name.decode(): value.decode() for name, value in names.items()}
        return {"status": sent[0]["status"], "headers": decoded, "body": sent[1]["body"].decode()}

    def events(self, scope, events):
        sent = []

        async def receive():
            return events.pop(0)

        async def send(event):
            sent.append(event)

        asyncio.run(self.app(scope, receive, send))
        return sent


@pytest.fixture
def ledger():
    return WatchedLedger()


@pytest.fixture(params=[WSGI, ASGI])
def ask(request, ledger):
    return request.param(ledger=lambda: ledger)


def suppressed(ledger, address=ADDRESS, name="news"):
    return ledger.suppressions.find([address], list=name).get(address)


@pytest.mark.parametrize("path", [f"/{TOKEN}", f"/{TOKEN}/", TOKEN])
@pytest.mark.parametrize("mount", ["", "/mail/u"])
def test_to_look_at_the_page_changes_nothing(ask, ledger, path, mount):
    if path[0] != "/" and (mount or isinstance(ask, WSGI)):
        path = f"/{path}"
    answer = ask("GET", path, mount=mount)
    assert answer["status"] == 200
    assert "Do you want to stop news to ann@example.com?" in answer["body"]
    assert '<form method="post">' in answer["body"]
    assert suppressed(ledger) is None


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, ONE_CLICK),
        (f"{FORM}; charset=utf-8", ONE_CLICK + b"&x=y"),
        ("", ONE_CLICK),
        (MULTIPART, ONE_CLICK_PARTS),
        ('Multipart/Form-Data; charset=utf-8; boundary="x"', b"preamble\r\n" + ONE_CLICK_PARTS),
        (MULTIPART, ONE_CLICK_PARTS.replace(b'"', b"").replace(b"\r\n", b"\n").replace(b"C", b"c")),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="a"; x=y\r\n\r\nb\r\n' + ONE_CLICK_PARTS),
        (MULTIPART, ONE_CLICK_PARTS.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain\r\n\r\n")),
    ],
)
def test_one_click_unsubscribes_and_is_told_200(ask, ledger, content_type, body):
    answer = ask("POST", f"/{TOKEN}", content_type, body)
    assert answer["status"] == 200
    assert "You are unsubscribed" in answer["body"]
    entry = suppressed(ledger)
    assert (entry.key, entry.list, entry.reason, entry.source) == (ADDRESS, "news", "unsubscribed", "one-click")
    assert suppressed(ledger, name="offers") is None
    assert ask("POST", f"/{TOKEN}", content_type, body)["status"] == 200


def test_no_cookie_and_no_redirect(ask):
    answer = ask("POST", f"/{TOKEN}", FORM, ONE_CLICK)
    assert not {"Set-Cookie", "Location"} & set(answer["headers"])


def test_the_button_of_each_page_leads_on(ask, ledger):
    def press(answer):
        action = re.search(r'name="action" value="(\w+)"', answer["body"])[1]
        return ask("POST", f"/{TOKEN}", FORM, f"action={action}".encode())

    done = press(ask("GET", f"/{TOKEN}"))
    assert suppressed(ledger).source == "page"
    undone = press(done)
    assert "You are subscribed again" in undone["body"]
    assert suppressed(ledger) is None
    press(undone)
    assert suppressed(ledger)


@pytest.mark.parametrize(
    "entry",
    [
        Suppression(ADDRESS, "", "unsubscribed"),
        Suppression("@example.com", "news"),
        Suppression("@example.com", "news", "unsubscribed"),
        Suppression(ADDRESS, "news", "complaint"),
        Suppression(ADDRESS, "", "refused"),
    ],
)
def test_to_subscribe_again_takes_nothing_else_off(ask, ledger, entry):
    """Whoever has a link could otherwise undo what was entered for a complaint."""
    ledger.suppressions.add([entry])
    ask("POST", f"/{TOKEN}", FORM, ONE_CLICK)
    answer = ask("POST", f"/{TOKEN}", FORM, b"action=subscribe")
    assert "You are still unsubscribed" in answer["body"]
    assert "<form" not in answer["body"]
    left = suppressed(ledger)
    assert (left.key, left.list, left.reason) == (entry.key, entry.list, entry.reason)


def test_who_leaves_all_mail_is_told_so(ask, ledger):
    answer = ask("POST", f"/{UNSUBSCRIBE.token('', ADDRESS)}", FORM, ONE_CLICK)
    assert "will get no more of our mailings" in answer["body"]
    assert suppressed(ledger, name="whatever")


@pytest.mark.parametrize("path", ["/", "/nonsense", f"/{TOKEN[:-5]}", f"/{TOKEN}x", f"/{'A' * 5000}", "/ü"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_that_is_none_is_not_found(ask, ledger, path, method):
    if isinstance(ask, WSGI):
        path = path.encode().decode("latin-1")
    answer = ask(method, path, FORM, ONE_CLICK if method == "POST" else b"")
    assert answer["status"] == 404
    assert "This link does not work" in answer["body"]
    assert ledger.suppressions.page()[0] == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b""),
        (FORM, b"action=delete"),
        (FORM, b"List-Unsubscribe=no"),
        (MULTIPART, b"--y\r\n"),
        ("multipart/form-data", b"x"),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="a"; name*0=b\r\n\r\nc\r\n--x--'),
        (MULTIPART, ONE_CLICK_PARTS.replace(b"name=", b"filename=")),
        (MULTIPART, ONE_CLICK),
        (FORM, b"\xff%ff=&&;"),
    ],
)
def test_a_form_that_is_none_does_nothing(ask, ledger, content_type, body):
    assert ask("POST", f"/{TOKEN}", content_type, body)["status"] == 400
    assert suppressed(ledger) is None


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_told_which_there_are(ask, method):
    answer = ask(method, f"/{TOKEN}")
    assert (answer["status"], answer["headers"]["Allow"]) == (405, "GET, HEAD, POST")


def test_head_has_the_fields_of_get_and_no_body(ask):
    head, get = ask("HEAD", f"/{TOKEN}"), ask("GET", f"/{TOKEN}")
    assert (head["status"], head["headers"], head["body"]) == (200, get["headers"], "")
    assert ask("HEAD", "/no")["status"] == 404
    assert ask("HEAD", f"/{TOKEN}", "", b"x" * BODY_LIMIT * 2)["body"] == ""


def test_a_body_that_is_too_long_is_not_read(ask, ledger):
    assert ask("POST", f"/{TOKEN}", FORM, ONE_CLICK + b"&x=" + b"y" * BODY_LIMIT)["status"] == 413
    assert suppressed(ledger) is None
    assert ask("POST", f"/{TOKEN}", FORM, (ONE_CLICK + b"&x=").ljust(BODY_LIMIT, b"y"))["status"] == 200


def test_while_the_store_is_away_clients_are_asked_to_come_back(ask, ledger):
    ledger.away = True
    answer = ask("POST", f"/{TOKEN}", FORM, ONE_CLICK)
    assert (answer["status"], answer["headers"]["Retry-After"]) == (503, "60")
    assert "try again" in answer["body"]
    assert ask("GET", f"/{TOKEN}")["status"] == 200
    ledger.away = False
    assert ask("POST", f"/{TOKEN}", FORM, ONE_CLICK)["status"] == 200


def test_no_log_has_an_address_or_a_token(ask, ledger, caplog):
    caplog.set_level(logging.DEBUG)
    for body in (ONE_CLICK, b"action=subscribe", b"action=unsubscribe", b"x"):
        ask("POST", f"/{TOKEN}", FORM, body)
    ledger.away = True
    ask("POST", f"/{TOKEN}", FORM, ONE_CLICK)
    assert "action=unsubscribed list=news source=one-click new=1" in caplog.text
    assert "example.com" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "request_", [("GET", f"/{TOKEN}"), ("GET", "/no"), ("PUT", "/"), ("POST", f"/{TOKEN}", FORM, ONE_CLICK)]
)
def test_pages_are_kept_to_themselves(ask, request_):
    headers = ask(*request_)["headers"]
    assert headers["Content-Security-Policy"] == PAGE_POLICY
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "noindex" in headers["X-Robots-Tag"]
    assert int(headers["Content-Length"]) > 100


def test_what_a_token_holds_is_no_html(ask):
    token = UNSUBSCRIBE.token("news", '"<script>{list}"@example.com')
    answer = ask("GET", f"/{token}")
    assert "<script>" not in answer["body"]
    assert "to &quot;&lt;script&gt;{list}&quot;@example.com?" in answer["body"]


def test_words_titles_and_pages_are_your_own(ledger):
    words = Words(
        language="de", confirm_title="Abmelden", confirm_text="{list} nicht mehr an {address}?", confirm_button="Ja"
    )
    ask = WSGI(ledger=lambda: ledger, words=words, titles={"news": "Neuigkeiten & mehr"})
    body = ask("GET", f"/{TOKEN}")["body"]
    assert '<html lang="de">' in body
    assert "<p>Neuigkeiten &amp; mehr nicht mehr an ann@example.com?</p>" in body
    ask = WSGI(
        ledger=lambda: ledger, page=lambda view: f"{view.kind} {view.list} {view.action}", policy="default-src 'self'"
    )
    answer = ask("GET", f"/{TOKEN}")
    assert answer["body"] == "confirm news unsubscribe"
    assert answer["headers"]["Content-Security-Policy"] == "default-src 'self'"


def test_the_style_is_the_one_that_the_policy_allows(ask):
    assert "<style>" in ask("GET", f"/{TOKEN}")["body"]
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/]{43}='", PAGE_POLICY)


def test_without_settings_there_is_no_app():
    for make in (wsgi_app, asgi_app, Unsubscriptions):
        with pytest.raises(ImproperlyConfigured, match="MAILQUEUE_UNSUBSCRIBE_URL"):
            make()


# -- what is of one door alone


def test_wsgi_reads_no_body_of_unknown_length_unless_it_ends(ledger):
    ask = wsgi_app(UNSUBSCRIBE, ledger=lambda: ledger)

    def status(**environ):
        told = []
        base = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": f"/{TOKEN}",
            "CONTENT_TYPE": FORM,
            "wsgi.input": io.BytesIO(ONE_CLICK),
        }
        ask(base | environ, lambda line, _headers: told.append(line))
        return told[0]

    assert status() == "400 Bad Request"
    assert status(CONTENT_LENGTH="-5") == "400 Bad Request"
    assert status(**{"wsgi.input_terminated": True}) == "200 OK"


def test_asgi_answers_a_servers_start_and_stop_and_no_other_protocol(ledger):
    ask = ASGI(ledger=lambda: ledger)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    assert [e["type"] for e in ask.events({"type": "lifespan"}, events)] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert ask.events({"type": "websocket"}, []) == [{"type": "websocket.close", "code": 1000}]


def test_a_client_that_has_gone_gets_no_answer(ledger):
    scope = {"type": "http", "method": "POST", "path": f"/{TOKEN}", "headers": []}
    events = [{"type": "http.request", "body": ONE_CLICK, "more_body": True}, {"type": "http.disconnect"}]
    assert ASGI(ledger=lambda: ledger).events(scope, events) == []
    assert suppressed(ledger) is None
