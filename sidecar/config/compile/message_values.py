"""Messages of the configuration as plain values (:mod:`sidecar.core.message_values`)."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.core.message_values import MessageValue, StructValue

__all__ = ["message_value"]

_STRUCT = "google.protobuf.Struct"
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_SECONDS = frozenset({"google.protobuf.Duration", "google.protobuf.Timestamp"})


def message_value(message: Any) -> Any:
    """What the message is to who walks it: as in CEL, wrappers and ``Struct`` are what they hold."""
    name = message.DESCRIPTOR.full_name
    if name == _STRUCT:
        return StructValue(json_format.MessageToDict(message))
    if name in _WRAPPERS:
        return message.value
    if name in _SECONDS:
        return message.seconds * 1_000_000_000 + message.nanos
    fields = {field.name: _field_value(message, field) for field in message.DESCRIPTOR.fields}
    data = message.SerializeToString()
    return MessageValue(fields, lambda: data)


def _field_value(message: Any, field: Any) -> Any:
    is_message = field.message_type is not None
    value = getattr(message, field.name)
    if is_message and field.message_type.GetOptions().map_entry:
        held = field.message_type.fields_by_name["value"].message_type is not None
        return {str(key): message_value(each) if held else each for key, each in value.items()}
    if field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED:
        return [message_value(each) for each in value] if is_message else list(value)
    if not is_message:
        return value
    if message.HasField(field.name):
        return message_value(value)
    kind = field.message_type.full_name
    if kind == _STRUCT:
        return StructValue({})
    return StructValue(None) if kind in _WRAPPERS else MessageValue({}, bytes)
