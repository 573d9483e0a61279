"""The layers are a contract: a file imports downward only, at its top, and in no circle.

A new file fails here until ``LAYERS`` gives it a place.
"""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mailqueue
from mailqueue.testing.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

#: From the ground up. A file may import from its own line and from those above it in this table. A package stands
#: for all of its files but those that have a line of their own.
LAYERS: tuple[tuple[str, str], ...] = (
    (
        "words",
        "mailqueue.errors mailqueue.smtp.reply mailqueue.outcome mailqueue.lanes mailqueue.presets mailqueue.rate mailqueue.ledger.states",
    ),
    ("settings", "mailqueue.conf"),
    ("SMTP", "mailqueue.smtp"),
    ("the mail API", "mailqueue.mail"),
    (
        "the unit of queueing and its wire form",
        """mailqueue.blobs mailqueue.charset mailqueue.extras mailqueue.mimetree mailqueue.parts mailqueue.precheck
        mailqueue.rendered
        mailqueue.envelope mailqueue.bulkenvelope mailqueue.codec mailqueue.digest""",
    ),
    (
        "what bulk mail makes messages of",
        """mailqueue.bulk.address mailqueue.bulk.derived mailqueue.bulk.recipientfile mailqueue.bulk.recipients
        mailqueue.bulk.bounds mailqueue.bulk.environment mailqueue.bulk.sandbox
        mailqueue.bulk.template mailqueue.bulk.text mailqueue.bulk.tomlplaces""",
    ),
    ("the ledger", "mailqueue.ledger"),
    ("the way to the broker", "mailqueue.confirms mailqueue.form mailqueue.publisher"),
    ("what waits for the ledger", "mailqueue.spoolfile mailqueue.spool"),
    ("when to try again, and how fast", "mailqueue.limits mailqueue.retry"),
    (
        "the way in",
        """mailqueue.ids mailqueue.report mailqueue.route mailqueue.schedule mailqueue.transaction mailqueue.shipment
        mailqueue.intake mailqueue.producer""",
    ),
    ("what can still be done", "mailqueue.control"),
    (
        "who wants bulk mail",
        """mailqueue.bulk.listheaders mailqueue.bulk.refusals mailqueue.bulk.suppression mailqueue.bulk.suppressionfile
        mailqueue.bulk.unsubscribe mailqueue.bulk.web mailqueue.bulk.webpage""",
    ),
    ("bulk mail", "mailqueue.bulk"),
    ("the helpers' way there", "mailqueue.mail.backends.queue"),
    ("the public door", "mailqueue"),
    ("starting workers", "mailqueue.launch"),
    ("for users' tests", "mailqueue.testing"),
    ("the operator's hands", "mailqueue.cli mailqueue.__main__"),
    (
        "a worker's means",
        "workers.stop workers.signed workers.retry workers.relays workers.pace workers.batch workers.blobs workers.campaigns workers.evidence workers.suppressed workers.tap",
    ),
    ("a worker's connections", "workers.connections workers.backends workers.keeper"),
    ("one process of a worker", "workers.process"),
    (
        "one batch",
        "workers.lookout workers.conclusion workers.refusals workers.journal workers.errand workers.line workers.lines workers.portions workers.deliver workers.unpacking workers.claiming workers.supply workers.drain",
    ),
    ("the rounds", "workers.tick workers.rounds workers.room workers.feed workers.rota"),
    ("a worker for users' tests", "workers.inline"),
    ("Celery's side", "workers.consumer workers.lifecycle workers.tasks"),
    ("the composition root", "workers.app workers"),
)

ROOT = Path(mailqueue.__file__).parent.parent
PACKAGES = ("mailqueue", "workers")


@dataclass(frozen=True)
class Import:
    """One import of a module of ours: who, what and where; ``at_rest`` if it does not run with its module."""

    by: str
    of: str
    line: int
    in_function: bool
    at_rest: bool

    def __str__(self) -> str:
        return f"{self.by} imports {self.of} (line {self.line})"


def files() -> dict[str, Path]:
    """Every module of ours by its name."""
    found = {}
    for path in itertools.chain.from_iterable((ROOT / package).rglob("*.py") for package in PACKAGES):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = files()


def imports_of(module: str) -> Iterator[Import]:
    """The imports of our own modules in ``module``, wherever they stand."""
    tree = ast.parse(FILES[module].read_text())
    outside = [inner for node in tree.body for inner in (node.body if isinstance(node, ast.If) else [node])]

    def visit(node: ast.AST, in_function: bool, at_rest: bool) -> Iterator[Import]:
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__" and node in outside:
            at_rest = True  # a module's lazy name (PEP 562): it stands at the top, and runs when it is asked for
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            in_function = True
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                yield from visit(child, in_function, at_rest=True)
            for child in node.orelse:
                yield from visit(child, in_function, at_rest)
            return
        for name in names(node):
            yield Import(module, name, node.lineno, in_function, at_rest)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, in_function, at_rest)

    return visit(tree, in_function=False, at_rest=False)


def names(node: ast.AST) -> list[str]:
    """The modules of ours that ``node`` itself imports."""
    found: list[str] = []
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"a relative import (line {node.lineno}): write it out"
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        found = [name if name in FILES else str(node.module) for name in inside]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        found = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    return list(dict.fromkeys(name for name in found if name.partition(".")[0] in PACKAGES))


IMPORTS = [found for module in FILES for found in imports_of(module)]


def layer(module: str) -> int | None:
    """The place of ``module`` in LAYERS; the longest name there that fits counts."""
    places = {name: place for place, (_, line) in enumerate(LAYERS) for name in line.split()}
    while module not in places and "." in module:
        module = module.rpartition(".")[0]
        if module in PACKAGES:  # the line of a root package stands for its door alone
            return None
    return places.get(module)


def test_the_walk_finds_the_imports():
    """Otherwise everything else here would pass for nothing."""
    assert len(FILES) > 20
    assert any(found.by == "mailqueue.outcome" and found.of == "mailqueue.smtp.reply" for found in IMPORTS)


def test_every_file_has_a_layer():
    assert [module for module in sorted(FILES) if layer(module) is None] == []


def test_every_name_in_the_table_is_a_module():
    named = {name for _, line in LAYERS for name in line.split()}
    assert sorted(named - FILES.keys()) == []


def test_imports_go_down_only():
    def place(module: str) -> int:
        found = layer(module)
        return -1 if found is None else found

    upward = [found for found in IMPORTS if place(found.of) > place(found.by)]
    assert [f"{found}: {LAYERS[place(found.by)][0]} stand below {LAYERS[place(found.of)][0]}" for found in upward] == []


def test_the_mail_side_never_imports_the_workers():
    """A web process sends tasks by name."""
    assert [str(f) for f in IMPORTS if f.by.startswith("mailqueue") and f.of.startswith("workers")] == []


def test_no_import_of_ours_hides_in_a_function():
    assert [str(found) for found in IMPORTS if found.in_function] == []


def test_there_is_no_circle():
    """Imports of packages count as well: ``import a.b`` runs ``a/__init__.py`` first, unless we are in it already."""
    graph: dict[str, set[str]] = {module: set() for module in FILES}
    for found in IMPORTS:
        if not found.at_rest:
            parents = itertools.accumulate(found.of.split("."), lambda parent, name: f"{parent}.{name}")
            graph[found.by] |= {name for name in parents if not f"{found.by}.".startswith(f"{name}.")}
    assert circle(graph) is None


def circle(graph: dict[str, set[str]]) -> str | None:
    """A circle in ``graph``, written out, if it has one."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> str | None:
        if node in path:
            return " -> ".join([*path[path.index(node) :], node])
        if node in done:
            return None
        for following in sorted(graph.get(node, ())):
            if found := walk(following, [*path, node]):
                return found
        done.add(node)
        return None

    return next(filter(None, (walk(node, []) for node in graph)), None)


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == "b -> c -> b"
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


HEAVY = ("celery", "kombu", "billiard", "amqp", "redis", "click", "rich", "django", "tenacity", "fakeredis")


@pytest.mark.parametrize(
    "statement",
    [
        "import mailqueue",
        "import mailqueue.mail",
        "from mailqueue import send_mail",
        "import mailqueue.testing.plugin",  # by every run of pytest where mailqueue is installed
    ],
)
def test_importing_it_is_light(statement):
    """A web process that never sends mail pays for none of these."""
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
