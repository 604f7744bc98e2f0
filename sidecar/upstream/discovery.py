"""Where a cluster's hosts come from: the configuration itself, or names looked up again and again.

:class:`StaticDiscovery` gives the hosts at once.  :class:`DnsDiscovery` does what Envoy's ``DnsClusterImpl``
does for STRICT_DNS (every address is a host) and LOGICAL_DNS (one host with the addresses last seen); the
answers come from a :class:`Resolver`, in the server :class:`sidecar.net.dns.DnsResolver`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Protocol

import trio

from sidecar.core.address import Address
from sidecar.core.dataclass import dataclass
from sidecar.net.dns import DnsAnswer
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.host import NO_LOCALITY, Host, Locality
from sidecar.upstream.host_removal import keep_until_failed

__all__ = [
    "Discovery",
    "DnsDiscovery",
    "Endpoint",
    "OriginalDstDiscovery",
    "Resolver",
    "StaticDiscovery",
    "make_host",
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One ``envoy.config.endpoint.v3.LbEndpoint`` and what its locality says."""

    #: Where it is; None in a DNS cluster.
    address: Address | None
    #: The name to resolve (a literal IP is one too), and its port.
    name: str = ""
    port: int = 0
    #: ``endpoint.hostname``.
    hostname: str = ""
    #: ``endpoint.additional_addresses``, tried in turn after the first.
    additional_addresses: tuple[Address, ...] = ()
    weight: int = 1
    priority: int = 0
    locality: Locality = NO_LOCALITY
    #: ``LocalityLbEndpoints.load_balancing_weight``; 0 for none.
    locality_weight: int = 0
    #: Name of ``envoy.config.core.v3.HealthStatus``.
    health_status: str = "UNKNOWN"
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    locality_metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Of ``metadata.typed_filter_metadata`` (:attr:`sidecar.upstream.host.Host.proxy_tlvs`).
    proxy_tlvs: tuple[tuple[int, bytes], ...] = ()
    #: The same of :attr:`sidecar.upstream.host.Host.http_proxy`.
    http_proxy: Address | None = None
    #: ``endpoint.health_check_config``.
    health_port: int = 0
    health_address: Address | None = None
    health_hostname: str = ""
    has_no_health_checks: bool = False


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, name: str, family: str) -> DnsAnswer:
        """The addresses of ``name``; ``family`` is a ``dns_lookup_family``.  Does not raise for a failure."""
        ...


class Discovery(Protocol):
    """Keeps the hosts of one cluster."""

    #: Set when the cluster may be used: the first answer is there, or the first failure.
    initialized: trio.Event

    async def run(self) -> None:
        """Keep the hosts until cancelled; returns where there is nothing to keep."""
        ...

    def close(self) -> None:
        """Want no more of them from now on, before :meth:`run` is cancelled."""
        ...


def make_host(endpoint: Endpoint, address: Address, addresses: tuple[Address, ...] = ()) -> Host:
    """A fresh host for this endpoint at this address."""
    host = Host(
        address,
        hostname=endpoint.hostname or endpoint.name,
        weight=endpoint.weight,
        priority=endpoint.priority,
        locality=endpoint.locality,
        locality_weight=endpoint.locality_weight,
        metadata=endpoint.metadata,
        locality_metadata=endpoint.locality_metadata,
        eds_health_status=endpoint.health_status,
        addresses=addresses,
    )
    health_address = endpoint.health_address or address
    if endpoint.health_port:
        health_address = Address.ip(str(health_address.sockaddr[0]), endpoint.health_port)
    if health_address != address:
        host.health_address = health_address
    host.proxy_tlvs = endpoint.proxy_tlvs
    host.http_proxy = endpoint.http_proxy
    host.health_hostname = endpoint.health_hostname
    host.has_no_health_checks = endpoint.has_no_health_checks
    return host


class StaticDiscovery:
    """The hosts of the configuration."""

    def __init__(self, cluster: Cluster) -> None:
        self.initialized = trio.Event()
        hosts = []
        for endpoint in cluster.config.endpoints:
            assert endpoint.address is not None  # the compiler refuses names in a STATIC cluster
            addresses = (endpoint.address, *endpoint.additional_addresses)
            hosts.append(make_host(endpoint, endpoint.address, addresses))
        hosts.sort(key=lambda host: host.priority)
        cluster.count_socket_matches(len(hosts), (host.metadata for host in hosts))
        cluster.set_hosts(hosts)
        self.initialized.set()

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Nobody is asked."""


class OriginalDstDiscovery:
    """The hosts are made when they are asked for: only their removal has a time."""

    def __init__(self, cluster: Cluster) -> None:
        settings = cluster.config.original_dst
        assert settings is not None
        self.initialized = trio.Event()
        self.initialized.set()
        self._cluster = cluster
        self._interval_s = settings.cleanup_interval_s

    async def run(self) -> None:
        while True:
            await trio.sleep(self._interval_s)
            if self._cluster.original_dst is not None:
                self._cluster.original_dst.sweep()

    def close(self) -> None:
        """Nobody is asked."""


class DnsDiscovery:
    """One lookup loop per endpoint of the cluster."""

    def __init__(self, cluster: Cluster, resolver: Resolver, draw: Callable[[int], int]) -> None:
        """``draw(n)`` gives a random number below n."""
        self.initialized = trio.Event()
        self._cluster = cluster
        self._resolver = resolver
        self._settings = cluster.config.dns
        self._draw = draw
        #: The hosts that each endpoint resolved to.
        self._resolved: list[list[Host]] = [[] for _ in cluster.config.endpoints]
        #: The interval of the next failure, shared by the loops as in Envoy; None after a success.
        self._backoff_s: float | None = None
        #: Told of each answer and of the endpoint that it is for: who serves may be another process.
        self.on_answer: Callable[[int, DnsAnswer], None] | None = None
        if not self._resolved or not self._settings.wait_for_warm_on_init:
            self.initialized.set()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for index, endpoint in enumerate(self._cluster.config.endpoints):
                nursery.start_soon(
                    self._keep, index, endpoint, name=f"dns {self._cluster.name} {endpoint.name}"
                )

    def close(self) -> None:
        """A lookup that is under way ends with its task."""

    async def _keep(self, index: int, endpoint: Endpoint) -> None:
        stats = self._cluster.stats
        family = self._settings.lookup_family
        while True:
            stats.update_attempt.value += 1
            answer = await self._resolver.resolve(endpoint.name, family)
            delay = self.take(index, answer)
            await trio.sleep(delay)

    def take(self, index: int, answer: DnsAnswer) -> float:
        """Use an answer for this endpoint; the seconds until the next question."""
        delay = self._take(index, self._cluster.config.endpoints[index], answer)
        self.initialized.set()
        if self.on_answer is not None:
            self.on_answer(index, answer)
        return delay

    def _take(self, index: int, endpoint: Endpoint, answer: DnsAnswer) -> float:
        stats = self._cluster.stats
        settings = self._settings
        logical = self._cluster.config.type == "LOGICAL_DNS"
        if not answer.ok or (logical and not answer.addresses):
            stats.update_failure.value += 1
            return self._next_failure_delay()
        stats.update_success.value += 1
        self._backoff_s = None
        addresses = tuple(dict.fromkeys(Address.ip(ip, endpoint.port) for ip, _ in answer.addresses))
        # Envoy makes a host of each, one of all for LOGICAL_DNS, and then sees whom it has already.
        count = 1 if logical else len(addresses)
        self._cluster.count_socket_matches(count, (endpoint.metadata for _ in range(count)))
        changed = (
            self._update_logical(endpoint, addresses) if logical else self._update(index, endpoint, addresses)
        )
        if changed:
            self._cluster.set_hosts([host for hosts in self._resolved for host in hosts])
        else:
            stats.update_no_rebuild.value += 1
        delay = settings.refresh_rate_s
        ttl = min((ttl for _, ttl in answer.addresses), default=0)
        if settings.respect_ttl and ttl:
            delay = max(float(ttl), settings.min_refresh_rate_s)
        if settings.jitter_s >= 0.001:
            delay += self._draw(int(settings.jitter_s * 1000)) / 1000
        return delay

    def _update(self, index: int, endpoint: Endpoint, addresses: Sequence[Address]) -> bool:
        """STRICT_DNS: a host that is still there stays the same object."""
        before = self._resolved[index]
        known = {host.address: host for host in before}
        named = [known.get(address.text) or make_host(endpoint, address) for address in addresses]
        hosts = self._resolved[index] = keep_until_failed(self._cluster.config, before, named)
        # Each name writes this gauge, so that the last one's stands.
        self._cluster.stats.max_host_weight.set(max((host.weight for host in hosts), default=1))
        return set(map(id, before)) != set(map(id, hosts))

    def _update_logical(self, endpoint: Endpoint, addresses: tuple[Address, ...]) -> bool:
        """LOGICAL_DNS: one host; new addresses make a new one."""
        before = self._resolved[0]
        if before and before[0].addresses[0] == addresses[0] and set(before[0].addresses) == set(addresses):
            return False
        self._resolved[0] = [make_host(endpoint, addresses[0], addresses)]
        return True

    def _next_failure_delay(self) -> float:
        base = self._settings.failure_base_s
        if base is None:
            return self._settings.refresh_rate_s
        interval = base if self._backoff_s is None else self._backoff_s
        self._backoff_s = min(interval * 2, self._settings.failure_max_s or base * 10)
        # Fully jittered, as Envoy's JitteredExponentialBackOffStrategy; never so short that it spins.
        return max(0.001, self._draw(max(1, int(interval * 1000))) / 1000)
