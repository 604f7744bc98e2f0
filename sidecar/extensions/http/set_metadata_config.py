"""Compiles ``envoy.extensions.filters.http.set_metadata.v3.Config``."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
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
        return SetMetadataFilter(tuple(entries))
