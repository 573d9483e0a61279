"""The exception tree: each error carries its facts, inherits the builtin that a caller would catch, and pickles."""

from __future__ import annotations

import copy
import pickle

import pytest

from mailqueue import errors

#: One of each, with the builtin that it also is and the facts that it carries.
EXAMPLES = [
    (errors.MailQueueError("root"), Exception, {}),
    (errors.ImproperlyConfigured("one", "two"), Exception, {"problems": ("one", "two")}),
    (errors.InvalidMailer("no backend"), errors.ImproperlyConfigured, {"problems": ("no backend",)}),
    (errors.MailerDoesNotExist("no alias"), KeyError, {"problems": ("no alias",)}),
    (errors.BadHeaderError("newline"), ValueError, {}),
    (errors.InvalidMessage("no"), ValueError, {}),
    (errors.MessageTooLarge("large", size=3, limit=2), errors.InvalidMessage, {"size": 3, "limit": 2}),
    (errors.TooManyRecipients("many", count=3, limit=2), errors.InvalidMessage, {"count": 3, "limit": 2}),
    (
        errors.IdempotencyConflict(key="order 7", message_id="an-id"),
        errors.InvalidMessage,
        {"key": "order 7", "message_id": "an-id"},
    ),
    (
        errors.TemplateError("no end", field="html", line=3, file="news.html"),
        errors.InvalidMessage,
        {"field": "html", "line": 3, "file": "news.html"},
    ),
    (
        errors.RecipientError("no address", row=7, column="email", file="list.csv"),
        errors.InvalidMessage,
        {"row": 7, "column": "email", "file": "list.csv"},
    ),
    (errors.CampaignConflict("news-42"), errors.InvalidMessage, {"campaign": "news-42"}),
    (errors.CampaignNotFound("news-42"), LookupError, {"campaign": "news-42"}),
    (errors.InvalidToken("no key has made it"), ValueError, {}),
    (errors.BrokerUnavailable("down", message_ids=["a", "b"]), ConnectionError, {"message_ids": ("a", "b")}),
    (errors.LedgerUnavailable("down"), ConnectionError, {}),
    (errors.LedgerFault("too many results"), RuntimeError, {}),
    (errors.SpoolError("full", path="/var/spool/mail.db"), OSError, {"path": "/var/spool/mail.db"}),
    (errors.MessageNotFound("an-id"), LookupError, {"message_id": "an-id", "spooled": False}),
    (errors.IllegalTransition("no way"), ValueError, {}),
    (errors.WireError("no envelope"), ValueError, {}),
    (errors.UnsupportedVersion("too new", version=9), errors.WireError, {"version": 9}),
    (
        errors.RelayTrouble("refused", stage="auth", code=535, text="5.7.8 no", reconnect=True),
        OSError,
        {"stage": "auth", "code": 535, "text": "5.7.8 no", "reconnect": True},
    ),
]

each = pytest.mark.parametrize(("error", "builtin", "facts"), EXAMPLES, ids=lambda value: type(value).__name__)


def test_every_error_has_an_example():
    assert {type(error).__name__ for error, _, _ in EXAMPLES} == set(errors.__all__)


@each
def test_it_is_in_the_tree_and_is_a_builtin_too(error, builtin, facts):
    assert isinstance(error, errors.MailQueueError)
    assert isinstance(error, builtin)
    assert {name: getattr(error, name) for name in facts} == facts


@pytest.mark.parametrize(
    "same",
    [copy.copy, copy.deepcopy, *(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(6))],
    ids=["copy", "deepcopy", *(f"pickle{protocol}" for protocol in range(6))],
)
@each
def test_it_survives_with_its_facts(error, builtin, facts, same):
    twin = same(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error) | facts


@each
def test_its_text_is_its_message(error, builtin, facts):
    """KeyError and OSError would put quotes or numbers around it."""
    assert str(error) == "\n".join(map(str, error.args))
    assert not str(error).startswith(("'", "["))


def test_all_problems_of_a_configuration_are_in_its_text():
    assert str(errors.ImproperlyConfigured("one", "two")) == "one\ntwo"


def test_errors_of_configuration_stand_apart_from_those_of_delivery():
    delivery = {errors.BrokerUnavailable, errors.LedgerUnavailable, errors.RelayTrouble, errors.InvalidMessage}
    assert not any(issubclass(kind, errors.ImproperlyConfigured) for kind in delivery)
    assert not any(issubclass(errors.InvalidMailer, kind) for kind in delivery)


def test_an_unknown_message_is_told_by_its_id():
    assert "'an-id'" in str(errors.MessageNotFound("an-id"))
