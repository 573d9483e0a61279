"""A mail client's one click, over real HTTP, into a real store, and what a worker's look-up then says."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from mailqueue.bulk import suppression
from mailqueue.bulk.unsubscribe import Unsubscribe
from mailqueue.bulk.web import BODY_LIMIT, wsgi_app
from mailqueue.conf import configure
from mailqueue.testing.store import EmbeddedValkey

pytestmark = pytest.mark.store

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ONE_CLICK = "List-Unsubscribe=One-Click"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(app):
    """The app behind an HTTP server of this thread's; gives its port."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port, method, path, body=None, headers=FORM):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request(method, path, body, headers)
        answer = link.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        link.close()


def path_of(url):
    return "/" + url.rpartition("/")[2]


def set_up(url):
    configure(
        MAILQUEUE_BROKER_URL=url,
        MAILQUEUE_UNSUBSCRIBE_URL="https://example.com/u",
        MAILQUEUE_UNSUBSCRIBE_KEYS=["k" * 40],
    )
    return Unsubscribe.from_settings()


def test_one_click_reaches_the_store_and_the_next_look_up(valkey_url):
    unsubscribe = set_up(valkey_url)
    with served(wsgi_app()) as port:
        path = path_of(unsubscribe.url("news", "ann@example.com"))
        status, _, body = ask(port, "GET", path)
        assert (status, "ann@example.com" in body) == (200, True)
        assert suppression.is_suppressed("ann@example.com", "news") is None
        assert ask(port, "POST", path, ONE_CLICK)[0] == 200
        found = suppression.suppressed(["ann@example.com", "bob@example.com"], "news")
        assert {address: entry.source for address, entry in found.items()} == {"ann@example.com": "one-click"}
        assert ask(port, "POST", path, "action=subscribe")[0] == 200
        assert suppression.is_suppressed("ann@example.com", "news") is None
        assert ask(port, "HEAD", path)[::2] == (200, "")
        assert ask(port, "POST", "/nothing", ONE_CLICK)[0] == 404
        assert ask(port, "POST", path, "x" * (BODY_LIMIT + 1))[0] == 413


def test_many_click_at_once(valkey_url):
    unsubscribe = set_up(valkey_url)
    addresses = [f"u{number}@example.com" for number in range(40)]
    app = wsgi_app()
    with served(app) as first, served(app) as second:

        def click(port, part):
            for address in part:
                assert ask(port, "POST", path_of(unsubscribe.url("news", address)), ONE_CLICK)[0] == 200

        threads = [threading.Thread(target=click, args=(port, addresses)) for port in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(entry.key for entry in suppression.entries("news")) == sorted(addresses)


def test_a_store_that_is_away_makes_clients_come_back():
    with EmbeddedValkey() as store:
        unsubscribe = set_up(store.url)
        with served(wsgi_app()) as port:
            path = path_of(unsubscribe.url("news", "ann@example.com"))
            assert ask(port, "POST", path, ONE_CLICK)[0] == 200
            store.kill()
            status, headers, _ = ask(port, "POST", path, ONE_CLICK)
            assert (status, headers["Retry-After"]) == (503, "60")
