"""envoy.filters.http.fault and buffer: requests that are kept, aborted, slowed and gathered."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
FAULT = f'"@type": {EXT}.fault.v3.HTTPFault'
ALL = "percentage: {numerator: 100}"
LOG = (
    "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%GRPC_STATUS% %DYNAMIC_METADATA(envoy.filters.http.fault)% %DYNAMIC_METADATA(edge)%\n"
)


def route(path: str, fault: str, action: str = "route: {cluster: app}") -> str:
    return (
        f"    - {{match: {{prefix: /{path}}}, {action}, "
        f"typed_per_filter_config: {{edge: {{{FAULT}, {fault}}}}}}}\n"
    )


HEADER_FAULTS = f"delay: {{header_delay: {{}}, {ALL}}}, abort: {{header_abort: {{}}, {ALL}}}"
FAULTS = (
    """
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - {match: {prefix: /plain}, route: {cluster: app}}
    - {match: {prefix: /other}, route: {cluster: other}}
"""
    + route("abort", f"abort: {{http_status: 418, {ALL}}}, filter_metadata: {{why: test}}")
    + route("body", f"abort: {{http_status: 503, response_body: down for tests, {ALL}}}")
    + route("word", f"abort: {{grpc_status: 14, response_body: down for tests, {ALL}}}")
    + route("grpc", f"abort: {{grpc_status: 5, {ALL}}}")
    + route("delay", f"delay: {{fixed_delay: 0.02s, {ALL}}}")
    + route("both", f"delay: {{fixed_delay: 0.02s, {ALL}}}, abort: {{http_status: 500, {ALL}}}")
    + route("header", HEADER_FAULTS)
    + route("half", "abort: {header_abort: {}, percentage: {numerator: 0}}")
    + route("slow", f"response_rate_limit: {{fixed_limit: {{limit_kbps: 64}}, {ALL}}}")
    + route("rate", f"response_rate_limit: {{header_limit: {{}}, {ALL}}}")
    + route("none", "max_active_faults: 0, abort: {http_status: 500, percentage: {numerator: 100}}")
    + route("cluster", f"upstream_cluster: other, abort: {{http_status: 500, {ALL}}}")
    + route("direct", f"abort: {{http_status: 500, {ALL}}}", "direct_response: {status: 200}")
)
BUFFER = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - match: {{prefix: /off}}
      route: {{cluster: app}}
      typed_per_filter_config: {{edge: {{"@type": {EXT}.buffer.v3.BufferPerRoute, disabled: true}}}}
    - match: {{prefix: /more}}
      route: {{cluster: app}}
      typed_per_filter_config: {{edge: {{"@type": {EXT}.buffer.v3.BufferPerRoute,
        buffer: {{max_request_bytes: 40}}}}}}
    - {{match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: d}}}}}}
    - {{match: {{prefix: /}}, route: {{cluster: app}}}}
http_protocol_options: {{enable_trailers: true}}
"""
SETUP = Setup(
    "filters_faults",
    bootstrap(
        [
            listener(
                "fault",
                FAULTS,
                filters=f"- {{name: edge, typed_config: {{{FAULT}, abort: {{http_status: 451, {ALL}}}, "
                "headers: [{name: x-fault, present_match: true}], downstream_nodes: [one, two]}}",
                log=LOG,
            ),
            listener(
                "buffer",
                BUFFER,
                filters=f'- {{name: edge, typed_config: {{"@type": {EXT}.buffer.v3.Buffer, '
                "max_request_bytes: 20}}",
            ),
        ],
        [cluster("app", "app"), cluster("other", "app")],
    ),
    {"app": "h1"},
)
STATS = tuple(
    f"http.fault.fault.{name}"
    for name in (
        "aborts_injected",
        "delays_injected",
        "response_rl_injected",
        "faults_overflow",
        "active_faults",
    )
)
#: Of a downstream cluster; they are there once they were counted.
FRONT = ("http.fault.fault.front.aborts_injected", "http.fault.fault.front.delays_injected")


async def post(s: Session, path: str, body: bytes, *fields: str, to: str = "buffer") -> None:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: a", *fields, "", ""]).encode()
    await s.http(head + body, to, label=f"POST {path} {len(body)}")


@scenario(SETUP)
async def fault_fixed(s: Session) -> None:
    """Delays, aborts by either kind of status, and both, on the requests that the settings concern."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.counting(*STATS, *FRONT), s.logging(18, "fault"):
        await s.get("/plain", to="fault")
        await s.get("/plain", "x-fault: 1", to="fault")
        await s.get("/plain", "x-fault: 1", "x-envoy-downstream-service-node: three", to="fault")
        await s.get("/plain", "x-fault: 1", "x-envoy-downstream-service-node: two", to="fault")
        for path in ("/abort", "/grpc", "/delay", "/both", "/none", "/cluster", "/direct", "/nowhere"):
            await s.get(path, "x-envoy-downstream-service-cluster: front", to="fault")
        grpc = ("content-type: application/grpc", "x-envoy-downstream-service-cluster: ")
        await s.get("/abort", *grpc, to="fault")
        await s.get("/grpc", *grpc, to="fault")
        for path in ("/body", "/word"):
            await s.get(path, to="fault")
        await s.get("/word", *grpc, to="fault")
        await s.get("/other", "x-fault: 1", "x-envoy-downstream-service-node: one", to="fault")


@scenario(SETUP)
async def fault_by_headers(s: Session) -> None:
    """The request says what happens to it, as far as it may."""
    s.upstream().script = answers(ok(b"ok"))
    abort, grpc, delay = (f"x-envoy-fault-{name}-request" for name in ("abort", "abort-grpc", "delay"))
    async with s.counting(*STATS), s.logging(14, "fault"):
        for fields in (
            [],
            [f"{abort}: 503"],
            [f"{abort}: 199"],
            [f"{abort}: 600"],
            [f"{abort}: x"],
            [f"{grpc}: 7"],
            [f"{grpc}: 99"],
            [f"{abort}: 503", f"{grpc}: 7"],
            [f"{delay}: 20"],
            [f"{delay}: 0"],
            [f"{delay}: 20", f"{abort}: 504"],
            [f"{abort}: 503", f"{abort}-percentage: 0"],
            [f"{delay}: 20", f"{delay}-percentage: 0"],
        ):
            await s.get("/header", *fields, to="fault")
        await s.get("/half", f"{abort}: 503", f"{abort}-percentage: 100", to="fault")


@scenario(SETUP)
async def fault_slow_answers(s: Session) -> None:
    """An answer at a rate is whole all the same."""
    s.upstream().script = answers(ok(b"x" * 12000))
    async with s.counting(*STATS), s.logging(4, "fault"):
        await s.get("/slow", to="fault")
        await s.get("/rate", to="fault")
        await s.get("/rate", "x-envoy-fault-throughput-response: 128", to="fault")
        await s.get("/rate", "x-envoy-fault-throughput-response: 0", to="fault")


@scenario(SETUP)
async def buffer_requests(s: Session) -> None:
    """A request within the limit goes on with a length; a longer one is refused."""
    s.upstream().script = answers(ok(b"ok"))
    chunked = "transfer-encoding: chunked"
    async with s.logging(13, "buffer"):
        await s.get("/", to="buffer")
        await post(s, "/", b"", "content-length: 0")
        for path, size in (("/", 20), ("/", 21), ("/off", 21), ("/more", 40), ("/more", 41), ("/direct", 21)):
            await post(s, path, b"x" * size, f"content-length: {size}")
        await post(s, "/", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", chunked)
        await post(s, "/", b"3\r\nabc\r\n0\r\nx-trailer: yes\r\n\r\n", chunked)
        await post(s, "/", b"14\r\n" + b"y" * 20 + b"\r\n0\r\n\r\n", chunked)
        await post(s, "/", b"15\r\n" + b"y" * 21 + b"\r\n0\r\n\r\n", chunked)
        await post(s, "/off", b"15\r\n" + b"y" * 21 + b"\r\n0\r\n\r\n", chunked)
