# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Corners of the connection manager's small options, and several of them together."""

from __future__ import annotations

import json

from ..configuration import LINE, bootstrap, cluster, file_log, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

ROUTES = """
- {match: {path: /local}, direct_response: {status: 200, body: {inline_string: local}}}
- {match: {prefix: /app}, route: {cluster: app}}
"""
INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}\n"
SCHEMES = """
- match: {prefix: /}
  direct_response: {status: 200}
  response_headers_to_add: [{header: {key: x-scheme, value: "%REQ(:SCHEME)%"}}]
"""
LOG = "%RESPONSE_CODE% %REQ(x-request-id)% %RESP(x-request-id)%\n"
DETECTION = (
    "type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
)
REJECTING = (
    f'original_ip_detection_extensions: [{{name: c, typed_config: {{"@type": {DETECTION}, header_name: x-client, '
    "reject_with_status: {code: Forbidden}}}]\n"
)
EARLY = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
TOGETHER = f"""
early_header_mutation_extensions:
- name: early
  typed_config:
    "@type": {EARLY}
    mutations: [{{append: {{header: {{key: x-client, value: "%REQ(x-real-ip)%"}}, append_action: ADD_IF_ABSENT}}}}]
local_reply_config:
  body_format: {{text_format_source: {{inline_string: "%RESPONSE_CODE_DETAILS% %REQ(x-client)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\\n"}}}}
proxy_status_config: {{}}
always_set_request_id_in_response: true
via: proxy
add_user_agent: true
"""


def traceable() -> str:
    log = file_log("FILE(traced.log)", LINE)
    log["filter"] = {"traceable_filter": {}}
    other = file_log("FILE(untraced.log)", LINE)
    other["filter"] = {"not_health_check_filter": {}}
    return f"access_log: {json.dumps([log, other])}\n"


SETUP = Setup(
    "edge-corners",
    bootstrap(
        [
            listener("over", "server_name: mine", routes=ROUTES),
            listener(
                "absent", "server_header_transformation: APPEND_IF_ABSENT\nserver_name: mine", routes=ROUTES
            ),
            listener("pass", "server_header_transformation: PASS_THROUGH\nserver_name: mine", routes=ROUTES),
            listener("vias", "via: 1.1 me", routes=ROUTES),
            listener("agents", "add_user_agent: true\n" + INTERNAL, routes=ROUTES),
            listener(
                "answering",
                "always_set_request_id_in_response: true\ngenerate_request_id: false",
                routes=ROUTES,
                log=LOG,
            ),
            listener("answers", "always_set_request_id_in_response: true", routes=ROUTES, log=LOG),
            listener("together", TOGETHER + REJECTING, routes=ROUTES, log=LOG),
            listener("bare", "strip_any_host_port: true\nstrip_trailing_host_dot: true", routes=ROUTES),
            listener(
                "paths",
                "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: UNESCAPE_AND_FORWARD\nstrip_any_host_port: true",
                routes=ROUTES,
            ),
            listener("dots", "normalize_path: true", routes=ROUTES.replace("/app", "/")),
            listener("schemes", routes=SCHEMES),
            listener("traced", traceable(), routes=ROUTES),
        ],
        [cluster("app", "app")],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1"},
)


@scenario(SETUP)
async def corner_server_header(s: Session) -> None:
    """The header server of upstreams, local answers and refused requests."""
    for to in ("over", "absent", "pass"):
        for headers in ((), ("server: app",), ("server: a", "server: b"), ("server:",)):
            s.upstream().script = answers(ok(b"x", *headers))
            await s.get("/app", to=to, label=f"{to} {headers}")
        await s.get("/local", to=to, label=f"{to} local")
        await s.get("/none", to=to, label=f"{to} none")
        await s.http("garbage\r\n\r\n", to, label=f"{to} garbage")


@scenario(SETUP)
async def corner_via(s: Session) -> None:
    """The header via of both directions."""
    for headers in ((), ("via: 1.0 first",), ("via: 1.0 first", "via: 1.0 second"), ("via:",)):
        s.upstream().script = answers(ok(b"x", *headers))
        await s.get("/app", *headers, to="vias", label=f"app {headers}")
        await s.get("/local", *headers, to="vias", label=f"local {headers}")


@scenario(SETUP)
async def corner_user_agent(s: Session) -> None:
    """add_user_agent names the service where nobody is named."""
    for headers in (
        (),
        ("user-agent: theirs",),
        ("user-agent:",),
        ("x-envoy-downstream-service-cluster: other", "x-envoy-downstream-service-node: other"),
    ):
        for sent in ((), ("x-forwarded-for: 10.0.0.1",)):
            await s.get("/app", *headers, *sent, to="agents", label=f"{headers} {sent}")


@scenario(SETUP)
async def corner_request_id_in_the_response(s: Session) -> None:
    """always_set_request_id_in_response with and without an id, over the upstream's."""
    for to in ("answering", "answers"):
        async with s.logging(7, to):
            s.upstream().script = answers(ok(b"x", "x-request-id: theirs"))
            for headers in ((), ("x-request-id: mine",), ("x-request-id:",)):
                await s.get("/app", *headers, to=to, label=f"{to} {headers}")
                await s.get("/local", *headers, to=to, label=f"{to} local {headers}")
            await s.http("GET / HTTP/1.1\r\nx-request-id: mine\r\n\r\n", to, label=f"{to} no host")


@scenario(SETUP)
async def corner_options_together(s: Session) -> None:
    """An early mutation makes the header by which a request is refused; the answer is formatted, and named."""
    async with s.logging(4, "together"):
        await s.get("/app", to="together", label="refused")
        await s.get("/app", "x-real-ip: 1.2.3.4", to="together", label="taken")
        await s.get("/none", "x-real-ip: 1.2.3.4", "x-request-id: mine", to="together", label="not found")
        await s.get(
            "/none", "x-client: garbage", "content-type: application/grpc", to="together", label="gRPC"
        )


@scenario(SETUP)
async def corner_traceable_filter(s: Session) -> None:
    """Without tracing nothing is traceable."""
    async with s.logging(0, "traced"), s.logging(3, "untraced"):
        await s.get("/local", to="traced")
        await s.get("/local", "x-envoy-force-trace: 1", "x-client-trace-id: 1", to="traced")
        await s.get("/local", "x-request-id: 11111111-2222-a333-8444-555555555555", to="traced")


@scenario(SETUP)
async def corner_hosts(s: Session) -> None:
    """A port and a trailing dot taken away together."""
    hosts = (
        "a.:80", "a..:80", "[::1].:80", "[::1]:80", "a:80.", "a:", "a:0", "a:65535", "a:65536", ":80", "", ".", ".:1", "A.:8",
        "user@a:80", "a:080", "a:+80", "a:8a", "1.2.3.4.:80", "::1:80", "a:80:80", "a:4294967295", "a:4294967296", "a.:x", "a.b:c", "a.:", "[::1.]:8", "[a.:1]",
    )  # fmt: skip
    for host in hosts:
        await s.http(f"GET /app HTTP/1.1\r\nhost: {host}\r\n\r\n", "bare", label=host)


@scenario(SETUP)
async def corner_paths(s: Session) -> None:
    """Slashes unescaped, merged and dots resolved, in that order."""
    paths = (
        "/app/%2f..%2F/x", "/app%2f%2e%2e%2fapp", "/app//..//app", "/app/%5c..%5capp", "/app/./%2e/", "/app/%252fx", "//app", "/%2fapp",
        "/app/..", "/app/../app/", "/app?a=%2f//..", "/app;a/..;b/app", "/%61pp", "/app/%7Eu", "/app/%zz",
    )  # fmt: skip
    for path in paths:
        await s.get(path, to="paths", label=path)


@scenario(SETUP)
async def corner_forwarded_values(s: Session) -> None:
    """IPv6 addresses have one spelling; a scheme that is empty finds no route; te in capitals is none."""
    async with s.logging(4, "answers"):
        await s.get("/local", "x-forwarded-proto:", "x-request-id: mine", to="answers", label="no scheme")
        await s.get("/app", "x-forwarded-proto:", to="answers", label="no scheme either")
        await s.get("/app", "te: TRAILERS", to="answers", label="te in capitals")
        await s.get("/app", "te: gzip , trailers", to="answers", label="te")


@scenario(SETUP)
async def corner_dot_segments(s: Session) -> None:
    """Dot segments with parameters."""
    paths = (
        "/a/..;/b", "/a/..;x/b", "/a/.;x/b", "/a/.;/b", "/a/%2e%2e;x/b", "/a/..;", "/a/..;x", "/a/.;", "/a/;../b", "/a;x/../b",
        "/a/..;x=1;y=2/b", "/a/..;%2f/b", "/a/...;/b", "/..;/a", "/a/b;/../c", "/a/%2e;/b", "/a/.%2e;/b", "/a/..%3bx/b", "/a/..%3B/b",
        "/a/..;?q", "/a/b/..;/..;/c", "/a;/./b", "/;/a", "/a/.;?q", "/a\\..;/b", "/a/..;x\\b", "/a/..;;/b", "/a/.;/", "/a/..;x//b", "/a\\..;\\b", "/..;", "/.;", "/a/..;%00/b",
        "/%4%41", "/%%341", "/%%34%31", "/%%30%30", "/%%4%31z", "/%4%4",
    )  # fmt: skip
    for path in paths:
        await s.get(path, to="dots", label=path)


@scenario(SETUP)
async def corner_scheme_in_capitals(s: Session) -> None:
    """The scheme of an HTTP/2 request is in lower case from then on; other schemes are taken as they are."""
    client = await s.connect_h2("schemes")
    for scheme in ("HTTP", "Https", "ftp"):
        fields = [(":method", "GET"), (":scheme", scheme), (":authority", "a"), (":path", "/")]
        await client.request(fields, label=scheme)
