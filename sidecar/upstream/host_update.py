"""A new list of endpoints for a cluster that serves: who stays, what changes in place, who comes and goes.

Envoy's ``BaseDynamicClusterImpl::updateDynamicHostList``.  An endpoint is the host at its address; of
several at one address the first counts.  Weight, health, metadata and priority of a host that stays are
changed in place.  A new locality, a new hostname and a new place to check its health at make a new host.
"""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.upstream.cluster import Cluster
from sidecar.upstream.discovery import Endpoint, make_host
from sidecar.upstream.host import Host
from sidecar.upstream.host_removal import keep_until_failed

__all__ = ["HostUpdater"]


class HostUpdater:
    """Keeps the hosts of one cluster in step with its endpoints."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: What each address was last said to be.
        self._endpoints: dict[str, Endpoint] = {}
        #: How many priorities there ever were: one that is empty now is still there.
        self._priorities = 1

    def update(self, endpoints: Iterable[Endpoint], *, is_forced: bool = False) -> bool:
        """Go on with these; whether the load balancer was told (``is_forced``: it is in any case)."""
        cluster = self._cluster
        before = {host.address: host for host in cluster.hosts}
        old = self._endpoints
        said: dict[str, Endpoint] = {}
        named: list[Host] = []
        #: Priorities to which hosts came, or from which they went.
        moved: set[int] = set()
        is_changed = is_forced
        made = 0
        for endpoint in endpoints:
            address = endpoint.address
            assert address is not None  # the compiler sees to it
            text = address.text
            if text in said:
                continue
            said[text] = endpoint
            made += 1
            host = before.get(text)
            if host is None or self._is_another(host, endpoint):
                host = make_host(endpoint, address, (address, *endpoint.additional_addresses))
                moved.add(host.priority)
            elif endpoint != old.get(text):
                priority, metadata = host.priority, host.metadata
                is_changed |= _change(host, endpoint)
                if host.priority != priority:
                    moved |= {priority, host.priority}
                made += host.metadata is not metadata
            named.append(host)
        gone = [host for host in cluster.hosts if host.address not in said]
        hosts = keep_until_failed(cluster.config, gone, named)
        kept = set(map(id, hosts))
        moved.update(host.priority for host in cluster.hosts if id(host) not in kept)
        hosts.sort(key=lambda host: host.priority)
        # Envoy makes a host of every endpoint first, and one more to change the metadata of one.
        cluster.stats.default_total_match_count.value += made
        self._endpoints = said
        self._priorities = max(self._priorities, hosts[-1].priority + 1 if hosts else 1)
        # Each priority writes this gauge, so that the last one's stands.
        last = [host.weight for host in hosts if host.priority == self._priorities - 1]
        cluster.stats.max_host_weight.set(max(last, default=1))
        if moved or is_changed:
            cluster.set_hosts(hosts, changes=len(moved))
            return True
        return False

    def _is_another(self, host: Host, endpoint: Endpoint) -> bool:
        """Whether the host has to make place for a new one at its address."""
        if host.locality != endpoint.locality or host.hostname != endpoint.hostname:
            return True
        if not self._cluster.config.health_checks:
            return False
        before = self._endpoints.get(host.address)
        return before is not None and (
            (before.health_address, before.health_port, before.has_no_health_checks)
            != (endpoint.health_address, endpoint.health_port, endpoint.has_no_health_checks)
        )


def _change(host: Host, endpoint: Endpoint) -> bool:
    """Let the host be what the endpoint says; whether that concerns the load balancer."""
    is_changed = False
    if (host.weight, host.locality_weight) != (endpoint.weight, endpoint.locality_weight):
        host.weight, host.locality_weight = endpoint.weight, endpoint.locality_weight
        is_changed = True
    if host.locality_weight != endpoint.locality_weight:
        host.locality_weight = endpoint.locality_weight
        is_changed = True
    if host.eds_health_status != endpoint.health_status:
        health = host.health
        host.set_eds_health(endpoint.health_status)
        is_changed |= host.health != health
    if host.metadata != endpoint.metadata:
        host.metadata = endpoint.metadata
        host.canary = bool(endpoint.metadata.get("envoy.lb", {}).get("canary", False))
        is_changed = True
    host.priority = endpoint.priority
    return is_changed
