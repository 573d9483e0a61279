"""The fields of a template: each compiled, rendered within its limit, its errors told by line of the template."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from mailqueue.bulk.environment import environment
from mailqueue.conf.nearest import nearest
from mailqueue.errors import TemplateError
from mailqueue.mail.letter import BAD_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jinja2 import nodes

__all__ = ["LIMITS", "NOWHERE", "Field", "FieldKind", "Origin", "Slot", "global_names"]

#: What becomes of a field: a line of the header, or a body. Only in HTML are values escaped.
FieldKind: TypeAlias = Literal["line", "text", "html"]

#: Octets that a field may yield. Mail programs cut HTML off at 100 KB (Gmail) and below; a field of a header is folded,
#: and relays take some 100 KB of all of them.
LIMITS: Final[Mapping[FieldKind, int]] = {"line": 4_000, "text": 1_000_000, "html": 1_000_000}

_MESSAGE: Final = 300  # characters of an error
_LINE_BREAK: Final = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TEXT_AND_NUMBER: Final = re.compile("'str' and '(?:int|float)'|'(?:int|float)' and 'str'")
_ESCAPED: Final = 5  # characters that escaping makes of one at most: &#34;
_UTF8: Final = 4  # octets of a character at most


class Origin(NamedTuple):
    """Where the text of a field was read: the ``line`` of ``file`` on which it begins, counted from 1.

    ``pinned``: all of it is on that line, whatever lines it makes.
    """

    file: str = ""
    line: int = 1
    pinned: bool = False

    def error(self, message: str, field: str, line: int | None = None) -> TemplateError:
        """An error of ``field``, at ``line`` of its text."""
        if self.file:
            line = self.line if self.pinned else self.line + (line or 1) - 1
        return TemplateError(message, field=field, line=line, file=self.file)


NOWHERE: Final = Origin()


class Slot(NamedTuple):
    """A place where a variable is put out as it is."""

    name: str


class Field:
    """One field of a template, compiled.

    ``names`` are the variables that it needs; ``pieces`` are what it puts out, if it has no logic; ``constant`` is what it always yields, if it has none and no logic.
    ``longest`` is how long the printable values of its variables may be so that it surely renders, whatever they are;
    0 says that nothing is sure: it does more than to put values in. ``has_text``: it surely does not come out empty.
    """

    def __init__(self, name: str, source: str, kind: FieldKind = "line", origin: Origin = NOWHERE) -> None:
        """Compile ``source``; raises TemplateError for what is no template, ImproperlyConfigured without Jinja2."""
        self.name = name
        self.kind: Final = kind
        self._origin = origin
        self._limit = LIMITS[kind]
        self._folded = "\n" in source
        escape, fold = kind == "html", kind == "line"
        jinja = environment(escape=escape, fold=fold)
        from jinja2 import TemplateError as Trouble  # noqa: PLC0415 - see environment
        from jinja2 import TemplateSyntaxError, meta  # noqa: PLC0415

        self._troubles = (Trouble, *BAD_MESSAGE)
        try:
            tree = jinja.parse(source, name)
            self._refuse_references(tree)
            self.names = frozenset(meta.find_undeclared_variables(tree))
            pieces = list(_pieces(tree))
            self.pieces = None if None in pieces else [piece for piece in pieces if piece is not None]
            if self.pieces is not None:
                jinja = environment(escape=escape, fold=fold, watched=False)
            self._template = jinja.from_string(tree)
        except TemplateSyntaxError as error:
            raise self.error(error.message or "it is no template", error.lineno) from error
        except (RecursionError, SyntaxError) as error:  # the latter is Python's, of the code that Jinja2 makes
            raise self.error("it is nested too deeply") from error
        self._root = self._template.root_render_func
        self.longest = self._certainty(pieces)
        self.has_text = any(isinstance(piece, str) and piece.strip() for piece in pieces)
        self.constant = self.render({}) if all(isinstance(piece, str) for piece in pieces) else None

    def render(self, variables: dict[str, Any]) -> str:
        """The field for ``variables``, which hold the globals too; raises TemplateError."""
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._root(self._template.new_context(variables, shared=True)):
                pieces.append(piece)
                length += len(piece)
                if length > self._limit:
                    raise self._too_long()
        except TemplateError:
            raise
        except self._troubles as error:
            raise self._runtime_error(error, variables) from error
        text = "".join(pieces)
        return self._line(text) if self.kind == "line" else self._body(text)

    def error(self, message: str, line: int | None = None) -> TemplateError:
        """An error of this field, at ``line`` of its text."""
        return self._origin.error(message, self.name, line)

    # -- compiling

    def _refuse_references(self, tree: nodes.Template) -> None:
        from jinja2 import nodes  # noqa: PLC0415 - see environment

        for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
            word = "import" if isinstance(node, nodes.FromImport) else type(node).__name__.lower()
            raise self.error(f"{word} is not possible: a campaign keeps one text, so put it in here", node.lineno)

    def _certainty(self, pieces: list[str | Slot | None]) -> int:
        values = sum(not isinstance(piece, str) for piece in pieces)
        if None in pieces:
            return 0
        room = self._limit - sum(len(piece) * _UTF8 for piece in pieces if isinstance(piece, str))
        return max(0, room // (values * _ESCAPED * _UTF8) if values else room)

    # -- what was rendered

    def _line(self, text: str) -> str:
        text = text.strip()
        if "\t" in text:
            text = text.replace("\t", " ")
        if self._folded and "  " in text:
            text = re.sub(" {2,}", " ", text)
        if text.isprintable():
            return text
        if found := _LINE_BREAK.search(text):
            raise self.error(f"a value has a line break in it ({found[0]!r}), and this is one line of the header")
        if found := _CONTROL.search(text):
            raise self.error(f"a value has a control character in it ({found[0]!r})")
        return text

    def _body(self, text: str) -> str:
        if "\0" in text:
            raise self.error("a value has a NUL character in it, which mail cannot carry (RFC 5322 section 4)")
        if not text.isascii():
            try:
                octets = len(text.encode())
            except UnicodeEncodeError as error:
                raise self.error(f"a value has half a character in it ({text[error.start]!r})") from error
            if octets > self._limit:
                raise self._too_long()
        return text

    def _too_long(self) -> TemplateError:
        return self.error(f"it yields more than {self._limit} octets")

    def _runtime_error(self, error: BaseException, variables: Mapping[str, Any]) -> TemplateError:
        from jinja2 import UndefinedError  # noqa: PLC0415 - see environment

        message = str(error) or type(error).__name__
        if isinstance(error, UndefinedError):
            known = variables.keys() - self._template.globals.keys()
            found = re.fullmatch(r"'(.+)' is undefined", message)
            message += nearest(found[1], known) if found else ""
        elif not isinstance(error, self._troubles[0]):
            message = f"{type(error).__name__}: {message}"
            if _TEXT_AND_NUMBER.search(message):
                message += " (values of a CSV file are text: write name|int or name|float)"
        if len(message) > _MESSAGE:  # Python shows values in some of its own
            message = f"{message[: _MESSAGE - 3]}..."
        return self.error(message, self._line_of(error))

    def _line_of(self, error: BaseException) -> int | None:
        """The line of the template that raised ``error``: that of the innermost frame of its code."""
        line = None
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals is self._root.__globals__:
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


@functools.cache
def global_names() -> Mapping[str, Any]:
    """What every template has beside its data: the functions of Jinja2 that are let in."""
    return dict(environment(escape=False, fold=False).globals)


def _pieces(tree: nodes.Template) -> Iterator[str | Slot | None]:
    """What ``tree`` puts out, in order: text, and variables as they are; None for whatever is not one of the two."""
    from jinja2 import nodes  # noqa: PLC0415 - see environment

    for statement in tree.body:
        for node in statement.nodes if isinstance(statement, nodes.Output) else (None,):
            if isinstance(node, nodes.TemplateData):
                yield node.data
            else:
                yield Slot(node.name) if isinstance(node, nodes.Name) else None
