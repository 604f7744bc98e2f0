"""What a CEL expression is told of a stream: tables of those attributes that it asks for, and of no others.

A name that is not in its table is an error of the evaluation, as an attribute is in Envoy that a stream does
not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap
from sidecar.observability.attributes import (
    ATTRIBUTES,
    HEADER_MAPS,
    METADATA,
    Duration,
    Read,
    Timestamp,
    Unsigned,
    filter_state,
)
from sidecar.observability.cel_messages import MESSAGES, NULL, duration_message, timestamp_message
from sidecar.observability.cel_tree import AS_MESSAGES, Needs, Path

__all__ = ["OPAQUE", "Opaque", "compile_data", "compile_path", "without_surrogates"]

Build = Callable[[Stream], dict[str, Any]]


class Opaque:
    """A table that shows nothing of what is in it: all of ``request``, of ``filter_state`` and so on."""

    __slots__ = ()


OPAQUE = Opaque()


def compile_data(needs: Needs) -> Build:
    """Makes the tables for a stream."""
    plan: list[tuple[str, tuple[tuple[str, Read], ...]]] = []
    whole: list[tuple[str, Read]] = []
    for root in sorted({*needs.names, *needs.roots, *(path[0] for path in needs.messages)}):
        if (root,) in needs.messages:
            whole.append((root, MESSAGES[root,]))
            continue
        leaves = dict(needs.names.get(root, {}))
        if root in needs.roots:
            leaves |= {name: None for first, name in (*ATTRIBUTES, *HEADER_MAPS) if first == root}
        readers = {name: _leaf(root, name, keys) for name, keys in leaves.items()}
        for path in needs.messages:
            if path[0] == root:
                readers[path[1]] = MESSAGES[path]
        plan.append((root, tuple((name, read) for name, read in readers.items() if read is not None)))
    if not whole and len(plan) == 1:
        return _one(*plan[0])

    def build(stream: Stream) -> dict[str, Any]:
        data: dict[str, Any] = {root: read(stream) for root, read in whole}
        for root, readers in plan:
            data[root] = table = {}
            for name, read in readers:
                value = read(stream)
                if value is not None:
                    table[name] = None if value is NULL else value
        return data

    return build


def _one(root: str, readers: tuple[tuple[str, Read], ...]) -> Build:
    """The same for one table."""

    def build(stream: Stream) -> dict[str, Any]:
        table = {}
        for name, read in readers:
            value = read(stream)
            if value is not None:
                table[name] = None if value is NULL else value
        return {root: table}

    return build


def _leaf(root: str, name: str, keys: set[str] | None) -> Read | None:
    if root == "metadata":
        if name == "filter_metadata":
            return _namespaces(METADATA[root,], keys)
        return _none_yet if name == "typed_filter_metadata" else None
    if root == "filter_state":
        return lambda stream: _state(filter_state(stream, name))
    headers = HEADER_MAPS.get((root, name))
    if headers is not None:
        return _headers(headers, keys)
    metadata = METADATA.get((root, name))
    if metadata is not None:
        return lambda stream: _metadata(metadata(stream), name)
    read = ATTRIBUTES.get((root, name))
    return None if read is None else _converted(read)


def _converted(read: Read) -> Read:
    def value(stream: Stream) -> Any:
        found = read(stream)
        kind = found.__class__
        if kind is str or kind is int or kind is bool or found is None:
            return found
        if kind is Timestamp:
            return timestamp_message(found)
        if kind is Duration:
            return duration_message(found)
        return int(found) if kind is Unsigned else str(found)

    return value


def _headers(read: Read, keys: set[str] | None) -> Read:
    if keys is None:
        return lambda stream: _all_headers(read(stream))
    wanted = tuple((key, key.encode()) for key in sorted(keys))

    def some(stream: Stream) -> dict[str, str]:
        headers = read(stream)
        found: dict[str, str] = {}
        if headers is not None:
            for key, name in wanted:
                value = headers.get_joined(name)
                if value is not None:
                    found[key] = value.decode("utf-8", "surrogateescape")
        return found

    return some


def _all_headers(headers: HeaderMap | None) -> dict[str, str]:
    if headers is None:
        return {}
    return {
        name.decode("utf-8", "surrogateescape"): (headers.get_joined(name) or b"").decode(
            "utf-8", "surrogateescape"
        )
        for name, _ in headers
    }


def _namespaces(read: Read, keys: set[str] | None) -> Read:
    if keys is None:
        return lambda stream: _as_struct(read(stream))
    wanted = tuple(sorted(keys))

    def some(stream: Stream) -> dict[str, Any]:
        found = read(stream)
        return {key: _as_struct(found[key]) for key in wanted if key in found}

    return some


def _none_yet(stream: Stream) -> dict[str, Any]:
    """``typed_filter_metadata``: what is known of it is no message any more."""
    return {}


def _metadata(namespaces: Any, name: str) -> Any:
    if namespaces is None:
        return None
    if not namespaces and name == "upstream_host_metadata":
        return NULL
    return {"filter_metadata": _as_struct(namespaces), "typed_filter_metadata": {}}


def _as_struct(value: Any) -> Any:
    """Plain data as ``google.protobuf.Struct`` has it, whose numbers are all ``double``."""
    if isinstance(value, dict):
        return {str(key): _as_struct(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_struct(item) for item in value]
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


def _state(value: Any) -> Any:
    """An object of the filter state: its bytes; a table for one with fields."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    return None if value is None else str(value).encode()


# -- one attribute alone ---------------------------------------------------------------------------------
def compile_path(path: Path | None, failed: Any) -> Read | None:
    """Reads an attribute that is the whole expression; None where the library is needed."""
    if path is None or path in MESSAGES or path[:2] in AS_MESSAGES:
        return None
    if len(path) == 1 and path[0] == "upstream_filter_state":
        return lambda stream: failed if stream.upstream_host is None else OPAQUE
    if len(path) == 1:
        return lambda stream: OPAQUE
    if path[0] == "upstream_filter_state":
        return lambda stream: failed  # filters of upstream requests keep nothing here
    root, name, *rest = path
    if root == "metadata":
        return _walked(METADATA[root,], rest, failed) if name == "filter_metadata" else None
    if root == "filter_state":
        return None if rest else lambda stream: _or(_state(filter_state(stream, name)), failed)
    headers = HEADER_MAPS.get((root, name))
    if headers is not None:
        if len(rest) > 1:
            return None
        return _header(headers, rest[0], failed) if rest else lambda stream: _all_headers(headers(stream))
    metadata = METADATA.get((root, name))
    if metadata is not None:
        return _walked(metadata, rest[1:], failed) if rest[0] == "filter_metadata" else None
    read = ATTRIBUTES.get((root, name))
    if rest:
        return None
    if read is None:
        return lambda stream: failed
    return lambda stream: _or(read(stream), failed)


def _or(value: Any, failed: Any) -> Any:
    return failed if value is None else value


def _header(headers: Read, key: str, failed: Any) -> Read:
    lower = key.lower()
    name = b":authority" if lower == "host" else lower.encode()

    def read(stream: Stream) -> Any:
        found = headers(stream)
        value = None if found is None else found.get_joined(name)
        return failed if value is None else value.decode("utf-8", "surrogateescape")

    return read


def _walked(read: Read, keys: list[str], failed: Any) -> Read:
    def value(stream: Stream) -> Any:
        found: Any = read(stream)
        if found is None:
            return failed
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                return failed
            found = found[key]
        return _as_struct(found)

    return value


def without_surrogates(value: Any) -> Any:
    """``value`` with U+FFFD for each byte that is no UTF-8, in all texts of it."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    return value
