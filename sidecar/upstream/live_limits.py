"""Limits of a cluster that the runtime may change: circuit breakers (Envoy's ``ManagedResourceImpl``)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sidecar.upstream.resources import CircuitBreakerLimits

if TYPE_CHECKING:
    from sidecar.core.runtime import Runtime
    from sidecar.upstream.cluster import Cluster

__all__ = ["renew_limits"]

_PREFIX = "circuit_breakers."
_FIELDS = ("max_connections", "max_pending_requests", "max_requests", "max_retries", "max_connection_pools")


def renew_limits(cluster: Cluster, runtime: Runtime) -> None:
    """Let ``circuit_breakers.<cluster>.<default|high>.`` of the runtime count in the place of what is set."""
    config = cluster.config
    for name, limits, resources in zip(
        ("default", "high"), (config.default_limits, config.high_limits), cluster.resources, strict=True
    ):
        found = _found(limits, f"{_PREFIX}{cluster.name}.{name}.", runtime)
        if found != resources.limits:
            resources.renew(found)


def _found(limits: CircuitBreakerLimits, prefix: str, runtime: Runtime) -> CircuitBreakerLimits:
    values = {each: runtime.integer(prefix + each, getattr(limits, each)) for each in _FIELDS}
    return replace(limits, **values)  # type: ignore[arg-type]  # all of them are whole numbers
