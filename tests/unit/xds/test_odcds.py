"""On-demand CDS: what is asked for when, who waits for what, and which sources may be named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError, XdsError
from sidecar.observability.stats import Store
from sidecar.upstream.cluster_manager import ClusterManager
from sidecar.xds.cds import TakenClusters
from sidecar.xds.odcds import OnDemandClusters, OnDemandSource, check_source
from sidecar.xds.relay import Given, Relay
from sidecar.xds.subscription import Resource


def message(name: str) -> Any:
    cls = message_class(name)
    assert cls is not None
    return cls()


def bootstrap(ads_type: str = "DELTA_GRPC") -> Any:
    made = message("envoy.config.bootstrap.v3.Bootstrap")
    made.node.id, made.node.cluster = "one", "all"
    if ads_type:
        made.dynamic_resources.ads_config.api_type = ads_type
    return made


def source(kind: str = "ads", api_type: str = "DELTA_GRPC") -> Any:
    made = message("envoy.config.core.v3.ConfigSource")
    if kind == "api":
        made.api_config_source.api_type = api_type
    elif kind == "path":
        made.path_config_source.path = "/clusters.yaml"
    elif kind:
        getattr(made, kind).SetInParent()
    return made


class Asked:
    """A subscription that takes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def start(self) -> None:
        self.asked.append(())

    def request(self, names: Sequence[str]) -> None:
        self.asked.append(names)

    request_first = request

    async def run(self) -> None:
        await trio.sleep_forever()


class Bed:
    """Clusters on demand whose control plane is the test."""

    def __init__(self, nursery: trio.Nursery, kind: str = "api") -> None:
        self.bootstrap = bootstrap()
        self.subscription = Asked()
        store = Store()
        self.clusters = ClusterManager(store)

        def make(message: Any, path: str, version: str) -> Any:
            raise ConfigError(path, "nothing is made here")

        def spawn(name: str, task: Callable[[], Awaitable[None]]) -> None:
            nursery.start_soon(task, name=name)

        taken = TakenClusters(self.clusters, make)
        sources: Any = self
        self.on_demand = OnDemandClusters(sources, store, self.clusters, taken, spawn)
        self.source = self.on_demand.source(source(kind), "odcds.source")
        self.outcomes: dict[str, str] = {}
        self._nursery = nursery

    def subscribe(self, *_: object) -> Any:
        return self.subscription

    async def want(self, name: str, timeout_s: float = 5.0, label: str = "") -> None:
        async def wait() -> None:
            self.outcomes[label or name] = await self.on_demand.discover(self.source, name, timeout_s)

        self._nursery.start_soon(wait)
        await wait_all_tasks_blocked()


async def test_names_wait_for_the_first_answer() -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery)
        await bed.want("a")
        await bed.want("b")
        await bed.want("c")
        assert bed.subscription.asked == [(), ("a",)]
        bed.source.on_delta([], ["b"], "1")
        await wait_all_tasks_blocked()
        assert bed.subscription.asked == [(), ("a",), ("b", "c")]
        assert bed.outcomes == {"b": "missing"}
        bed.clusters.on_active("a")
        bed.source.on_failure()
        await bed.want("d")
        assert bed.outcomes == {"b": "missing", "a": "available"}
        assert bed.subscription.asked[3:] == [("d",)]
        nursery.cancel_scope.cancel()


async def test_failure_is_an_answer_too() -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery)
        await bed.want("a")
        await bed.want("b")
        bed.source.on_failure()
        assert bed.subscription.asked == [(), ("a",), ("b",)]
        nursery.cancel_scope.cancel()


async def test_names_on_the_aggregated_stream_wait_for_nothing() -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery, "ads")
        await bed.want("a")
        await bed.want("b")
        assert bed.subscription.asked == [(), ("a",), ("b",)]
        bed.source.on_delta([], ["b"], "1")
        await wait_all_tasks_blocked()
        assert bed.outcomes == {"b": "missing"}
        nursery.cancel_scope.cancel()


async def test_refusal_on_the_aggregated_stream_ends_every_wait() -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery, "ads")
        await bed.want("a")
        await bed.want("b")
        bed.source.on_failure()
        await wait_all_tasks_blocked()
        assert bed.outcomes == {"a": "missing", "b": "missing"}
        nursery.cancel_scope.cancel()


async def test_refused_cluster_is_waited_for_until_its_time_is_over(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery)
        began = trio.current_time()
        await bed.want("a", 3.0)
        made = message("envoy.config.cluster.v3.Cluster")
        made.name = "a"
        with pytest.raises(XdsError, match="a: resources"):
            bed.source.on_delta([Resource("a", "1", (made, "resources[0]"))], [], "1")
        await trio.sleep(2.5)
        assert bed.outcomes == {}
        await trio.sleep(1.0)
        assert bed.outcomes == {"a": "timeout"}
        assert trio.current_time() - began < 4
        nursery.cancel_scope.cancel()


async def test_who_comes_later_waits_as_long_as_the_first(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery)
        await bed.want("a", 1.0, "first")
        await trio.sleep(0.5)
        await bed.want("a", 10.0, "second")
        await trio.sleep(0.6)
        assert bed.outcomes == {"first": "timeout", "second": "timeout"}
        nursery.cancel_scope.cancel()


async def test_cancelled_while_waiting_leaves_the_others(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        bed = Bed(nursery)
        with trio.move_on_after(1):
            await bed.on_demand.discover(bed.source, "a", 5)
        await bed.want("a")
        bed.clusters.on_active("a")
        await wait_all_tasks_blocked()
        assert bed.outcomes == {"a": "available"}
        assert bed.subscription.asked == [(), ("a",)]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("made", "ads_type"), [(source(), "DELTA_GRPC"), (source("api"), ""), (source("api"), "GRPC")]
)
def test_changes_can_be_asked_for(made: Any, ads_type: str) -> None:
    check_source(made, bootstrap(ads_type), "here")


def test_who_asks_has_a_name() -> None:
    nameless = bootstrap()
    nameless.ClearField("node")
    with pytest.raises(ConfigError, match="node 'id' and 'cluster' are required"):
        check_source(source("api"), nameless, "here")


@pytest.mark.parametrize(
    ("made", "ads_type", "reason"),
    [
        (source(), "GRPC", "by DELTA_GRPC alone"),
        (source(), "", "by DELTA_GRPC alone"),
        (source("api", "GRPC"), "DELTA_GRPC", "by DELTA_GRPC alone"),
        (source("api", "REST"), "DELTA_GRPC", "by DELTA_GRPC alone"),
        (source("path"), "DELTA_GRPC", "by DELTA_GRPC alone"),
        (source("self"), "DELTA_GRPC", "Missing config source specifier"),
        (source(""), "DELTA_GRPC", "Missing config source specifier"),
    ],
)
def test_state_of_the_world_is_refused(made: Any, ads_type: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        check_source(made, bootstrap(ads_type), "here")
    assert caught.value.path == "here"


async def test_worker_asks_its_supervisor() -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    relay = Relay(lambda kind, values, blobs: None)
    asked = Asked()
    theirs = OnDemandSource(TakenClusters(ClusterManager(Store()), lambda *_: None), bool)  # type: ignore[arg-type, return-value]
    theirs.subscription = relay.subscribe("key", theirs, lambda tapped: asked)  # type: ignore[arg-type, return-value]
    given = Given(lambda kind, values: sent.append((kind, values)), None, None)  # type: ignore[arg-type]
    subscription: Any = given.subscribe("key", theirs, lambda tapped: asked)  # type: ignore[arg-type, return-value]
    subscription.start()
    subscription.request_first(("a",))
    subscription.request(("b",))
    assert [kind for kind, _ in sent] == ["subscribe", "request", "request"]
    for _, values in sent[1:]:
        relay.request(values["key"], values["names"])
    relay.request("other", ["c"])
    assert asked.asked == [("a",)]
    theirs.on_failure()
    assert asked.asked == [("a",), ("b",)]
