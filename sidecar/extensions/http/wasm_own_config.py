"""Compiles our own Wasm filter: Envoy's, and what ``sidecar.extensions.filters.http.wasm.v1.Wasm`` adds.

Its message holds Envoy's, whose meaning stays. ``isolation: STREAM`` gives each stream a VM of its own, so
that a fault touches no other; such guests keep nothing from stream to stream but shared data, queues and
metrics, and have no timers. ``limits`` are those of a guest: its memory, how long a call into it, and its
start, may take, how much it may hand over in one, and how much it may log in a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.route_timeouts import duration_s
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.wasm import WasmFilter
from sidecar.extensions.wasm.plugin_config import DEFAULT_LIMITS, Plugins
from wasm_abi import Limits

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["OwnWasmFactory"]

_PAGE = 65536
_STREAM = 1


class OwnWasmFactory:
    """``sidecar.filters.http.wasm``."""

    name = "sidecar.filters.http.wasm"
    category = "envoy.filters.http"
    config_type = "sidecar.extensions.filters.http.wasm.v1.Wasm"
    is_upstream = True

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def compile(self, message: Any, context: FactoryContext) -> WasmFilter:
        """The filter.  Raises: ConfigError."""
        try:
            live = self._plugins.compile(
                message.wasm.config,
                context,
                limits=_limits(message.limits),
                per_stream=message.isolation == _STREAM,
                log_bytes_per_s=message.limits.log_bytes_per_second,
            )
        except ConfigError as error:
            if error.path.startswith("config"):
                raise ConfigError(f"wasm.{error.path}", error.reason) from error
            raise
        return WasmFilter(live, self._plugins, self.name)


def _limits(message: Any) -> Limits:
    plain = DEFAULT_LIMITS
    if message.memory_bytes and message.memory_bytes < _PAGE:
        raise ConfigError("limits.memory_bytes", f"a guest has at least one page of {_PAGE} bytes")
    times = {"call_time": plain.call_deadline_s, "start_time": plain.start_deadline_s}
    for field in times:
        if message.HasField(field):
            times[field] = duration_s(getattr(message, field))
            if times[field] <= 0:
                raise ConfigError(f"limits.{field}", "must be longer than nothing")
    return Limits(
        message.memory_bytes or plain.memory_bytes,
        times["call_time"],
        times["start_time"],
        message.output_bytes or plain.output_bytes,
    )
