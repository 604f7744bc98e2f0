"""Numbers of load balancers that the runtime changes: they count from the next update of the hosts on."""

from __future__ import annotations

from sidecar.core.address import Address
from sidecar.core.runtime import Entry, Layer, Runtime
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.host import Host
from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.slow_start import SlowStart, SlowStartSettings


def test_bias_of_active_requests_follows_the_runtime() -> None:
    layer = Layer("live")
    runtime = Runtime([layer], is_live=True)
    policy = LbPolicy("LEAST_REQUEST", active_request_bias=runtime.number("bias", 1.0))
    idle, busy = (Host(Address.ip(f"192.0.2.{n}", 80), weight=n) for n in (1, 2))
    busy.rq_active = 9
    cluster = Cluster(ClusterConfig("c", lb_policy=policy), Store())
    cluster.set_hosts([idle, busy])

    def share() -> int:
        return sum(cluster.choose_host() is busy for _ in range(300))

    assert share() < 100
    layer.values = {"bias": Entry("0", integer=0, double=0.0)}
    runtime.changed()
    assert share() < 100
    cluster.refresh_health()
    share()
    assert share() > 150
    layer.values = {"bias": Entry("-1", double=-1.0)}
    runtime.changed()
    cluster.refresh_health()
    share()
    assert share() < 100


def test_aggression_of_slow_start_follows_the_runtime() -> None:
    layer = Layer("live")
    runtime = Runtime([layer], is_live=True)
    now = 1000.0
    slow = SlowStart(SlowStartSettings(10_000, runtime.number("aggression", 1.0), 0.0), lambda: now)
    host = Host(Address.ip("192.0.2.1", 80))
    slow.note([host])
    now += 2.5
    assert slow.factor(host) == 0.25
    layer.values = {"aggression": Entry("2", integer=2, double=2.0)}
    runtime.changed()
    assert slow.factor(host) == 0.25
    slow.note([host])
    assert slow.factor(host) == 0.5
