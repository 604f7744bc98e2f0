"""Compiles ``envoy.extensions.filters.http.router.v3.Router``: the filter that ends every chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.api.context import FactoryContext

__all__ = ["RouterFactory", "RouterOptions"]


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What the configuration says of the router; the connection manager's compiler builds it."""

    suppress_envoy_headers: bool = False
    #: The messages of ``upstream_http_filters``.
    upstream_http_filters: tuple[Any, ...] = ()
    #: The message; its ``upstream_log`` has loggers to compile.
    message: Any = None


class RouterFactory:
    """The terminal HTTP filter."""

    name = "envoy.filters.http.router"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.router.v3.Router"
    is_terminal = True

    def compile(self, message: Any, context: FactoryContext) -> RouterOptions:
        """The options of the router."""
        return RouterOptions(message.suppress_envoy_headers, tuple(message.upstream_http_filters), message)
