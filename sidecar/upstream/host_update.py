"""A new list of endpoints for a cluster that serves: who stays, what changes in place, who comes and goes.

Envoy's ``BaseDynamicClusterImpl::updateDynamicHostList``.  An endpoint is the host at its address; of
several at one address the first counts.  Weight, health, metadata and priority of a host that stays are
changed in place.  A new locality, a new hostname and a new place to check its health at make a new host.
"""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.upstream.cluster import Cluster
from sidecar.upstream.discovery import Endpoint, make_host
from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.host_removal import keep_until_failed

__all__ = ["HostUpdater"]

_PENDING = int(HealthFlag.PENDING_DYNAMIC_REMOVAL)
#: What active health checks found of a host.
_CHECKED = int(
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.DEGRADED_ACTIVE_HC
    | HealthFlag.PENDING_ACTIVE_HC
    | HealthFlag.ACTIVE_HC_TIMEOUT
)


class HostUpdater:
    """Keeps the hosts of one cluster in step with its endpoints."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        #: What each address that has a host was last said to be.
        self._endpoints: dict[str, Endpoint] = {}
        #: How many priorities there ever were: one that is empty now is still there.
        self._priorities = 1
        #: The endpoints that were taken last, and the hosts they became, where no others stay besides.
        self._taken: tuple[Iterable[Endpoint], tuple[Host, ...]] | None = None

    def share(self, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """The same, and where an endpoint equals the one that was said of its address, that one.

        Thread-safe.  What is the same object need not be compared when it is put in use.
        """
        known = self._endpoints
        shared = []
        for endpoint in endpoints:
            before = None if endpoint.address is None else known.get(endpoint.address.text)
            shared.append(before if before is not None and before == endpoint else endpoint)
        return tuple(shared)

    def update(self, endpoints: Iterable[Endpoint], *, is_forced: bool = False, priorities: int = 1) -> bool:
        """Go on with these; whether the load balancer was told (``is_forced``: it is in any case).

        ``priorities``: so many there are at least, with endpoints or without.
        """
        cluster = self._cluster
        taken = self._taken
        if taken is not None and taken[0] is endpoints and taken[1] is cluster.hosts and not is_forced:
            said = self._endpoints
            cluster.count_socket_matches(len(said), (endpoint.metadata for endpoint in said.values()))
            return False
        before: dict[str, Host] = {}
        for each in cluster.hosts:
            # Of two at one address the one that is named counts, not the one that only waits to go.
            if each.address not in before or not each.health_flags & _PENDING:
                before[each.address] = each
        old = self._endpoints
        said = {}
        named: list[Host] = []
        #: Hosts that go at once, well or not.
        dropped: set[int] = set()
        #: Priorities to which hosts came, or from which they went.
        moved: set[int] = set()
        #: Priorities of which something else is new.
        changed: set[int] = set(range(self._priorities)) if is_forced else set()
        changed.update(range(self._priorities, priorities))
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
            if host is not None and endpoint is old.get(text):
                named.append(host)
                continue
            if host is None or self._is_another(host, endpoint):
                replaced, host = host, make_host(endpoint, address, (address, *endpoint.additional_addresses))
                if replaced is not None:
                    self._replace(replaced, host, endpoint, dropped)
                moved.add(host.priority)
            elif endpoint != old.get(text):
                priority, metadata = host.priority, host.metadata
                if _change(host, endpoint):
                    changed.add(priority)
                if host.priority != priority:
                    moved |= {priority, host.priority}
                made += host.metadata is not metadata
            named.append(host)
        kept = set(map(id, named)) | dropped
        gone = [host for host in cluster.hosts if id(host) not in kept]
        hosts = keep_until_failed(cluster.config, gone, named)
        kept = set(map(id, hosts))
        moved.update(host.priority for host in cluster.hosts if id(host) not in kept)
        hosts.sort(key=lambda host: host.priority)
        # Envoy makes a host of every endpoint first, and one more to change the metadata of one.
        cluster.count_socket_matches(made, (endpoint.metadata for endpoint in said.values()))
        for host in hosts:
            if host.address not in said and host.address in old:
                said[host.address] = old[host.address]
        self._endpoints = said
        self._priorities = max(self._priorities, priorities, hosts[-1].priority + 1 if hosts else 1)
        # Each priority writes this gauge, so that the last one's stands.
        last = [host.weight for host in hosts if host.priority == self._priorities - 1]
        cluster.stats.max_host_weight.set(max(last, default=1))
        if moved or changed:
            cluster.set_hosts(hosts, moved=moved, changed=changed)
        is_whole = isinstance(endpoints, tuple) and len(hosts) == len(named)
        self._taken = (endpoints, cluster.hosts) if is_whole else None
        return bool(moved or changed)

    def _is_another(self, host: Host, endpoint: Endpoint) -> bool:
        """Whether the host has to make place for a new one at its address."""
        if host.locality != endpoint.locality or host.hostname != endpoint.hostname:
            return True
        return bool(self._cluster.config.health_checks) and not self._is_checked_alike(endpoint)

    def _replace(self, old: Host, new: Host, endpoint: Endpoint, dropped: set[int]) -> None:
        """Let ``new`` be as well as ``old``, where it is checked alike; see who goes at once."""
        if self._is_checked_alike(endpoint):
            new.keeps_health = True
            new.set_flag(old.health_flags & _CHECKED)
        if old.locality != new.locality or old.has_no_health_checks != new.has_no_health_checks:
            dropped.add(id(old))

    def _is_checked_alike(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint at this address was checked before, and at the same place."""
        before = None if endpoint.address is None else self._endpoints.get(endpoint.address.text)
        return before is not None and (
            (before.health_address, before.health_port, before.has_no_health_checks)
            == (endpoint.health_address, endpoint.health_port, endpoint.has_no_health_checks)
        )


def _change(host: Host, endpoint: Endpoint) -> bool:
    """Let the host be what the endpoint says; whether that concerns the load balancer."""
    is_changed = False
    if (host.weight, host.locality_weight) != (endpoint.weight, endpoint.locality_weight):
        host.weight, host.locality_weight = endpoint.weight, endpoint.locality_weight
        is_changed = True
    if host.eds_health_status != endpoint.health_status:
        health = host.health
        host.set_eds_health(endpoint.health_status)
        is_changed |= host.health != health
    if host.metadata != endpoint.metadata:
        host.metadata = endpoint.metadata
        host.canary = bool(endpoint.metadata.get("envoy.lb", {}).get("canary", False))
        host.has_trees = host.canary or bool(host.locality.zone)
        is_changed = True
    host.proxy_tlvs = endpoint.proxy_tlvs
    host.http_proxy = endpoint.http_proxy
    host.priority = endpoint.priority
    return is_changed
