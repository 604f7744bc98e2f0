"""Compiles HealthCheck (envoy.extensions.filters.http.health_check.v3) to its filter."""

from __future__ import annotations

import math
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.config.errors import Path
from sidecar.config.registry import Report
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.health_check import HealthCheckFilter, KeptAnswer, LeastHealthy

__all__ = ["HealthCheckFactory"]


class HealthCheckFactory:
    """``envoy.filters.http.health_check``."""

    name = "envoy.filters.http.health_check"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.health_check.v3.HealthCheck"

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What no rule expresses."""
        if _cache_time(message) and not message.pass_through_mode.value:
            reason = "cache_time_ms must not be set when path_through_mode is disabled"
            report.error((*path, "cache_time"), reason, "set pass_through_mode: true, or take it out")

    def compile(self, message: Any, context: FactoryContext) -> HealthCheckFilter:
        """The filter.  Raises: ConfigError."""
        kept = None
        seconds = _cache_time(message)
        if seconds and context.every is not None:
            kept = KeptAnswer()
            context.on_close(context.every(seconds, kept.expire))
        return HealthCheckFilter(
            tuple(
                compile_header_matcher(each, f"headers[{number}]")
                for number, each in enumerate(message.headers)
            ),
            context.has_failed_health,
            context.find_cluster,
            service_cluster=context.node.cluster.encode(),
            passes_through=message.pass_through_mode.value,
            kept=kept,
            wanted=tuple(_wanted(message)),
        )


def _cache_time(message: Any) -> float:
    """Seconds, of whole milliseconds."""
    return float(message.cache_time.seconds + message.cache_time.nanos // 1_000_000 / 1000)


def _wanted(message: Any) -> list[LeastHealthy]:
    found = []
    for name, percent in message.cluster_min_healthy_percentages.items():
        if math.isnan(percent.value):
            raise ConfigError(
                f"cluster_min_healthy_percentages[{name}]",
                f"cluster_min_healthy_percentages contains a NaN value for cluster: {name}",
            )
        found.append(LeastHealthy(name, int(percent.value)))
    return found
