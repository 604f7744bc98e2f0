"""Access logs to a collector of OpenTelemetry."""

from __future__ import annotations

from typing import Any

import trio
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from ..configuration import bootstrap, cluster, listener, parse
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import H2Call

SUBJECT = "observability"

MESSAGES = "envoy.extensions.access_loggers.open_telemetry.v3"
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, name: app-route, route: {cluster: app}}
"""
FILLED = """
log_name: shop
grpc_service: {envoy_grpc: {cluster_name: otlp}}
buffer_size_bytes: 0
stat_prefix: mine
resource_attributes: {values: [{key: team, value: {string_value: payments}}]}
body:
  kvlist_value:
    values:
    - {key: path, value: {string_value: "%REQ(:PATH)% %REQ(x-none)%"}}
    - {key: list, value: {array_value: {values: [{string_value: "%RESPONSE_CODE%"}, {string_value: plain}]}}}
attributes:
  values:
  - {key: code, value: {string_value: "%RESPONSE_CODE%"}}
  - {key: nested, value: {kvlist_value: {values: [{key: flags, value: {string_value: "%RESPONSE_FLAGS%"}}]}}}
custom_tags:
- {tag: plain, literal: {value: text}}
- {tag: header, request_header: {name: x-one}}
"""
OLD = """
common_config:
  log_name: old
  transport_api_version: V3
  grpc_service: {envoy_grpc: {cluster_name: otlp}}
  buffer_size_bytes: 0
body: {string_value: "line of %REQ(:PATH)%"}
"""
BARE = """
log_name: bare
disable_builtin_labels: true
grpc_service: {envoy_grpc: {cluster_name: otlp}}
buffer_size_bytes: 1000000
buffer_flush_interval: 0.1s
"""
HTTP = """
log_name: web
http_service:
  http_uri: {uri: "http://collector/v1/logs", cluster: web, timeout: 1s}
  request_headers_to_add: [{header: {key: x-key, value: secret}}]
buffer_size_bytes: 0
body: {string_value: "%RESPONSE_CODE%"}
"""


def logged(name: str, text: str) -> dict[str, Any]:
    """A listener that logs to a collector besides its file."""
    made = listener(name, routes=ROUTES)
    config = {
        "@type": f"type.googleapis.com/{MESSAGES}.OpenTelemetryAccessLogConfig",
        **parse(text),
    }
    log = {"name": "envoy.access_loggers.open_telemetry", "typed_config": config}
    made["filter_chains"][0]["filters"][0]["typed_config"]["access_log"].append(log)
    return made


SETUP = Setup(
    "log-otlp",
    bootstrap(
        [logged("filled", FILLED), logged("old", OLD), logged("bare", BARE), logged("web", HTTP)],
        [cluster("app", "app"), cluster("otlp", "otlp", http2=True), cluster("web", "web", http2=True)],
        extra="node: {id: one, cluster: shops, locality: {zone: z}}",
    ),
    upstreams={"app": "h1", "otlp": "h2", "web": "h2"},
)


def shown(value: Any) -> Any:
    told = MessageToDict(value, preserving_proto_field_name=True)
    if "time_unix_nano" in told:
        told["time_unix_nano"] = "a time"
        # Custom tags come in any order.
        told["attributes"] = sorted(str(each) for each in told.get("attributes", ()))
    return told


async def records(s: Session, count: int, name: str = "otlp") -> None:
    """Observe the next records that the collector gets, and what they are of."""
    seen = s.upstream(name).seen
    got: list[Any] = []
    resources: list[Any] = []
    while len(got) < count:
        while not seen:  # noqa: ASYNC110 - the proxy sends
            await trio.sleep(POLL_S)
        call = seen.pop(0)
        assert isinstance(call, H2Call)
        body = await call.body()
        request = logs_service_pb2.ExportLogsServiceRequest.FromString(body if name == "web" else body[5:])
        for each in request.resource_logs:
            resources.append(shown(each.resource))
            for scope in each.instrumentation_library_logs:
                got += [shown(record) for record in scope.logs]
    s.see("records", got)
    s.see("resource", resources[0])
    headers = [f"{key}: {value}" for key, value in call.stream.headers]
    s.see("head", sorted(each for each in headers if not each.startswith(("user-agent", "content-length"))))


async def answer(call: H2Call) -> None:
    """Take a request of gRPC."""
    await call.body()
    await call.answer(
        [(":status", "200"), ("content-type", "application/grpc")], b"\0\0\0\0\0", [("grpc-status", "0")]
    )


@scenario(SETUP)
async def log_otlp_record(s: Session) -> None:
    """Body, attributes, custom tags and the resource."""
    s.upstream("otlp").h2_script = answer
    name = "access_logs.open_telemetry_access_log.mine"
    async with s.counting(f"{name}.logs_written", f"{name}.logs_dropped"):
        await s.get("/path", "x-one: one", to="filled")
        await records(s, 1)


@scenario(SETUP)
async def log_otlp_common_config(s: Session) -> None:
    """The older place of the service's settings."""
    s.upstream("otlp").h2_script = answer
    await s.get("/direct", to="old")
    await records(s, 1)


@scenario(SETUP)
async def log_otlp_batch(s: Session) -> None:
    """Records of an interval go together; without built-in labels and a body there is little in them."""
    s.upstream("otlp").h2_script = answer
    for number in range(3):
        await s.get("/direct", to="bare", label=f"reply {number}")
    await records(s, 3)


@scenario(SETUP)
async def log_otlp_over_http(s: Session) -> None:
    """A POST of protobuf for each batch."""
    await s.get("/direct", to="web")
    await records(s, 1, "web")
