"""The mission's files whose endpoints, clusters and listeners come from a control plane: 03, 06 and 16."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support import yaml_text

from ..configuration import listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import read_response
from .xds_ads import assigned, stats

SUBJECT = "xds"

_FILES = Path(__file__).parents[2] / "mission"
_OWN = ("admin", "listener")
_HERE = "ap-northeast-1a"


def _mission(name: str) -> dict[str, Any]:
    """The file, with ports and hosts to fill in."""
    text = (_FILES / name).read_text(encoding="utf-8")
    text = re.sub(r"(address: )\S+(\s+# @HOST:)", r"\g<1>127.0.0.1\2", text)
    text = re.sub(
        r"port_value: \d+(\D*# @PORT:([\w.]+)@)",
        lambda m: f"port_value: {0 if m[2] in _OWN else 'PORT(xds)'}{m[1]}",
        text,
    )
    found: dict[str, Any] = yaml_text.load(text)
    return found


def _setup(name: str, *hosts: str) -> Setup:
    return Setup(
        f"mission_{name[:2]}",
        _mission(f"{name}.yaml"),
        {"xds": "h2", **dict.fromkeys(hosts, "h1")},
        is_early=True,
    )


EDS = _setup("03_cluster_eds", "one", "two")
WHOLE = _setup("06_ads_bootstrap", "one", "two")
#: Three hosts in the proxy's own zone, three in the other.
ZONES = _setup("16_zone_aware", "a1", "a2", "a3", "b1", "b2", "b3")


@scenario(EDS)
async def mission_03_endpoints(s: Session) -> None:
    """Endpoints over a stream of their own, by the name of the service, and others while serving."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    for name in ("one", "two"):
        s.upstream(name).script = answers(ok(name.encode()))
    await plane.update("eds", "1", assigned("my-service", "one"))
    await plane.live()
    await s.get("/", to="listener_0", label="first")
    await plane.update("eds", "2", assigned("my-service", "two"))
    await s.get("/", to="listener_0", label="others")
    await plane.update("eds", "3", assigned("dynamic_cluster", "one"))
    await s.get("/", to="listener_0", label="of another service")
    plane.see()
    s.see("paths", plane.paths)
    s.see("nodes", plane.nodes)
    await stats(s, r"^cluster\.dynamic_cluster\.(update|membership)")


@scenario(WHOLE)
async def mission_06_listeners_and_clusters(s: Session) -> None:
    """Listeners and clusters over one stream."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    for name in ("one", "two"):
        s.upstream(name).script = answers(ok(name.encode()))
    static = "{{name: app, type: STATIC, connect_timeout: 1s, load_assignment: {}}}"
    routes = "- {match: {prefix: /}, route: {cluster: app}}"
    await plane.update("cds", "c1", static.format(assigned("app", "one")))
    await plane.update("lds", "l1", listener("main", routes=routes))
    await plane.live()
    await s.get("/", label="first")
    await plane.update("cds", "c2", static.format(assigned("app", "two")))
    await s.get("/", label="another cluster")
    direct = "- {match: {prefix: /}, direct_response: {status: 201}}"
    await plane.update("lds", "l2", listener("main", routes=direct))
    await s.get("/", label="another listener")
    plane.see()
    s.see("order", plane.streams)
    s.see("paths", plane.paths)
    s.see("nodes", plane.nodes)


def _zoned(name: str, here: tuple[str, ...], there: tuple[str, ...]) -> str:
    def place(zone: str, names: tuple[str, ...]) -> str:
        ends = ", ".join(
            f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({each})}}}}}}}}"
            for each in names
        )
        return f"{{locality: {{region: ap-northeast-1, zone: {zone}}}, lb_endpoints: [{ends}]}}"

    return f"{{cluster_name: {name}, endpoints: [{place(_HERE, here)}, {place(_HERE[:-1] + 'c', there)}]}}"


async def _shares(s: Session, label: str) -> None:
    """Observe in which zones the answers come from."""
    client = await s.connect("listener_0")
    seen: set[str] = set()
    for _ in range(24):
        await client.send(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
        reply = await read_response(client.wire)
        seen.add(reply.body.decode()[:1])
    client.close()
    for name in ZONES.upstreams:
        if name != "xds":
            s.upstream(name).seen.clear()  # whose turn is first is chance
    s.see(label, sorted(seen))


@scenario(ZONES)
async def mission_16_own_zone(s: Session) -> None:
    """Requests stay in the own zone where there are six hosts, and not where there are five."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    hosts = [name for name in ZONES.upstreams if name != "xds"]
    for name in hosts:
        s.upstream(name).script = answers(ok(name.encode()))
    await plane.asked("eds", 2)
    await plane.send_named("eds", "local_cluster", "1", _zoned("local_cluster", ("a1",), ("b1",)))
    await plane.acked("eds")
    cluster = "zone_aware_cluster"
    await plane.send_named("eds", cluster, "1", _zoned(cluster, ("a1", "a2", "a3"), ("b1", "b2", "b3")))
    await plane.acked("eds")
    await plane.live()
    await _shares(s, "six")
    await plane.send_named("eds", cluster, "2", _zoned(cluster, ("a1", "a2", "a3"), ("b1", "b2")))
    await plane.acked("eds")
    await _shares(s, "five")
