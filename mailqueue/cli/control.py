"""``mailqueue cancel``, ``hold``, ``release``, ``requeue`` and ``resolve``: what can still be done with messages."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from mailqueue import control
from mailqueue.cli import devstate
from mailqueue.lanes import LANES
from mailqueue.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["COMMANDS", "LISTED"]

#: States whose messages can be found: the ledger has no lists of the others.
LISTED = tuple(state.value for state in State if state not in (State.SENT, State.EXPIRED, State.CANCELLED))
#: Messages that are told one by one; of more, only how many.
_SHORT = 20

_FILTERS = (
    click.argument("ids", nargs=-1, metavar="[ID]..."),
    click.option("--state", type=click.Choice(LISTED), help="All messages in this state."),
    click.option("--lane", type=click.Choice(LANES), help="All messages of this lane."),
    click.option("--relay", metavar="ALIAS", help="All messages for this alias of MAILERS."),
    click.option("--all", "everything", is_flag=True, help="All messages for which it makes sense."),
    click.option("-y", "--yes", is_flag=True, help="Do not ask first."),
    click.option("--json", "as_json", is_flag=True, help="For programs: the word for each id."),
)


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(_FILTERS):
        command = decorate(command)
    return command


@click.command()
@_filtered
def cancel(**asked: Any) -> None:
    """Withdraw messages that have not been sent, by id or by what a filter finds.

    \b
    Examples:
      mailqueue cancel 0192f5c8a1b27d3f
      mailqueue cancel --lane bulk --state scheduled
      mailqueue cancel --all --yes

    \b
    The answers:
      cancelled    it is not sent
      cancelling   it may be going out just now, or its answer was lost; no further copy is sent
      late         it is sent, failed or expired already
      missing      nobody knows it

    A filter looks among messages that are scheduled, queued, deferred and held. Exit status 1 if a message that was
    named is not cancelled.
    """
    _run("Cancel", control.cancel, ("scheduled", "queued", "deferred", "held"), {"cancelled"}, asked)


@click.command()
@click.option("--reason", default="", help="For `mailqueue status`.")
@_filtered
def hold(reason: str, **asked: Any) -> None:
    """Park messages until `mailqueue release`, by id or by what a filter finds.

    \b
    Examples:
      mailqueue hold 0192f5c8a1b27d3f --reason 'ask the office'
      mailqueue hold --lane bulk

    The answers: held; holding (it may be going out just now); cancelling (it is to be cancelled); late (it is final
    already); missing. A filter looks among messages that are scheduled, queued and deferred. Exit status 1 if a
    message that was named is not held.
    """
    _run(
        "Hold",
        lambda ids: control.hold(ids, reason=reason),
        ("scheduled", "queued", "deferred"),
        {"held", "holding"},
        asked,
    )


@click.command()
@_filtered
def release(**asked: Any) -> None:
    """Let held messages go, now or at their time, by id or by what a filter finds.

    \b
    Examples:
      mailqueue release 0192f5c8a1b27d3f
      mailqueue release --lane bulk
      mailqueue release --all

    The answers: deferred (it is on its way); sending (it was to be held, and is not); refused (it is not held);
    missing. Exit status 1 if a message that was named is not released.
    """
    _run("Release", control.release, ("held",), {"deferred", "sending"}, asked)


@click.command()
@_filtered
def requeue(**asked: Any) -> None:
    """Send failed and partial messages again, to their refused recipients only, by id or by what a filter finds.

    \b
    Examples:
      mailqueue requeue 0192f5c8a1b27d3f
      mailqueue requeue --state failed --relay office

    The answers: deferred (it is on its way); refused (it is neither failed nor partial); missing. Exit status 1 if a
    message that was named is not requeued.
    """
    _run("Requeue", control.requeue, ("failed", "partial"), {"deferred"}, asked)


@click.command()
@click.argument("message_id", metavar="ID")
@click.argument("state", type=click.Choice(["sent", "partial", "failed", "deferred", "held"]))
@click.option("--reason", default="", help="For `mailqueue status`.")
def resolve(message_id: str, state: str, reason: str) -> None:
    """Settle a message whose answer was lost (unknown, or held for it), by what you have found out.

    \b
    Examples:
      mailqueue resolve 0192f5c8a1b27d3f sent --reason 'seen in the log of the relay'
      mailqueue resolve 0192f5c8a1b27d3f deferred      sends another copy, now

    Prints the message's new state. Exit status 1 if it waits for no answer.
    """
    devstate.use_if_unset()
    click.echo(control.resolve(message_id, state, reason=reason).value)


COMMANDS = (cancel, hold, release, requeue, resolve)


def _run(
    verb: str,
    act: Callable[[Sequence[str]], Mapping[str, str]],
    states: Sequence[str],
    good: set[str],
    asked: Mapping[str, Any],
) -> None:
    ids: Sequence[str] = asked["ids"]
    filtered = bool(asked["everything"] or asked["state"] or asked["lane"] or asked["relay"] is not None)
    if filtered == bool(ids):
        raise click.UsageError("say which messages: by their ids, or by --state, --lane, --relay or --all")
    if asked["state"] and asked["state"] not in states:
        raise click.UsageError(f"{verb.lower()} is for messages that are {', '.join(states)}, not {asked['state']}")
    devstate.use_if_unset()
    if filtered:
        ids = _find([asked["state"]] if asked["state"] else states, asked["lane"], asked["relay"])
        if ids and not asked["yes"]:
            click.confirm(f"{verb} {_messages(len(ids))}?", abort=True, err=True)
    answers = act(ids)
    if asked["as_json"]:
        click.echo(json.dumps(answers))
    elif len(answers) <= _SHORT and not filtered:
        for message_id, word in answers.items():
            click.echo(f"{message_id} {word}")
    else:
        words = Counter(answers.values())
        click.echo(", ".join(f"{count} {word}" for word, count in words.items()) or "no such messages")
    if not filtered and any(word not in good for word in answers.values()):
        raise click.exceptions.Exit(1)


def _find(states: Sequence[str], lane: str | None, relay: str | None) -> list[str]:
    found = (message_id for state in states for message_id in control.find(state, lane=lane, relay=relay))
    return list(dict.fromkeys(found))


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"
