"""Puts the pieces of a format together: constant text, and operators that are read for every line.

A line is made for every request, and a call in Python costs more than what most operators do.  So operators
that are a look at an attribute or a header say so (:class:`Attribute`, :class:`RequestField`,
:class:`ResponseField`): those of a kind are read together, without a call each.
:mod:`sidecar.observability.formatter` makes the pieces, and says what a format is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap

__all__ = ["Attribute", "Ready", "RequestField", "ResponseField", "Value", "decoded", "join_pieces"]

Value = Callable[[Stream], Any]
#: Types that the template shows as formats do.
_PLAIN = frozenset({str, int})
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


class Ready:
    """An operator whose value is put in as it is: text, never unset."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[Stream], str]) -> None:
        self.read = read

    def __call__(self, stream: Stream) -> str:
        return self.read(stream)


def join_pieces(
    pieces: Sequence[str | Value], unset: str, show: Show, *, show_text: Show | None = None
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
    ready = [(number, piece.read) for number, piece in reads if isinstance(piece, Ready)]
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

    return any_line if show_text is not None else _usual_line(pieces, unset, any_line)


def _usual_line(
    pieces: Sequence[str | Value], unset: str, any_line: Callable[[Stream], str]
) -> Callable[[Stream], str]:
    """A text line of the usual stream, made by few and large steps; the others are left to ``any_line``.

    In a whole exchange what counts is how many instructions Python interprets, not what they do (estimated:
    7 ns each): so attributes, header fields and text come together in one call each.  It gives up where a
    value is unset that is hardly ever, and where a header stands twice.
    """
    attributes: list[tuple[int, str]] = []
    byte_attributes: list[tuple[int, str]] = []
    or_path: list[tuple[int, bytes]] = []
    plain: list[tuple[int, bytes]] = []
    responses: list[tuple[int, bytes]] = []
    others: list[tuple[int, Value]] = []
    for number, piece in enumerate(pieces):
        if isinstance(piece, str):
            continue
        if isinstance(piece, Attribute):
            kept = byte_attributes if piece.path.startswith("request.headers.") else attributes
            kept.append((number, piece.path))
        elif isinstance(piece, RequestField) and piece.alternative in (b"", b":path"):
            (or_path if piece.alternative else plain).append((number, piece.name))
        elif isinstance(piece, ResponseField) and not piece.alternative:
            responses.append((number, piece.name))
        else:
            others.append((number, piece))
    # Of fewer than two, attrgetter gives no tuple.
    if len(attributes) < 2 or len(byte_attributes) < 2:
        return any_line
    get_attributes = attrgetter(*(path for _, path in attributes))
    get_bytes = attrgetter(*(path for _, path in byte_attributes))
    names = [name for _, name in (*or_path, *plain)]
    response_names = [name for _, name in responses]
    path_count = len(or_path)
    absent = unset.encode()
    plain_absent = (absent,) * len(plain)
    response_absent = (absent,) * len(responses)
    reads = [read for _, read in others]
    text_count = len(byte_attributes) + len(names) + len(responses)
    # Values come in the order of their kinds: a permutation brings them to their places.
    order = [*byte_attributes, *or_path, *plain, *responses, *attributes, *others]
    rank = {number: place for place, (number, _) in enumerate(order)}
    places = [rank[number] for number, piece in enumerate(pieces) if not isinstance(piece, str)]
    arrange: Callable[[Any], Any] = itemgetter(*places)
    template = "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in pieces)

    def usual_line(stream: Stream) -> str:
        headers = stream.request.headers
        response = stream.response
        if response is None:
            return any_line(stream)
        answer = response.headers
        index = headers.index()
        answer_index = answer.index()
        if len(index) != len(headers.fields) or len(answer_index) != len(answer.fields):
            return any_line(stream)
        # Any: the defaults are bytes, None among them makes join raise.
        find: Any = index.get
        paths: tuple[Any, ...] = (headers.path,) * path_count
        try:
            joined = b"\0".join(
                (
                    *get_bytes(stream),
                    *map(find, names, paths + plain_absent),
                    *map(answer_index.get, response_names, response_absent),
                )
            )
            known = get_attributes(stream)
        except (AttributeError, TypeError):  # something is None
            return any_line(stream)
        texts = joined.decode("utf-8", "surrogateescape").split("\0")
        rest = [read(stream) for read in reads]
        if len(texts) != text_count or None in known or "" in known or not _PLAIN.issuperset(map(type, rest)):
            return any_line(stream)
        text: str = template % arrange((*texts, *known, *rest))
        return text

    return usual_line
