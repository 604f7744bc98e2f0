"""Which pool a request is given: by protocol and routing priority."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.host import Host
from sidecar.upstream.pools import PoolTable


def table() -> PoolTable:
    return PoolTable(SimpleNamespace(), SimpleNamespace(clusters={}))  # type: ignore[arg-type]


@pytest.mark.parametrize("by_client", [False, True])
def test_each_priority_has_a_pool_with_its_own_limits(by_client: bool) -> None:
    cluster = Cluster(ClusterConfig("c", use_downstream_protocol=by_client), Store())
    host = Host(Address.ip("10.0.0.1", 80))
    stream: Any = SimpleNamespace(protocol="HTTP/1.1")
    pools = table()
    low, high = pools.get(cluster, host, stream), pools.get(cluster, host, stream, 1)
    assert low is not high
    assert low is pools.get(cluster, host, stream, 0)
    assert high is pools.get(cluster, host, stream, 1)
    assert (low.resources, high.resources) == cluster.resources
    assert host.pool is (None if by_client else low)
    assert host.pools == (low, high)
    raw = pools.get(cluster, host, stream, 1, raw=True)
    assert raw.resources is cluster.resources[1]
    assert raw is not pools.get(cluster, host, stream, raw=True)
