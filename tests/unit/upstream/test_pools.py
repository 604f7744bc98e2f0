"""The table of pools: who shares one, and which of them stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sidecar.core.address import Address
from sidecar.core.errors import UpstreamError
from sidecar.net.reactor import Strand
from sidecar.upstream.resources import CircuitBreakerLimits
from sidecar.upstream.source import UpstreamSource
from tests.support.h1_lab import H1Lab, open_h1_lab
from tests.support.strands import Driven, settle


def pool_of(lab: H1Lab, client: int, priority: int = 0) -> Any:
    stream = SimpleNamespace(connection=SimpleNamespace(connection_id=client), protocol="HTTP/1.1")
    return lab.manager.router.get_pool(lab.cluster, lab.host, stream, priority)


async def connect(lab: H1Lab, pool: Any) -> Driven:
    async def body(_strand: Strand) -> object:
        return await pool.wait()

    driven = lab.lab.own(body)
    await settle()
    return driven


async def test_routing_priorities_have_pools_and_limits_of_their_own() -> None:
    limits = CircuitBreakerLimits(max_pending_requests=0)
    async with open_h1_lab(high_limits=limits) as lab:
        usual, high = pool_of(lab, 1), pool_of(lab, 1, priority=1)
        assert usual is pool_of(lab, 2)
        assert high is pool_of(lab, 2, priority=1)
        assert usual is not high
        assert (await connect(lab, usual)).error is None
        assert isinstance((await connect(lab, high)).error, UpstreamError)


async def test_pool_of_a_client_goes_with_its_last_connection() -> None:
    async with open_h1_lab(connection_pool_per_downstream_connection=True) as lab:
        first, second = pool_of(lab, 1), pool_of(lab, 2)
        assert first is pool_of(lab, 1)
        assert first is not second
        (await connect(lab, first)).result.reset()
        assert lab.host.pools == (second,)
        assert list(lab.host.pools_by_key.values()) == [second]
        assert pool_of(lab, 1) is not first


async def test_pool_of_a_client_that_is_refused_does_not_stay() -> None:
    limits = CircuitBreakerLimits(max_pending_requests=0)
    async with open_h1_lab(connection_pool_per_downstream_connection=True, default_limits=limits) as lab:
        assert isinstance((await connect(lab, pool_of(lab, 1))).error, UpstreamError)
        assert lab.host.pools == ()
        assert not lab.host.pools_by_key
        assert lab.cluster.resources[0].pools == 0


async def test_clients_addresses_have_connections_of_their_own_where_upstreams_see_them() -> None:
    async with open_h1_lab() as lab:
        table = lab.manager.router.get_pool.__self__
        usual = pool_of(lab, 1)
        assert lab.host.pool is usual
        table.ask_for_sources()

        def pool_for(source: UpstreamSource | None) -> Any:
            connection = SimpleNamespace(connection_id=1, upstream_source=source)
            stream = SimpleNamespace(connection=connection, protocol="HTTP/1.1")
            return table.get(lab.cluster, lab.host, stream)

        one, other = (UpstreamSource(Address.ip(host, 0), 7) for host in ("127.0.0.2", "127.0.0.3"))
        assert pool_for(one) is pool_for(UpstreamSource(Address.ip("127.0.0.2", 0), 7))
        assert len({id(pool_for(each)) for each in (one, other, None)}) == 3
        assert pool_for(one).source == one
        assert pool_for(None) is usual
        assert lab.host.pool is None
