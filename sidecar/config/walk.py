"""Brings every message of a configuration past a visitor, those inside ``Any`` too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from sidecar.config.errors import Path
from sidecar.config.registry import resolve_any

__all__ = ["walk"]

_ANY = "google.protobuf.Any"
#: Messages whose contents are data, not configuration.
_OPAQUE = frozenset(("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"))


def walk(message: Message, path: Path = (), *, is_opening: bool = True) -> Iterator[tuple[Path, Any]]:
    """``message`` and every message in it, outer ones first, each with its path.

    What an ``Any`` holds comes under the Any's own path; an Any that cannot be opened comes itself, and so
    does every one without ``is_opening``.
    """
    if is_opening and message.DESCRIPTOR.full_name == _ANY:
        inner = resolve_any(message)[1]
        if inner is not None:
            yield from walk(inner, path)
        else:
            yield path, message
        return
    yield path, message
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or kind.full_name in _OPAQUE:
            continue
        if kind.GetOptions().map_entry:
            if kind.fields_by_name["value"].message_type is not None:
                for key in value:
                    yield from walk(value[key], (*path, field.name, str(key)), is_opening=is_opening)
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from walk(item, (*path, field.name, index), is_opening=is_opening)
        else:
            yield from walk(value, (*path, field.name), is_opening=is_opening)
