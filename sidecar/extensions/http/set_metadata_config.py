"""Compiles ``envoy.extensions.filters.http.set_metadata.v3.Config``."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.registry import resolve_any
from sidecar.extensions.http.set_metadata import SetMetadataFilter

__all__ = ["SetMetadataFactory"]


class SetMetadataFactory:
    """``envoy.filters.http.set_metadata``."""

    name = "envoy.filters.http.set_metadata"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.set_metadata.v3.Config"

    def compile(self, message: Any, context: FactoryContext) -> SetMetadataFilter:
        """The filter.  The older ``metadata_namespace`` and ``value`` come first, and overwrite."""
        entries = []
        if message.HasField("value") and message.metadata_namespace:
            entries.append((message.metadata_namespace, json_format.MessageToDict(message.value), True))
        entries += [
            (each.metadata_namespace, json_format.MessageToDict(each.value), each.allow_overwrite)
            for each in message.metadata
            if not each.HasField("typed_value")
        ]
        typed = tuple(
            (each.metadata_namespace, table, each.allow_overwrite)
            for each in message.metadata
            if each.HasField("typed_value") and (table := _message_of(each.typed_value)) is not None
        )
        denied = context.stats.scope("set_metadata").counter("overwrite_denied")
        return SetMetadataFilter(tuple(entries), typed, denied)


def _message_of(packed: Any) -> dict[str, Any] | None:
    inner = resolve_any(packed)[1]
    return None if inner is None else _table(inner)


def _table(message: Any) -> dict[str, Any]:
    """The fields that are set, as Envoy gives them to scripts: enums are numbers."""
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {str(key): _one(inner, value[key]) for key in value}
    if field.is_repeated:
        return [_one(field, each) for each in value]
    return _one(field, value)


def _one(field: Any, value: Any) -> Any:
    return value if field.message_type is None else _table(value)
