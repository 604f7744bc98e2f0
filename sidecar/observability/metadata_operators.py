"""Log operators that read metadata and filter state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.errors import SidecarError
from sidecar.core.filter_state import PlainText, ShortNumber, TextList, field_of
from sidecar.observability.json_values import Shortened, json_text, quoted

__all__ = [
    "StateMessage",
    "TypedText",
    "dynamic_metadata",
    "filter_state",
    "metadata",
    "metadata_of",
    "upstream_filter_state",
]

Value = Callable[[Stream], Any]
_Source = Callable[[Stream], "dict[str, dict[str, Any]] | None"]


class TypedText(str):
    """Text that shows with quotation marks in a text format (a message of one string, as JSON)."""

    __slots__ = ()


class StateMessage:
    """What a filter keeps that is a message in Envoy: it shows as the JSON of its fields, typed alone.

    ``plain`` is how it shows otherwise, ``typed`` the JSON where fields are in no order of names.
    """

    __slots__ = ("fields", "plain", "typed")

    def __init__(self, fields: dict[str, Any], *, plain: str | None = None, typed: str | None = None) -> None:
        self.fields = fields
        self.plain = plain
        self.typed = typed


def upstream_filter_state(argument: str, limit: int | None) -> Value:
    """``UPSTREAM_FILTER_STATE``: what filters keep on the upstream's connection, where nothing keeps any.

    Raises: SidecarError as :func:`filter_state` does.
    """
    filter_state(argument, limit)
    return lambda stream: None


def _of(owner: str, attribute: str) -> _Source:
    def read(stream: Stream) -> dict[str, dict[str, Any]] | None:
        found = getattr(stream, owner)
        return None if found is None else getattr(found, attribute, None)

    return read


_SOURCES: dict[str, _Source] = {
    "DYNAMIC": lambda stream: stream.dynamic_metadata,
    "ROUTE": _of("route", "metadata"),
    "VIRTUAL_HOST": _of("route", "virtual_host_metadata"),
    "CLUSTER": _of("cluster", "metadata"),
    "UPSTREAM_HOST": _of("upstream_host", "metadata"),
    "LISTENER": _of("connection", "listener_metadata"),
    "LISTENER_FILTER_CHAIN": _of("connection", "filter_chain_metadata"),
}


def _reader(source: _Source, words: list[str], limit: int | None) -> Value:
    namespace, keys = words[0], words[1:]

    def read(stream: Stream) -> Any:
        namespaces = source(stream)
        if namespaces is None:
            return None
        value: Any = namespaces.get(namespace)
        for key in keys:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        if value is None or limit is None:
            return value
        if isinstance(value, str):
            return _cut(value, limit)
        return Shortened(_cut(json_text(value), limit), value)

    return read


def _cut(text: str, limit: int) -> str:
    return text.encode("utf-8", "surrogateescape")[:limit].decode("utf-8", "surrogateescape")


def metadata_of(kind: str) -> Callable[[str, int | None], Value]:
    """``DYNAMIC_METADATA(NS:KEY…):Z`` and its relatives."""
    source = _SOURCES[kind]
    return lambda argument, limit: _reader(source, argument.split(":"), limit)


dynamic_metadata = metadata_of("DYNAMIC")


def metadata(argument: str, limit: int | None) -> Value:
    """``METADATA(TYPE:NS:KEY…):Z``."""
    kind, _, rest = argument.partition(":")
    source = _SOURCES.get(kind)
    if source is None:
        raise SidecarError(f"{kind} is not supported type of metadata")
    return _reader(source, rest.split(":"), limit)


def filter_state(argument: str, limit: int | None) -> Value:
    """``FILTER_STATE(KEY:PLAIN|TYPED|FIELD:NAME):Z``.

    What filters keep are strings, which have no fields, and dicts of them.  What listener filters kept for
    the connection counts for all of its streams.
    """
    key, _, rest = argument.partition(":")
    kind, _, field = rest.partition(":")
    if not key:
        raise SidecarError("Invalid filter state configuration, key cannot be empty.")
    if kind not in ("", "PLAIN", "TYPED", "FIELD"):
        raise SidecarError("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.")
    if kind == "FIELD" and not field:
        raise SidecarError("Invalid filter state serialize type, FIELD should be used with the field name.")

    def read(stream: Stream) -> Any:
        state = stream.filter_state
        value = None if state is None else state.get(key)
        if value is None and stream.connection.filter_state is not None:
            value = stream.connection.filter_state.get(key)
        if kind == "FIELD":
            value = field_of(value, field)
            return value if value is None or limit is None else str(value)[:limit]
        if isinstance(value, StateMessage):
            if kind == "PLAIN":
                return value.plain
            if limit is None and value.typed is None:
                return value.fields
            text = json_text(value.fields) if value.typed is None else value.typed
            return Shortened(text if limit is None else text[:limit], value.fields)
        if value is None or isinstance(value, dict | TextList):
            return None
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        if isinstance(value, bool):
            return value
        if isinstance(value, ShortNumber) and kind != "PLAIN":
            return int(value) if limit is None else str(value)[:limit]
        if not isinstance(value, str):
            value = str(value)
        elif isinstance(value, PlainText) and kind != "PLAIN":
            return None
        if kind == "PLAIN":
            return value if limit is None else value[:limit]
        return TypedText(value) if limit is None else Shortened(quoted(value)[:limit], value)

    return read
