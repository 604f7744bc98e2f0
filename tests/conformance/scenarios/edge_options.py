# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Options of the connection manager and of route configurations at the edge of a mesh."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

TO_APP = "- {match: {prefix: /}, route: {cluster: app}}"
INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}\n"
UUID = "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
ALL_DETAILS = (
    "set_current_client_cert_details: {subject: true, cert: true, chain: true, dns: true, uri: true}\n"
)
CERTS = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")
HOSTS = """
route_config:
  name: hosts
  internal_only_headers: [x-inside, X-Other]
  response_headers_to_add: [{header: {key: x-config, value: added}}]
  virtual_hosts:
  - name: secure
    domains: [secure.example, "secure.example:80", "secure.example:443"]
    require_tls: ALL
    routes: [{match: {prefix: /a}, route: {cluster: app}}]
    response_headers_to_add: [{header: {key: x-host, value: added}}]
  - name: outside
    domains: [outside.example]
    require_tls: EXTERNAL_ONLY
    routes: [{match: {prefix: /}, route: {cluster: app}}]
  - name: open
    domains: ["*"]
    require_tls: NONE
    routes: [{match: {prefix: /}, route: {cluster: app}}]
"""
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER%\n"
)


def ids(config: str) -> str:
    return f'request_id_extension: {{typed_config: {{"@type": {UUID}{config and ", " + config}}}}}\nuse_remote_address: true\n{INTERNAL}'


SETUP = Setup(
    "edge-options",
    bootstrap(
        [
            *(
                listener(
                    f"c{n}", f"forward_client_cert_details: {mode}\n{ALL_DETAILS}{INTERNAL}", routes=TO_APP
                )
                for n, mode in enumerate(CERTS)
            ),
            listener("hosts", HOSTS + INTERNAL, log=LOG),
            listener("hostsedge", HOSTS + INTERNAL + "use_remote_address: true\n", log=LOG),
            listener("ids", ids(""), routes=TO_APP),
            listener("innerids", ids("").replace("use_remote_address: true", ""), routes=TO_APP),
            listener(
                "plainids",
                ids("pack_trace_reason: false, use_request_id_for_trace_sampling: false"),
                routes=TO_APP,
            ),
            listener("scheme", "scheme_header_transformation: {match_upstream: true}", routes=TO_APP),
            listener(
                "scheme2",
                "scheme_header_transformation: {match_upstream: true}",
                routes="- {match: {prefix: /}, route: {cluster: app2}}",
            ),
            listener("noscheme2", routes="- {match: {prefix: /}, route: {cluster: app2}}"),
            listener(
                "idle",
                "append_local_overload: true\nadd_proxy_protocol_connection_state: false",
                routes=TO_APP,
            ),
            listener(
                "paths",
                "path_normalization_options: {forwarding_transformation: {operations: [{normalize_path_rfc_3986: {}}, {merge_slashes: {}}]}}",
                routes=TO_APP,
            ),
            listener(
                "paths2",
                "path_normalization_options: {http_filter_transformation: {operations: [{normalize_path_rfc_3986: {}}]}}",
                routes=TO_APP,
            ),
        ],
        [cluster("app", "app"), cluster("app2", "app2", http2=True)],
    ),
    {"app": "h1", "app2": "h2"},
)


@scenario(SETUP)
async def edge_client_certificates(s: Session) -> None:
    """forward_client_cert_details on plain text: only ALWAYS_FORWARD_ONLY lets x-forwarded-client-cert pass."""
    for n, _ in enumerate(CERTS):
        await s.get("/", "x-forwarded-client-cert: By=a;Hash=b", to=f"c{n}", label=f"external {n}")
        await s.get(
            "/",
            "x-forwarded-client-cert: By=a",
            "x-forwarded-client-cert: By=b",
            "x-forwarded-for: 10.0.0.1",
            to=f"c{n}",
            label=f"internal {n}",
        )
        await s.get("/", to=f"c{n}", label=f"none {n}")


@scenario(SETUP)
async def edge_internal_only_headers(s: Session) -> None:
    """internal_only_headers leave requests that are not internal."""
    for to in ("hosts", "hostsedge"):
        for sent in ((), ("x-forwarded-for: 10.0.0.1",), ("x-forwarded-for: 8.8.8.8",)):
            await s.get("/", "x-inside: 1", "X-Other: 2", "x-inside: 3", *sent, to=to)


@scenario(SETUP)
async def edge_require_tls(s: Session) -> None:
    """require_tls: a redirect to https, unless x-forwarded-proto says that it was."""
    count = 15
    for to in ("hosts", "hostsedge"):
        async with s.logging(count, to):
            for host in ("secure.example", "outside.example"):
                for sent in (
                    "",
                    "x-forwarded-proto: https\r\n",
                    "x-forwarded-proto: HTTPS\r\n",
                    "x-forwarded-for: 10.0.0.1\r\n",
                    "x-forwarded-proto: wss\r\n",
                ):
                    await s.http(
                        f"GET /a?b#c HTTP/1.1\r\nhost: {host}\r\n{sent}\r\n".replace("#c", ""),
                        to,
                        label=f"{to} {host} {sent!r}",
                    )
            await s.http(
                "GET /none HTTP/1.1\r\nhost: secure.example\r\nx-forwarded-proto: https\r\n\r\n",
                to,
                label=f"{to} no route",
            )
            await s.http(
                "POST /a HTTP/1.1\r\nhost: Secure.Example:80\r\ncontent-length: 1\r\n\r\nx",
                to,
                label=f"{to} POST",
            )
            await s.http("GET /a HTTP/1.1\r\nhost: secure.example:443\r\n\r\n", to, label=f"{to} 443")
            await s.http(
                "GET /a HTTP/1.1\r\nhost: secure.example\r\ncontent-type: application/grpc\r\n\r\n",
                to,
                label=f"{to} gRPC",
            )
            await s.http(
                "HEAD /a HTTP/1.1\r\nhost: secure.example\r\n\r\n", to, label=f"{to} HEAD", has_body=False
            )
    async with s.counting(
        "http.hosts.rq_redirect",
        "http.hosts.rq_direct_response",
        "http.hosts.no_route",
        "http.hosts.rq_total",
    ):
        await s.http("GET /a HTTP/1.1\r\nhost: secure.example\r\n\r\n", "hosts", label="counted")


@scenario(SETUP)
async def edge_request_ids(s: Session) -> None:
    """request_id_extension without tracing: the digit that says why stays a 4."""
    own = "x-request-id: 11111111-2222-4333-8444-555555555555"
    for to in ("ids", "plainids"):
        for sent in ((), ("x-envoy-force-trace: 1",), ("x-client-trace-id: 7",)):
            for id_ in ((), (own,), ("x-request-id: 11111111-2222-a333-8444-555555555555",)):
                await s.get("/", *sent, *id_, to=to, label=f"{to} {sent} {id_}")
    for sent in ((), ("x-envoy-force-trace: 1",), ("x-client-trace-id: 7",)):
        await s.get("/", "x-forwarded-for: 10.0.0.1", own, *sent, to="innerids", label=f"internal {sent}")


@scenario(SETUP)
async def edge_scheme_of_the_upstream(s: Session) -> None:
    """match_upstream: the scheme is that of the connection to the upstream."""
    for to in ("scheme", "scheme2", "noscheme2"):
        await s.get("/", to=to, label=f"{to} plain")
        await s.get("/", "x-forwarded-proto: https", to=to, label=f"{to} forwarded")
        await s.http("GET https://example.com/ HTTP/1.1\r\nhost: a\r\n\r\n", to, label=f"{to} absolute")


@scenario(SETUP)
async def edge_options_without_effect(s: Session) -> None:
    """append_local_overload and add_proxy_protocol_connection_state need what is not here."""
    await s.get("/", to="idle")


@scenario(SETUP)
async def edge_path_normalization_options(s: Session) -> None:
    """path_normalization_options."""
    for to in ("paths", "paths2"):
        for path in ("/a/../b", "/a//b", "/%61"):
            await s.get(path, to=to, label=f"{to} {path}")


@scenario(SETUP)
async def edge_headers_of_an_upstream(s: Session) -> None:
    """x-envoy headers in a response."""
    sent = (
        "x-envoy-decorator-operation: op", "x-envoy-upstream-canary: true", "x-envoy-degraded: 1", "x-envoy-attempt-count: 9",
        "x-envoy-internal: true", "x-envoy-upstream-healthchecked-cluster: other", "x-envoy-ratelimited: true",
        "x-envoy-overloaded: true", "x-envoy-upstream-service-time: 99", "x-request-id: theirs", "x-envoy-unknown: 1",
    )  # fmt: skip
    s.upstream().script = answers(ok(b"", *sent))
    for to in ("hosts", "hostsedge", "ids"):
        await s.get("/", to=to, label=to)
        await s.get(
            "/",
            "x-envoy-decorator-operation: mine",
            "x-forwarded-for: 10.0.0.1",
            to=to,
            label=f"{to} decorated",
        )


ENVOY_HEADERS = (
    "x-envoy-internal", "x-envoy-external-address", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
    "x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names", "x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-expected-rq-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout", "x-envoy-upstream-stream-duration-ms", "x-envoy-is-timeout-retry", "x-envoy-attempt-count",
    "x-envoy-original-path", "x-envoy-original-host", "x-envoy-original-url", "x-envoy-original-dst-host", "x-envoy-original-method",
    "x-envoy-decorator-operation", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-peer-metadata", "x-envoy-fault-abort-request",
    "x-envoy-livenessprobe", "x-envoy-overloaded", "x-envoy-ratelimited", "x-envoy-degraded", "x-envoy-upstream-canary",
    "x-envoy-immediate-health-check-fail", "x-envoy-upstream-healthchecked-cluster", "x-envoy-upstream-service-time",
    "x-envoy-local-overloaded", "x-envoy-cluster", "x-forwarded-host", "x-forwarded-port", "x-client-trace-id", "x-ot-span-context",
    "x-b3-traceid", "traceparent", "tracestate", "b3", "proxy-status", "cdn-loop", "keep-alive", "proxy-connection", "x-squash-debug",
)  # fmt: skip


@scenario(SETUP)
async def edge_headers_of_a_client(s: Session) -> None:
    """Which x-envoy headers reach the upstream, of an external and an internal request, at the edge and within."""
    fields = [f"{name}: 5000" for name in ENVOY_HEADERS]
    for to in ("hosts", "ids", "innerids"):
        for sent in ((), ("x-forwarded-for: 10.0.0.1",)):
            await s.get("/", *fields, *sent, to=to, label=f"{to} {sent}")


@scenario(SETUP)
async def edge_headers_of_a_client_with_odd_values(s: Session) -> None:
    """Timeouts and counts that are no numbers, of an internal request."""
    for value in ("", "abc", "-1", "1.5", "0", " 5000 ", "5000,6000"):
        fields = [
            f"{name}: {value}"
            for name in (
                "x-envoy-upstream-rq-timeout-ms",
                "x-envoy-max-retries",
                "x-envoy-expected-rq-timeout-ms",
            )
        ]
        await s.get("/", "x-forwarded-for: 10.0.0.1", *fields, to="innerids", label=f"value {value!r}")
        await s.get(
            "/",
            "x-forwarded-for: 10.0.0.1",
            f"x-envoy-upstream-rq-per-try-timeout-ms: {value}",
            to="innerids",
            label=f"per try {value!r}",
        )


@scenario(SETUP)
async def edge_options_over_http2(s: Session) -> None:
    """The same options where the client speaks HTTP/2 and names the scheme itself."""
    for to, host in (
        ("hosts", "secure.example"),
        ("hosts", "a"),
        ("hostsedge", "outside.example"),
        ("c4", "a"),
        ("scheme2", "a"),
        ("noscheme2", "a"),
        ("ids", "a"),
    ):
        client = await s.connect_h2(to)
        for scheme in ("http", "https"):
            fields = [
                (":method", "GET"), (":scheme", scheme), (":authority", host), (":path", "/a?b"),
                ("x-inside", "1"), ("x-forwarded-client-cert", "By=a"), ("x-envoy-force-trace", "1"), ("te", "trailers"),
            ]  # fmt: skip
            await client.request(fields, label=f"{to} {host} {scheme}")
            await client.request(
                [*fields, ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")],
                label=f"{to} {host} {scheme} forwarded",
            )
