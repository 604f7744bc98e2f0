"""Configuration messages as JSON, without what the API marks as sensitive.

A field is sensitive by its ``udpa.annotations.sensitive`` option; everything inside it goes, except
which fields there are.  Extensions' configurations are opened to look for such fields.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.config.messages import type_name, unpack

__all__ = ["REDACTED", "message_json", "unpacked"]

REDACTED = "[redacted]"
_ANY = "google.protobuf.Any"


def message_json(message: Any, *, typed: bool = False) -> dict[str, Any]:
    """``message`` as a dict with the API's field names; ``typed`` puts its type first."""
    fresh = type(message)()
    fresh.CopyFrom(message)
    _redact(fresh)
    found: dict[str, Any] = json_format.MessageToDict(fresh, preserving_proto_field_name=True)
    if typed:
        return {"@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}", **found}
    return found


def unpacked(packed: Any) -> Any:
    """The message inside an Any, or None."""
    return unpack(packed) if packed.type_url else None


def _is_sensitive(field: Any) -> bool:
    return any(option.name == "sensitive" and value for option, value in field.GetOptions().ListFields())


def _redact(message: Any) -> None:
    """Take sensitive fields out of ``message``, in place."""
    for field, value in message.ListFields():
        if _is_sensitive(field):
            _blank(message, field, value)
        elif field.message_type is None:
            continue
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for item in value.values():
                    _redact_inside(item)
        elif isinstance(value, type(message)) or hasattr(value, "DESCRIPTOR"):
            _redact_inside(value)
        else:
            for item in value:
                _redact_inside(item)


def _redact_inside(message: Any) -> None:
    if message.DESCRIPTOR.full_name != _ANY:
        _redact(message)
        return
    inner = unpacked(message)
    if inner is None:
        # json_format cannot print a type that it does not know, and nobody can tell what is in it.
        name = type_name(message.type_url)
        message.Clear()
        if name:
            message.type_url = "type.googleapis.com/google.protobuf.Empty"
        return
    _redact(inner)
    message.value = inner.SerializeToString()


def _blank(message: Any, field: Any, value: Any) -> None:
    """Make everything in a sensitive field unreadable."""
    if field.message_type is not None:
        items = [value] if hasattr(value, "DESCRIPTOR") else list(value)
        for item in items:
            _blank_all(item)
        return
    repeated = not isinstance(value, str | bytes | int | float)
    if field.type == field.TYPE_STRING or field.type == field.TYPE_BYTES:
        blank = REDACTED if field.type == field.TYPE_STRING else REDACTED.encode()
        if repeated:
            value[:] = [blank] * len(value)
        else:
            setattr(message, field.name, blank)
    else:
        message.ClearField(field.name)


def _blank_all(message: Any) -> None:
    if message.DESCRIPTOR.full_name == _ANY:
        message.Clear()
        return
    for field, value in message.ListFields():
        _blank(message, field, value)
