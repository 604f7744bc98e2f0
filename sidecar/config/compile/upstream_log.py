"""``upstream_log`` and ``upstream_log_options`` of the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.access_log import compile_access_logs
from sidecar.config.compile.route_action import duration_s
from sidecar.router.upstream_log import UpstreamLog

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry

__all__ = ["compile_upstream_log"]


def compile_upstream_log(router: Any, context: FactoryContext, registry: Registry) -> UpstreamLog | None:
    """The log of a ``Router``, which stands at ``context``; None without loggers.  Raises: ConfigError."""
    loggers = tuple(compile_access_logs(router, context, registry, field="upstream_log"))
    if not loggers:
        return None
    options = router.upstream_log_options
    return UpstreamLog(
        loggers,
        duration_s(options.upstream_log_flush_interval),
        on_pool_ready=options.flush_upstream_log_on_upstream_stream,
    )
