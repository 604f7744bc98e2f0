"""Statistics that are sent away: statsd and its kin, OpenTelemetry."""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from ..configuration import bootstrap, cluster, listener
from ..datagrams import Peer, host
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import H2Call
from ..wire import Wire

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /up}, route: {cluster: app}}
"""
SINKS = """
node: {id: one, cluster: shops}
stats_flush_interval: 0.1s
stats_config:
  stats_matcher:
    inclusion_list:
      patterns:
      - exact: http.main.downstream_rq_2xx
      - exact: http.main.downstream_rq_total
      - exact: http.main.downstream_rq_active
      - exact: http.main.downstream_cx_active
      - exact: cluster.app.upstream_rq_200
      - exact: cluster.app.upstream_cx_active
      - exact: cluster.app.upstream_rq_timeout
      - exact: cluster.app.upstream_rq_active
      - exact: filesystem.write_total_buffered
      - exact: cluster_manager.active_clusters
stats_sinks:
"""
STATSD = """
- name: envoy.stat_sinks.statsd
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink
    address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: "PORT(plain)"}}
- name: envoy.stat_sinks.statsd
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink
    tcp_cluster_name: lines
    prefix: a.prefix
- name: envoy.stat_sinks.dog_statsd
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink
    address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: "PORT(dog)"}}
    prefix: dog
    max_bytes_per_datagram: 300
- name: envoy.stat_sinks.graphite_statsd
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink
    address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: "PORT(graphite)"}}
"""
OTLP = """
- name: envoy.stat_sinks.open_telemetry
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig
    grpc_service: {envoy_grpc: {cluster_name: otlp}}
    prefix: mine
"""
#: Gauges of what the scenarios themselves keep open, or poll.
UNSTEADY = ("_active", "filesystem", "otlp")
SETUP = Setup(
    "stats-sinks",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [cluster("app", "app"), cluster("lines", "lines")],
        extra=SINKS + STATSD,
    ),
    upstreams={"app": "h1", "lines": "raw", "plain": "udp", "dog": "udp", "graphite": "udp"},
)
OPEN_TELEMETRY = Setup(
    "stats-otlp",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [cluster("app", "app"), cluster("otlp", "otlp", http2=True)],
        extra=SINKS + OTLP,
    ),
    upstreams={"app": "h1", "otlp": "h2"},
)


async def traffic(s: Session) -> None:
    """Requests whose counts are known."""
    await s.get("/direct")
    await s.get("/up", label="up")


class Lines:
    """Counters of a statsd server, added up; of gauges the last value."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, int] = {}

    def take(self, text: str) -> None:
        for line in text.split("\n"):
            if not line:
                continue
            # Tags may stand on either side of the value.
            name, _, rest = line.partition(":")
            value, kind, *tags = rest.split("|")
            name = "|".join([name, *tags])
            if kind == "c":
                self.counters[name] = self.counters.get(name, 0) + int(value)
            else:
                self.gauges[name] = int(value)

    def is_whole(self) -> bool:
        """Whether the two requests are counted, and the gauge that stays is here."""
        totals = [count for name, count in self.counters.items() if "downstream_rq_total" in name]
        answers = [name for name in self.counters if "upstream_rq" in name]
        gauges = [name for name in self.gauges if "active_clusters" in name]
        return max(totals, default=0) >= 2 and bool(answers) and bool(gauges)

    def shown(self) -> dict[str, Any]:
        return {
            "counters": sorted(
                f"{name}:{value}" for name, value in self.counters.items() if "otlp" not in name
            ),
            "gauges": sorted(
                f"{name}:{value}"
                for name, value in self.gauges.items()
                if not any(each in name for each in UNSTEADY)
            ),
        }


async def gather(peer: Peer) -> tuple[Lines, int]:
    """What comes until all is counted, and the length of the longest datagram."""
    lines, longest = Lines(), 0
    while not lines.is_whole():
        data, _ = await peer.take()
        longest = max(longest, len(data))
        lines.take(data.decode())
    return lines, longest


async def see_datagrams(s: Session, name: str, most: int) -> None:
    """Observe what one server of statsd is told of two requests, on a proxy of its own."""
    with host(s, name) as peer:
        await traffic(s)
        lines, longest = await gather(peer)
    s.see(name, lines.shown())
    s.see(f"{name} is short", longest <= most)
    s.proxy.is_spent = True


@scenario(SETUP)
async def sink_statsd(s: Session) -> None:
    """A datagram for each counter and gauge, below ``envoy.``."""
    await see_datagrams(s, "plain", 100)


@scenario(SETUP)
async def sink_dog_statsd(s: Session) -> None:
    """Tags behind the value, several lines in a datagram."""
    await see_datagrams(s, "dog", 300)


@scenario(SETUP)
async def sink_graphite_statsd(s: Session) -> None:
    """Tags behind the name."""
    await see_datagrams(s, "graphite", 200)


@scenario(SETUP)
async def sink_statsd_over_tcp(s: Session) -> None:
    """Lines over one connection, with a prefix; a connection that is lost is made again."""
    lines = Lines()
    first = trio.Event()

    async def script(wire: Wire) -> None:
        if not first.is_set():
            await wire.some()
            first.set()
            return
        while data := await wire.some():
            lines.take(data.decode())

    s.upstream("lines").raw_script = script
    await first.wait()
    while s.upstream("lines").connections < 2:  # noqa: ASYNC110 - the proxy connects
        await trio.sleep(POLL_S)
    await traffic(s)
    while not lines.is_whole():  # noqa: ASYNC110
        await trio.sleep(POLL_S)
    s.see("lines", lines.shown())
    s.proxy.is_spent = True


def point_of(metric: Any) -> Any:
    """The one data point of a metric; its times are told by whether they are in order."""
    told = MessageToDict(metric, preserving_proto_field_name=True)
    for kind in ("sum", "gauge"):
        for point in told.get(kind, {}).get("data_points", ()):
            first, last = int(point.pop("start_time_unix_nano", 0)), int(point.pop("time_unix_nano"))
            point["times"] = [first > 0, first <= last]
            point["attributes"] = sorted(str(each) for each in point.get("attributes", ()))
    return told


@scenario(OPEN_TELEMETRY)
async def sink_open_telemetry(s: Session) -> None:
    """Metrics of OTLP over gRPC: cumulative sums and gauges, tags as attributes."""
    found: dict[str, Any] = {}
    resources: list[list[str]] = []

    async def take(call: H2Call) -> None:
        body = await call.body()
        request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body[5:])
        for resource in request.resource_metrics:
            resources.append(sorted(each.key for each in resource.resource.attributes))
            for scope in resource.instrumentation_library_metrics:
                for metric in scope.metrics:
                    told = point_of(metric)
                    (point,) = told.get("sum", told.get("gauge"))["data_points"]
                    found[f"{told['name']} {point.get('attributes')}"] = told
        await call.answer(
            [(":status", "200"), ("content-type", "application/grpc")], b"\0\0\0\0\0", [("grpc-status", "0")]
        )

    s.upstream("otlp").h2_script = take
    await traffic(s)

    def is_whole() -> bool:
        totals = [
            int(told["sum"]["data_points"][0]["as_int"])
            for name, told in found.items()
            if name.startswith("mine.http.downstream_rq_total")
        ]
        return max(totals, default=0) >= 2

    while not is_whole():  # noqa: ASYNC110 - the proxy sends
        await trio.sleep(POLL_S)
    wanted = [name for name in sorted(found) if not any(each in name for each in UNSTEADY)]
    s.see("metrics", [found[name] for name in wanted])
    s.see("resource", resources[0])
    first = s.upstream("otlp").seen[0]
    assert isinstance(first, H2Call)
    s.see("head", sorted(f"{name}: {value}" for name, value in first.stream.headers))
    s.upstream("otlp").seen.clear()  # how many exports there are is a matter of time
    s.proxy.is_spent = True
