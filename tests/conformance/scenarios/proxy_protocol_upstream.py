# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""The PROXY protocol towards hosts: its versions, TLVs, whose pools there are, and what else has a transport socket."""

from __future__ import annotations

import base64
import socket
import struct
from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Ended, Wire
from .listener_filters import tlv, v1, v2

SUBJECT = "connections"

KIND = "type.googleapis.com/envoy.extensions.transport_sockets"
RAW = f"{{name: raw, typed_config: {{'@type': {KIND}.raw_buffer.v3.RawBuffer}}}}"
TLS = f"{{name: tls, typed_config: {{'@type': {KIND}.tls.v3.UpstreamTlsContext, sni: example.com}}}}"
FILTER = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
PER_HOST = "type.googleapis.com/envoy.config.core.v3.PerHostConfig"
H2 = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: "
    "{'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, "
    "explicit_http_config: {http2_protocol_options: {}}}}\n"
)
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def value(text: bytes) -> str:
    return base64.b64encode(text).decode()


def told(config: str, inner: str = RAW) -> str:
    kind = f"{KIND}.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    return f"{{name: pp, typed_config: {{'@type': {kind}, config: {{{config}}}, transport_socket: {inner}}}}}"


def to(name: str, config: str, inner: str = RAW, extra: str = "", upstream: str = "app") -> dict[str, Any]:
    return cluster(name, upstream, extra=f"transport_socket: {told(config, inner)}\n{extra}")


def tcp(name: str, to_: str, extra: str = "") -> dict[str, Any]:
    out = listener(name, extra=extra)
    config = {"@type": TCP, "stat_prefix": name, "cluster": to_}
    out["filter_chains"] = [{"filters": [{"name": "tcp", "typed_config": config}]}]
    return out


def with_host_tlvs() -> dict[str, Any]:
    """Its host has TLVs of its own, which come before the configuration's and in the place of the client's."""
    out = to(
        "hosts",
        f"version: V2, pass_through_tlvs: {{}}, added_tlvs: [{{type: 224, value: {value(b'mine')}}}, {{type: 240, value: {value(b'mine')}}}]",
    )
    (endpoint,) = out["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["metadata"] = parse(
        f"typed_filter_metadata: {{envoy.transport_sockets.proxy_protocol: {{'@type': {PER_HOST}, added_tlvs: ["
        f"{{type: 224, value: {value(b'host')}}}, {{type: 226}}, {{type: 227, format_string: {{text_format_source: {{inline_string: x}}}}}}]}}}}"
    )
    return out


def with_matches() -> dict[str, Any]:
    """One of its hosts is told, the other is not."""
    out = cluster(
        "matched",
        "app",
        "other",
        extra=f"transport_socket_matches: [{{name: told, match: {{told: 'yes'}}, transport_socket: {told('version: V1')}}}]",
    )
    first = out["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    first["metadata"] = parse("filter_metadata: {envoy.transport_socket_match: {told: 'yes'}}")
    return out


ACCEPTS = f"listener_filters: [{{name: pp, typed_config: {{'@type': {FILTER}, allow_requests_without_proxy_protocol: true, pass_through_tlvs: {{match_type: INCLUDE_ALL}}}}}}]"
CLUSTERS = (
    "one", "two", "none", "all", "some", "added", "hosts", "format", "long", "tls", "nested", "h2", "matched", "pools",
)  # fmt: skip
ROUTES = "".join(f"- {{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}\n" for name in CLUSTERS)
MIRRORS = "".join(
    f"- {{match: {{prefix: /mirror-{name}}}, route: {{cluster: other, request_mirror_policies: [{{cluster: {name}}}]}}}}\n"
    for name in ("one", "two")
)
FORMAT = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_HOST% %REQ(host)% %PROTOCOL% %RESPONSE_FLAGS%"
SETUP = Setup(
    "proxy-protocol-upstream",
    bootstrap(
        [
            listener("main", routes=MIRRORS + ROUTES, extra=ACCEPTS),
            tcp("tcp-one", "one", ACCEPTS),
            tcp("tcp-all", "all", ACCEPTS),
        ],
        [
            to("one", "version: V1"),
            to("two", "version: V2"),
            to("none", "version: V2"),
            to("all", "version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}"),
            to("some", "version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [225, 2]}"),
            to(
                "added",
                f"version: V2, pass_through_tlvs: {{}}, added_tlvs: [{{type: 224, value: {value(b'hi')}}}, {{type: 224, value: {value(b'ho')}}}, {{type: 240, value: {value(b'h')}}}]",
            ),
            with_host_tlvs(),
            to(
                "format",
                f"version: V2, added_tlvs: [{{type: 224, format_string: {{text_format_source: {{inline_string: '{FORMAT}'}}}}}}]",
            ),
            to(
                "long",
                f"version: V2, added_tlvs: [{{type: 224, value: {value(b'a' * 40000)}}}, {{type: 225, value: {value(b'b' * 40000)}}}, {{type: 226, value: {value(b'c')}}}]",
            ),
            to("tls", "version: V1", TLS),
            to("nested", "version: V1", told("version: V2")),
            to("h2", "version: V1", extra=H2, upstream="h2"),
            with_matches(),
            to("pools", "version: V2", extra="circuit_breakers: {thresholds: [{max_connection_pools: 1}]}"),
            cluster("other", "other"),
        ],
    ),
    {"app": "raw", "other": "h1", "h2": "raw"},
)
REQUEST = b"GET /%s HTTP/1.1\r\nhost: example.com\r\n\r\n"
TLVS = tlv(0xE0, b"abc") + tlv(0xE1, b"x") + tlv(2, b"auth") + tlv(0xE0, b"second")


async def read_head(wire: Wire) -> str:
    """The head that a connection begins with, in words."""
    start = await wire.exactly(12)
    if start != SIGNATURE:
        return (start + await wire.line()).decode()
    command, family, length = struct.unpack(">BBH", await wire.exactly(4))
    block = await wire.exactly(length)
    if not block:
        return f"{command:x} {family:x}"
    size = {0x11: 4, 0x21: 16}[family]
    kind = socket.AF_INET if size == 4 else socket.AF_INET6
    ends = [socket.inet_ntop(kind, block[:size]), socket.inet_ntop(kind, block[size : 2 * size])]
    ports = struct.unpack_from(">HH", block, 2 * size)
    tlvs, rest = [], block[2 * size + 4 :]
    while rest:
        number, long = struct.unpack_from(">BH", rest)
        text = rest[3 : 3 + long]
        tlvs.append(f"{number:x}={text.decode() if len(text) < 100 else f'{len(text)} of {text[:1]!r}'}")
        rest = rest[3 + long :]
    return f"{command:x} {family:x} {ends[0]} {ends[1]} {ports[0]} {ports[1]} {' '.join(tlvs)}".rstrip()


class Host:
    """The upstream: what each connection begins with, and how many requests come on it."""

    def __init__(self, s: Session, name: str = "app", heads: int = 1) -> None:
        self.heads: list[list[str]] = []
        self.requests: list[int] = []
        self._count = heads
        s.upstream(name).raw_script = self.serve

    async def serve(self, wire: Wire) -> None:
        number = len(self.heads)
        self.heads.append([])
        self.requests.append(0)
        for _ in range(self._count):
            self.heads[number].append(await read_head(wire))
        try:
            while True:
                line = await wire.line()
                if line.endswith(b"HTTP/1.1"):
                    while await wire.line():
                        pass
                    self.requests[number] += 1
                    await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                else:
                    await wire.send(line)
        except Ended:
            return


def counted(name: str) -> tuple[str, ...]:
    return tuple(
        f"cluster.{name}.{each}"
        for each in (
            "upstream_cx_total",
            "upstream_cx_tx_bytes_total",
            "upstream_cx_pool_overflow",
            "upstream.proxyprotocol.v2_tlvs_exceed_max_length",
        )
    )


async def ask(s: Session, path: bytes, head: bytes = b"", *, label: str) -> None:
    """One request behind a head of the PROXY protocol, on a connection that stays open."""
    client = await s.connect("main")
    await client.send(head + REQUEST % path)
    await client.reply(label)


@scenario(SETUP)
async def pp_upstream_client_is_told(s: Session) -> None:
    """Both versions say whose connection it is, both families; requests of other clients go on other connections."""
    clients = {
        "one": v1("TCP4 192.0.2.7 10.9.9.9 4711 443"),
        "same": v1("TCP4 192.0.2.7 10.9.9.9 4711 443"),
        "other port": v1("TCP4 192.0.2.7 10.9.9.9 4712 443"),
        "six": v1("TCP6 2001:db8::8 2001:db8::9 7 8"),
    }
    for name in ("one", "two"):
        host = Host(s)
        async with s.counting(f"cluster.{name}.upstream_cx_total", f"cluster.{name}.upstream_rq_total"):
            for label, head in clients.items():
                await ask(s, name.encode(), head, label=f"{name} {label}")
        s.see(f"{name} heads", host.heads)
        s.see(f"{name} requests", host.requests)


@scenario(SETUP)
async def pp_upstream_of_tcp_proxy(s: Session) -> None:
    """A TCP proxy's connections begin with the head, TLVs among it, before the client says anything."""
    for name, head in (("tcp-one", v1("TCP4 192.0.2.7 10.9.9.9 4711 443")), ("tcp-all", v2(tlvs=TLVS))):
        host = Host(s)
        to_ = name.removeprefix("tcp-")
        async with s.counting(f"cluster.{to_}.upstream_cx_tx_bytes_total"):
            client = await s.connect(name)
            await client.send(head)
            while not host.heads or not host.heads[0]:  # noqa: ASYNC110 - the host takes it down
                await trio.sleep(0.01)
            await client.send(b"hello\n")
            await client.tunnel(5, name)
            client.close()
            await s.until_stats(
                lambda found, to_=to_: not found[f"cluster.{to_}.upstream_cx_active"], "upstream_cx_active"
            )
        s.see(f"{name} heads", host.heads)


@scenario(SETUP)
async def pp_upstream_tlvs(s: Session) -> None:
    """Which TLVs of the client go on, what is added, and in which order; none of it chooses the pool."""
    for name in ("none", "all", "some", "added", "hosts", "format", "long"):
        host = Host(s)
        async with s.counting(*counted(name)):
            await ask(s, name.encode(), v2(tlvs=TLVS), label=f"{name}")
        async with s.counting(f"cluster.{name}.upstream_cx_total"):
            await ask(s, name.encode(), v2(tlvs=tlv(0xE0, b"other")), label=f"{name} again")
        s.see(f"{name} heads", host.heads)
        s.see(f"{name} requests", host.requests)


@scenario(SETUP)
async def pp_upstream_in_front_of_others(s: Session) -> None:
    """The head comes before a TLS handshake, before the preface of HTTP/2, and before another head."""
    head = v1("TCP4 192.0.2.7 10.9.9.9 4713 443")
    host = Host(s, heads=2)
    await ask(s, b"nested", head, label="nested")
    s.see("nested heads", host.heads)
    for name, upstream in (("tls", "app"), ("h2", "h2")):
        seen: list[str] = []

        async def serve(wire: Wire, seen: list[str] = seen) -> None:
            seen.append(await read_head(wire))
            seen.append((await wire.exactly(3)).decode("latin-1"))

        s.upstream(upstream).raw_script = serve
        await s.http(head + REQUEST % name.encode(), label=name)
        s.see(f"{name} begins", seen)


@scenario(SETUP)
async def pp_upstream_of_hosts_that_match(s: Session) -> None:
    """transport_socket_matches: hosts that are told beside hosts that are not."""
    host = Host(s)
    s.upstream("other")
    async with s.counting("cluster.matched.upstream_cx_total"):
        for number in range(4):
            await ask(
                s, b"matched", v1(f"TCP4 192.0.2.7 10.9.9.9 {4711 + number // 2} 443"), label=f"{number}"
            )
    s.see("heads", sorted(host.heads))


@scenario(SETUP)
async def pp_upstream_of_mirrors(s: Session) -> None:
    """A copy for a mirror is no client's: version 2 says so, version 1 tells the connection's own ends."""
    for name in ("one", "two"):
        host = Host(s)
        await ask(s, f"mirror-{name}".encode(), v1("TCP4 192.0.2.7 10.9.9.9 4711 443"), label=name)
        while not host.requests or not host.requests[0]:  # noqa: ASYNC110 - the host takes it down
            await trio.sleep(0.01)
        words = host.heads[0][0].split()
        s.see(f"{name} head", words[:4])


CHECK = "health_checks: [{timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]\n"
CHECKED = Setup(
    "proxy-protocol-checked",
    bootstrap(
        [listener("main", routes="- {match: {prefix: /}, route: {cluster: one}}")],
        [
            to("one", "version: V1", extra=CHECK),
            to(
                "two",
                f"version: V2, added_tlvs: [{{type: 224, value: {value(b'hi')}}}]",
                extra=CHECK,
                upstream="other",
            ),
        ],
    ),
    {"app": "raw", "other": "raw"},
)


@scenario(CHECKED)
async def pp_upstream_of_health_checks(s: Session) -> None:
    """A health check is the proxy's own: version 2 says so, version 1 tells the connection's ends."""
    s.proxy.is_spent = True
    hosts = Host(s), Host(s, "other")
    await s.until_stats(
        lambda found: found["cluster.one.membership_healthy"] == 1 == found["cluster.two.membership_healthy"],
        "membership_healthy",
    )
    for name, host in zip(("one", "two"), hosts, strict=True):
        s.see(f"{name} head", [each[0].split()[:4] for each in host.heads[:1]])
