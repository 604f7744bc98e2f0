"""Compiles the places outside of HTTP that a Wasm plugin can stand in: connections, logs, the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.log_filter import compile_log_filter
from sidecar.extensions.wasm.access_log import WasmLogger
from sidecar.extensions.wasm.network import WasmNetworkFilter

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.extensions.wasm.live import LivePlugin
    from sidecar.extensions.wasm.plugin_config import Plugins

__all__ = ["WasmLoggerFactory", "WasmNetworkFactory", "WasmServiceFactory"]


class WasmNetworkFactory:
    """``envoy.filters.network.wasm``."""

    name = "envoy.filters.network.wasm"
    category = "envoy.filters.network"
    config_type = "envoy.extensions.filters.network.wasm.v3.Wasm"

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def compile(self, message: Any, context: FactoryContext) -> WasmNetworkFilter:
        """The filter.  Raises: ConfigError."""
        return WasmNetworkFilter(self._plugins.compile(message.config, context))


class WasmLoggerFactory:
    """``envoy.access_loggers.wasm``."""

    name = "envoy.access_loggers.wasm"
    category = "envoy.access_loggers"
    config_type = "envoy.extensions.access_loggers.wasm.v3.WasmAccessLog"

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def compile(self, message: Any, context: FactoryContext) -> WasmLogger:
        """The logger.  Raises: ConfigError."""
        return WasmLogger(self._plugins.compile(message.config, context))

    def with_filter(self, logger: WasmLogger, message: Any, context: FactoryContext) -> WasmLogger:
        """The logger for what passes an ``AccessLogFilter``.  Raises: ConfigError."""
        return logger.with_filter(compile_log_filter(message, context, "filter"))


class WasmServiceFactory:
    """``envoy.bootstrap.wasm``: a plugin without traffic, which lives by its timer, calls and queues.

    Every process has one; one of ``singleton`` is that of the supervisor, where there are workers.
    """

    name = "envoy.bootstrap.wasm"
    category = "envoy.bootstrap"
    config_type = "envoy.extensions.wasm.v3.WasmService"

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def compile(self, message: Any, context: FactoryContext) -> LivePlugin | None:
        """The plugin, which runs from now on; None where it runs in another process.  Raises: ConfigError."""
        if message.singleton and not context.is_main:
            return None
        return self._plugins.compile(message.config, context)
