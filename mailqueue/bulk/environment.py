"""The environment that templates are compiled and rendered in: Jinja2's sandbox, strict and bounded.

Jinja2 is an extra of the package, and is imported when the first template is compiled.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from mailqueue.bulk.bounds import LARGEST, WORK, excess, excess_of_call, excess_of_operation, size
from mailqueue.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jinja2 import Environment, nodes

__all__ = ["environment"]

_BREAK: Final = re.compile(r"[ \t]*[\r\n]\s*")
_PLAIN: Final = frozenset({int, float, bool})
#: Steps of work that a pass of a loop, and a call, count for.
_PASS: Final = 5
_CALL: Final = 10
_STEP: Final = "step of the template"  # the name of a filter that no template can call


@functools.cache
def environment(*, escape: bool, fold: bool, watched: bool = True) -> Environment:
    """The environment of fields that are HTML, whose values are escaped, or that are one line, folded if need be.

    What does no more than to put values in needs not be ``watched``, which takes a third of its time.
    """
    try:
        import jinja2  # noqa: F401, PLC0415
    except ImportError:
        raise ImproperlyConfigured(
            "templates of bulk mail need Jinja2, which is not installed: pip install 'mailqueue[bulk]'"
        ) from None
    from jinja2 import StrictUndefined  # noqa: PLC0415

    made: Environment = _sandbox()(
        autoescape=escape,
        undefined=StrictUndefined,
        finalize=_watching_finalizer() if watched else _finalizer(),
        keep_trailing_newline=True,
        extensions=[_folding()] if fold else [],
        cache_size=0,
    )
    del made.globals["lipsum"]
    made.filters = {name: _bounded(name, function) for name, function in made.filters.items()}
    made.filters[_STEP] = _step()
    return made


def _folding() -> type[Any]:
    """What makes one line of a template of several; values and line numbers stay as they are."""
    from jinja2.ext import Extension  # noqa: PLC0415 - see environment
    from jinja2.lexer import Token  # noqa: PLC0415

    class Fold(Extension):
        def filter_stream(self, stream: Any) -> Iterator[Token]:
            for token in stream:
                if token.type == "data":
                    yield Token(token.lineno, "data", _BREAK.sub(" ", token.value))
                else:
                    yield token

    return Fold


def _rendering() -> type[Any]:
    from jinja2.exceptions import SecurityError  # noqa: PLC0415 - see environment
    from jinja2.runtime import Context  # noqa: PLC0415

    class Rendering(Context):
        """One rendering of one field, and how much of its work is left."""

        left = WORK

        def work(self, steps: int) -> None:
            self.left -= steps
            if self.left < 0:
                raise SecurityError(f"it takes more than {WORK} steps: is there a loop in a loop?")

        def weigh(self, value: Any) -> None:
            kind = type(value)
            found = len(value) if kind is str else 1 if kind in _PLAIN else size(value)
            if found > LARGEST:
                self.refuse(excess(found))
            self.work(found)

        def refuse(self, why: str) -> None:
            if why:
                raise SecurityError(why)

    return Rendering


def _sandbox() -> type[Environment]:
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - see environment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "*", "**", "%"})
        context_class = _rendering()

        def getattr(self, obj: Any, attribute: str) -> Any:
            if type(obj) is dict and attribute in obj:  # {{ order.items }} is what the data says, and no method
                return obj[attribute]
            return super().getattr(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            context.refuse(excess_of_operation(operator, left, right))
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            context.work(_CALL)
            method = getattr(obj, "__wrapped__", obj)  # as the sandbox wraps str.format
            subject = getattr(method, "__self__", None)
            if isinstance(subject, str):
                if method.__name__ == "join" and args:
                    args = (list(args[0]), *args[1:])
                context.refuse(excess_of_call(method.__name__, subject, [*args, *kwargs.values()]))
            return super().call(context, obj, *args, **kwargs)

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            tree = super()._parse(source, name, filename)
            _watching().visit(tree)
            return tree

    return Sandbox


def _watching() -> Any:
    """What makes a template count the passes of its loops, and ``~`` a filter, which is bounded as all of them are."""
    from jinja2 import nodes  # noqa: PLC0415 - see environment
    from jinja2.visitor import NodeTransformer  # noqa: PLC0415

    def step(line: int) -> nodes.Filter:
        return nodes.Filter(nodes.Const(True), _STEP, [], [], None, None, lineno=line)

    class Watching(NodeTransformer):
        def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's names
            self.generic_visit(node)
            if node.test is None:
                node.body.insert(0, nodes.ExprStmt(step(node.lineno), lineno=node.lineno))
            else:
                node.test = nodes.And(step(node.lineno), node.test, lineno=node.lineno)
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
            self.generic_visit(node)
            parts = nodes.List(node.nodes, lineno=node.lineno)
            return nodes.Filter(parts, "join", [], [], None, None, lineno=node.lineno)

    return Watching()


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter ``name``, which is ``function``, within the bounds."""
    from jinja2 import pass_context  # noqa: PLC0415 - see environment
    from jinja2.utils import _PassArg  # noqa: PLC0415

    passed = _PassArg.from_obj(function)

    @pass_context
    def bounded(context: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "join" and not isinstance(value, str):
            value = list(value)
        context.weigh(value)
        context.refuse(excess_of_call(name, value, [*args, *kwargs.values()]))
        if passed is None:
            return function(value, *args, **kwargs)
        own = {_PassArg.context: context, _PassArg.eval_context: context.eval_ctx}.get(passed, context.environment)
        return function(own, value, *args, **kwargs)

    return bounded


def _step() -> Any:
    from jinja2 import pass_context  # noqa: PLC0415 - see environment

    @pass_context
    def step(context: Any, value: Any) -> Any:
        context.work(_PASS)
        return value

    return step


def _finalizer() -> Callable[[Any], Any]:
    """What sees each value before it is put out."""
    from jinja2 import TemplateRuntimeError, Undefined  # noqa: PLC0415 - see environment

    def finalize(value: Any) -> Any:
        if type(value) is str:
            return value
        if value is None:
            raise TemplateRuntimeError("a value is null (None); where it may be, write {{ ... or '' }}, or test it")
        if callable(value) and not isinstance(value, Undefined):
            raise TemplateRuntimeError(
                f"{getattr(value, '__name__', 'this')} is a function: call it, or rename the key"
            )
        return value

    return finalize


def _watching_finalizer() -> Callable[[Any, Any], Any]:
    from jinja2 import pass_context  # noqa: PLC0415 - see environment

    finalize = _finalizer()

    @pass_context
    def watch(context: Any, value: Any) -> Any:
        context.weigh(value)
        return finalize(value)

    return watch
