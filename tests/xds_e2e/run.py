"""The same snapshots for both proxies, and the same questions after each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.conformance.configuration import bootstrap, cluster
from tests.conformance.proxy import ENVOY, SIDECAR, Proxy
from tests.conformance.scenario import Setup

from .peers import Load, probe, serve_host
from .plane import Plane
from .world import UPSTREAMS, World

__all__ = ["Outcome", "run_snapshots"]

#: How long answers may differ after both have taken a snapshot: threads of Envoy's hear of it later.
_AGREE_S = 8.0
_POLL_S = 0.05
_PAGE = 4096


@dataclass(slots=True)
class Outcome:
    """What was seen."""

    snapshots: int = 0
    refused: int = 0
    #: Step, what it did, what was asked, and the two answers.
    differences: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    #: Requests of the load that failed, by proxy and how.
    failed: Counter[str] = field(default_factory=Counter)
    #: Memory in bytes after a hundred updates and at the end.
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)


def dynamic(name: str, plane_port: int, *, is_delta: bool = False) -> dict[str, Any]:
    """The bootstrap of a proxy that gets all else from the control plane."""
    ads = "{ads: {}, resource_api_version: V3}"
    made = cluster("xds", http2=True)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": plane_port}}
    ends = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    made["load_assignment"] = {"cluster_name": "xds", "endpoints": ends}
    return bootstrap(
        (),
        [made],
        f"""
node: {{id: {name}, cluster: mesh}}
dynamic_resources:
  ads_config:
    api_type: {"DELTA_GRPC" if is_delta else "GRPC"}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]
  cds_config: {ads}
  lds_config: {ads}
""",
    )


def memory(proxy: Proxy) -> int:
    """What a proxy has resident, in bytes."""
    return int(Path(f"/proc/{proxy.pid}/statm").read_text().split()[1]) * _PAGE


async def listen_hosts(nursery: trio.Nursery) -> dict[str, int]:
    """The hosts' ports."""
    ports = {}
    for name in UPSTREAMS:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(serve_host, name), 0, host="127.0.0.1")
        )
        ports[name] = listeners[0].socket.getsockname()[1]
    return ports


async def run_snapshots(
    directory: Path,
    *,
    seed: int,
    snapshots: int,
    updates: int = 0,
    is_delta: bool = False,
    kinds: tuple[str, ...] = (SIDECAR, ENVOY),
    tell: Callable[[str], object] = print,
) -> Outcome:
    """Drive the proxies through random snapshots, then through so many plain updates.

    Raises: CannotBuild, ProxyFailed.
    """
    outcome = Outcome()
    async with trio.open_nursery() as nursery:
        with Plane() as plane:
            world = World(seed, await listen_hosts(nursery), is_delta=is_delta)
            proxies = {
                kind: Proxy(
                    kind,
                    Setup(kind, dynamic(kind, plane.port, is_delta=is_delta), is_early=True),
                    directory / kind,
                )
                for kind in kinds
            }
            try:
                plane.set(kinds, "0", world.resources())
                for proxy in proxies.values():
                    await proxy.start()
                await _settle(plane, kinds)
                loads = {kind: Load(proxy) for kind, proxy in proxies.items()}
                await _compare(outcome, "start", proxies, tell)
                for load in loads.values():
                    nursery.start_soon(load.run)
                for number in range(1, snapshots + 1):
                    await _snapshot(outcome, number, world, plane, proxies, tell)
                if updates:
                    await _updates(outcome, updates, world, plane, proxies, tell)
                for kind, load in loads.items():
                    outcome.answered[kind] = load.answered
                    outcome.again[kind] = load.again
                    for how, count in load.failed.items():
                        outcome.failed[f"{kind}: {how}"] += count
            finally:
                for proxy in proxies.values():
                    proxy.stop()
        nursery.cancel_scope.cancel()
    return outcome


async def _snapshot(
    outcome: Outcome,
    number: int,
    world: World,
    plane: Plane,
    proxies: dict[str, Proxy],
    tell: Callable[[str], object],
) -> None:
    world.step()
    version = str(number)
    await trio.to_thread.run_sync(plane.set, tuple(proxies), version, world.resources())
    title = f"{number} ({', '.join(world.done)})"
    await _settle(plane, tuple(proxies), tell)
    outcome.snapshots += 1
    states = {kind: plane.state(kind) for kind in proxies}
    refused = {
        kind: {name: each["error"] for name, each in state.items() if each["refused"] == version}
        for kind, state in states.items()
    }
    outcome.refused += any(refused.values())
    if len({tuple(sorted(each)) for each in refused.values()}) > 1:
        _differ(outcome, f"{title}: refused: {refused}", tell)
    await _compare(outcome, title, proxies, tell)


async def _settle(plane: Plane, kinds: tuple[str, ...], tell: Callable[[str], object] = print) -> None:
    try:
        await trio.to_thread.run_sync(plane.settle, *kinds)
    except RuntimeError as error:
        tell(f"{error}: {[plane.state(kind) for kind in kinds]}")


async def _compare(
    outcome: Outcome, title: str, proxies: dict[str, Proxy], tell: Callable[[str], object]
) -> None:
    end = time.monotonic() + _AGREE_S
    while True:
        seen = {kind: await probe(proxy) for kind, proxy in proxies.items()}
        first, *others = seen.values()
        if all(each == first for each in others):
            return
        if time.monotonic() > end:
            break
        await trio.sleep(_POLL_S)
    ours, envoys = (seen[kind] for kind in (SIDECAR, ENVOY))
    for question, answer in ours.items():
        if answer != envoys[question]:
            _differ(outcome, f"{title}: {question}: {answer}, Envoy {envoys[question]}", tell)


def _differ(outcome: Outcome, what: str, tell: Callable[[str], object]) -> None:
    outcome.differences.append(what)
    tell(f"DIFFERENT {what}")


async def _updates(
    outcome: Outcome,
    updates: int,
    world: World,
    plane: Plane,
    proxies: dict[str, Proxy],
    tell: Callable[[str], object],
) -> None:
    """Right snapshots, one as soon as the last was taken."""
    kinds = tuple(proxies)
    early: dict[str, int] = {}
    for number in range(1, updates + 1):
        world.step(is_right=True)
        resources = world.resources()

        def update(version: str = f"u{number}", resources: list[Any] = resources) -> None:
            plane.set(kinds, version, resources)
            try:
                plane.settle(*kinds)
            except RuntimeError as error:
                states = {kind: plane.state(kind) for kind in kinds}
                raise RuntimeError(f"update {version}: {error}: {states}") from error

        await trio.to_thread.run_sync(update)
        if number == min(100, updates):
            early = {kind: memory(proxy) for kind, proxy in proxies.items()}
        if not number % 1000:
            tell(
                f"{number} updates: { ({kind: memory(proxy) >> 20 for kind, proxy in proxies.items()}) } MiB"
            )
    outcome.memory = {kind: (early[kind], memory(proxy)) for kind, proxy in proxies.items()}
