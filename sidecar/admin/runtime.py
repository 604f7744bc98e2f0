"""``/runtime`` and ``/runtime_modify``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.admin.state import TEXT, AdminState
from sidecar.core.runtime import Runtime

__all__ = ["modify_runtime", "runtime_json"]

_USAGE = (
    "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
    "       or send the parameters as form values\n"
    "use an empty value to remove a previously added override"
)


def runtime_json(runtime: Runtime) -> dict[str, Any]:
    """The layers, and each key with what every layer says of it."""
    layers = [layer for layer in runtime.layers if layer.is_there]
    entries = {
        key: {
            "final_value": entry.text,
            "layer_values": [layer.values[key].text if key in layer.values else "" for layer in layers],
        }
        for key, entry in sorted(runtime.entries.items())
    }
    return {"entries": entries, "layers": [layer.name for layer in layers]}


def modify_runtime(state: AdminState, values: Mapping[str, str]) -> tuple[int, bytes, str]:
    """Override values for as long as the process runs."""
    if not values:
        return 400, TEXT, _USAGE
    if not state.modify_runtime(values):
        return 503, TEXT, "No admin layer specified"
    return 200, TEXT, "OK\n"
