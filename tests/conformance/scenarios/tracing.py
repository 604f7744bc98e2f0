"""Tracing with OpenTelemetry: which requests make spans, what stands in them, what goes along."""

from __future__ import annotations

import json
from typing import Any

from ..cel_trees import tree
from ..configuration import ROUTER, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..tracing import Collector
from ..upstream import Call, H2Call, answers, ok
from .grpc import HEAD, call_of, message

SUBJECT = "filters"

ROUTES = """
- match: {prefix: /decorated}
  decorator: {operation: shown}
  route: {cluster: app}
- match: {prefix: /kept}
  decorator: {operation: shown, propagate: false}
  route: {cluster: app}
- match: {prefix: /never}
  tracing: {random_sampling: {numerator: 0}}
  route: {cluster: app}
- match: {prefix: /unsampled}
  tracing: {overall_sampling: {numerator: 0}, client_sampling: {numerator: 100}}
  route: {cluster: app}
- match: {prefix: /client}
  tracing: {random_sampling: {numerator: 0}, client_sampling: {numerator: 100}}
  route: {cluster: app}
- match: {prefix: /noclient}
  tracing: {random_sampling: {numerator: 0}, client_sampling: {numerator: 0}}
  route: {cluster: app}
- match: {prefix: /tagged}
  tracing:
    custom_tags:
    - {tag: both, literal: {value: of the route}}
    - {tag: own, request_header: {name: x-own}}
  route: {cluster: app}
  metadata: {filter_metadata: {spaces: {name: {inner: told}, number: 3, list: [a, 1]}}}
- match: {prefix: /named}
  tracing: {operation: "%REQ(:METHOD)% named", upstream_operation: "up %UPSTREAM_CLUSTER%"}
  route: {cluster: app}
- {match: {prefix: /dead}, route: {cluster: dead}}
- {match: {prefix: /slow}, route: {cluster: app, timeout: 0.1s}}
- {match: {prefix: /retried}, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 5xx}}}
- {match: {prefix: /dying}, route: {cluster: dead, retry_policy: {retry_on: connect-failure, num_retries: 1}}}
- {match: {prefix: /direct}, direct_response: {status: 404, body: {inline_string: none}}}
- {match: {prefix: /pkg.}, route: {cluster: h2app}}
- match: {prefix: /copied}
  route: {cluster: app, request_mirror_policies: [{cluster: other}]}
- match: {prefix: /untold}
  route: {cluster: app, request_mirror_policies: [{cluster: other, trace_sampled: false}]}
- match: {prefix: /redirected}
  route:
    cluster: app
    internal_redirect_policy: {max_internal_redirects: 1}
- {match: {prefix: /}, route: {cluster: app}}
"""
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
LOG = "trace=%TRACE_ID% span=%SPAN_ID% id=%REQ(x-request-id)% %RESPONSE_CODE%\n"
TAGS = """
  custom_tags:
  - {tag: plain, literal: {value: text}}
  - {tag: both, literal: {value: of the manager}}
  - {tag: missing, environment: {name: SIDECAR_NO_SUCH_VARIABLE}}
  - {tag: default, environment: {name: SIDECAR_NO_SUCH_VARIABLE, default_value: fallback}}
  - {tag: header, request_header: {name: x-tag, default_value: none}}
  - {tag: unset, request_header: {name: x-nothing}}
  - tag: route
    metadata: {kind: {route: {}}, metadata_key: {key: spaces, path: [{key: name}, {key: inner}]}}
  - {tag: number, metadata: {kind: {route: {}}, metadata_key: {key: spaces, path: [{key: number}]}}}
  - {tag: list, metadata: {kind: {route: {}}, metadata_key: {key: spaces, path: [{key: list}]}}}
  - {tag: struct, metadata: {kind: {route: {}}, metadata_key: {key: spaces, path: [{key: name}]}}}
  - tag: gone
    metadata: {kind: {request: {}}, metadata_key: {key: nothing, path: [{key: x}]}, default_value: d}
  - {tag: host, metadata: {kind: {host: {}}, metadata_key: {key: place, path: [{key: rack}]}}}
  - {tag: cluster, metadata: {kind: {cluster: {}}, metadata_key: {key: place, path: [{key: rack}]}}}
  - {tag: formatted, value: "%REQ(:METHOD)% %RESPONSE_CODE% %REQ(x-nothing)%"}
  - {tag: nothing, value: "%REQ(x-nothing)%"}
"""
INTERNAL = """
use_remote_address: true
internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}
"""

CHILD = f"""
http_filters:
- {{name: router, typed_config: {{"@type": {ROUTER}, start_child_span: true}}}}
"""
TRACEABLE = """
access_log:
- name: envoy.access_loggers.file
  filter: {traceable_filter: {}}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: FILE(logged.log)
    log_format: {text_format_source: {inline_string: "%REQ(:PATH)% %REQ(x-request-id)%\\n"}}
"""


def traced(name: str, more: str = "", hcm: str = "", extra: str = "") -> dict[str, Any]:
    """A listener that traces."""
    return listener(name, f"tracing:{more}{PROVIDER}\n{hcm}", routes=ROUTES, extra=extra, log=LOG)


APP = cluster("app", "app", extra="metadata: {filter_metadata: {place: {rack: of the cluster}}}")
APP["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = {
    "filter_metadata": {"place": {"rack": "of the host"}}
}
TRACED = Setup(
    "traced",
    bootstrap(
        [
            traced("main", "\n  max_path_tag_length: 10"),
            traced("verbose", "\n  verbose: true\n  spawn_upstream_span: true"),
            traced("out", extra="traffic_direction: OUTBOUND"),
            traced("child", hcm=CHILD, extra="traffic_direction: OUTBOUND"),
            traced("tagged", TAGS + "  spawn_upstream_span: true"),
            traced("internal", "\n  random_sampling: {value: 0}", hcm=INTERNAL),
            traced(
                "kept",
                "\n  random_sampling: {value: 0}",
                hcm="preserve_external_request_id: true\nuse_remote_address: true",
            ),
            traced("silent", "\n  no_context_propagation: true"),
            listener(
                "untraced",
                "preserve_external_request_id: true\nuse_remote_address: true",
                routes=ROUTES,
                log=LOG,
            ),
            traced("logged", hcm=TRACEABLE),
            listener("nobody", "tracing: {random_sampling: {value: 100}}", routes=ROUTES, log=LOG),
        ],
        [
            APP,
            cluster("other", "other"),
            cluster("dead", "dead"),
            cluster("h2app", "h2app", http2=True),
            cluster("collector", "collector", http2=True),
        ],
        RUNTIME,
    ),
    {"app": "h1", "other": "h1", "dead": "dead", "h2app": "h2", "collector": "h2"},
)
PARENT = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
ID = "12345678-1234-{}234-8234-123456789012"
STATS = tuple(
    f"http.main.tracing.{name}"
    for name in ("client_enabled", "health_check", "not_traceable", "random_sampling", "service_forced")
)


@scenario(TRACED, differs={"resource": "tracing-resource", "scope": "tracing-resource"})
async def tracing_one_span(s: Session) -> None:
    """A request without context makes a span of its own, and the trace goes along."""
    collector = Collector(s)
    async with s.counting(*STATS), s.logging(1):
        await s.get("/path/that/is/long?query=1", "user-agent: test")
    await collector.see(1)
    collector.see_resource()


@scenario(TRACED)
async def tracing_continued(s: Session) -> None:
    """A parent decides whether its child is sampled; its state goes along."""
    collector = Collector(s)
    async with s.counting(*STATS), s.logging(11):
        await s.get("/never", f"{PARENT}-01")
        await s.get("/unsampled", f"{PARENT}-01")
        await s.get("/client", f"{PARENT}-00", "x-client-trace-id: mine")
        await s.get("/x", f"{PARENT}-01", "tracestate: a=b")
        await collector.see(1)
        await s.get("/x", f"{PARENT}-03", "tracestate: a=b", "tracestate: c=d", "baggage: k=v")
        await collector.see(1)
        await s.get("/x", f"{PARENT}-00")
        await s.get("/x", "traceparent: bad")
        await s.get("/x", f"{PARENT}-01-more")
        await s.get("/x", f"{PARENT.replace(' 00', ' cc')}-01-more")
        await s.get("/x", "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01")
        await s.get("/x", "tracestate: alone=1")
    await collector.see(1)


@scenario(TRACED)
async def tracing_contexts_at_the_edge(s: Session) -> None:
    """What is and is not a context."""
    collector = Collector(s)
    async with s.logging(7):
        for value in (
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c8031zz-b7ad6b7169203331-01",
            "",
        ):
            await s.get("/x", f"traceparent: {value}")
        await s.get("/last")
    spans = await collector.take_until("/last")
    s.see("spans", len(spans))


@scenario(TRACED)
async def tracing_verbose(s: Session) -> None:
    """Annotations, and a span of the upstream's own; what fails is told."""
    collector = Collector(s)
    s.upstream().script = answers(
        ok(),
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
    )
    for path in ("/fine", "/absent", "/broken"):
        await s.get(path, to="verbose")
        await collector.see(2, path)
    await s.get("/dead", to="verbose")
    await collector.see(2, "dead")
    await s.get("/direct", to="verbose")
    await collector.see(1, "direct")


@scenario(TRACED)
async def tracing_retries(s: Session) -> None:
    """Each try has a span."""
    collector = Collector(s)
    s.upstream().script = answers(b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\n\r\n", ok())
    await s.get("/retried", to="verbose")
    await collector.see(3)
    await s.get("/dying", to="verbose")
    await collector.see(3, "dying")

    async def script(call: Call) -> None:
        await call.gone()

    s.upstream().script = script
    await s.get("/slow", to="verbose")
    await collector.see(2, "slow")


@scenario(TRACED)
async def tracing_child_span_of_the_router(s: Session) -> None:
    """start_child_span: each try has a span, and the request's is still a client's."""
    collector = Collector(s)
    s.upstream().script = answers(b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\n\r\n", ok())
    await s.get("/retried", to="child")
    await collector.see(3)


@scenario(TRACED)
async def tracing_outbound(s: Session) -> None:
    """Of a listener for outbound traffic the span is a client's."""
    collector = Collector(s)
    s.upstream().script = answers(
        ok(),
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        ok(b"", "x-envoy-decorator-operation: theirs"),
        ok(),
    )
    await s.get("/x", to="out")
    await collector.see(1)
    await s.get("/absent", to="out")
    await collector.see(1)
    await s.get("/decorated", to="out")
    await collector.see(1)
    await s.get("/kept", "x-envoy-decorator-operation: given", to="out")
    await collector.see(1)


@scenario(TRACED)
async def tracing_decorators(s: Session) -> None:
    """The operation that a route or a caller names."""
    collector = Collector(s)
    s.upstream().script = answers(ok(b"", "x-envoy-decorator-operation: theirs"))
    for path, header in (
        ("/decorated", ()),
        ("/kept", ()),
        ("/decorated", ("x-envoy-decorator-operation: given",)),
        ("/x", ("x-envoy-decorator-operation: given",)),
        ("/decorated", ("x-envoy-decorator-operation: ",)),
        ("/named", ()),
    ):
        await s.get(path, *header)
        await collector.see(1)
    await s.get("/named", to="verbose")
    await collector.see(2)


@scenario(TRACED)
async def tracing_tags(s: Session) -> None:
    """Custom tags of every kind."""
    collector = Collector(s)
    await s.get("/tagged", "x-tag: set", "x-own: own", to="tagged")
    await collector.see(2)
    await s.get("/x", to="tagged")
    await collector.see(2)


@scenario(TRACED)
async def tracing_sampling(s: Session) -> None:
    """Who decides, and what the request id says of it."""
    collector = Collector(s)
    async with s.counting(*STATS), s.logging(12):
        await s.get("/never")
        await s.get("/unsampled")
        await s.get("/unsampled", "x-client-trace-id: mine")
        await s.get("/client", "x-client-trace-id: mine")
        await s.get("/noclient", "x-client-trace-id: mine")
        await s.get("/x", "x-envoy-force-trace: true")
        await s.get("/never", f"x-request-id: {ID.format(9)}")
        await s.get("/never", f"x-request-id: {ID.format('a')}")
        await s.get("/x", "x-request-id: 00001234-short")
        await s.get("/x", "x-request-id: 0000123")
        await s.get("/x", f"x-request-id: {ID.format('F')}")
        await s.get("/last", "x-request-id: odd")
    s.see("names", [collector.url(span) for span in await collector.take_until("/x")])


@scenario(TRACED)
async def tracing_internal(s: Session) -> None:
    """Clients inside may force it, and their ids are believed."""
    collector = Collector(s)
    async with s.logging(6, "internal"):
        await s.get("/1", to="internal")
        await s.get("/2", "x-envoy-force-trace: true", to="internal")
        await s.get("/3", f"x-request-id: {ID.format('a')}", to="internal")
        await s.get("/4", f"x-request-id: {ID.format('b')}", to="internal")
        await s.get("/5", f"x-request-id: {ID.format('4')}", to="internal")
        await s.get("/last", f"x-request-id: {ID.format('9')}", to="internal")
    s.see("names", [collector.url(span) for span in await collector.take_until("/last")])


@scenario(TRACED)
async def tracing_ids_of_strangers(s: Session) -> None:
    """An id that is preserved loses what it says of a trace."""
    collector = Collector(s)
    async with s.logging(1, "untraced"):
        await s.get("/1", f"x-request-id: {ID.format('9')}", to="untraced")
    async with s.logging(3, "kept"):
        await s.get("/1", f"x-request-id: {ID.format('9')}", to="kept")
        await s.get("/2", f"x-request-id: {ID.format('4')}", to="kept")
        await s.get("/3", "x-client-trace-id: mine", to="kept")
    await collector.see(1)


@scenario(TRACED)
async def tracing_traceable(s: Session) -> None:
    """Which requests the filter of logs takes for traced ones."""
    Collector(s)
    async with s.logging(1, "logged"):
        for number, digit in enumerate("49ab"):
            await s.get(f"/never/{number}", f"x-request-id: {ID.format(digit)}", to="logged")
        await s.get("/client", "x-client-trace-id: a", to="logged")
        await s.get("/x", f"{PARENT}-00", to="logged")
        await s.get("/never/b", f"x-request-id: {ID.format('a')}", to="logged")


@scenario(TRACED)
async def tracing_silent(s: Session) -> None:
    """No context goes along where that is asked for."""
    collector = Collector(s)
    await s.get("/1", to="silent")
    await s.get("/2", f"{PARENT}-01", to="silent")
    await collector.see(2)


@scenario(TRACED)
async def tracing_without_provider(s: Session) -> None:
    """Ids say what was decided, and there is no span."""
    async with s.logging(2, "nobody"):
        await s.get("/1", to="nobody")
        await s.get("/decorated", to="nobody")


@scenario(TRACED)
async def tracing_grpc(s: Session) -> None:
    """A call of gRPC says more."""
    collector = Collector(s)

    async def script(call: H2Call) -> None:
        await call.body()
        status = "5" if call.path.endswith("Bad") else "0"
        await call.answer(HEAD, message(b"answer"), [("grpc-status", status), ("grpc-message", "told")])

    s.upstream("h2app").h2_script = script
    for path in ("/pkg.Service/Good", "/pkg.Service/Bad"):
        client = await s.connect_h2("verbose")
        stream = await client.request(call_of(path, ("grpc-timeout", "1S")), message(b"question"))
        await client.reply(stream)
        await collector.see(2, path)


@scenario(TRACED)
async def tracing_mirrors(s: Session) -> None:
    """A copy of a request is in its trace."""
    collector = Collector(s)
    await s.get("/copied")
    await s.upstream("other").arrivals(1)
    await collector.see(2)
    await s.get("/untold")
    await s.upstream("other").arrivals(2)
    await collector.see(1)


@scenario(TRACED)
async def tracing_redirects(s: Session) -> None:
    """A redirect that is followed inside."""
    collector = Collector(s)
    s.upstream().script = answers(
        b"HTTP/1.1 302 Found\r\nlocation: http://example.com/after\r\ncontent-length: 0\r\n\r\n", ok()
    )
    await s.get("/redirected")
    await collector.see(1)


HTTP = """
tracing:
  provider:
    name: envoy.tracers.opentelemetry
    typed_config:
      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
      http_service:
        http_uri: {uri: "https://some.where:4318/otlp/v1/traces?a=b", cluster: web, timeout: 0.25s}
        request_headers_to_add: [{header: {key: api-key, value: secret}}]
"""
SAMPLERS = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3"
DETECTORS = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3"
DETECTED = f"""
      set_telemetry_sdk_resource_attributes: false
      resource_detectors:
      - {{name: static, typed_config: {{"@type": {DETECTORS}.StaticConfigResourceDetectorConfig,
          attributes: {{a: b, service.name: own}}}}}}
      - {{name: env, typed_config: {{"@type": {DETECTORS}.EnvironmentResourceDetectorConfig}}}}
"""
ALWAYS = f"""
      sampler: {{name: s, typed_config: {{"@type": {SAMPLERS}.AlwaysOnSamplerConfig}}}}
"""
HALF = f"""
      service_name: half
      sampler:
        name: s
        typed_config:
          "@type": {SAMPLERS}.TraceIdRatioBasedSamplerConfig
          sampling_percentage: {{numerator: 50}}
"""
_ASKS = json.dumps(tree("request.path.startsWith('/yes') || request.headers['x-sampled'] == 'please'"))
CEL = f"""
      sampler:
        name: s
        typed_config:
          "@type": {SAMPLERS}.CELSamplerConfig
          expression: {{cel_expr_parsed: {{expr: {_ASKS}}}}}
"""
BARE = f"""
      set_instrumentation_scope: false
      set_telemetry_sdk_resource_attributes: false
      set_service_name_resource_attribute: false
      sampler:
        name: s
        typed_config:
          "@type": {SAMPLERS}.ParentBasedSamplerConfig
          wrapped_sampler: {{name: s, typed_config: {{"@type": {SAMPLERS}.AlwaysOnSamplerConfig}}}}
"""
GRPC = PROVIDER.replace("      service_name: shop\n", "")
SAMPLED = Setup(
    "sampled",
    bootstrap(
        [
            listener("web", HTTP, routes=ROUTES, log=LOG),
            *(
                listener(name, f"tracing:{GRPC}{more}\n", routes=ROUTES, log=LOG)
                for name, more in (
                    ("detected", DETECTED),
                    ("always", ALWAYS),
                    ("half", HALF),
                    ("bare", BARE),
                    ("cel", CEL),
                )
            ),
        ],
        [
            APP,
            cluster("web", "web"),
            *(cluster(name, "app") for name in ("other", "dead", "h2app")),
            cluster("collector", "collector", http2=True),
        ],
        RUNTIME,
    ),
    {"app": "h1", "web": "h1", "collector": "h2"},
)


@scenario(SAMPLED)
async def tracing_over_http(s: Session) -> None:
    """OTLP over HTTP: the head of an export, and that nothing is sent again."""
    heads: list[str] = []

    async def script(call: Call) -> None:
        await call.body()
        s.upstream("web").seen.clear()
        heads.append(call.request.start_line)
        heads.extend(f"{n}: {v}" for n, v in call.request.headers if n.lower() != "user-agent")
        await call.send(b"HTTP/1.1 503 Not Now\r\ncontent-length: 0\r\n\r\n")

    s.upstream("web").script = script
    name = "cluster.web.upstream_rq_503"
    before = (await s.counters(name)).get(name, 0)
    for _ in range(2):
        await s.get("/path", to="web")
    await s.until_stats(lambda stats: stats.get(name, 0) == before + 2, f"{name}$")
    s.see("exports", heads)


@scenario(SAMPLED, differs={"scope": "tracing-resource"})
async def tracing_resources(s: Session) -> None:
    """What detectors find, and a resource without anything."""
    for name in ("detected", "bare"):
        collector = Collector(s)
        await s.get("/x", to=name)
        await collector.until(1)
        collector.see_resource()


@scenario(SAMPLED)
async def tracing_samplers(s: Session) -> None:
    """A sampler decides where the connection manager traces."""
    for name in ("always", "bare"):
        collector = Collector(s)
        async with s.logging(4, name):
            await s.get("/never", to=name)
            await s.get("/never", f"{PARENT}-01", "tracestate: a=b", to=name)
            await s.get("/x", f"{PARENT}-00", "tracestate: a=b", to=name)
            await s.get("/last", to=name)
        s.see("sampled", [collector.url(span) for span in await collector.take_until("/last")])


@scenario(SAMPLED)
async def tracing_by_expression(s: Session) -> None:
    """An expression in CEL decides, also of requests with a parent; one that fails says no."""
    collector = Collector(s)
    async with s.logging(6, "cel"):
        await s.get("/yes", to="cel")
        await s.get("/no", to="cel")
        await s.get("/no", "x-sampled: please", "tracestate: a=b", to="cel")
        await s.get("/no", f"{PARENT}-01", "x-sampled: no", to="cel")
        await s.get("/yes", f"{PARENT}-00", "tracestate: a=b", to="cel")
        await s.get("/yes/last", to="cel")
    s.see("sampled", [collector.url(span) for span in await collector.take_until("/yes/last")])


@scenario(SAMPLED)
async def tracing_half(s: Session) -> None:
    """Which half of the traces a ratio takes is the same on every proxy."""
    Collector(s)
    client = await s.connect("half")
    for number in range(24):
        trace = f"{number * 0x123456789ABCDEF0FEDCBA9876543211 + 1:032x}"[-32:]
        parent = f"traceparent: 00-{trace}-b7ad6b7169203331-01"
        await client.send(f"GET /x HTTP/1.1\r\nhost: example.com\r\n{parent}\r\n\r\n".encode())
        await client.reply(f"reply {number}")


WAITING = Setup(
    "waiting",
    bootstrap(
        [
            listener(
                "main", f"tracing:{PROVIDER}", routes="- {match: {prefix: /}, route: {cluster: app}}", log=LOG
            )
        ],
        [APP, cluster("collector", "collector", http2=True)],
        """
layered_runtime:
  layers:
  - name: static
    static_layer: {tracing: {opentelemetry: {min_flush_spans: 3, flush_interval_ms: 50}}}
""",
    ),
    {"app": "h1", "collector": "h2"},
)


@scenario(WAITING)
async def tracing_flushed(s: Session) -> None:
    """Spans wait for others, or for the interval."""
    collector = Collector(s)
    async with s.counting("tracing.opentelemetry.spans_sent", "tracing.opentelemetry.spans_dropped"):
        await s.get("/x")
        await collector.until(1)
    await s.until_stats(lambda stats: stats["tracing.opentelemetry.timer_flushed"] > 0, "timer_flushed")
