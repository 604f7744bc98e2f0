"""Puts the pieces of a format together: constant text, and operators that are read for every line.

A line is made for every request, and a call in Python costs more than what most operators do.  So operators
that are a look at an attribute or a header say so (:class:`Attribute`, :class:`RequestField` and its like):
those of a kind are read together, without a call each, and a line that leaves as bytes is made by a
function written for it (:mod:`sidecar.observability.line_program`).
:mod:`sidecar.observability.formatter` makes the pieces, and says what a format is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap

__all__ = [
    "Attribute",
    "Coded",
    "Computed",
    "InString",
    "Moment",
    "Piece",
    "RequestField",
    "ResponseField",
    "Show",
    "Value",
    "decoded",
    "join_pieces",
]

Value = Callable[[Stream], Any]
#: Constant text, or an operator.
Piece = str | Value
#: From a value that is not None to its text.
Show = Callable[[Any], str]


def decoded(value: bytes) -> str:
    """Bytes of the wire as text; what is not UTF-8 becomes surrogates."""
    try:
        return value.decode()  # by far the shortest way through the interpreter
    except UnicodeDecodeError:
        return value.decode("utf-8", "surrogateescape")


class Attribute:
    """An operator that is an attribute of the stream, a dotted path to it; unset when None or empty text."""

    __slots__ = ("_get", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._get = attrgetter(path)

    def __call__(self, stream: Stream) -> Any:
        try:
            value = self._get(stream)
        except AttributeError:  # what the path leads through is None
            return None
        if value.__class__ is bytes:
            return decoded(value)
        return None if value == "" else value


class _Field:
    """An operator that is a header, or the header to take when it is not there (``b""``: no such)."""

    __slots__ = ("alternative", "name")

    def __init__(self, name: bytes, alternative: bytes) -> None:
        self.name = name
        self.alternative = alternative

    def value(self, headers: HeaderMap) -> str | None:
        found = headers.get(self.name)
        if found is None and self.alternative:
            found = headers.get(self.alternative)
        return None if found is None else decoded(found)


class RequestField(_Field):
    """A field of the request's head."""

    __slots__ = ()

    def __call__(self, stream: Stream) -> str | None:
        return self.value(stream.request.headers)


class ResponseField(_Field):
    """A field of the response's head."""

    __slots__ = ()

    def __call__(self, stream: Stream) -> str | None:
        headers = stream.response_headers
        return None if headers is None else self.value(headers)


class Coded:
    """An operator that shows a number of few values as text (the flags)."""

    __slots__ = ("attribute", "text_of")

    def __init__(self, attribute: str, text_of: Callable[[int], str]) -> None:
        self.attribute = attribute
        self.text_of = text_of

    def __call__(self, stream: Stream) -> str:
        return self.text_of(getattr(stream, self.attribute))


class Moment:
    """An operator that shows ``start_time``.  ``is_coarse``: text changes once a millisecond at most."""

    __slots__ = ("is_coarse", "text_of")

    def __init__(self, text_of: Callable[[float], str], *, is_coarse: bool) -> None:
        self.text_of = text_of
        self.is_coarse = is_coarse

    def __call__(self, stream: Stream) -> str:
        return self.text_of(stream.start_time)


class Computed:
    """An operator that is an expression of ``stream`` to a number, in Python; ``read`` computes the same."""

    __slots__ = ("expression", "names", "read")

    def __init__(self, read: Callable[[Stream], int], expression: str, **names: Any) -> None:
        self.read = read
        self.expression = expression
        self.names = names

    def __call__(self, stream: Stream) -> int:
        return self.read(stream)


class InString:
    """An operator inside a JSON string: ``show`` makes text of its value, ``unset`` where there is none."""

    __slots__ = ("_show", "of", "unset")

    def __init__(self, of: Value, unset: str, show: Show) -> None:
        self.of = of
        self.unset = unset
        self._show = show

    def __call__(self, stream: Stream) -> str:
        return self.shown(self.of(stream))

    def shown(self, value: Any) -> str:
        """The text of a value of the operator."""
        return self.unset if value is None else self._show(value)


def join_pieces(
    pieces: Sequence[Piece], unset: str, show: Show, *, show_text: Show | None = None
) -> Callable[[Stream], str]:
    """A function that makes the line: each operator's value as ``show`` has it, or ``unset``.

    ``show_text`` does what ``show`` does to plain strings; without it they stay as they are.
    """
    template = [piece if isinstance(piece, str) else unset for piece in pieces]
    reads = [(number, piece) for number, piece in enumerate(pieces) if not isinstance(piece, str)]
    if not reads:
        constant = "".join(template)
        return lambda stream: constant
    attributes = [(number, piece) for number, piece in reads if isinstance(piece, Attribute)]
    if len(attributes) < 2:
        attributes = []  # of one, attrgetter gives no tuple
    get_attributes = attrgetter(*(piece.path for _, piece in attributes)) if attributes else None
    attribute_numbers = [number for number, _ in attributes]
    from_request = [
        (number, piece.name, piece.alternative) for number, piece in reads if isinstance(piece, RequestField)
    ]
    from_response = [
        (number, piece.name, piece.alternative) for number, piece in reads if isinstance(piece, ResponseField)
    ]
    together = {*attribute_numbers, *(entry[0] for entry in (*from_request, *from_response))}
    ready = [(number, piece) for number, piece in reads if isinstance(piece, InString)]
    together.update(number for number, _ in ready)
    others = [read for read in reads if read[0] not in together]

    def read_fields(parts: list[str], headers: HeaderMap, wanted: list[tuple[int, bytes, bytes]]) -> None:
        index = headers.index()
        # Where every name stands once the index has the values.
        get = index.get if len(index) == len(headers.fields) else headers.get
        for number, name, alternative in wanted:
            value = get(name)
            if value is None:
                if not alternative:
                    continue
                value = headers.get(alternative)
                if value is None:
                    continue
            try:
                text = value.decode()
            except UnicodeDecodeError:
                text = value.decode("utf-8", "surrogateescape")
            parts[number] = text if show_text is None else show_text(text)

    def any_line(stream: Stream) -> str:
        parts = template.copy()
        if get_attributes is not None:
            try:
                values: Sequence[Any] = get_attributes(stream)
            except AttributeError:  # what one of the paths leads through is None
                values = [piece(stream) for _, piece in attributes]
            for number, value in zip(attribute_numbers, values, strict=True):
                kind = value.__class__
                if kind is int:
                    parts[number] = str(value)
                    continue
                if kind is bytes:
                    value = decoded(value)
                elif kind is not str:
                    if value is not None:
                        parts[number] = show(value)
                    continue
                elif not value:
                    continue
                parts[number] = value if show_text is None else show_text(value)
        if from_request:
            read_fields(parts, stream.request.headers, from_request)
        if from_response:
            response = stream.response
            if response is not None:
                read_fields(parts, response.headers, from_response)
        for number, read in others:
            value = read(stream)
            kind = value.__class__
            if kind is str:
                parts[number] = value if show_text is None else show_text(value)
            elif kind is int:
                parts[number] = str(value)
            elif value is not None:
                parts[number] = show(value)
        for number, text_of in ready:
            parts[number] = text_of(stream)
        return "".join(parts)

    return any_line
