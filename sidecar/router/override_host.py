"""The host that a filter asks for (``setUpstreamOverrideHost()`` of Lua scripts).

Envoy's ``LoadBalancerContext::overrideHostToSelect``: an address of one of the cluster's hosts.  It is taken
unless it is unhealthy (``common_lb_config.override_host_status`` by default); where it cannot be, the load
balancer chooses, or nobody, if the filter was strict.
"""

from __future__ import annotations

from typing import Any

from sidecar.upstream.host import Health, Host

__all__ = ["choose_override"]


def choose_override(cluster: Any, stream: Any) -> tuple[Host | None, bool]:
    """The host asked for, or None; and whether no other will do."""
    address, is_strict = stream.override_host
    for host in cluster.hosts:
        if host.address == address and host.health is not Health.UNHEALTHY:
            return host, is_strict
    if is_strict:
        cluster.stats.upstream_cx_none_healthy.value += 1
    return None, is_strict
