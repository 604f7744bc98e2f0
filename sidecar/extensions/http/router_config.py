"""Compiles ``envoy.extensions.filters.http.router.v3.Router``: the filter that ends every chain."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.core.dataclass import dataclass
from sidecar.router.habits import RouterHabits

__all__ = ["RouterFactory", "RouterOptions"]


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What the configuration says of the router; the connection manager's compiler builds it."""

    suppress_envoy_headers: bool = False
    #: How it differs from the common router; None for not at all.
    habits: RouterHabits | None = None
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
        habits = RouterHabits(
            counts_responses=message.dynamic_stats.value if message.HasField("dynamic_stats") else True,
            counts_grpc_codes=not message.suppress_grpc_request_failure_code_stats,
            strict_headers=tuple(name.lower().encode() for name in message.strict_check_headers),
            respects_expected_timeout=message.respect_expected_rq_timeout,
            starts_child_span=message.start_child_span,
            rejects_early_data=message.reject_connect_request_early_data.value,
        )
        return RouterOptions(
            message.suppress_envoy_headers,
            None if habits == RouterHabits() else habits,
            tuple(message.upstream_http_filters),
            message,
        )
