"""A trace through three proxies, as a real collector (grpcio's server) receives it."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from proxy_process import RunningProxy, running_proxy

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DEADLINE_S = 20.0


class Collector:
    """``TraceService``; keeps what it is sent."""

    def __init__(self) -> None:
        #: Service and span.
        self.spans: list[tuple[str, Any]] = []
        self._arrived = threading.Condition()

    def export(self, request: Any, _context: grpc.ServicerContext) -> Any:
        with self._arrived:
            for each in request.resource_spans:
                (service,) = (
                    a.value.string_value for a in each.resource.attributes if a.key == "service.name"
                )
                for scope in each.instrumentation_library_spans:
                    self.spans += ((service, span) for span in scope.spans)
            self._arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait(self, count: int) -> list[tuple[str, Any]]:
        deadline = time.monotonic() + _DEADLINE_S
        with self._arrived:
            while len(self.spans) < count:
                assert self._arrived.wait(deadline - time.monotonic()), self.spans
        return self.spans


@pytest.fixture
def collector() -> Iterator[tuple[Collector, int]]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    collector = Collector()
    handler = grpc.unary_unary_rpc_method_handler(
        collector.export,
        request_deserializer=trace_service_pb2.ExportTraceServiceRequest.FromString,
        response_serializer=trace_service_pb2.ExportTraceServiceResponse.SerializeToString,
    )
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, port
    server.stop(0)


class _App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    heads: list[dict[str, str]]

    def do_GET(self) -> None:
        self.heads.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def app() -> Iterator[tuple[int, list[dict[str, str]]]]:
    heads: list[dict[str, str]] = []
    handler = type("App", (_App,), {"heads": heads})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], heads
        finally:
            server.shutdown()
            thread.join()


def configuration(service: str, upstream: int, collector: int) -> str:
    def endpoint(port: int) -> str:
        address = f"socket_address: {{address: 127.0.0.1, port_value: {port}}}"
        return f"[{{lb_endpoints: [{{endpoint: {{address: {{{address}}}}}}}]}}]"

    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9901}}}}}}
layered_runtime:
  layers: [{{name: static, static_layer: {{tracing.opentelemetry.min_flush_spans: 1}}}}]
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          tracing:
            spawn_upstream_span: true
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {{envoy_grpc: {{cluster_name: collector}}}}
                service_name: {service}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: up}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {_EXTENSIONS}.filters.http.router.v3.Router}}
  clusters:
  - {{name: up, type: STATIC, load_assignment: {{cluster_name: up, endpoints: {endpoint(upstream)}}}}}
  - name: collector
    type: STATIC
    load_assignment: {{cluster_name: collector, endpoints: {endpoint(collector)}}}
    typed_extension_protocol_options:
      {_OPTIONS}:
        "@type": type.googleapis.com/{_OPTIONS}
        explicit_http_config: {{http2_protocol_options: {{}}}}
"""


def test_a_trace_through_three_proxies_is_one_tree(tmp_path: Path, collector: tuple[Collector, int]) -> None:
    kept, port = collector
    with ExitStack() as stack:
        upstream, heads = stack.enter_context(app())
        first: RunningProxy | None = None
        keep = {upstream, port}
        for name in ("third", "second", "first"):
            (tmp_path / name).mkdir()
            text = configuration(name, upstream, port)
            first = stack.enter_context(running_proxy("sidecar", text, tmp_path / name, keep=keep))
            upstream = first.ports[10000]
            keep.add(upstream)
        assert first is not None
        assert first.get("/path").status == 200
        spans = kept.wait(6)
    by_id = {span.span_id: (service, span) for service, span in spans}
    assert len({span.trace_id for _, span in spans}) == 1
    # From the leaf to the root: the span of the application is the last proxy's try.
    chain = []
    at = bytes.fromhex(heads[0]["traceparent"].split("-")[2])
    while at:
        service, span = by_id[at]
        chain.append((service, span.name))
        at = span.parent_span_id
    assert chain == [
        ("third", "router up egress"),
        ("third", "ingress"),
        ("second", "router up egress"),
        ("second", "ingress"),
        ("first", "router up egress"),
        ("first", "ingress"),
    ]


def test_a_collector_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    with app() as (upstream, heads):
        text = configuration("alone", upstream, 1)
        with running_proxy("sidecar", text, tmp_path, keep={upstream}) as proxy:
            for _ in range(20):
                assert proxy.get("/path").status == 200
            stats = proxy.get("/stats?filter=tracing|rq_pending_failure", port=9901).body.decode()
    assert len(heads) == 20
    assert "tracing.opentelemetry.spans_sent: 40" in stats
