"""Statistics sent to a service of gRPC, as Prometheus' messages."""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf.json_format import MessageToDict

from sidecar.config.messages import message_class as api_class
from sidecar.extensions.stat_sinks.metrics_service_messages import message_class

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import H2Call

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
      - exact: cluster.app.upstream_rq_200
      - exact: cluster.app.upstream_rq_timeout
      - exact: cluster_manager.active_clusters
      - exact: http.main.downstream_rq_time
  histogram_bucket_settings: [{match: {prefix: http.main}, buckets: [1000000, 2000000]}]
stats_sinks:
"""
SERVICE = """
- name: envoy.stat_sinks.metrics_service
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig
    transport_api_version: V3
    grpc_service: {envoy_grpc: {cluster_name: metrics}}
"""


def sending(name: str, more: str = "") -> Setup:
    sink = SERVICE + "".join(f"    {line}\n" for line in more.splitlines())
    return Setup(
        name,
        bootstrap(
            [listener("main", routes=ROUTES)],
            [cluster("app", "app"), cluster("metrics", "metrics", http2=True)],
            extra=SINKS + sink,
        ),
        upstreams={"app": "h1", "metrics": "h2"},
    )


class MetricsService:
    """Takes streams of metrics; of each family the last that came, histograms of theirs that hold samples."""

    def __init__(self, s: Session) -> None:
        self._session = s
        self.upstream = s.upstream("metrics")
        self.upstream.h2_script = self._serve
        self.families: dict[str, Any] = {}
        self.identified: list[bool] = []
        self.node: dict[str, Any] = {}
        self.head: list[str] = []
        self.totals = 0.0
        self.most = 0

    async def _serve(self, call: H2Call) -> None:
        self.upstream.seen.clear()  # how many streams there are is a matter of time
        self.head = self.head or sorted(f"{name}: {value}" for name, value in call.stream.headers)
        await call.answer_open([(":status", "200"), ("content-type", "application/grpc")])
        taken = 0
        stream = call.stream
        while not stream.ended.is_set():
            grew = stream.grew
            body = bytes(stream.body)
            while len(body) >= taken + 5:
                size = int.from_bytes(body[taken + 1 : taken + 5], "big")
                if len(body) < taken + 5 + size:
                    break
                self._take(message_class().FromString(body[taken + 5 : taken + 5 + size]))
                taken += 5 + size
            await grew.wait()

    def _take(self, message: Any) -> None:
        self.identified.append(message.HasField("identifier"))
        if message.HasField("identifier"):
            node: Any = api_class("envoy.config.core.v3.Node")
            told = node.FromString(message.identifier.node)
            self.node = {"id": told.id, "cluster": told.cluster}
        self.most = max(self.most, len(message.envoy_metrics))
        for family in message.envoy_metrics:
            told = MessageToDict(family, preserving_proto_field_name=True)
            (metric,) = told["metric"]
            metric["timestamp_ms"] = int(metric["timestamp_ms"]) > 1_600_000_000_000
            spread = metric.get("summary") or metric.get("histogram")
            name = f"{told['type']} {told['name']}"
            if spread is not None:
                if not int(spread["sample_count"]):
                    continue
                # How long a request took, and in how many intervals they were, is chance.
                spread["sample_sum"] = type(spread["sample_sum"]).__name__
                spread["sample_count"] = "some"
                for each in spread.get("quantile", ()):
                    each["value"] = type(each["value"]).__name__
                for each in spread.get("bucket", ()):
                    each["cumulative_count"] = int(each["cumulative_count"]) > 0
            elif name.endswith("downstream_rq_total"):
                self.totals = metric["counter"]["value"]
            self.families[name] = told

    async def until(self, *names: str) -> None:
        """Wait until two requests are told of, and families of these names."""
        while self.totals < 2 or any(  # noqa: ASYNC110 - the proxy sends
            not any(each in name for name in self.families) for each in names
        ):
            await trio.sleep(POLL_S)


async def see_families(s: Session, *names: str) -> MetricsService:
    service = MetricsService(s)
    await s.get("/direct")
    await s.get("/up", label="up")
    await service.until("active_clusters", "upstream_rq", *names)
    s.see("families", [service.families[name] for name in sorted(service.families)])
    s.see("node", service.node)
    s.see("head", service.head)
    s.see("identified", [service.identified[0], any(service.identified[1:])])
    s.proxy.is_spent = True
    return service


@scenario(sending("metrics-service"))
async def sink_metrics_service(s: Session) -> None:
    """Names whole, counters by their value; a histogram as a summary and as a histogram."""
    await see_families(s, "2 http.main.downstream_rq_time", "4 http.main.downstream_rq_time")


@scenario(
    sending(
        "metrics-service-labels",
        "emit_tags_as_labels: true\nhistogram_emit_mode: HISTOGRAM\nbatch_size: 2",
    )
)
async def sink_metrics_service_labels(s: Session) -> None:
    """Tags as labels, histograms without summaries, few families in a message."""
    service = await see_families(s, "4 http.downstream_rq_time")
    s.see("most", service.most)
