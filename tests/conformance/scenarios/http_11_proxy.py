# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Hosts that are reached through a proxy of HTTP/1.1: where connections go, and what is asked of it."""

from __future__ import annotations

from typing import Any

from ..configuration import bootstrap, cluster, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Ended, Wire

SUBJECT = "connections"

KIND = "type.googleapis.com/envoy.extensions.transport_sockets"
RAW = f"{{name: raw, typed_config: {{'@type': {KIND}.raw_buffer.v3.RawBuffer}}}}"
TLS = f"{{name: tls, typed_config: {{'@type': {KIND}.tls.v3.UpstreamTlsContext, sni: example.com}}}}"
TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
ADDRESS = "socket_address: {address: 127.0.0.1, port_value: PORT(proxy)}"
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% host=%UPSTREAM_HOST% failed=%UPSTREAM_TRANSPORT_FAILURE_REASON% cluster=%UPSTREAM_CLUSTER%\n"


def through(
    name: str,
    inner: str = RAW,
    *,
    default: bool = True,
    named: bool = False,
    hostname: str = "",
    extra: str = "",
) -> dict[str, Any]:
    """``default``: the configuration says the proxy; ``named``: the endpoint does."""
    more = f", default_proxy_address: {{{ADDRESS}}}" if default else ""
    kind = f"{KIND}.http_11_proxy.v3.Http11ProxyUpstreamTransport"
    out = cluster(
        name,
        "app",
        extra=f"transport_socket: {{name: h, typed_config: {{'@type': {kind}, transport_socket: {inner}{more}}}}}\n{extra}",
    )
    (endpoint,) = out["load_assignment"]["endpoints"][0]["lb_endpoints"]
    if named:
        key = "envoy.http11_proxy_transport_socket.proxy_address"
        endpoint["metadata"] = parse(
            f"typed_filter_metadata: {{{key}: {{'@type': type.googleapis.com/envoy.config.core.v3.Address, {ADDRESS}}}}}"
        )
    if hostname:
        endpoint["endpoint"]["hostname"] = hostname
    return out


def tcp(name: str) -> dict[str, Any]:
    out = listener(name)
    config = {"@type": TCP, "stat_prefix": name, "cluster": "named"}
    out["filter_chains"] = [{"filters": [{"name": "tcp", "typed_config": config}]}]
    return out


CLUSTERS = ("plain", "direct", "named", "tls", "hostname")
ROUTES = (*CLUSTERS, "impatient")
SETUP = Setup(
    "http-11-proxy",
    bootstrap(
        [
            listener(
                "main",
                routes="".join(
                    f"- {{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}\n" for name in ROUTES
                ),
                log=LOG,
            ),
            tcp("tcp"),
        ],
        [
            through("plain"),
            through("direct", default=False),
            through("named", default=False, named=True),
            through("tls", TLS),
            through("hostname", TLS, hostname="host.example"),
            through("impatient", TLS, extra="connect_timeout: 0.3s"),
        ],
    ),
    {"app": "raw", "proxy": "raw"},
)


class Peer:
    """Takes down what a connection asks for; CONNECT gets the answer."""

    def __init__(self, s: Session, name: str, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.seen: list[str] = []
        self._answer = answer
        self._port = str(s.proxy.listening["app"].getsockname()[1])
        s.upstream(name).raw_script = self.serve

    async def serve(self, wire: Wire) -> None:
        try:
            while True:
                start = await wire.exactly(3)
                if start[:1] == b"\x16":
                    self.seen.append(f"a handshake, {start.hex()}")
                    return
                line = start + await wire.line()
                if not line.endswith(b"HTTP/1.1"):
                    self.seen.append(line.decode())
                    await wire.send(line + b"\n")
                    continue
                head = [line.decode()]
                while more := await wire.line():
                    head += [more.decode()] if more.lower().startswith(b"host") else []
                self.seen.append(" | ".join(head).replace(self._port, "port"))
                await wire.send(
                    self._answer
                    if line.startswith(b"CONNECT")
                    else b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                )
        except Ended as ended:
            self.seen.append(ended.how if ended.how == "eof" else "gone")


def counted(name: str) -> tuple[str, ...]:
    names = (
        "upstream_cx_total",
        "upstream_cx_connect_fail",
        "upstream_cx_tx_bytes_total",
        "upstream_rq_total",
    )
    return tuple(f"cluster.{name}.{each}" for each in names)


@scenario(SETUP)
async def http_11_proxy_is_asked(s: Session) -> None:
    """Whose proxy it is, and TLS, decide whether there is a CONNECT; without a proxy the host is asked."""
    for name in CLUSTERS:
        app, proxy = Peer(s, "app"), Peer(s, "proxy")
        async with s.logging(1), s.counting(*counted(name)):
            await s.get(f"/{name}", label=name)
        s.see(f"{name} app", [each for each in app.seen if each != "eof"])
        s.see(f"{name} proxy", [each for each in proxy.seen if each != "eof"])


@scenario(SETUP)
async def http_11_proxy_refuses(s: Session) -> None:
    """An answer that is not 200, or none at all, is no connection."""
    answers = {
        "forbidden": b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
        "another success": b"HTTP/1.1 201 Created\r\n\r\n",
        "too long": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2500 + b"\r\n\r\n",
    }
    for label, answer in answers.items():
        Peer(s, "proxy", answer)
        async with s.logging(1), s.counting(*counted("tls")):
            await s.get("/tls", label=label)
    # What is no answer is waited behind.
    Peer(s, "proxy", b"hello\r\n\r\n")
    async with s.logging(1), s.counting(*counted("impatient")):
        await s.get("/impatient", label="no http")


@scenario(SETUP)
async def http_11_proxy_of_tcp_proxy(s: Session) -> None:
    """A TCP proxy's bytes go through the tunnel, those behind the answer come back."""
    proxy = Peer(s, "proxy", b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n220 welcome\n")
    client = await s.connect("tcp")
    await client.tunnel(12, "first")
    await client.send(b"hello\n")
    await client.tunnel(6, "then")
    client.close()
    s.see("proxy", proxy.seen[:2])
