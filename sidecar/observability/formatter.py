"""Access-log formats: text and JSON with ``%OPERATOR(argument):length%`` in them.

A format is parsed once and becomes a function from the stream to a line.  The same formats make values
of added headers, bodies of local replies and direct responses.  What an operator reads is
:mod:`sidecar.observability.operators`' business.

Lines are text that was decoded as UTF-8 with surrogate escapes: encode them with :func:`encoded`, and
the bytes of a header come out as they came in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.errors import SidecarError
from sidecar.observability.json_values import CelValue, Shortened, json_text, quoted, quoted_inside
from sidecar.observability.line_program import write_program
from sidecar.observability.line_template import InString, Piece, Show, Value, join_pieces
from sidecar.observability.metadata_operators import TypedText
from sidecar.observability.operators import make_operator
from sidecar.observability.unset_operators import NOT_RECORDED
from sidecar.observability.wire_operators import reads_wire

__all__ = [
    "DEFAULT_FORMAT",
    "Line",
    "compile_header_value",
    "compile_json",
    "compile_text",
    "encoded",
    "unrecorded_operators",
]

#: Envoy's line when no format is given.
DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" '
    '"%UPSTREAM_HOST%"\n'
)

_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\(([^\n]*?)\))?(?::([0-9]{1,18}))?%")
_LEGACY_METADATA = re.compile(r"%(DYNAMIC_METADATA|UPSTREAM_METADATA)\(\s*(\[[^%]*\])\s*\)%")
_LEGACY_STATE = re.compile(r"%PER_REQUEST_STATE\(([^)]*)\)%")


class Line:
    """A compiled format: called with a stream it gives the text."""

    __slots__ = ("_pieces", "_show", "_show_text", "_unset", "reads_wire", "text")

    def __init__(
        self,
        text: Callable[[Stream], str],
        pieces: Sequence[Piece] | None = None,
        unset: str = "",
        show: Show = str,
        show_text: Show | None = None,
        *,
        reads_wire: bool = False,
    ) -> None:
        #: The text of a stream.
        self.text = text
        #: Whether it tells what the stream took on the wire.
        self.reads_wire = reads_wire
        self._pieces = pieces
        self._unset = unset
        self._show = show
        self._show_text = show_text

    def __call__(self, stream: Stream) -> str:
        return self.text(stream)

    def program(self) -> Callable[[Stream], bytes]:
        """The same as bytes, for who writes many."""
        text = self.text
        if self._pieces is None:
            return lambda stream: text(stream).encode("utf-8", "surrogateescape")
        return write_program(self._pieces, self._unset, self._show, text, show_text=self._show_text)


def compile_text(text_format: str, *, omit_empty: bool = False, extensions: Iterable[Any] = ()) -> Line:
    """A text format.  Unset is ``-``, or nothing with ``omit_empty``.

    ``extensions`` names operators that formatter extensions bring (``REQ_WITHOUT_QUERY``), or has CEL's
    options.
    Raises: SidecarError with Envoy's words.
    """
    pieces = _parse(text_format, frozenset(extensions))
    unset = "" if omit_empty else "-"
    return Line(_join(pieces, unset), pieces, unset, _text_of, reads_wire=reads_wire(text_format))


def compile_json(
    tree: Mapping[str, Any], *, omit_empty: bool = False, extensions: Iterable[Any] = ()
) -> Line:
    """A JSON format: a tree of dicts, lists and scalars, whose strings are formats.

    A string of one operator alone keeps the operator's type.  Unset is null there and ``-`` in a longer
    string; with ``omit_empty`` it is dropped, and so is an object that is left empty.  Keys come out
    sorted, as Envoy has them whatever ``sort_properties`` says.  The line ends with a line feed.
    Raises: SidecarError with Envoy's words.
    """
    known = frozenset(extensions)
    if omit_empty:
        render = _sparse_node(dict(tree), known)
        return Line(lambda stream: (render(stream) or "{}") + "\n", reads_wire=reads_wire(str(tree)))
    pieces: list[Piece] = []
    _add_json(dict(tree), known, pieces)
    pieces.append("\n")
    line = join_pieces(pieces, "null", json_text, show_text=quoted)
    return Line(line, pieces, "null", json_text, quoted, reads_wire=reads_wire(str(tree)))


def compile_header_value(
    text_format: str, *, extensions: Iterable[Any] = ()
) -> bytes | Callable[[Stream], bytes]:
    """The value of an added header: bytes when it is constant.  Unset is nothing.

    ``extensions`` as in :func:`compile_text`.
    The legacy forms ``%DYNAMIC_METADATA(["ns", "key"])%`` and ``%PER_REQUEST_STATE(key)%`` are known.
    Raises: SidecarError with Envoy's words.
    """
    text_format = _LEGACY_STATE.sub(r"%FILTER_STATE(\1:PLAIN)%", text_format)
    text_format = _LEGACY_METADATA.sub(_modern_metadata, text_format)
    pieces = _parse(text_format, frozenset(extensions), is_log=False)
    if all(isinstance(piece, str) for piece in pieces):
        return encoded("".join(str(piece) for piece in pieces))
    line = _join(pieces, "")
    return lambda stream: line(stream).encode("utf-8", "surrogateescape")


def unrecorded_operators(text_format: str) -> list[str]:
    """Operators in a format that Envoy answers and this proxy leaves unset."""
    names = [match.group(1) for match in _OPERATOR.finditer(text_format)]
    return sorted({name for name in names if name in NOT_RECORDED})


def encoded(line: str) -> bytes:
    """The bytes of a line."""
    return line.encode("utf-8", "surrogateescape")


# -- parsing --------------------------------------------------------------------------------------
def _parse(text_format: str, extensions: frozenset[Any], *, is_log: bool = True) -> list[Piece]:
    """Literal text and operators, in order, literals joined.

    ``is_log`` is False where the text is no line of an access log, which has no type then.
    """
    pieces: list[Piece] = []
    literal: list[str] = []
    at = 0
    while True:
        percent = text_format.find("%", at)
        if percent < 0:
            literal.append(text_format[at:])
            break
        literal.append(text_format[at:percent])
        if text_format.startswith("%%", percent):
            literal.append("%")
            at = percent + 2
            continue
        match = _OPERATOR.match(text_format, percent)
        if match is None:
            raise SidecarError(
                f"Incorrect configuration: {text_format}. Couldn't find valid command at position {percent}"
            )
        name, argument, limit = match.groups()
        if name == "ACCESS_LOG_TYPE" and not is_log:
            literal.append("NotSet")
            at = match.end()
            continue
        read = make_operator(name, argument or "", None if limit is None else int(limit), extensions)
        if text := "".join(literal):
            pieces.append(text)
        literal = []
        pieces.append(read)
        at = match.end()
    if text := "".join(literal):
        pieces.append(text)
    return pieces


def _modern_metadata(match: re.Match[str]) -> str:
    try:
        words = json.loads(match.group(2))
    except ValueError as error:
        raise SidecarError(f"Invalid header configuration. Not a JSON list: {match.group(2)}") from error
    if not words or not all(isinstance(word, str) for word in words):
        return match.group(0)
    return f"%{match.group(1)}({':'.join(words)})%"


# -- text -----------------------------------------------------------------------------------------
def _join(pieces: list[Piece], unset: str) -> Callable[[Stream], str]:
    """Put the pieces of a text together."""
    return join_pieces(pieces, unset, _text_of)


def _text_of(value: Any) -> str:
    """A value of another type than plain text, as text formats show it."""
    if isinstance(value, TypedText):
        return quoted(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value.text if isinstance(value, CelValue | Shortened) else json_text(value)


# -- JSON -----------------------------------------------------------------------------------------
def _typed(read: Value) -> Value:
    """The operator's value as JSON text, None where it is unset."""

    def as_json(stream: Stream) -> str | None:
        value = read(stream)
        return None if value is None else json_text(value)

    return as_json


def _inside(value: Any) -> str:
    """A value as a part of a JSON string."""
    return quoted_inside(value if value.__class__ is str else _text_of(value))


def _string_pieces(pieces: list[Piece], unset: str) -> list[Piece]:
    """The pieces of a JSON string that is not one operator alone."""
    inner = [
        quoted_inside(piece) if isinstance(piece, str) else InString(piece, unset, _inside)
        for piece in pieces
    ]
    return ['"', *inner, '"']


def _add_json(node: Any, extensions: frozenset[Any], out: list[Piece]) -> None:
    """Append the pieces of ``node``; unset operators are null."""
    if isinstance(node, str):
        pieces = _parse(node, extensions)
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            out.append(pieces[0])
        else:
            out += _string_pieces(pieces, "-")
    elif isinstance(node, dict):
        out.append("{")
        for number, key in enumerate(sorted(node)):
            out.append(f"{',' if number else ''}{quoted(key)}:")
            _add_json(node[key], extensions, out)
        out.append("}")
    elif isinstance(node, list):
        out.append("[")
        for number, item in enumerate(node):
            if number:
                out.append(",")
            _add_json(item, extensions, out)
        out.append("]")
    else:
        out.append(json_text(node))


def _sparse_node(node: Any, extensions: frozenset[Any]) -> Callable[[Stream], str | None]:
    """``node`` as a function to JSON text, or None where it is to be dropped."""
    if isinstance(node, str):
        pieces = _parse(node, extensions)
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            return _typed(pieces[0])
        return _join(_string_pieces(pieces, ""), "")
    if isinstance(node, dict):
        members = [(quoted(key), _sparse_node(node[key], extensions)) for key in sorted(node)]

        def sparse_object(stream: Stream) -> str | None:
            found = [f"{key}:{text}" for key, member in members if (text := member(stream)) is not None]
            return f"{{{','.join(found)}}}" if found else None

        return sparse_object
    if isinstance(node, list):
        items = [_sparse_node(item, extensions) for item in node]
        return lambda stream: f"[{','.join([text for item in items if (text := item(stream)) is not None])}]"
    constant = None if node is None else json_text(node)
    return lambda stream: constant
