"""Limits of a cluster: what its gauges show, and which pool gives way to another."""

from __future__ import annotations

import pytest

from sidecar.core.errors import UpstreamError
from sidecar.net.reactor import Strand
from sidecar.observability.stats import Store
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.resources import CircuitBreakerLimits, Resources
from tests.support.h1_lab import H1Lab, open_h1_lab
from tests.support.strands import Driven, settle


def gauges(store: Store) -> dict[str, int]:
    return {name: gauge.value for name, gauge in store.gauges.items()}


def test_gauges_of_limits_of_nothing_are_closed_until_something_is_counted() -> None:
    store = Store()
    resources = Resources(CircuitBreakerLimits(0, 0, 0, 0, 0), store.scope("b"))
    assert not any(gauges(store).values())
    resources.add_connection()
    resources.connections -= 1
    assert gauges(store)["b.cx_open"] == 1


def test_what_remains_is_never_less_than_nothing() -> None:
    store = Store()
    resources = Resources(CircuitBreakerLimits(max_connections=1, track_remaining=True), store.scope("b"))
    for _ in range(2):
        resources.add_connection()
    assert gauges(store)["b.remaining_cx"] == 0


def test_replaced_cluster_shows_its_own_numbers() -> None:
    store = Store()
    old = Resources(CircuitBreakerLimits(max_requests=1), store.scope("b"))
    old.requests = 1
    assert gauges(store)["b.rq_open"] == 1
    Resources(CircuitBreakerLimits(max_requests=1), store.scope("b"))
    assert gauges(store)["b.rq_open"] == 0


async def connect(lab: H1Lab, pool: H1Pool) -> Driven:
    async def body(_strand: Strand) -> object:
        return await pool.wait()

    driven = lab.lab.own(body)
    await settle()
    return driven


def two_pools(lab: H1Lab) -> list[H1Pool]:
    pools = [H1Pool(lab.lab.reactor, lab.cluster, lab.host) for _ in range(2)]
    lab.host.pools = tuple(pools)
    return pools


async def test_pool_that_nobody_uses_gives_way_to_another() -> None:
    async with open_h1_lab(default_limits=CircuitBreakerLimits(max_connection_pools=1)) as lab:
        first, second = two_pools(lab)
        (await connect(lab, first)).result.release()
        assert lab.cluster.resources[0].pools == 1
        used = await connect(lab, second)
        assert used.error is None
        assert lab.counter("cluster.up.upstream_cx_destroy_local") == 1
        assert lab.cluster.resources[0].pools == 1
        refused = await connect(lab, first)
        assert isinstance(refused.error, UpstreamError)
        assert lab.counter("cluster.up.upstream_cx_pool_overflow") == 1
        used.result.reset()
        assert lab.cluster.resources[0].pools == 0


async def test_request_that_is_refused_leaves_the_idle_connection_idle() -> None:
    async with open_h1_lab(default_limits=CircuitBreakerLimits(max_requests=1)) as lab:
        pool = lab.manager.router.get_pool(lab.cluster, lab.host, None)
        first = await connect(lab, pool)
        second = await connect(lab, pool)
        assert isinstance(second.error, UpstreamError)
        with pytest.raises(UpstreamError):
            pool.acquire()
        first.result.reset()
        assert pool.acquire() is not None
        assert lab.counter("cluster.up.upstream_rq_active_overflow") == 2
