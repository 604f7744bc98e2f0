"""The headers that the connection manager and the router set, keep and drop."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

LOCAL = "- {match: {path: /local}, direct_response: {status: 200, body: {inline_string: here}}}\n"
ROUTES = LOCAL + "- {match: {prefix: /}, route: {cluster: app}}"
INTERNAL = """
internal_address_config:
  cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}, {address_prefix: 10.0.0.0, prefix_len: 8}]
"""
HEADERS = Setup(
    "headers",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener("edge", "use_remote_address: true", routes=ROUTES),
            listener("hops", "{use_remote_address: true, xff_num_trusted_hops: 1}", routes=ROUTES),
            listener("inner", "xff_num_trusted_hops: 1", routes=ROUTES),
            listener("noappend", "{use_remote_address: true, skip_xff_append: true}", routes=ROUTES),
            listener(
                "append", "{server_header_transformation: APPEND_IF_ABSENT, server_name: mine}", routes=ROUTES
            ),
            listener("pass", "server_header_transformation: PASS_THROUGH", routes=ROUTES),
            listener("named", "{server_name: mine, via: proxy-1}", routes=ROUTES),
            listener("noid", "generate_request_id: false", routes=ROUTES),
            listener(
                "keepid",
                "{use_remote_address: true, preserve_external_request_id: true, "
                "always_set_request_id_in_response: true}",
                routes=ROUTES,
            ),
            listener("agent", "{add_user_agent: true, use_remote_address: true}", routes=ROUTES),
            listener(
                "cased",
                """
                http_protocol_options: {header_key_format: {proper_case_words: {}}}
                """,
                routes=ROUTES,
            ),
            listener(
                "scheme",
                "scheme_header_transformation: {scheme_to_overwrite: https}",
                routes=ROUTES,
            ),
            listener(
                "suppressed",
                """
                http_filters:
                - name: envoy.filters.http.router
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                    suppress_envoy_headers: true
                """,
                routes=ROUTES,
            ),
        ],
        [cluster("app", "app")],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1"},
)
INNER = Setup(
    "headers-internal",
    bootstrap(
        [
            listener("internal", INTERNAL, routes=ROUTES),
            listener("internaledge", INTERNAL + "use_remote_address: true\n", routes=ROUTES),
            listener("port", "strip_any_host_port: true", routes=ROUTES),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)
ENVOY_HEADERS = (
    "x-envoy-internal: true",
    "x-envoy-external-address: 1.2.3.4",
    "x-envoy-downstream-service-cluster: other",
    "x-envoy-downstream-service-node: other",
    "x-envoy-retry-on: 5xx",
    "x-envoy-max-retries: 3",
    "x-envoy-upstream-rq-timeout-ms: 5000",
    "x-envoy-upstream-rq-per-try-timeout-ms: 2000",
    "x-envoy-upstream-alt-stat-name: other",
    "x-envoy-upstream-rq-timeout-alt-response: 1",
    "x-envoy-expected-rq-timeout-ms: 1",
    "x-envoy-attempt-count: 7",
    "x-envoy-original-path: /o",
    "x-envoy-decorator-operation: op",
    "x-envoy-force-trace: 1",
    "x-envoy-ip-tags: a",
    "x-envoy-unknown: kept",
)


@scenario(HEADERS)
async def headers_request_id(s: Session) -> None:
    """A missing request id is made; one from an internal peer is kept, whatever it looks like."""
    for value in ((), ("x-request-id: mine",), ("x-request-id: 11111111-2222-4333-8444-555555555555",)):
        await s.get("/", *value)


async def own_request_ids(s: Session, to: str) -> None:
    request_id = "x-request-id: 11111111-2222-4333-8444-555555555555"
    await s.get("/", request_id, to=to, label="not forwarded")
    await s.get("/", request_id, "x-forwarded-for: 8.8.8.8", to=to, label="forwarded")


@scenario(HEADERS)
async def headers_request_id_at_the_edge(s: Session) -> None:
    """With use_remote_address the id of an external request is replaced."""
    await own_request_ids(s, "edge")


@scenario(INNER)
async def headers_request_id_of_an_internal_request(s: Session) -> None:
    """With use_remote_address the id of an internal request is kept."""
    await own_request_ids(s, "internaledge")


@scenario(HEADERS)
async def headers_request_id_options(s: Session) -> None:
    """generate_request_id, preserve_external_request_id and always_set_request_id_in_response."""
    await s.get(to="noid", label="none made")
    await s.get("/", "x-request-id: mine", to="noid", label="none made, one sent")
    await s.get("/", "x-request-id: mine", "x-forwarded-for: 8.8.8.8", to="keepid", label="kept")
    await s.get("/", to="keepid", label="made")
    await s.get("/local", to="keepid", label="local")


@scenario(HEADERS)
async def headers_forwarded_for(s: Session) -> None:
    """use_remote_address false: x-forwarded-for passes as it came and says who is internal."""
    for value in ("10.0.0.1", "8.8.8.8", "8.8.8.8, 10.0.0.1", "10.0.0.1,10.0.0.2", "unknown", "", "::1"):
        await s.get("/", f"x-forwarded-for: {value}", label=value or "empty")
    await s.get("/", "x-forwarded-for: 10.0.0.1", "x-forwarded-for: 8.8.8.8", label="two lines")


@scenario(HEADERS)
async def headers_forwarded_for_at_the_edge(s: Session) -> None:
    """use_remote_address true: the peer is appended."""
    for value in ("10.0.0.1", "8.8.8.8", "8.8.8.8, 10.0.0.1", ""):
        await s.get("/", f"x-forwarded-for: {value}", to="edge", label=value or "empty")
    await s.get("/", to="edge", label="none")


@scenario(HEADERS)
async def headers_forwarded_for_with_trusted_hops(s: Session) -> None:
    """xff_num_trusted_hops with and without use_remote_address, and skip_xff_append."""
    for to in ("hops", "inner", "noappend"):
        for value in ("8.8.8.8", "8.8.8.8, 9.9.9.9", "10.0.0.1, 9.9.9.9", "7.7.7.7, 8.8.8.8, 10.0.0.2"):
            await s.get("/", f"x-forwarded-for: {value}", to=to, label=f"{to} {value}")
        await s.get("/", to=to, label=f"{to} none")


@scenario(HEADERS)
async def headers_forwarded_proto(s: Session) -> None:
    """x-forwarded-proto is believed from a trusted peer only."""
    for to in ("main", "edge", "hops", "inner"):
        await s.get("/", "x-forwarded-proto: https", to=to, label=f"{to} https")
        await s.get("/", "x-forwarded-proto: gopher", to=to, label=f"{to} gopher")
        await s.get(
            "/", "x-forwarded-for: 8.8.8.8", "x-forwarded-proto: https", to=to, label=f"{to} external"
        )


@scenario(HEADERS)
async def headers_scheme_overwritten(s: Session) -> None:
    """scheme_to_overwrite."""
    await s.get("/", to="scheme")
    await s.get("/", "x-forwarded-proto: gopher", to="scheme")


async def envoy_headers(s: Session, to: str) -> None:
    await s.get("/", "x-forwarded-for: 10.0.0.1", *ENVOY_HEADERS, to=to, label=f"{to}, forwarded for")
    await s.get("/", "x-forwarded-for: 8.8.8.8", *ENVOY_HEADERS, to=to, label=f"{to}, from outside")
    await s.get("/", *ENVOY_HEADERS, to=to, label=f"{to}, not forwarded")


@scenario(HEADERS)
async def headers_of_envoy(s: Session) -> None:
    """The x-envoy headers of a request: by default nobody is internal, so many are dropped."""
    await envoy_headers(s, "main")


@scenario(HEADERS)
async def headers_of_envoy_at_the_edge(s: Session) -> None:
    """The same with use_remote_address."""
    await envoy_headers(s, "edge")


@scenario(INNER)
async def headers_of_envoy_from_an_internal_peer(s: Session) -> None:
    """The x-envoy headers of internal requests."""
    await envoy_headers(s, "internal")
    await envoy_headers(s, "internaledge")


@scenario(HEADERS)
async def headers_expected_timeout(s: Session) -> None:
    """x-envoy-upstream-rq-timeout-ms of a request that is not internal changes nothing."""
    await s.get("/", "x-envoy-upstream-rq-timeout-ms: 5000")


@scenario(INNER)
async def headers_expected_timeout_of_an_internal_request(s: Session) -> None:
    """x-envoy-expected-rq-timeout-ms follows x-envoy-upstream-rq-timeout-ms and the per-try one."""
    whole, single = "x-envoy-upstream-rq-timeout-ms: ", "x-envoy-upstream-rq-per-try-timeout-ms: "
    await s.get("/", whole + "5000", to="internaledge")
    await s.get("/", whole + "5000", single + "700", to="internaledge")
    await s.get("/", whole + "500", single + "700", to="internaledge")
    await s.get("/", whole + "0", to="internaledge")
    await s.get("/", whole + "soon", to="internaledge")


@scenario(HEADERS)
async def headers_suppressed(s: Session) -> None:
    """suppress_envoy_headers leaves the router's headers out."""
    await s.get("/", to="suppressed")


@scenario(HEADERS)
async def headers_server(s: Session) -> None:
    """server_header_transformation, for upstream answers with and without one, and for local replies."""
    s.upstream().script = answers(ok(b"ok", "server: theirs"), ok(b"ok"))
    for to in ("main", "append", "pass", "named"):
        s.upstream().script = answers(ok(b"ok", "server: theirs"), ok(b"ok"))
        await s.get(to=to, label=f"{to} theirs")
        await s.get(to=to, label=f"{to} none")
        await s.get("/local", to=to, label=f"{to} local")


@scenario(HEADERS)
async def headers_via(s: Session) -> None:
    """via is appended in both directions."""
    s.upstream().script = answers(ok(b"ok", "via: 1.1 theirs"), ok())
    await s.get("/", "via: 1.0 client", to="named")
    await s.get("/", to="named")


@scenario(HEADERS)
async def headers_date(s: Session) -> None:
    """The date of an upstream is kept."""
    s.upstream().script = answers(
        ok(b"ok", "date: Thu, 01 Jan 1970 00:00:00 GMT"), ok(b"ok", "date: long ago")
    )
    await s.get()
    await s.get()


@scenario(HEADERS)
async def headers_user_agent(s: Session) -> None:
    """add_user_agent fills in the service cluster, and the downstream service headers."""
    await s.get("/", to="agent")
    await s.get("/", "user-agent: curl", to="agent")


@scenario(HEADERS)
async def headers_response_side(s: Session) -> None:
    """The x-envoy headers of a response: an upstream's own ones."""
    s.upstream().script = answers(
        ok(
            b"ok",
            "x-envoy-upstream-service-time: 12345",
            "x-envoy-upstream-canary: true",
            "x-envoy-decorator-operation: op",
            "x-envoy-attempt-count: 3",
            "x-request-id: theirs",
            "x-forwarded-for: theirs",
            "connection: keep-alive",
        )
    )
    await s.get()


@scenario(HEADERS)
async def headers_proper_case(s: Session) -> None:
    """header_key_format proper_case_words downstream."""
    s.upstream().script = answers(ok(b"ok", "x-some_thing-ELSE: a", "etag: b"))
    await s.get(to="cased")


@scenario(INNER)
async def headers_host_port_stripped(s: Session) -> None:
    """strip_any_host_port."""
    for host in ("example.com:8080", "example.com", "[::1]:80", "example.com:x"):
        await s.http(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n", "port", label=host)


@scenario(HEADERS)
async def headers_referer_and_trace(s: Session) -> None:
    """Referers that are no URL, trace headers and client certificates' header."""
    await s.get("/", "referer: http://a/b")
    await s.get("/", "referer: nonsense\x80")
    await s.get("/", "x-client-trace-id: abc", "traceparent: 00-1-2-00", "x-b3-traceid: 1")
    await s.get(
        "/",
        "x-forwarded-client-cert: Hash=abc",
        "x-forwarded-host: h",
        "x-forwarded-port: 1",
        "forwarded: for=a",
    )
