"""Options of the connection manager and of routes that act before a request goes on."""

from __future__ import annotations

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

MATCHES = """
- {match: {prefix: /grpc, grpc: {}}, direct_response: {status: 201, body: {inline_string: grpc}}}
- match: {prefix: /never, runtime_fraction: {default_value: {numerator: 0, denominator: HUNDRED}}}
  direct_response: {status: 202}
- match: {prefix: /always, runtime_fraction: {default_value: {numerator: 100, denominator: HUNDRED}}}
  direct_response: {status: 203}
- match: {prefix: /absent, query_parameters: [{name: a, present_match: false}]}
  direct_response: {status: 206}
- match:
    prefix: /both
    query_parameters: [{name: a, present_match: true}, {name: b, string_match: {prefix: x}}]
  direct_response: {status: 207}
- match: {prefix: /case, query_parameters: [{name: a, string_match: {exact: VAL, ignore_case: true}}]}
  direct_response: {status: 208}
- {match: {prefix: /}, direct_response: {status: 404, body: {inline_string: rest}}}
"""
ACTIONS = """
- {match: {prefix: /cased}, route: {cluster: cased}}
- {match: {prefix: /auto}, route: {cluster: named, auto_host_rewrite: true, append_x_forwarded_host: true}}
- match: {prefix: /regex}
  route:
    cluster: app
    append_x_forwarded_host: true
    host_rewrite_path_regex: {pattern: {regex: "^/regex/(.+)/x$"}, substitution: "\\\\1.example"}
- match: {prefix: /none}
  route: {cluster_header: x-c, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}
- {match: {prefix: /}, route: {cluster: app}}
"""
CASED = """
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}}}
"""
SETUP = Setup(
    "request-options",
    bootstrap(
        [
            listener("matches", routes=MATCHES),
            listener("actions", routes=ACTIONS),
            listener("redirect", "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", routes=TO_APP),
            listener(
                "forward",
                "{path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD, normalize_path: true}",
                routes=TO_APP,
            ),
            listener("dot", "strip_trailing_host_dot: true", routes=TO_APP),
            listener("samport", "strip_matching_host_port: true", routes=TO_APP),
            listener("xfport", "{use_remote_address: true, append_x_forwarded_port: true}", routes=TO_APP),
            listener(
                "xfhop",
                "{use_remote_address: true, xff_num_trusted_hops: 1, append_x_forwarded_port: true}",
                routes=TO_APP,
            ),
            listener("once", "common_http_protocol_options: {max_requests_per_connection: 1}", routes=TO_APP),
            listener(
                "strict",
                "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}",
                routes=TO_APP,
            ),
            listener(
                "lenient",
                "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
                routes=TO_APP,
            ),
        ],
        [
            cluster("app", "app"),
            cluster("named", "app", extra="type: STRICT_DNS"),
            cluster("cased", "app", extra=CASED),
        ],
    ),
    {"app": "h1"},
)


@scenario(SETUP)
async def options_route_matches(s: Session) -> None:
    """gRPC, runtime fraction, query parameters."""
    for value in ("application/grpc", "application/grpc+proto", "application/grpc-web", "text/plain"):
        await s.get("/grpc", f"content-type: {value}", to="matches", label=value)
    for path in (
        "/never", "/always", "/absent", "/absent?a", "/absent?b", "/both?a=1&b=xy", "/both?b=xy",
        "/both?a&b=y", "/both?a&b=x&b=y", "/both?a&b=y&b=x",
        "/case?a=val", "/case?a=VaL#x", "/case?a=v%61l", "/case?A=val",
    ):  # fmt: skip
        await s.get(path, to="matches", label=path)


@scenario(SETUP)
async def options_host_rewrites(s: Session) -> None:
    """The host made of the path; hosts that are appended."""
    for path in ("/regex/a/x", "/regex/a/x?q", "/regex/none"):
        await s.get(path, to="actions", label=path)
    for before in ("example.com", "a, example.com", "a,b", ""):
        await s.get("/regex/a/x", f"x-forwarded-host: {before}", to="actions", label=f"after {before}")


@scenario(SETUP)
async def options_cluster_not_found(s: Session) -> None:
    """cluster_not_found_response_code INTERNAL_SERVER_ERROR."""
    async with s.logging(1, "actions"):
        await s.get("/none", "x-c: nobody", to="actions")


@scenario(SETUP)
async def options_escaped_slashes(s: Session) -> None:
    """Unescaped and redirected, unescaped and forwarded."""
    paths = ("/a%2fb", "/a%5Cb?c%2fd", "/a%2F..%2fb", "/a/b", "/%2f%2F", "/a%252fb")
    for to in ("redirect", "forward"):
        for path in paths:
            await s.get(path, to=to, label=f"{to} {path}")
    async with s.logging(1, "redirect"):
        await s.get("/a%2fb", to="redirect")


@scenario(SETUP)
async def options_host_spelling(s: Session) -> None:
    """A trailing dot; a port that is the listener's own."""
    for host in ("example.com.", "example.com.:80", "example.com", ".", "a..", "[::1]."):
        await s.http(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n", "dot", label=host)
    for host in ("example.com:1", "example.com"):
        await s.http(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n", "samport", label=f"port {host}")
    own = s.proxy.ports["samport"]
    await s.http(f"GET / HTTP/1.1\r\nhost: example.com:{own}\r\n\r\n", "samport", label="own port")


@scenario(SETUP)
async def options_last_request(s: Session) -> None:
    """max_requests_per_connection 1: HTTP/1 says close, HTTP/2 GOAWAY."""
    s.upstream().script = answers(ok(b"one"), ok(b"two"))
    await s.get("/", to="once")
    async with s.counting("http.once.downstream_cx_max_requests_reached"):
        await s.get("/", to="once", label="counted")


@scenario(SETUP)
async def options_underscores_over_http2(s: Session) -> None:
    """headers_with_underscores_action on HTTP/2."""
    fields = [
        (":method", "GET"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "a"),
        ("x_a", "1"),
        ("x-b", "2"),
    ]
    for to in ("lenient", "strict"):
        client = await s.connect_h2(to)
        await client.request(fields, label=to)


@scenario(SETUP)
async def options_host_of_the_chosen_host(s: Session) -> None:
    """auto_host_rewrite: the name that the cluster has for the host."""
    await s.get("/auto", to="actions")
    await s.get("/auto", "x-forwarded-host: b", to="actions", label="appended")


@scenario(SETUP)
async def options_forwarded_port(s: Session) -> None:
    """append_x_forwarded_port: the listener's own; a trusted hop's is kept."""
    for to in ("xfport", "xfhop"):
        await s.get("/", to=to, label=f"{to} none")
        await s.get("/", "x-forwarded-port: 7", to=to, label=f"{to} sent")


@scenario(SETUP)
async def options_proper_case_upstream(s: Session) -> None:
    """header_key_format proper_case_words towards the upstream; bodies are left alone."""
    await s.get("/cased", "x-lower_and-UPPER: a-b: c", "1st-x: 1", to="actions")
    await s.http(
        b"POST /cased HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx: y\r\nz:w", "actions", label="length"
    )
    await s.http(
        b"POST /cased HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\na: b\r\n0\r\n\r\n",
        "actions",
        label="chunked",
    )
