"""Writes the function that makes the lines of one format, as the bytes that go to a file.

What a line costs is the instructions that Python interprets, and a loop over operators interprets many for
each.  So the function is written out once, in Python: operators that are a look at an attribute or a header
stand in it as such, values go into one template with one ``%``, and text that is always the same (hosts,
codes, flags, protocols) is looked up as bytes.  Bytes of the wire are never decoded: in a text line they
stand as they came, and in JSON one look over all of them tells whether any needs an escape.  A line that is
not usual (no response, bytes to escape) is made by the long way, which knows everything
(:func:`sidecar.observability.line_template.join_pieces`); both give the same.

Nothing of a configuration becomes source text: constants are handed over by names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidecar.api.stream import Stream
from sidecar.observability.line_template import (
    Attribute,
    Coded,
    Computed,
    InString,
    Moment,
    Piece,
    RequestField,
    ResponseField,
    Show,
    Value,
)

__all__ = ["write_program"]

_HEADERS = "request.headers."
#: Bytes that stand in a JSON string as they are; all others become 0.
_PLAIN_IN_JSON = bytes(code if 0x20 <= code < 0x7F and code not in b'"\\' else 0 for code in range(256))
#: Texts that a table keeps, how long they may be, and templates that a format keeps.
_MAX_TEXTS = 1024
_MAX_LENGTH = 256
_MAX_TEMPLATES = 256


class _Texts(dict[Any, bytes]):
    """Values as the format shows them.  Bounded: what is many, or long, is made anew."""

    __slots__ = ("_show",)

    def __init__(self, show: Show) -> None:
        super().__init__()
        self._show = show

    def __missing__(self, value: Any) -> bytes:
        text = self._show(value).encode("utf-8", "surrogateescape")
        if len(text) <= _MAX_LENGTH:
            if len(self) >= _MAX_TEXTS:
                self.clear()
            self[value] = text
        return text


class _Templates(dict[int, bytes]):
    """Templates of a JSON line by which of its fields are unset: bits of the number."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[bytes | int]) -> None:
        super().__init__()
        self._parts = parts

    def __missing__(self, absent: int) -> bytes:
        if len(self) >= _MAX_TEMPLATES:
            self.clear()
        # "%.0b" takes a value and shows nothing of it.
        template = self[absent] = b"".join(
            part if isinstance(part, bytes) else b"null%.0b" if absent & part else b'"%b"'
            for part in self._parts
        )
        return template


class _Clock:
    """The text of a moment, made once a millisecond."""

    __slots__ = ("_show", "ms", "text")

    def __init__(self, show: Callable[[float], str]) -> None:
        self._show = show
        self.ms = -1
        self.text = b""

    def turn(self, ms: int) -> None:
        self.ms = ms
        # The middle of the millisecond: no rounding makes it another.
        self.text = self._show((ms + 0.5) / 1000).encode("utf-8", "surrogateescape")


def write_program(
    pieces: Sequence[Piece],
    unset: str,
    show: Show,
    any_line: Callable[[Stream], str],
    *,
    show_text: Show | None = None,
) -> Callable[[Stream], bytes]:
    """The bytes of what ``any_line`` makes; the other arguments are those that it was made of."""
    program = _Program(unset, show, any_line, show_text)
    for piece in pieces:
        program.add(piece)
    return program.made()


class _Program:
    """One function while it is written."""

    def __init__(
        self, unset: str, show: Show, any_line: Callable[[Stream], str], show_text: Show | None
    ) -> None:
        self._unset = unset
        self._show = show
        self._show_text = show_text
        self._names: dict[str, Any] = {
            "any_line": any_line,
            "join": b"".join,
            "plain": _PLAIN_IN_JSON,
            "unset": unset.encode("utf-8", "surrogateescape"),
        }
        self._lines: list[str] = []
        self._arguments: list[str] = []
        #: Names of values that came from the wire.
        self._wire: list[str] = []
        #: The template: a number stands for a JSON string that may be null, its bit when it is.
        self._parts: list[bytes | int] = []
        self._bits = 0
        self._reads_request = self._reads_fields = self._reads_response = False
        self._texts: dict[tuple[bool, str | None], str] = {}

    def add(self, piece: Piece) -> None:
        """Write what ``piece`` needs."""
        if isinstance(piece, str):
            self._parts.append(piece.encode("utf-8", "surrogateescape").replace(b"%", b"%%"))
            return
        inside = piece if isinstance(piece, InString) else None
        read = piece if inside is None else inside.of
        if isinstance(read, RequestField | ResponseField):
            self._add_wire(self._field(read), inside)
            return
        if isinstance(read, Attribute) and read.path.startswith(_HEADERS):
            self._reads_request = True
            self._add_wire([f"headers.{read.path[len(_HEADERS) :]}"], inside)
            return
        self._parts.append(b"%b")
        self._arguments.append(self._argument(read, inside))

    # -- values of ours -------------------------------------------------------------------------
    def _argument(self, read: Value, inside: InString | None) -> str:
        """An expression to the bytes of a value."""
        if isinstance(read, Moment):
            if not read.is_coarse:
                return f"{self._table(inside)}[{self._name('read', read)}(stream)]"
            show = self._shower(inside)
            clock = self._name("clock", _Clock(lambda moment: show(read.text_of(moment))))
            self._lines += [
                "ms = int(stream.start_time * 1000)",
                f"if ms != {clock}.ms:",
                f"    {clock}.turn(ms)",
            ]
            return f"{clock}.text"
        if isinstance(read, Coded):
            show = self._shower(inside)
            codes = self._name("codes", _Texts(lambda number: show(read.text_of(number))))
            return f"{codes}[stream.{read.attribute}]"
        if isinstance(read, Computed):
            self._names |= read.names
            return f"{self._table(inside)}[{read.expression}]"
        if isinstance(read, Attribute) and read.path.count(".") < 2:
            owner, _, attribute = read.path.rpartition(".")
            value = f"stream.{attribute}"
            if owner:
                value = f"None if (owner := stream.{owner}) is None else owner.{attribute}"
            return f"{self._table(inside, empty_is_unset=True)}[{value}]"
        return f"{self._name('shown', self._any_value(read, inside))}(stream)"

    def _any_value(self, read: Value, inside: InString | None) -> Callable[[Stream], bytes]:
        """A function to the bytes of what ``read`` gives, whatever that is."""
        table = self._names[self._table(inside)]
        show = self._shower(inside)

        def shown(stream: Stream) -> bytes:
            value = read(stream)
            kind = value.__class__
            if kind is str or kind is int or value is None:
                return table[value]  # type: ignore[no-any-return]
            return show(value).encode("utf-8", "surrogateescape")

        return shown

    def _shower(self, inside: InString | None) -> Show:
        """From a value, which may be None, to its text in this place."""
        show, show_text, unset = self._show, self._show_text, self._unset
        if inside is not None:
            return inside.shown

        def shown(value: Any) -> Any:
            if value is None:
                return unset
            if value.__class__ is str:
                return value if show_text is None else show_text(value)
            return show(value)

        return shown

    def _table(self, inside: InString | None, *, empty_is_unset: bool = False) -> str:
        """The name of a table of values as they show in this place."""
        key = (empty_is_unset, None if inside is None else inside.unset)
        name = self._texts.get(key)
        if name is None:
            show = self._shower(inside)
            made = _Texts((lambda value: show(None if value == "" else value)) if empty_is_unset else show)
            name = self._texts[key] = self._name("texts", made)
        return name

    def _name(self, kind: str, value: Any) -> str:
        name = f"{kind}{len(self._names)}"
        self._names[name] = value
        return name

    # -- values of the wire -----------------------------------------------------------------------
    def _field(self, field: RequestField | ResponseField) -> list[str]:
        """Expressions to a field's bytes, the second to be asked where the first gives None."""
        if isinstance(field, RequestField):
            self._reads_request = self._reads_fields = True
            get, owner = "get", "headers"
        else:
            self._reads_response = True
            get, owner = "answer_get", "answer"
        found = [f"{get}({self._name('name', field.name)})"]
        if field.alternative == b":path" and owner == "headers":
            found.append("headers.path")
        elif field.alternative:
            found.append(f"{owner}.get({self._name('name', field.alternative)})")
        return found

    def _add_wire(self, expressions: list[str], inside: InString | None) -> None:
        """Bytes of the wire, or None."""
        name = f"value{len(self._wire)}"
        self._wire.append(name)
        self._arguments.append(name)
        self._lines.append(f"{name} = {expressions[0]}")
        for other in expressions[1:]:
            self._lines += [f"if {name} is None:", f"    {name} = {other}"]
        self._lines.append(f"if {name} is None:")
        if inside is not None or self._show_text is None:
            unset = "unset" if inside is None else self._name("unset", inside.unset.encode())
            self._lines.append(f"    {name} = {unset}")
            self._parts.append(b"%b")
            return
        bit = 1 << self._bits
        self._bits += 1
        self._lines += [f"    {name} = b''", f"    absent |= {bit}"]
        self._parts.append(bit)

    # -- the function -------------------------------------------------------------------------------
    def made(self) -> Callable[[Stream], bytes]:
        if not self._arguments:
            constant = b"".join(part for part in self._parts if isinstance(part, bytes)).replace(b"%%", b"%")
            return lambda stream: constant
        lines = []
        if self._reads_request:
            lines.append("headers = stream.request.headers")
        if self._reads_fields:
            lines += [
                "index = headers.index()",
                # Where every name stands once the index has the values.
                "get = index.get if len(index) == len(headers.fields) else headers.get",
            ]
        if self._reads_response:
            lines += [
                "answer = stream.response.headers",
                "index = answer.index()",
                "answer_get = index.get if len(index) == len(answer.fields) else answer.get",
            ]
        if self._bits:
            lines.append("absent = 0")
        lines += self._lines
        if self._wire and self._show_text is not None:
            joined = self._wire[0] if len(self._wire) == 1 else f"join(({', '.join(self._wire)}))"
            # The very same object comes back where nothing had to be changed.
            lines += [f"wire = {joined}", "if wire.translate(plain) is not wire:", "    return slow(stream)"]
        if self._bits:
            self._names["templates"] = _Templates(self._parts)
            template = "templates[absent]"
        else:
            self._names["template"] = b"".join(part for part in self._parts if isinstance(part, bytes))
            template = "template"
        lines.append(f"return {template} % ({', '.join(self._arguments)},)")
        body = "\n".join(f"        {line}" for line in lines)
        source = (
            "def slow(stream):\n"
            "    return any_line(stream).encode('utf-8', 'surrogateescape')\n"
            "def line(stream):\n"
            f"    try:\n{body}\n"
            "    except AttributeError:\n"  # what something is read through is None
            "        return slow(stream)\n"
        )
        exec(compile(source, "<log format>", "exec"), self._names)  # noqa: S102 - names and numbers of ours
        line: Callable[[Stream], bytes] = self._names["line"]
        return line
