"""Channels of ``google_grpc`` live as long as somebody has them, and a little longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from google.protobuf import json_format
from trio.testing import MockClock

from sidecar.api.context import FactoryContext, NodeInfo
from sidecar.config.load import load_bootstrap
from sidecar.config.messages import message_class
from sidecar.core.options import Options
from sidecar.extensions.catalog import make_registry
from sidecar.observability.stats import Store
from sidecar.server.google_channels import GoogleChannels
from sidecar.server.main import Server

_TYPE = "type.googleapis.com/envoy.extensions.filters"


class Bed:
    """Channels, and the clusters of those that were closed."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.tasks: list[Any] = []
        store = Store()
        self.context = FactoryContext(
            stats=store,
            root_stats=store,
            node=NodeInfo(),
            path="",
            warn=lambda path, reason: None,
            read_data_source=lambda message, path: b"",
            on_close=lambda close: None,
            find_cluster=lambda name: None,
        )
        self.channels = GoogleChannels(
            None,
            lambda *_: None,
            store,
            lambda name, task: self.tasks.append(task),
            lambda: {"resolver": None, "registry": make_registry()},
            lambda cluster: self.ended.append(cluster.name),
        )

    def open(self, port: int) -> Any:
        cls: Any = message_class("envoy.config.core.v3.GrpcService")
        service = cls()
        service.google_grpc.target_uri, service.google_grpc.stat_prefix = f"127.0.0.1:{port}", "x"
        return self.channels.open(service.google_grpc, self.context)


async def test_channel_is_closed_when_nobody_has_it_any_more(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    bed = Bed()
    first, same, other = bed.open(1), bed.open(1), bed.open(2)
    assert first is same
    assert first.cluster != other.cluster
    for task in bed.tasks:
        nursery.start_soon(task)
    name = first.cluster
    del first
    await trio.sleep(101)
    assert bed.ended == []
    del same
    again = bed.open(1)
    assert again.cluster not in (name, other.cluster)
    await trio.sleep(101)
    assert bed.ended == [name]
    closed = again.count_closed  # as a call has it that goes on
    del again
    await trio.sleep(101)
    assert bed.ended == [name]
    del closed
    await trio.sleep(101)
    assert len(bed.ended) == 2
    assert other.cluster not in bed.ended
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_over", [False, True])
async def test_channels_of_a_listener_end_after_it(
    nursery: trio.Nursery, autojump_clock: MockClock, tmp_path: Path, is_over: bool
) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text("node: {id: a, cluster: b}\n")
    server = Server(Options(), load_bootstrap(str(file), registry=make_registry()))
    assembly = server.assembly
    for name in ("network.http_connection_manager.v3.HttpConnectionManager", "http.ext_authz.v3.ExtAuthz"):
        message_class(f"envoy.extensions.filters.{name}")
    message_class("envoy.extensions.filters.http.router.v3.Router")
    cls: Any = message_class("envoy.config.listener.v3.Listener")
    google = {"google_grpc": {"target_uri": "127.0.0.1:1", "stat_prefix": "x"}}
    authz = {"@type": f"{_TYPE}.http.ext_authz.v3.ExtAuthz", "grpc_service": google}
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "route_config": {"name": "r"},
        "http_filters": [
            {"name": "authz", "typed_config": authz},
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}},
        ],
    }
    message = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    ended: list[str] = []
    listener = assembly.make_listener(json_format.ParseDict(message, cls()), "l")
    clusters = assembly.google_channels._clusters
    assert clusters is not None
    clusters.on_retired = lambda cluster: ended.append(cluster.name)
    assembly.background.start(nursery)
    await trio.sleep(101)
    assert ended == []
    if is_over:
        assembly.end_listener(listener)
        del listener
    await trio.sleep(101)
    assert ended == (["google_grpc.x.0"] if is_over else [])
    nursery.cancel_scope.cancel()
    assembly.close()
    server.reactor.close()
