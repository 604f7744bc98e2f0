"""Hosts that a request names itself."""

from __future__ import annotations

from collections import Counter as Counts
from random import Random
from typing import Any

from sidecar.core.address import Address
from sidecar.core.headers import HeaderMap
from sidecar.observability.stats import Store
from sidecar.upstream.cluster_stats import ClusterStats
from sidecar.upstream.host import Host
from sidecar.upstream.host_set import part_hosts
from sidecar.upstream.load_balancer import LbContext
from sidecar.upstream.load_balancer_factory import make_load_balancer
from sidecar.upstream.load_balancer_override import MetadataPath, OverrideSettings
from sidecar.upstream.load_balancer_policies import LbPolicy


class Stream:
    """As much of a stream as the balancer looks at."""

    def __init__(self, *values: str, metadata: dict[str, Any] | None = None) -> None:
        self.request = self
        self.headers = HeaderMap([(b"x-host", value.encode()) for value in values])
        self.filter_state: dict[str, Any] | None = None
        self.dynamic_metadata = metadata

    def metadata_namespace(self, name: str) -> dict[str, Any]:
        if self.dynamic_metadata is None:
            self.dynamic_metadata = {}
        found: dict[str, Any] = self.dynamic_metadata.setdefault(name, {})
        return found


def make(**settings: Any) -> tuple[Any, list[Host]]:
    hosts = [Host(Address.ip(f"10.0.0.{number}", 80)) for number in range(3)]
    policy = LbPolicy(
        override=OverrideSettings((b"x-host", MetadataPath("own", ("a", "b"))), LbPolicy(), **settings)
    )
    context = LbContext(Random(1).randrange, ClusterStats(Store().scope("cluster.c")))
    balancer = make_load_balancer(policy, context)
    balancer.update(part_hosts(hosts))
    return balancer, hosts


def test_host_that_is_named_is_chosen_well_or_not() -> None:
    balancer, hosts = make()
    hosts[2].set_eds_health("UNHEALTHY")
    balancer.update(part_hosts(hosts))
    assert balancer.only is None
    assert balancer.choose(Stream("10.0.0.2:80")) is hosts[2]
    assert balancer.choose(Stream("10.0.0.9:80, 10.0.0.1:80")) is hosts[1]
    assert balancer.choose(Stream(metadata={"own": {"a": {"b": "10.0.0.1:80"}}})) is hosts[1]


def test_without_a_name_the_fallback_chooses() -> None:
    balancer, hosts = make()
    streams = [
        None,
        Stream(),
        Stream("other:80"),
        Stream(metadata={"own": {"a": 1}}),
        Stream(" , "),
        Stream(""),
    ]
    assert Counts(balancer.choose(stream) for stream in streams) == dict.fromkeys(hosts, 2)


def test_each_try_takes_the_next_that_is_named() -> None:
    balancer, hosts = make()
    stream = Stream("10.0.0.1:80,10.0.0.1:80,10.0.0.0:80")
    assert [balancer.choose(stream) for _ in range(3)] == [hosts[1], hosts[1], hosts[0]]
    assert balancer.choose(stream) in hosts


def test_chosen_host_is_told_in_the_metadata() -> None:
    balancer, _ = make(selected_host_key=MetadataPath("told", ("a", "b", "c")))
    stream = Stream("10.0.0.1:80")
    balancer.choose(stream)
    assert stream.dynamic_metadata == {"told": {"a": {"b": {"c": "10.0.0.1:80"}}}}
