"""A cluster that comes while serving."""

from __future__ import annotations

import trio

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.upstream.discovery import Endpoint


async def test_cluster_whose_hosts_are_all_unwell_is_in_panic_once_it_is_used(autojump_clock: object) -> None:
    store = Store()
    manager = ClusterManager(store)
    endpoint = Endpoint(Address.ip("192.0.2.1", 80), health_status="UNHEALTHY")
    async with trio.open_nursery() as nursery:
        await nursery.start(manager.run)
        manager.update(Cluster(ClusterConfig("c", type="STATIC", endpoints=(endpoint,)), store))
        cluster = manager.get("c")
        assert cluster is not None
        assert cluster.choose_host() is cluster.hosts[0]
        nursery.cancel_scope.cancel()
