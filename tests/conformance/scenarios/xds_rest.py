"""Configuration that is fetched over REST, again and again."""

from __future__ import annotations

import json
from typing import Any

import trio
from google.protobuf import json_format

from ..configuration import bootstrap, cluster
from ..control_plane import TYPES, ControlPlane, message
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from .xds_ads import assigned, direct, listener, routed, stats

SUBJECT = "xds"


def rest(more: str = "") -> str:
    return (
        "{resource_api_version: V3, initial_fetch_timeout: 5s, api_config_source: {api_type: REST, "
        f"transport_api_version: V3, cluster_names: [xds], refresh_delay: 0.02s{more}}}}}"
    )


REST = Setup(
    "xds_rest",
    bootstrap(
        (),
        [cluster("xds", "xds")],
        f"""
node: {{id: node, cluster: cluster, metadata: {{some: data}}}}
dynamic_resources:
  cds_config: {rest(", request_timeout: 10s")}
  lds_config: {rest(", request_timeout: 0.2s")}
""",
    ),
    {"xds": "h1", "one": "h1", "two": "h1"},
    is_early=True,
)
_KINDS = {"clusters": "cds", "endpoints": "eds", "listeners": "lds", "routes": "rds"}


class RestPlane:
    """Answers requests of each kind with what there is, and takes down the first of each state."""

    def __init__(self, s: Session) -> None:
        s.proxy.is_spent = True
        self._packer = ControlPlane(s)
        self._upstream = s.upstream("xds")
        self._upstream.script = self._serve
        self._answers: dict[str, bytes | None] = {}
        #: Of each kind, what was asked, without what was asked before.
        self.requests: dict[str, list[dict[str, Any]]] = {}
        self._counts: dict[str, int] = {}
        self._arrived = trio.Event()

    def set(self, kind: str, version: str, *resources: Any) -> None:
        response = message("DiscoveryResponse")
        response.version_info = version
        response.type_url = f"type.googleapis.com/{TYPES[kind]}"
        response.resources.extend(self._packer.packed(kind, each) for each in resources)
        body = json_format.MessageToJson(response).encode()
        self.set_raw(kind, ok(body, "content-type: application/json"))

    def set_raw(self, kind: str, answer: bytes | None) -> None:
        """None: there is no answer."""
        self._answers[kind] = answer
        self._counts[kind] = 0

    async def taken(self, kind: str, count: int = 2) -> None:
        """Wait until what is there was answered, and asked for again."""
        while self._counts.get(kind, 0) < count:
            await self._arrived.wait()

    async def live(self) -> None:
        """Wait until the proxy serves."""
        await self._packer.live()

    async def _serve(self, call: Call) -> None:
        body = json.loads(await call.body())
        kind = _KINDS[call.path.rpartition(":")[2]]
        node = body.pop("node", {})
        headers = {name: value for name, value in call.request.headers if name != "content-length"}
        headers.pop("x-forwarded-for", None)
        shown = {
            "start": call.request.start_line,
            "headers": sorted(f"{n}: {v}" for n, v in headers.items()),
            "body": body,
            "node": {key: node.get(key) for key in ("id", "cluster", "metadata")},
        }
        seen = self.requests.setdefault(kind, [])
        if shown not in seen:
            seen.append(shown)
        self._upstream.seen.clear()
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._arrived.set()
        self._arrived = trio.Event()
        answer = self._answers.get(kind)
        if answer is None:
            await trio.sleep_forever()
        else:
            await call.send(answer)


def rest_cluster() -> str:
    return (
        "{name: app, type: EDS, connect_timeout: 1s, "
        f"eds_cluster_config: {{eds_config: {rest()}, service_name: my-service}}}}"
    )


async def begin(s: Session) -> RestPlane:
    plane = RestPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    s.upstream("two").script = answers(ok(b"two"))
    plane.set("cds", "c1", rest_cluster())
    plane.set("eds", "e1", assigned("my-service", "one"))
    plane.set("lds", "l1", listener("main", f"rds: {{route_config_name: routes, config_source: {rest()}}}"))
    plane.set("rds", "r1", routed("routes", "app"))
    await plane.live()
    return plane


@scenario(REST)
async def xds_rest_start(s: Session) -> None:
    """All kinds; then other answers, in their versions; then the same again."""
    plane = await begin(s)
    await s.get("/first")
    plane.set("eds", "e2", assigned("my-service", "two"))
    await plane.taken("eds")
    await s.get("/second")
    plane.set("lds", "l2", direct("main", "third"))
    await plane.taken("lds")
    await s.proxy.learn_ports()
    await s.get("/third")
    plane.set_raw("cds", b"HTTP/1.1 304 Not Modified\r\n\r\n")
    await plane.taken("cds")
    for kind in ("cds", "eds", "lds"):
        await plane.taken(kind, 4)
    s.see("requests", {kind: list(each) for kind, each in sorted(plane.requests.items())})
    await stats(
        s,
        r"^cluster_manager\.(active|cluster)",
        r"^listener_manager\.(?!total_filter|.*worker|.*draining|lds)",
    )


@scenario(REST)
async def xds_rest_failures(s: Session) -> None:
    """What is no answer, or a bad one, changes nothing."""
    plane = await begin(s)

    async def after(
        label: str, answer: bytes | None, kind: str = "lds", stat: str = "update_failure"
    ) -> None:
        name = {"lds": "listener_manager.lds", "cds": "cluster_manager.cds"}[kind] + "." + stat
        before = (await s.counters(rf"^{name}$"))[name]
        plane.set_raw(kind, answer)
        await s.until_stats(lambda stats: stats[name] > before, rf"^{name}$")
        moved = await s.counters(
            r"^(listener_manager\.lds|cluster_manager\.cds)\.(update_(fail|rej)|init_fetch)"
        )
        s.see(label, sorted(n for n, v in moved.items() if v))

    await after("error", b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    await after("late", None)
    await after("not JSON", ok(b"{"), stat="update_rejected")
    await after("nothing", ok(b""), stat="update_rejected")
    await after("no such field", ok(b'{"nofield": 1, "resources": 7}'), "cds", "update_rejected")
    plane.set("cds", "c9", "{name: bad, type: EDS, connect_timeout: 1s}", rest_cluster())
    await plane.taken("cds")
    await s.get("/still")
    s.see("versions", sorted({each["body"].get("version_info", "") for each in plane.requests["cds"]}))
    s.see("of listeners", sorted({each["body"].get("version_info", "") for each in plane.requests["lds"]}))
