"""The tables of the pages in docs/filters: every field of a filter's messages, and what becomes of it.

A page has the line ``<!-- fields: MESSAGE -->`` where the tables of a message belong, and of those of its
package that it leads to; they end at ``<!-- end of fields -->``.  ``sidecar.config.supported_page`` runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from sidecar.config.messages import message_class

__all__ = ["fill_in", "messages_of", "named_messages"]

_BLOCK = re.compile(r"<!-- fields: (?P<names>[\w., ]+) -->\n.*?<!-- end of fields -->", re.DOTALL)
_SCALARS = {
    **dict.fromkeys(("TYPE_DOUBLE", "TYPE_FLOAT"), "number"),
    **dict.fromkeys(("TYPE_INT64", "TYPE_INT32", "TYPE_SINT64", "TYPE_SINT32"), "integer"),
    **dict.fromkeys(("TYPE_UINT64", "TYPE_UINT32", "TYPE_FIXED32", "TYPE_FIXED64"), "integer, not negative"),
    "TYPE_BOOL": "true or false",
    "TYPE_STRING": "text",
    "TYPE_BYTES": "bytes",
}
_WELL_KNOWN = {
    "google.protobuf.BoolValue": "true or false",
    "google.protobuf.UInt32Value": "integer, not negative",
    "google.protobuf.UInt64Value": "integer, not negative",
    "google.protobuf.StringValue": "text",
    "google.protobuf.DoubleValue": "number",
    "google.protobuf.Duration": "duration",
    "google.protobuf.Any": "typed configuration",
    "google.protobuf.Struct": "any fields",
    "google.protobuf.Value": "any value",
    "google.protobuf.Empty": "`{}`",
}


def fill_in(page: str, table: Callable[[str, str], list[str]]) -> str:
    """``page`` with its tables as they are now.

    ``table`` gives for a message and a field what is done with it: cells of state and subject.
    """

    def block(match: re.Match[str]) -> str:
        parts = [f"<!-- fields: {match['names']} -->\n"]
        for name in messages_of(match["names"]):
            parts.append(f"\n**`{name}`**\n\n| field | value | state |\n|---|---|---|\n")
            for field in _descriptor(name).fields:
                for row in table(name, field.name):
                    label, state, subject = (cell.strip() for cell in row.split(" | ", 2))
                    told = f"{state} ({subject})" if subject.strip(" |") else state
                    parts.append(f"| {label} | {_value(field)} | {told} |\n")
        return "".join([*parts, "\n<!-- end of fields -->"])

    return _BLOCK.sub(block, page)


def named_messages(page: str) -> list[str]:
    """The messages whose tables the page shows."""
    return [name for match in _BLOCK.finditer(page) for name in messages_of(match["names"])]


def messages_of(names: str) -> list[str]:
    """The messages of a block, and those of their packages that they lead to, each once, as they are met."""
    found: dict[str, None] = {}
    for name in re.split(r"[, ]+", names.strip()):
        _walk(_descriptor(name), _descriptor(name).file.package, found)
    return list(found)


def _walk(message: Any, package: str, found: dict[str, None]) -> None:
    if message.full_name in found or message.file.package != package or not message.fields:
        return
    found[message.full_name] = None
    for inner in _inner(message):
        _walk(inner, package, found)


def _inner(message: Any) -> Iterator[Any]:
    for field in message.fields:
        of = _map_value(field) or field
        if of.message_type is not None:
            yield of.message_type


def _map_value(field: Any) -> Any:
    inner = field.message_type
    return inner.fields_by_name["value"] if inner is not None and inner.GetOptions().map_entry else None


def _value(field: Any) -> str:
    of = _map_value(field)
    if of is not None:
        return f"map of {_single(of)}"
    return f"list of {_single(field)}" if field.is_repeated else _single(field)


def _single(field: Any) -> str:
    if field.enum_type is not None:
        return ", ".join(f"`{value.name}`" for value in field.enum_type.values)
    if field.message_type is not None:
        name = field.message_type.full_name
        package = field.containing_type.file.package
        return _WELL_KNOWN.get(name) or f"`{name.removeprefix(package + '.')}`"
    kinds = {getattr(type(field), kind): text for kind, text in _SCALARS.items()}
    return kinds[field.type]


def _descriptor(name: str) -> Any:
    cls: Any = message_class(name)
    return cls.DESCRIPTOR
