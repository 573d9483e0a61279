"""How safely the store keeps what it was told: whether it evicts keys, whether it has a disk, and when that is written.

Leaves it to the ledger to ask, and what follows from it to those who start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mailqueue.errors import ImproperlyConfigured, LedgerUnavailable
from mailqueue.ledger.base import Checkup
from mailqueue.ledger.trouble import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

__all__ = ["check_up", "wait_for_disk"]

#: s that the answer to WAITAOF may take longer than the wait itself.
_GRACE: Final = 0.5

_REMEDIES: Final = (
    ("appendonly is disabled", "keeps no append-only file: set appendonly to yes there"),
    ("unknown command", "does not know WAITAOF: run Valkey, or Redis 7.2 or later"),
    ("NOPERM", "does not let our user run WAITAOF: grant it that command"),
    ("no permissions", "does not let our user run WAITAOF: grant it that command"),
)


def wait_for_disk(connections: Any, key: str, timeout: float, where: str) -> None:
    """Wait until all that the store at ``where`` was told before this call is synced to its disk (WAITAOF).

    ``connections`` is what lends one: our client, or a pool of redis-py.

    Raises:
        ImproperlyConfigured: The store cannot do this.
        LedgerUnavailable: Not within ``timeout`` s.
    """
    from redis import exceptions  # noqa: PLC0415 - redis-py takes 100 ms to import, see RedisLedger

    connection = None
    try:
        connection = connections.get_connection()
        # WAITAOF waits for writes of its own connection alone. A write here comes after all those of the others.
        wait = ("WAITAOF", 1, 0, max(1, round(timeout * 1000)))  # 0 would be without end
        connection.send_packed_command(connection.pack_commands([("SET", key, "1"), wait]))
        connection.read_response()
        synced, _replicas = connection.read_response(timeout=timeout + _GRACE)
    except BaseException as error:
        if connection is not None:
            connection.disconnect()  # its second answer may be on the way
        if not isinstance(error, (exceptions.RedisError, OSError)):
            raise
        if problem := _cannot(error, where):
            raise ImproperlyConfigured(problem) from error
        raise LedgerUnavailable(explain(error, where, timeout)) from error
    finally:
        if connection is not None:
            connections.release(connection)
    if not synced:
        raise LedgerUnavailable(f"the ledger's store at {where} has not synced to its disk within {timeout:g} s")


def check_up(client: Redis, where: str, timeout: float, *, durable: bool = False) -> Checkup:
    """Judge the settings of the store at ``where``, as far as it shows them: a managed one may show none.

    ``durable``: that it cannot be waited for its disk is a problem as well. Raises LedgerUnavailable.
    """
    problems, warnings = [], []

    def ask(*command: str) -> Mapping[Any, Any]:
        answer = _ask(client, command, where, timeout)
        return answer if isinstance(answer, dict) else {}

    policy = ask("INFO", "memory").get("maxmemory_policy")
    if policy is None:
        settings = ask("CONFIG GET", "maxmemory-policy")
        policy = (settings.get(b"maxmemory-policy") or b"").decode()
    if policy not in {"", "noeviction"}:
        problems.append(
            f"the ledger's store at {where} evicts keys when its memory is full (maxmemory-policy {policy}), and mail "
            "with them: set maxmemory-policy to noeviction"
        )
    if str(ask("INFO", "persistence").get("aof_enabled", "")) == "0":
        warnings.append(
            f"the ledger's store at {where} keeps no append-only file: when it crashes, the mail accepted since its last "
            "snapshot is lost; set appendonly to yes"
        )
    if durable and (problem := _why_not_durable(client, where, timeout)):
        problems.append(problem)
    return Checkup(tuple(problems), tuple(warnings))


def _why_not_durable(client: Any, where: str, timeout: float) -> str:
    """Why the store cannot wait for its disk; "" if it can, which is told within a millisecond, synced or not."""
    from redis import exceptions  # noqa: PLC0415 - redis-py takes 100 ms to import, see RedisLedger

    try:
        client.execute_command("WAITAOF", "1", "0", "1")
    except (exceptions.RedisError, OSError) as error:
        if problem := _cannot(error, where):
            return problem
        raise LedgerUnavailable(explain(error, where, timeout)) from error
    return ""


def _cannot(error: BaseException, where: str) -> str:
    """What an answer to WAITAOF means that is about the store's settings, with the remedy; "" for any other."""
    for mark, meaning in _REMEDIES:
        if mark in f"{type(error).__name__} {error}":
            return f"MAILQUEUE_DURABILITY is always, but the ledger's store at {where} {meaning}"
    return ""


def _ask(client: Any, command: tuple[str, ...], where: str, timeout: float) -> object:
    """Ask the store about itself; None if it does not tell."""
    from redis import exceptions  # noqa: PLC0415 - redis-py takes 100 ms to import, see RedisLedger

    try:
        return client.execute_command(*command)
    except exceptions.ResponseError:  # unknown or forbidden, as in a managed store
        return None
    except (exceptions.RedisError, OSError) as error:
        raise LedgerUnavailable(explain(error, where, timeout)) from error
