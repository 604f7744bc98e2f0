# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Spans of what filters ask while a request waits: their names and tags, and the context that goes along."""

from __future__ import annotations

from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf import json_format

import sidecar.config.messages  # noqa: F401 - before the API's modules: it completes them
from tests.support import yaml_text

from ..authz import GOOD, HEAD, frame, serve_checks
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..rust_filters import Modules, build, sample_listener
from ..scenario import Setup, scenario
from ..tracing import Collector
from ..upstream import Call, H2Call, answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
PROVIDER = """
  provider:
    name: envoy.tracers.opentelemetry
    typed_config:
      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
      grpc_service: {envoy_grpc: {cluster_name: collector}, timeout: 1s}
      service_name: shop
"""
RUNTIME = """
layered_runtime:
  layers:
  - name: static
    static_layer: {tracing.opentelemetry.min_flush_spans: 1}
node: {id: one, cluster: shops, locality: {zone: z}}
"""
LOG = "%REQ(:PATH)% trace=%TRACE_ID% span=%SPAN_ID% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"
ROUTES = f"""
- match: {{prefix: /quiet}}
  route: {{cluster: app}}
  typed_per_filter_config:
    authz:
      "@type": {EXT}.ext_authz.v3.ExtAuthzPerRoute
      check_settings: {{emit_client_span: false}}
- match: {{prefix: /loud}}
  route: {{cluster: app}}
  typed_per_filter_config:
    authz:
      "@type": {EXT}.ext_authz.v3.ExtAuthzPerRoute
      check_settings: {{emit_client_span: true}}
- match: {{prefix: /unsampled}}
  tracing: {{overall_sampling: {{numerator: 0}}}}
  route: {{cluster: app}}
- {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""
LIMITED = """
- match: {prefix: /unsampled}
  tracing: {overall_sampling: {numerator: 0}}
  route: &limited {cluster: app, rate_limits: [{actions: [{generic_key: {descriptor_value: a}}]}]}
- {match: {prefix: /}, route: *limited}
"""


def authz(fields: str) -> str:
    return f'- {{name: authz, typed_config: {{"@type": {EXT}.ext_authz.v3.ExtAuthz, {fields}}}}}'


def of_grpc(to: str = "authz", more: str = "") -> str:
    service = f"envoy_grpc: {{cluster_name: {to}{more}}}, timeout: 5s"
    return f"transport_api_version: V3, grpc_service: {{{service}}}"


LIMIT = f"""
- name: limit
  typed_config:
    "@type": {EXT}.ratelimit.v3.RateLimit
    domain: dom
    timeout: 5s
    rate_limit_service: {{transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: limits}}, timeout: 5s}}}}
"""
LUA = f"""
- name: lua
  typed_config:
    "@type": {EXT}.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(h)
          local path = h:headers():get(":path")
          local ask = {{[":method"] = "GET", [":path"] = "/ask", [":authority"] = "web"}}
          if path == "/dead" then
            h:httpCall("dead", ask, nil, 5000)
          elseif path == "/silent" then
            h:httpCall("web", ask, nil, {{timeout_ms = 5000, trace_sampled = false}})
          elseif path == "/two" then
            h:httpCall("authorization", ask, nil, 5000, true)
            h:httpCall("h2web", ask, nil, 5000)
          else
            h:httpCall("web", ask, nil, 5000)
          end
        end
"""


def wasm(name: str) -> str:
    """A filter in Rust, as its sample has it."""
    manager = sample_listener(name)["filter_chains"][0]["filters"][0]["typed_config"]
    [entry] = [each for each in manager["http_filters"] if each["name"] == name]
    return yaml_text.dump([entry])


def traced(name: str, filters: str, more: str = "", routes: str = ROUTES) -> dict[str, Any]:
    return listener(name, f"tracing:{more}{PROVIDER}\n", routes=routes, filters=filters, log=LOG)


SETUP = Setup(
    "traced_calls",
    bootstrap(
        [
            traced("authz", authz(of_grpc())),
            traced("quiet", authz(of_grpc() + ", emit_client_span: false")),
            traced("loud", authz(of_grpc() + ", emit_client_span: true")),
            traced("verbose", authz(of_grpc()), "\n  verbose: true\n  spawn_upstream_span: true"),
            traced("dead", authz(of_grpc("dead"))),
            traced("late", authz(of_grpc().replace("5s", "0.05s"))),
            traced("named", authz(of_grpc(more=", authority: other"))),
            traced("http", authz("http_service: {server_uri: {uri: web, cluster: web, timeout: 5s}}")),
            traced(
                "httpquiet",
                authz(
                    "http_service: {server_uri: {uri: web, cluster: web, timeout: 5s}}, emit_client_span: false"
                ),
            ),
            traced(
                "httploud",
                authz(
                    "http_service: {server_uri: {uri: web, cluster: web, timeout: 5s}}, emit_client_span: true"
                ),
            ),
            traced("httpdead", authz("http_service: {server_uri: {uri: dead, cluster: dead, timeout: 5s}}")),
            traced("limit", LIMIT, routes=LIMITED),
            traced("lua", LUA),
            traced("callout", wasm("auth-callout")),
        ],
        [
            cluster("app", "app"),
            cluster("web", "web"),
            cluster("h2web", "h2web", http2=True),
            cluster("authorization", "web", extra="alt_stat_name: other"),
            cluster("authz", "authz", http2=True),
            cluster("limits", "limits", http2=True),
            cluster("dead", "dead", http2=True),
            cluster("collector", "collector", http2=True),
        ],
        RUNTIME,
    ),
    {
        "app": "h1",
        "web": "h1",
        "dead": "dead",
        **dict.fromkeys(("authz", "limits", "collector", "h2web"), "h2"),
    },
    Modules(),
    build,
)


class Asking:
    """A client, and the collector that is told of what it asks for."""

    def __init__(self, s: Session) -> None:
        self._session = s
        self._collector = Collector(s)

    async def __call__(self, to: str, count: int, path: str = "/", label: str = "", *fields: str) -> None:
        """A request, and the spans that are made of it."""
        label = label or f"{to} {path}"
        await self._session.get(path, *fields, to=to, label=label)
        await self._collector.see(count, f"spans of {label}")

    async def leave(self, to: str, count: int, waits: str = "authz") -> None:
        """A client that goes while the service is asked."""
        arrived = len(self._session.upstream(waits).seen) + 1
        client = await self._session.connect(to)
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await self._session.upstream(waits).arrivals(arrived)
        client.reset()
        await self._collector.see(count, f"spans of {to}, which is left")


@scenario(SETUP)
async def tracing_calls_of_ext_authz(s: Session) -> None:
    """Calls of gRPC: allowed, denied, failed, too late, and where no span is wanted."""
    ask = Asking(s)
    serve_checks(s, {}, sees=False)
    await ask("authz", 2)
    await ask("named", 2)
    await ask("verbose", 3)
    await ask("quiet", 2)
    await ask("loud", 2)
    serve_checks(s, {"status": {"code": 7}}, sees=False)
    await ask("authz", 2, label="denied")
    serve_checks(s, {"status": {"code": 7}, "error_response": {}}, sees=False)
    await ask("authz", 2, label="error")
    await ask("dead", 2)

    async def fail(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        await call.answer([*HEAD, ("grpc-status", "13"), ("grpc-message", "oh")])

    s.upstream("authz").h2_script = fail
    await ask("authz", 2, label="failed")

    async def wait(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()

    s.upstream("authz").h2_script = wait
    await ask("late", 2)
    await ask.leave("authz", 2)


@scenario(SETUP)
async def tracing_calls_unsampled(s: Session) -> None:
    """The context of a request that is not sampled goes along, and nobody is told."""
    Collector(s)
    serve_checks(s, {}, sees=False)
    serve_limits(s, "OK")
    for to in ("authz", "http", "limit", "lua", "callout"):
        async with s.logging(1, to):
            await s.get("/unsampled", to=to)


@scenario(SETUP)
async def tracing_calls_of_ext_authz_http(s: Session) -> None:
    """Calls of HTTP."""
    ask = Asking(s)
    await ask("http", 2)
    await ask("httploud", 2)
    await ask("http", 1, "/quiet")
    await ask("httpquiet", 1)
    await ask("httpquiet", 2, "/loud")
    s.upstream("web").script = answers(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
    await ask("http", 2, label="denied")
    await ask("httpdead", 2)

    async def wait(call: Call) -> None:
        await call.gone()

    s.upstream("web").script = wait
    await ask.leave("http", 2, "web")


def serve_limits(s: Session, verdict: str) -> None:
    async def script(call: H2Call) -> None:
        await call.body()
        call.stream.body.clear()
        answer = json_format.ParseDict({"overall_code": verdict}, rls_pb2.RateLimitResponse())
        await call.answer(HEAD, frame(answer.SerializeToString()), GOOD)

    s.upstream("limits").h2_script = script


@scenario(SETUP)
async def tracing_calls_of_ratelimit(s: Session) -> None:
    """Within the limit, and beyond."""
    ask = Asking(s)
    for verdict in ("OK", "OVER_LIMIT"):
        serve_limits(s, verdict)
        await ask("limit", 2, label=verdict)


@scenario(SETUP)
async def tracing_calls_of_lua(s: Session) -> None:
    """Calls that a script waits for, one that it does not, one without a span, one that meets nobody."""
    ask = Asking(s)
    await ask("lua", 2)
    await ask("lua", 2, "/dead")
    await ask("lua", 1, "/silent")
    await ask("lua", 3, "/two")

    async def wait(call: Call) -> None:
        await call.gone()

    s.upstream("web").script = wait
    await ask.leave("lua", 2, "web")


@scenario(SETUP)
async def tracing_calls_of_wasm(s: Session) -> None:
    """Calls of a guest, over HTTP."""
    ask = Asking(s)
    s.upstream("web").script = answers(ok(b"", "x-user: al"))
    await ask("callout", 1)


DEFAULT = """
tracing:
  http:
    name: envoy.tracers.opentelemetry
    typed_config:
      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
      grpc_service: {envoy_grpc: {cluster_name: collector}, timeout: 1s}
      service_name: of the bootstrap
"""
BY_DEFAULT = Setup(
    "tracing_by_default",
    bootstrap(
        [
            listener("default", "tracing: {}", routes=ROUTES, log=LOG),
            traced("own", ""),
            listener("untraced", routes=ROUTES, log=LOG),
        ],
        [cluster("app", "app"), cluster("collector", "collector", http2=True)],
        RUNTIME + DEFAULT,
    ),
    {"app": "h1", "collector": "h2"},
)


@scenario(BY_DEFAULT)
async def tracing_by_the_bootstrap(s: Session) -> None:
    """The bootstrap's provider is for connection managers that trace and name none."""
    collector = Collector(s)
    async with s.logging(1, "default"), s.logging(1, "own"), s.logging(1, "untraced"):
        for to in ("default", "own", "untraced"):
            await s.get(f"/{to}", to=to)
    await collector.until(2)
    services = {}
    for request in collector.requests:
        for resource in request.resource_spans:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.instrumentation_library_spans:
                services.update({collector.url(span): said["service.name"] for span in scope.spans})
    s.see("services", services)
