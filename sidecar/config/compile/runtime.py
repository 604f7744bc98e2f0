"""``layered_runtime``: the values of its static layers, for the few settings that have no field of their own.

envoy.config.bootstrap.v3.LayeredRuntime.  Nested structs and dotted names mean the same key; of two layers
the later one counts.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

__all__ = ["Runtime", "static_runtime"]


class Runtime:
    """Keys and values."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self._values = values or {}

    def integer(self, key: str, default: int) -> int:
        """The whole number at ``key``, which is not negative; else ``default`` (``Snapshot::getInteger``)."""
        value = self._values.get(key)
        if isinstance(value, str):
            return int(value) if value.isdecimal() else default
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            return default
        return int(value)


def static_runtime(bootstrap: Any) -> Runtime:
    """The runtime of a ``Bootstrap`` whose other layers are empty."""
    values: dict[str, Any] = {}
    for layer in bootstrap.layered_runtime.layers:
        if layer.WhichOneof("layer_specifier") == "static_layer":
            _flatten("", json_format.MessageToDict(layer.static_layer), values)
    return Runtime(values)


def _flatten(prefix: str, tree: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict):
            _flatten(name, value, values)
        else:
            values[name] = value
