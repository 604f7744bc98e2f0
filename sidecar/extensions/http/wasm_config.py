"""Compiles ``envoy.extensions.filters.http.wasm.v3.Wasm``: the filter, and what a route has in its place.

The plugin itself is compiled by :mod:`sidecar.extensions.wasm.plugin_config`.  Envoy has no configuration of
this filter for routes; ours is the same message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.extensions.http.wasm import WasmFilter
from sidecar.extensions.wasm.plugin_config import Plugins

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.extensions.wasm.live import LivePlugin

__all__ = ["WasmFactory"]


class WasmFactory:
    """Makes Wasm filters."""

    name = "envoy.filters.http.wasm"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.wasm.v3.Wasm"
    is_upstream = True
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = config_type

    def __init__(self, plugins: Plugins | None = None) -> None:
        self._plugins = Plugins() if plugins is None else plugins

    def compile(self, message: Any, context: FactoryContext) -> WasmFilter:
        """The filter.  Raises: ConfigError."""
        return WasmFilter(self._plugins.compile(message.config, context), self._plugins)

    def compile_route(self, message: Any, context: FactoryContext) -> LivePlugin:
        """The plugin that requests of a route meet instead.  Raises: ConfigError."""
        self._plugins.has_routes = True
        return self._plugins.compile(message.config, context)
