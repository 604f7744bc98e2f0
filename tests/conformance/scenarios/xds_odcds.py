# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Clusters that a request or a connection asks for (on-demand CDS)."""

from __future__ import annotations

import json
from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .tcp_proxy import proxy
from .xds_ads import ADS, assigned, eds_cluster, stats
from .xds_delta import DELTA, SOON, STATIC
from .xds_scopes import ON_DEMAND

SUBJECT = "xds"

FILTER = "envoy.extensions.filters.http.on_demand.v3"
BY_HEADER = "- {match: {prefix: /}, route: {cluster_header: x-to}}"
#: Who of two hears first of a cluster is chance.
STATS = r"^(cluster_manager\.(?!cds)|control_plane|http\.main\.(downstream_rq|no_|rq)|cluster\.(first|second)\.upstream_rq_(total|2xx))"


def on_demand(source: str = ADS, more: str = "") -> str:
    return f"- {{name: envoy.filters.http.on_demand, typed_config: {{'@type': type.googleapis.com/{FILTER}.OnDemand, odcds: {{source: {source}{more}}}}}}}\n"


def static(name: str, to: str = "one") -> dict[str, Any]:
    return cluster(name, to)


def single(path: str = "DELTA_GRPC") -> str:
    return f"{{resource_api_version: V3, api_config_source: {{api_type: {path}, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds, {SOON}}}}}]}}}}"


def alone(filters: str, routes: str = BY_HEADER, hcm: str = "") -> dict[str, Any]:
    """Only what is asked for on demand comes from a control plane."""
    return bootstrap(
        [listener("main", hcm, routes=routes, filters=filters)],
        [cluster("xds", "xds", http2=True), cluster("here", "two")],
        "node: {id: node, cluster: cluster}",
    )


ALONE = Setup(
    "odcds_alone", alone(on_demand(single())), {"xds": "h2", "one": "h1", "two": "h1"}, is_early=True
)
SHORT = Setup(
    "odcds_short",
    alone(on_demand(single(), ", timeout: 0.2s")),
    {"xds": "h2", "one": "h1", "two": "h1"},
    is_early=True,
)


def hosts(s: Session) -> ControlPlane:
    s.proxy.is_spent = True
    s.upstream("one").script = answers(*[ok(b"one")] * 20)
    s.upstream("two").script = answers(*[ok(b"two")] * 20)
    return ControlPlane(s)


async def log(s: Session, count: int, label: str = "log") -> None:
    """Observe the access log, which has that many lines."""
    path = s.proxy.directory / "main.log"
    while len(path.read_text().splitlines()) < count:  # noqa: ASYNC110 - another process writes it
        await trio.sleep(POLL_S)
    s.see(label, path.read_text().splitlines())


def get(to: str, *more: str, body: str = "") -> bytes:
    head = ["POST / HTTP/1.1" if body else "GET / HTTP/1.1", "host: a.example", f"x-to: {to}", *more]
    if body:
        head.append(f"content-length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


@scenario(ALONE)
async def xds_odcds_alone(s: Session) -> None:
    """A stream of its own, from the first request that needs it."""
    plane = hosts(s)
    await plane.live()
    await stats(s, STATS, label="before")
    client = await s.connect()
    await client.send(get("here"))
    await client.reply("here")
    await client.send(get("first"))
    await plane.update_delta("cds", "1", {"first": ("1", static("first"))})
    await client.reply("first")
    client = await s.connect()
    await client.send(get("first"))
    await client.reply("first again")
    plane.see()
    s.see("paths", list(plane.paths))
    await stats(s, STATS, label="after")
    client = await s.connect()
    await client.send(get("second"))
    await plane.asked("cds", 3)
    await plane.update_delta("cds", "2", removed=["second"])
    await client.reply("missing")
    client = await s.connect()
    await client.send(get("second"))
    await trio.sleep(0.3)
    plane.see("missing again")
    await plane.update_delta("cds", "3", {"second": ("1", static("second", "two"))})
    await client.reply("missing before")
    client = await s.connect()
    await plane.update_delta("cds", "4", removed=["first"])
    plane.see("more requests")
    await client.send(get("first"))
    await trio.sleep(0.3)
    plane.see("gone requests")
    await plane.update_delta("cds", "5", {"first": ("3", static("first", "two"))})
    await client.reply("came back")
    client = await s.connect()
    await client.send(get("third", body="body"))
    await trio.sleep(0.3)
    await plane.update_delta("cds", "5", {"third": ("3", static("third", "two"))})
    await client.reply("with a body")
    plane.see("all requests")
    await log(s, 7)
    await stats(s, STATS, label="end")


@scenario(SHORT)
async def xds_odcds_timeout(s: Session) -> None:
    """A cluster that does not come in time; several requests that wait."""
    plane = hosts(s)
    await plane.live()
    first, second, other = [await s.connect() for _ in range(3)]
    await first.send(get("first"))
    await second.send(get("first"))
    await plane.asked("cds")
    await other.send(get("second"))
    await trio.sleep(0.1)
    plane.see("while they wait")
    await first.reply("first")
    await second.reply("second")
    await other.reply("other")
    plane.see("afterwards")
    await plane.update_delta("cds", "1", {"first": ("1", static("first"))})
    await plane.asked("cds", 3)
    plane.see("answered late")
    first = await s.connect()
    await first.send(get("first"))
    await first.reply("late")
    second = await s.connect()
    await second.send(get("second"))
    await trio.sleep(0.05)
    await plane.update_delta("cds", "2", {"second": ("1", "{name: second, connect_timeout: -1s}")})
    await second.reply("refused")
    plane.see()
    await log(s, 5)
    await stats(s, STATS)


def following(more: str = "", routes: str = BY_HEADER, source: str = ADS) -> dict[str, Any]:
    return listener("main", routes=routes, filters=on_demand(source, more))


def unchecked(made: dict[str, Any]) -> dict[str, Any]:
    """Its routes may name clusters that are not here."""
    made["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["validate_clusters"] = False
    return made


async def begin(s: Session, made: dict[str, Any]) -> ControlPlane:
    plane = hosts(s)
    await plane.update_delta("cds", "c1", {"plain": ("1", STATIC)})
    await plane.update_delta("lds", "l1", {"main": ("1", made)})
    await plane.live()
    return plane


@scenario(DELTA)
async def xds_odcds_aggregated(s: Session) -> None:
    """On the stream that everything comes on, beside clusters that come by themselves."""
    plane = await begin(s, following())
    client = await s.connect()
    await client.send(get("first"))
    await plane.asked("cds", 3)
    plane.see("asked")
    await plane.update_delta("cds", "c2", {"first": ("1", static("first"))})
    await client.reply("first")
    await plane.update_delta("cds", "c3", {"first": ("2", static("first", "two"))})
    await client.send(get("first"))
    await client.reply("changed")
    await client.send(get("second"))
    await plane.asked("cds", 6)
    await plane.update_delta("cds", "c4", removed=["second"])
    await client.reply("missing")
    await client.send(get("third"))
    await plane.asked("cds", 8)
    await plane.send_delta("cds", "c5", {"third": ("1", eds_cluster("third"))})
    await plane.asked("eds")
    await trio.sleep(0.2)
    await plane.update_delta("eds", "e1", {"third": ("1", assigned("third", "two"))})
    await client.reply("with endpoints")
    await plane.update_delta("cds", "c6", removed=["first", "plain"])
    await stats(s, STATS, label="removed")
    plane.see("then")
    await stats(s, STATS)
    plane.requests.clear()
    await plane.end()
    for kind in ("cds", "lds"):
        await plane.asked(kind)
    s.see("again", {kind: list(each) for kind, each in sorted(plane.requests.items())})
    page = await s.proxy.admin("GET", "/config_dump?resource=dynamic_active_clusters")
    s.see(
        "dump",
        [
            (each["cluster"]["name"], each.get("version_info"))
            for each in json.loads(page.body).get("configs", ())
        ],
    )


#: Which of those who want a cluster hears of it first, and so counts it, is chance in Envoy (cds.config_reload).
COUNTED = r"^(cluster_manager\.(odcds|cds\.update|active|warming|cluster_)|control_plane|http\.main\.downstream_rq_[2-5])"


@scenario(DELTA)
async def xds_odcds_names(s: Session) -> None:
    """On the aggregated stream each name is asked for at once, and is a subscription that counts for itself."""
    plane = await begin(s, following())
    first, second = await s.connect(), await s.connect()
    await first.send(get("first"))
    await plane.asked("cds", 3)
    await second.send(get("second"))
    await plane.asked("cds", 4)
    await plane.update_delta("cds", "c2", {"second": ("1", static("second", "two"))})
    await second.reply("second")
    plane.requests.clear()
    await plane.end()
    for kind in ("cds", "lds"):
        await plane.asked(kind)
    s.see("again", {kind: list(each) for kind, each in sorted(plane.requests.items())})
    await stats(s, COUNTED, label="after the end of a stream")
    await plane.update_delta("cds", "c3", {"first": ("1", static("first"))})
    await first.reply("first")
    both = {"first": ("2", static("first", "two")), "second": ("2", static("second"))}
    await plane.update_delta("cds", "c4", both)
    await plane.update_delta("cds", "c5")
    await plane.update_delta("cds", "c6", removed=["first"])
    first = await s.connect()
    await first.send(get("first"))
    await trio.sleep(0.3)
    await plane.update_delta("cds", "c7", {"first": ("3", static("first"))})
    await first.reply("came back")
    plane.see()
    await stats(s, COUNTED)


@scenario(DELTA)
async def xds_odcds_refused(s: Session) -> None:
    """A cluster that cannot be taken ends the wait for all that are asked for on its stream."""
    plane = await begin(s, following())
    first, second, third = [await s.connect() for _ in range(3)]
    await first.send(get("first"))
    await plane.asked("cds", 3)
    await second.send(get("second"))
    await plane.asked("cds", 4)
    await plane.update_delta("cds", "c2", {"first": ("1", "{name: first, connect_timeout: -1s}")})
    await first.reply("first")
    await second.reply("second")
    await third.send(get("third"))
    await plane.asked("cds", 6)
    await plane.update_delta("cds", "c3", {"third": ("1", "{name: third, connect_timeout: -1s}")})
    await third.reply("against the rules")
    second = await s.connect()
    await second.send(get("second"))
    await trio.sleep(0.3)
    await plane.update_delta("cds", "c4", {"else": ("1", "{name: else, connect_timeout: -1s}")})
    await second.reply("of somebody else")
    second = await s.connect()
    await plane.update_delta("cds", "c5", {"second": ("1", static("second", "two"))})
    await second.send(get("second"))
    await second.reply("taken at last")
    plane.see()
    await stats(s, COUNTED)


@scenario(DELTA)
async def xds_odcds_no_fetch_timeout(s: Session) -> None:
    """What an on-demand cluster waits for on the aggregated stream is its own timeout alone."""
    source = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.2s}"
    plane = await begin(s, following(", timeout: 1s", source=source))
    client = await s.connect()
    await client.send(get("first"))
    await plane.asked("cds", 3)
    await client.reply("late")
    await stats(s, COUNTED)


@scenario(DELTA)
async def xds_odcds_late_source(s: Session) -> None:
    """A source may name a cluster that is not here yet; who asks before it is waits in vain."""
    plane = await begin(s, following(", timeout: 0.3s", source=single().replace("xds", "late")))
    client = await s.connect()
    await client.send(get("first"))
    await client.reply("of nobody")
    plane.see("nobody was asked")
    await plane.update_delta("cds", "c2", {"late": ("1", cluster("late", "xds", http2=True))})
    await plane.asked("cds", 4)
    await plane.update_delta("cds", "1", {"first": ("1", static("first"))})
    client = await s.connect()
    await client.send(get("first"))
    await client.reply("first")
    plane.see()
    s.see("paths", list(plane.paths))
    await stats(s, r"^cluster_manager\.(odcds\.update_(success|rejected)|active|warming|cluster_)")


@scenario(DELTA)
async def xds_odcds_per_route(s: Session) -> None:
    """Routes and virtual hosts say whether, and where, clusters are asked for."""
    on = f"typed_per_filter_config: {{envoy.filters.http.on_demand: {{'@type': type.googleapis.com/{FILTER}.PerRouteConfig, odcds: {{source: {ADS}, timeout: 0.3s}}}}}}"
    off = f"typed_per_filter_config: {{envoy.filters.http.on_demand: {{'@type': type.googleapis.com/{FILTER}.PerRouteConfig}}}}"
    routes = f"""
- {{match: {{prefix: /off}}, route: {{cluster_header: x-to}}, {off}}}
- {{match: {{prefix: /on}}, route: {{cluster_header: x-to}}, {on}}}
- {{match: {{prefix: /weighted}}, {on}, route: {{weighted_clusters: {{clusters: [{{name: weighted, weight: 1}}]}}}}}}
- {{match: {{prefix: /direct}}, {on}, direct_response: {{status: 200}}}}
- {{match: {{prefix: /}}, route: {{cluster_header: x-to}}}}
"""
    plane = await begin(s, unchecked(listener("main", routes=routes, filters=ON_DEMAND)))
    await s.get("/", "x-to: first", label="nobody asks")
    await s.get("/off", "x-to: first", label="off")
    await s.get("/direct", "x-to: first", label="direct")
    await s.get("/on", label="without the header")
    client = await s.connect()
    await client.send(b"GET /weighted HTTP/1.1\r\nhost: a\r\n\r\n")
    await plane.asked("cds", 3)
    await plane.update_delta("cds", "c2", {"weighted": ("1", static("weighted"))})
    await client.reply("weighted")
    await client.send(b"GET /on HTTP/1.1\r\nhost: a\r\nx-to: late\r\n\r\n")
    await client.reply("late")
    plane.see()
    await stats(s, STATS)


@scenario(DELTA)
async def xds_odcds_off_on_route(s: Session) -> None:
    """The filter asks, but a route does not."""
    off = f"typed_per_filter_config: {{envoy.filters.http.on_demand: {{'@type': type.googleapis.com/{FILTER}.PerRouteConfig}}}}"
    plane = await begin(
        s,
        unchecked(
            listener(
                "main",
                routes=f"[{{match: {{prefix: /off}}, route: {{cluster: first}}, {off}}}, {{match: {{prefix: /}}, route: {{cluster: first}}}}]",
                filters=on_demand(),
            )
        ),
    )
    await s.get("/off")
    client = await s.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await plane.asked("cds", 3)
    await plane.update_delta("cds", "c2", {"first": ("1", static("first"))})
    await client.reply("first")
    plane.see()


def tcp(more: str = "", source: str = ADS) -> dict[str, Any]:
    return proxy(
        "main",
        "cluster: first",
        f"on_demand: {{odcds_config: {source}{more}}}",
        log="%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %CONNECTION_TERMINATION_DETAILS% in=%BYTES_RECEIVED% out=%BYTES_SENT%\n",
    )


TCP_STATS = r"^(tcp\.main|cluster_manager\.(odcds\.update_(success|rejected)|cluster_)|listener\.127)"


@scenario(DELTA)
async def xds_odcds_tcp(s: Session) -> None:
    """A connection waits for its cluster."""
    plane = await begin(s, tcp())
    await stats(s, TCP_STATS, label="before")
    first, second = await s.connect(), await s.connect()
    await first.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await second.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    # Who comes after the answer waits for another one.
    await s.until_stats(lambda stats: stats.get("tcp.main.downstream_cx_total") == 2, r"^tcp\.main\.")
    await plane.asked("cds", 3)
    await plane.update_delta("cds", "c2", removed=["first"])
    await first.closed("missing")
    await second.closed("missing too")
    third = await s.connect()
    await third.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await trio.sleep(0.2)
    await plane.update_delta("cds", "c3", {"first": ("1", static("first"))})
    await third.reply("first")
    third.close()
    plane.see()
    await log(s, 6)
    await stats(s, TCP_STATS)


@scenario(DELTA)
async def xds_odcds_tcp_timeout(s: Session) -> None:
    """A connection does not wait longer than it may, and may go away."""
    plane = await begin(s, tcp(", timeout: 0.2s"))
    first = await s.connect()
    await first.closed("late")
    second = await s.connect()
    await trio.sleep(0.05)
    second.close()
    await trio.sleep(0.3)
    plane.see()
    await log(s, 4)
    await stats(s, TCP_STATS)


WORKERS = Setup(
    "odcds_workers",
    alone(on_demand(single())),
    {"xds": "h2", "one": "h1", "two": "h1"},
    is_early=True,
    concurrency=2,
)


@scenario(WORKERS)
async def xds_odcds_workers(s: Session) -> None:
    """Whichever worker has a request: one asks for all."""
    plane = hosts(s)
    await plane.live()
    clients = [await s.connect() for _ in range(8)]
    for client in clients:
        await client.send(get("first"))
    await plane.asked("cds")
    await trio.sleep(0.2)
    await plane.update_delta("cds", "1", {"first": ("1", static("first"))})
    for client in clients:
        await client.reply("first")
    for client in clients:
        await client.send(get("second"))
    await trio.sleep(0.2)
    await plane.update_delta("cds", "2", removed=["second"])
    for client in clients:
        await client.reply("second")
    plane.see()
    s.upstream("one").seen.clear()  # which worker connected first is chance
