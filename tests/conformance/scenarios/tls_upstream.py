# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""TLS towards upstreams: what is asked for, who is believed, and what is said where it fails."""

from __future__ import annotations

import ssl
from typing import Any

from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, UPSTREAM, certificate, hidden, server_context
from ..upstream import answers, ok

SUBJECT = "connections"
CA = "validation_context: {trusted_ca: {filename: FILE(root.pem)}}"
V12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
V13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
LOG = (
    "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% f=%UPSTREAM_TRANSPORT_FAILURE_REASON% "
    "p=%UPSTREAM_PROTOCOL% v=%UPSTREAM_TLS_VERSION% c=%UPSTREAM_TLS_CIPHER% s=%UPSTREAM_PEER_SUBJECT% i=%UPSTREAM_PEER_ISSUER% "
    "dns=%UPSTREAM_PEER_DNS_SAN% uri=%UPSTREAM_PEER_URI_SAN% luri=%UPSTREAM_LOCAL_URI_SAN% ldns=%UPSTREAM_LOCAL_DNS_SAN% "
    "from=%UPSTREAM_PEER_CERT_V_START% to=%UPSTREAM_PEER_CERT_V_END% cert=%UPSTREAM_PEER_CERT% sid=%UPSTREAM_TLS_SESSION_ID%\n"
)


def socket(common: str = CA, context: str = "") -> dict[str, Any]:
    typed = {"@type": UPSTREAM, "common_tls_context": parse(common) or {}, **(parse(context) or {})}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def tls_cluster(
    name: str, common: str = CA, context: str = "", options: str = "", extra: str = "", hostname: str = ""
) -> dict[str, Any]:
    """A cluster over the upstream ``app``; options: YAML of HttpProtocolOptions."""
    made = cluster(name, "app", extra=extra)
    made["transport_socket"] = socket(common, context)
    if options:
        made["typed_extension_protocol_options"] = {
            HTTP_OPTIONS: {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", **parse(options)}
        }
    if hostname:
        made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] = hostname
    return made


H2 = "explicit_http_config: {http2_protocol_options: {}}"
H1 = "explicit_http_config: {http_protocol_options: {}}"
CLUSTERS = [
    tls_cluster("blind", ""),
    tls_cluster("root"),
    tls_cluster("other", "validation_context: {trusted_ca: {filename: FILE(other.pem)}}"),
    tls_cluster(
        "named",
        "validation_context: {trusted_ca: {filename: FILE(root.pem)}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: example.com}}]}",
        "sni: example.com",
    ),
    tls_cluster(
        "misnamed",
        "validation_context: {trusted_ca: {filename: FILE(root.pem)}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: nobody.example}}]}",
    ),
    tls_cluster(
        "untrusted",
        "validation_context: {trusted_ca: {filename: FILE(other.pem)}, trust_chain_verification: ACCEPT_UNTRUSTED}",
    ),
    tls_cluster("v13", f"{CA}\ntls_params: {{tls_maximum_protocol_version: TLSv1_3}}"),
    tls_cluster("mutual", f"{CA}\ntls_certificates: [{certificate('client')}]"),
    tls_cluster("hostsni", context="auto_host_sni: true\nsni: unused.example", hostname="host.example"),
    tls_cluster("sniname", context="sni: example.com\nauto_sni_san_validation: true"),
    tls_cluster("snimis", context="sni: nobody.example\nauto_sni_san_validation: true"),
    tls_cluster("autosni", options=f"{H1}\nupstream_http_protocol_options: {{auto_sni: true}}"),
    tls_cluster(
        "autosan",
        options=f"{H1}\nupstream_http_protocol_options: {{auto_sni: true, auto_san_validation: true}}",
    ),
    tls_cluster(
        "header",
        options=f"{H1}\nupstream_http_protocol_options: {{auto_sni: true, override_auto_sni_header: x-sni}}",
    ),
    tls_cluster("h2", options=H2),
    tls_cluster("alpn", f"{CA}\nalpn_protocols: [foo, http/1.1]"),
    tls_cluster("auto", options="auto_config: {http_protocol_options: {}, http2_protocol_options: {}}"),
    tls_cluster("nosession", context="max_session_keys: 0"),
    tls_cluster("once", extra="max_requests_per_connection: 1"),
]
ROUTES = "\n".join(
    f"- {{match: {{prefix: /{each['name']}}}, route: {{cluster: {each['name']}}}}}" for each in CLUSTERS
)
REWRITTEN = (
    "- {match: {prefix: /rewritten}, route: {cluster: autosni, host_rewrite_literal: rewritten.example}}\n"
)
SETUP = Setup(
    "tls-upstream",
    bootstrap([listener("main", routes=REWRITTEN + ROUTES, log=LOG)], CLUSTERS),
    {"app": "h1"},
    CERTIFICATES,
)
COUNTERS = (
    "handshake",
    "connection_error",
    "session_reused",
    "no_certificate",
    "fail_verify_error",
    "fail_verify_san",
)
#: These are there once they were counted: observed where they moved.
KINDS = ("versions.TLSv1.2", "sigalgs.ecdsa_secp256r1_sha256", "curves.X25519")
CX = (
    "upstream_cx_total",
    "upstream_cx_connect_fail",
    "upstream_cx_http1_total",
    "upstream_cx_http2_total",
    "upstream_cx_destroy",
    "upstream_rq_pending_failure_eject",
)


def stats(name: str) -> tuple[str, ...]:
    return (*(f"cluster.{name}.ssl.{each}" for each in COUNTERS), *(f"cluster.{name}.{each}" for each in CX))


async def ask(s: Session, *names: str, times: int = 1, headers: tuple[str, ...] = ()) -> None:
    """Requests to clusters, what the server saw of their handshakes, what the log says."""
    upstream = s.upstream()
    for name in names:
        before = len(upstream.handshakes)
        kinds = [f"cluster.{name}.ssl.{each}" for each in KINDS]
        counted = await s.counters("")
        async with s.counting(*stats(name)), s.logging(times, shown=hidden):
            for _ in range(times):
                await s.get(f"/{name}", *headers, label=name)
        now = await s.counters("")
        moved = {each: now.get(each, 0) - counted.get(each, 0) for each in kinds}
        s.see(f"{name} kinds", {each: count for each, count in moved.items() if count})
        s.see(f"{name} handshakes", upstream.handshakes[before:])


@scenario(SETUP)
async def tls_upstream_is_believed(s: Session) -> None:
    """Whose certificate is good: by authority, by name, or whoever it is."""
    s.upstream().tls = server_context()
    await ask(s, "blind", "root", "named", "untrusted")


@scenario(SETUP)
async def tls_upstream_is_refused(s: Session) -> None:
    """Certificates of others, and of other names: 503 with the reason, and an alert to the server."""
    s.upstream().tls = server_context()
    await ask(s, "other", "misnamed", "snimis")


@scenario(SETUP)
async def tls_upstream_versions(s: Session) -> None:
    """Towards upstreams TLS 1.2 is the latest by default."""
    s.upstream().tls = server_context(versions=V13)
    await ask(s, "root", "v13")


@scenario(SETUP)
async def tls_upstream_without_a_common_suite(s: Session) -> None:
    """A server that has no suite that is offered."""
    s.upstream().tls = server_context(versions=V12, ciphers="ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
    await ask(s, "root")


@scenario(SETUP)
async def tls_upstream_asks_for_a_certificate(s: Session) -> None:
    """Client certificates: shown where there is one."""
    s.upstream().tls = server_context(is_mutual=True)
    await ask(s, "root", "mutual")


@scenario(SETUP)
async def tls_upstream_speaks_plain_text(s: Session) -> None:
    """HTTP where TLS is expected, and a server that hangs up."""
    await ask(s, "root")


@scenario(SETUP)
async def tls_upstream_names(s: Session) -> None:
    """SNI: of the configuration, of the endpoint, of the request."""
    s.upstream().tls = server_context()
    await ask(s, "hostsni", "sniname", "autosni", "rewritten", "autosan")
    await ask(s, "header", headers=("x-sni: other.example",))
    await ask(s, "header")
    for host in ("example.com:8443", "127.0.0.1:80", "[::1]:80", "Example.COM"):
        before = len(s.upstream().handshakes)
        await s.http(f"GET /autosni HTTP/1.1\r\nhost: {host}\r\n\r\n", label=f"host {host}")
        s.see(f"handshakes {host}", s.upstream().handshakes[before:])


@scenario(SETUP)
async def tls_upstream_names_that_do_not_fit(s: Session) -> None:
    """auto_san_validation of a request for another host."""
    s.upstream().tls = server_context()
    async with s.logging(2, shown=hidden):
        await s.http("GET /autosan HTTP/1.1\r\nhost: nobody.example:80\r\n\r\n", label="name")
        await s.http("GET /autosan HTTP/1.1\r\nhost: 127.0.0.1:80\r\n\r\n", label="address")


@scenario(SETUP)
async def tls_upstream_protocols(s: Session) -> None:
    """ALPN offers what the cluster speaks; what is configured comes first; without one common, all goes on."""
    for offered in ((), ("h2", "http/1.1"), ("http/1.1",)):
        s.upstream().tls = server_context(alpn=offered)
        s.see("server", list(offered))
        await ask(s, "once", "alpn", "auto")
    s.upstream().tls = server_context(alpn=("h2",))
    await ask(s, "h2")


@scenario(SETUP)
async def tls_upstream_sessions(s: Session) -> None:
    """Sessions are resumed, unless no keys are to be kept."""
    s.upstream().script = answers(ok(b"ok", "connection: close"))
    s.upstream().tls = server_context(versions=V12)
    await ask(s, "root", "nosession", times=3)


@scenario(SETUP)
async def tls_upstream_bodies(s: Session) -> None:
    """Large bodies both ways."""
    s.upstream().tls = server_context()
    s.upstream().script = answers(ok(b"y" * 3_000_000))
    head = "POST /v13 HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n"
    await s.http(head.encode() + b"x" * 2_000_000)


def endpoint(upstream: str, metadata: str) -> dict[str, Any]:
    """An endpoint that says which transport socket it wants."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": f"PORT({upstream})"}}
    made: dict[str, Any] = {"endpoint": {"address": address}}
    if metadata:
        made["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": parse(metadata)}}
    return made


def matched(name: str, metadata: str) -> dict[str, Any]:
    """A cluster over ``app`` whose socket is chosen by the endpoint's metadata."""
    made = cluster(name, "app")
    made["load_assignment"]["endpoints"] = [{"lb_endpoints": [endpoint("app", metadata)]}]
    made["transport_socket_matches"] = [
        {"name": "named", "match": {"tls": True, "who": "me"}, "transport_socket": socket(context="sni: named.example")},
        {"name": "secure", "match": {"tls": True}, "transport_socket": socket(context="sni: secure.example")},
        {"name": "plain", "match": {"tls": False}, "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}},
    ]  # fmt: skip
    made["transport_socket"] = socket(context="sni: default.example")
    return made


MATCHED = [
    matched("both", "{tls: true, who: me}"),
    matched("one", "{tls: true, who: you}"),
    matched("raw", "{tls: false}"),
    matched("none", ""),
]
MATCHES = Setup(
    "tls-matches",
    bootstrap(
        [listener("main", routes="\n".join(f"- {{match: {{prefix: /{each['name']}}}, route: {{cluster: {each['name']}}}}}" for each in MATCHED), log=LOG)],
        MATCHED,
    ),
    {"app": "h1"},
    CERTIFICATES,
)  # fmt: skip


@scenario(MATCHES)
async def tls_upstream_matches(s: Session) -> None:
    """transport_socket_matches: the first that the endpoint's metadata fits, else the cluster's own."""
    upstream = s.upstream()
    for name in ("both", "one", "none"):
        upstream.tls = server_context()
        await s.get(f"/{name}", label=name)
    upstream.tls = None
    await s.get("/raw", label="raw")
    s.see("handshakes", upstream.handshakes)
    stats = await s.counters(r"total_match_count$")
    s.see("matches", {key: value for key, value in sorted(stats.items()) if value})
