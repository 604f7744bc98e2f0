"""All clusters of a server, and the tasks that keep their hosts.

Clusters are added when the configuration is compiled; :meth:`ClusterManager.run` then keeps their hosts
until it is cancelled.  Listeners start after :meth:`ClusterManager.initial_resolution`, so that the first
request finds hosts (as Envoy does).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import randrange
from typing import Protocol

import trio

from sidecar.net.dns import DnsResolver
from sidecar.net.getaddrinfo import GetAddrInfoResolver
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, DnsSettings
from sidecar.upstream.discovery import (
    Discovery,
    DnsDiscovery,
    OriginalDstDiscovery,
    Resolver,
    StaticDiscovery,
)
from sidecar.upstream.local_zone import LocalZone
from sidecar.upstream.merge_window import MergeStats, MergeWindow
from sidecar.upstream.outlier_detection import Detector

__all__ = ["ClusterManager", "HealthWatch"]

log = logging.getLogger("sidecar.upstream")

MakeResolver = Callable[[DnsSettings], Resolver]


class HealthWatch(Protocol):
    """Keeps the health of a cluster's hosts (:class:`sidecar.upstream.health_tasks.HealthTasks`)."""

    #: Set when every host that was there had its first check.
    initialized: trio.Event

    async def run(self) -> None:
        """Keep it until cancelled."""
        ...


class _Warming:
    """A cluster that was added while running."""

    __slots__ = ("active", "cluster", "discovery", "health", "scope")

    def __init__(self, cluster: Cluster, discovery: Discovery) -> None:
        self.cluster = cluster
        self.discovery = discovery
        self.health: HealthWatch | None = None
        self.scope = trio.CancelScope()
        #: Set when it is in use, or will never be.
        self.active = trio.Event()

    @property
    def is_warm(self) -> bool:
        """Whether it can be used at once."""
        return self.health is None and self.discovery.initialized.is_set() and not _awaited(self.cluster)


def _start_filters(cluster: Cluster) -> None:
    """Have what is discovered of a cluster's filters asked for.  Raises: ConfigError."""
    policies = cluster.config.policies
    if policies is not None and policies.filters is not None:
        policies.filters.start()


def _awaited(cluster: Cluster) -> Sequence[Callable[[], Awaitable[object]]]:
    """What a cluster waits for besides its hosts: secrets, and what its filters do."""
    policies = cluster.config.policies
    if policies is None or policies.filters is None:
        return cluster.awaited
    return (*cluster.awaited, *policies.filters.awaited)


def _end(cluster: Cluster) -> None:
    """Let go of what a cluster holds that was not in use."""
    policies = cluster.config.policies
    if policies is not None and policies.filters is not None:
        policies.filters.close()
    for closer in cluster.closers:
        closer()


def _forget(cluster: Cluster) -> None:
    """Without an owner of connections there are none."""


class ClusterManager:
    """See the module."""

    def __init__(
        self,
        store: Store,
        *,
        make_resolver: MakeResolver | None = None,
        draw: Callable[[int], int] = randrange,
        local: LocalZone | None = None,
    ) -> None:
        """``make_resolver`` and ``draw`` are replaced by tests; ``local`` says where the proxy is."""
        self.clusters: dict[str, Cluster] = {}
        self._store = store
        self._draw = draw
        self._local = local or LocalZone()
        self._make_resolver = make_resolver or self._make_dns_resolver
        self._resolvers: dict[DnsSettings, Resolver] = {}
        self._discoveries: dict[str, Discovery] = {}
        #: The active health checks of clusters that have them.
        self.health: dict[str, HealthWatch] = {}
        #: Makes the tasks of health checks; without it there are none (tests).
        self.make_health: Callable[[Cluster], HealthWatch] | None = None
        #: Called for a cluster with outlier detection before it has hosts.
        self.watch_outliers: Callable[[Cluster], None] = _nothing
        #: Makes the discovery of DNS clusters.
        self.make_dns: Callable[[Cluster, Resolver, Callable[[int], int]], Discovery] = DnsDiscovery
        #: Told of clusters that are used no more, for their connections to end.
        self.on_retired: Callable[[Cluster], None] = _forget
        #: Told whether any cluster warms, when that may have changed.
        self.on_warming: Callable[[bool], object] = bool
        #: Told the name of a cluster that can be used from now on.
        self.on_active: Callable[[str], object] = str
        #: Clusters that wait for their first hosts, and to be used.
        self._warming: dict[str, _Warming] = {}
        #: Makes the discovery of EDS clusters.
        self.make_eds: Callable[[Cluster], Discovery] | None = None
        self._scopes: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        scope = store.scope("cluster_manager")
        self._active_clusters = scope.gauge("active_clusters")
        self._warming_clusters = scope.gauge("warming_clusters")
        self._cluster_added = scope.counter("cluster_added")
        self._cluster_modified = scope.counter("cluster_modified")
        self._cluster_removed = scope.counter("cluster_removed")
        self._merge_stats = MergeStats(scope)

    def get(self, name: str) -> Cluster | None:
        """The cluster of this name."""
        return self.clusters.get(name)

    def all(self) -> list[Cluster]:
        """Also those that are not in use yet."""
        return [*self.clusters.values(), *(each.cluster for each in self._warming.values())]

    def warming(self) -> list[Cluster]:
        """Those that are not in use yet."""
        return [each.cluster for each in self._warming.values()]

    def add(self, cluster: Cluster) -> None:
        """Take a cluster in; one of the same name is replaced."""
        name = cluster.name
        if name in self.clusters:
            self._cluster_modified.value += 1
            self._stop(name)
        else:
            self._cluster_added.value += 1
        self.clusters[name] = cluster
        cluster.join(self._local)
        self._active_clusters.set(len(self.clusters))
        self._watch(cluster)
        discovery = self._make_discovery(cluster)
        self._discoveries[name] = discovery
        _start_filters(cluster)
        if cluster.config.health_checks and self.make_health is not None:
            self.health[name] = self.make_health(cluster)
            cluster.refresh_health()
        if self._nursery is not None:
            self._start(self._nursery, name, discovery)

    def _watch(self, cluster: Cluster) -> None:
        if cluster.detector is not None:
            self.watch_outliers(cluster)

    def update(self, cluster: Cluster) -> None:
        """Take a cluster in while running: one of the same name is used until this one knows its hosts.

        Who calls it counts it (:meth:`count_update`).
        """
        nursery = self._nursery
        if nursery is None:
            self.add(cluster)
            return
        name = cluster.name
        _start_filters(cluster)
        # The one before it goes when this one has asked, so that a control plane hears of both at once.
        self._watch(cluster)
        discovery = self._make_discovery(cluster)
        self._cancel_warming(name)
        warming = self._warming[name] = _Warming(cluster, discovery)
        if cluster.config.health_checks and self.make_health is not None:
            warming.health = self.make_health(cluster)
            cluster.refresh_health()
        self._count_warming()
        if warming.is_warm:
            self._activate(warming)
        elif hasattr(discovery, "on_initialized"):
            discovery.on_initialized = partial(self._initialized, warming)
        nursery.start_soon(self._warm, warming, name=f"cluster {name}")

    def _initialized(self, warming: _Warming) -> None:
        """The hosts of a cluster are here: where nothing else is waited for it is used at once."""
        if warming.is_warm and self._warming.get(warming.cluster.name) is warming:
            self._activate(warming)
            warming.active.set()

    def remove(self, name: str) -> Cluster | None:
        """Let a cluster go, also one that is not in use yet; the one that was in use."""
        warming = self._cancel_warming(name)
        cluster = self.clusters.pop(name, None)
        if cluster is not None:
            self._local.on_change.pop(name, None)
            self._active_clusters.set(len(self.clusters))
            self._stop(name)
            self._retire(cluster)
        if cluster is not None or warming:
            self._cluster_removed.value += 1
        return cluster

    def forget_stats(self, gone: Sequence[Cluster]) -> None:
        """Show the stats of clusters no more that were removed, and of which none is left by that name."""
        left = {each.stats.scope.prefix for each in self.all()}
        self._store.remove(*({each.stats.scope.prefix for each in gone} - left))

    def count_update(self, name: str) -> None:
        """A control plane sent another cluster of this name; Envoy counts it also where it cannot be used."""
        is_here = name in self.clusters or name in self._warming
        counter = self._cluster_modified if is_here else self._cluster_added
        counter.value += 1

    def _count_warming(self) -> None:
        self._warming_clusters.set(len(self._warming))
        self.on_warming(bool(self._warming))

    def _cancel_warming(self, name: str) -> bool:
        warming = self._warming.pop(name, None)
        if warming is not None:
            warming.discovery.close()
            warming.scope.cancel()
            warming.active.set()
            self._count_warming()
            _end(warming.cluster)
        return warming is not None

    async def _warm(self, warming: _Warming) -> None:
        """Keep the hosts of a cluster that was added while running, at first without using it."""
        cluster, discovery, health = warming.cluster, warming.discovery, warming.health
        with warming.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(discovery.run)
                if cluster.detector is not None and cluster.detector.judges:
                    nursery.start_soon(_detect, cluster.detector, name=f"outlier detection {cluster.name}")
                if health is not None:
                    nursery.start_soon(self._check, health, discovery, name=f"health checks {cluster.name}")
                await discovery.initialized.wait()
                if health is not None:
                    await health.initialized.wait()
                for ready in _awaited(cluster):
                    await ready()
                if self._warming.get(cluster.name) is warming:
                    self._activate(warming)
                warming.active.set()

    def _activate(self, warming: _Warming) -> None:
        """Use a cluster from now on."""
        cluster = warming.cluster
        name = cluster.name
        del self._warming[name]
        self._count_warming()
        before = self.clusters.get(name)
        self._stop(name)
        self.clusters[name] = cluster
        cluster.join(self._local)
        self._active_clusters.set(len(self.clusters))
        self._discoveries[name] = warming.discovery
        self._scopes[name] = warming.scope
        self._merge_changes(cluster)
        if warming.health is not None:
            self.health[name] = warming.health
        if before is not None:
            self._retire(before)
        self.on_active(name)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the hosts of all clusters, those added later among them, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for name, discovery in self._discoveries.items():
                    self._start(nursery, name, discovery)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def initial_resolution(self, *, is_all: bool = True) -> None:
        """Wait until every cluster had its first answer, a failure too.  :meth:`run` must be running.

        ``is_all``: no control plane is asked for more of them.
        """
        for discovery in list(self._discoveries.values()):
            await discovery.initialized.wait()
        for health in list(self.health.values()):
            await health.initialized.wait()
        for cluster in list(self.clusters.values()):
            for ready in _awaited(cluster):
                await ready()
        while self._warming:
            for warming in list(self._warming.values()):
                await warming.active.wait()
        log.info("cm init: all clusters initialized" if is_all else "cm init: initializing cds")

    def _make_discovery(self, cluster: Cluster) -> Discovery:
        if cluster.config.type == "STATIC":
            return StaticDiscovery(cluster)
        if cluster.config.original_dst is not None:
            return OriginalDstDiscovery(cluster)
        if (
            cluster.config.eds is not None
            and (cluster.config.eds.source is not None or cluster.config.eds.stream is not None)
            and self.make_eds is not None
        ):
            return self.make_eds(cluster)
        settings = cluster.config.dns
        resolver = self._resolvers.get(settings)
        if resolver is None:
            resolver = self._resolvers[settings] = self._make_resolver(settings)
        return self.make_dns(cluster, resolver, self._draw)

    def _make_dns_resolver(self, settings: DnsSettings) -> Resolver:
        if settings.resolver.kind == "getaddrinfo":
            return GetAddrInfoResolver(settings.resolver.num_retries)
        return DnsResolver(settings.resolver, stats=self._store.scope("dns.cares"))

    def _start(self, nursery: trio.Nursery, name: str, discovery: Discovery) -> None:
        nursery.start_soon(self._keep, name, discovery, name=f"cluster {name}")

    async def _keep(self, name: str, discovery: Discovery) -> None:
        with trio.CancelScope() as scope:
            if self._discoveries.get(name) is not discovery:
                return
            self._scopes[name] = scope
            detector = self.clusters[name].detector
            health = self.health.get(name)
            async with trio.open_nursery() as nursery:
                if detector is not None and detector.judges:
                    nursery.start_soon(_detect, detector, name=f"outlier detection {name}")
                if health is not None:
                    nursery.start_soon(self._check, health, discovery, name=f"health checks {name}")
                nursery.start_soon(self._merge_later, self.clusters[name], discovery, health)
                await discovery.run()

    async def _merge_later(self, cluster: Cluster, discovery: Discovery, health: HealthWatch | None) -> None:
        """Merge and count changes of hosts, but not the first ones."""
        await discovery.initialized.wait()
        if health is not None:
            await health.initialized.wait()
        self._merge_changes(cluster)

    def _merge_changes(self, cluster: Cluster) -> None:
        cluster.merging = MergeWindow(
            cluster.config.merge_window_s,
            self._merge_stats,
            apply=cluster.balance,
            later=self._call_later,
            clock=trio.current_time,
        )

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await trio.sleep(delay_s)
                call()

        if self._nursery is not None:
            self._nursery.start_soon(wait, name="changes of hosts that wait")
        return scope.cancel

    async def _check(self, health: HealthWatch, discovery: Discovery) -> None:
        await discovery.initialized.wait()
        await health.run()

    def _retire(self, cluster: Cluster) -> None:
        if cluster.merging is not None:
            cluster.merging.close()
            cluster.merging = None
        self.on_retired(cluster)

    def _stop(self, name: str) -> None:
        self.health.pop(name, None)
        discovery = self._discoveries.pop(name, None)
        if discovery is not None:
            discovery.close()
        scope = self._scopes.pop(name, None)
        if scope is not None:
            scope.cancel()


def _nothing(cluster: Cluster) -> None:
    """Who serves alone tells nobody."""


async def _detect(detector: Detector) -> None:
    while True:
        await trio.sleep(detector.settings.interval_s)
        detector.tick()
