"""Transparent interception in network namespaces, the same file on sidecar and on Envoy.

A pod's own connections are redirected to the outbound listener by the owner of the socket, those that come to
it to the inbound one, as sidecars are installed; both reach the address that was meant.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from namespaces import Namespaces, Server, ask, needs_namespaces
from proxy_process import PROXIES

from tests.support.pki import Authority

pytestmark = [needs_namespaces, pytest.mark.oracle]

APPLICATION = 4242
FORMAT = (
    "%REQUESTED_SERVER_NAME% local %DOWNSTREAM_LOCAL_ADDRESS% "
    "remote %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% host %UPSTREAM_HOST% "
    "from %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% flags %RESPONSE_FLAGS% by %FILTER_CHAIN_NAME%"
)
CONFIGURATION = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  clusters:
  - {name: passthrough, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 2s}
  listeners:
  - name: outbound
    address: {socket_address: {address: 0.0.0.0, port_value: 15001}}
    additional_addresses: [{address: {socket_address: {address: "::", port_value: 15001}}}]
    use_original_dst: true
    traffic_direction: OUTBOUND
    listener_filters: [<original>, <tls>]
    filter_chains:
    - {name: named, filter_chain_match: {server_names: ["*.named.example"]}, filters: [<tcp>]}
    default_filter_chain: {name: other, filters: [<tcp>]}
  - name: of one address
    address: {socket_address: {address: 10.5.0.2, port_value: 80}}
    additional_addresses: [{address: {socket_address: {address: "fd00:5::2", port_value: 80}}}]
    bind_to_port: false
    filter_chains: [{name: one address, filters: [<http>]}]
  - name: of one port
    address: {socket_address: {address: 0.0.0.0, port_value: 81}}
    additional_addresses: [{address: {socket_address: {address: "::", port_value: 81}}}]
    bind_to_port: false
    filter_chains: [{name: one port, filters: [<http>]}]
  - name: inbound
    address: {socket_address: {address: 0.0.0.0, port_value: 15006}}
    additional_addresses: [{address: {socket_address: {address: "::", port_value: 15006}}}]
    traffic_direction: INBOUND
    listener_filters: [<original>, <tls>]
    filter_chains:
    - name: inbound tls
      filter_chain_match: {destination_port: 8443, server_names: [in.named.example]}
      filters: [<tcp>]
    - name: inbound ipv6
      filter_chain_match: {prefix_ranges: [{address_prefix: "fd00:5::1", prefix_len: 128}]}
      filters: [<http>]
    - name: inbound http
      filter_chain_match:
        prefix_ranges: [{address_prefix: 10.5.0.1, prefix_len: 32}]
        transport_protocol: raw_buffer
      filters: [<http>]
"""
#: What stands for ``<name>``; EXT for the package of the extensions.
PARTS = {
    "original": """{name: o, typed_config: {"@type": EXT.filters.listener.original_dst.v3.OriginalDst}}""",
    "tls": """{name: t, typed_config: {"@type": EXT.filters.listener.tls_inspector.v3.TlsInspector}}""",
    "tcp": """{name: t, typed_config: {
      "@type": EXT.filters.network.tcp_proxy.v3.TcpProxy,
      stat_prefix: tcp, cluster: passthrough, access_log: <log>}}""",
    "http": """{name: h, typed_config: {
      "@type": EXT.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: http, access_log: <log>,
      route_config: {virtual_hosts: [
        {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: passthrough}}]}]},
      http_filters: [{name: r, typed_config: {"@type": EXT.filters.http.router.v3.Router}}]}}""",
    "log": """[{name: f, typed_config: {
      "@type": EXT.access_loggers.file.v3.FileAccessLog,
      path: "PATH", log_format: {text_format_source: {inline_string: "FORMAT"}}}}]""",
}
ROOT_CA = Authority("root")


def bootstrap(log: Path) -> str:
    text = CONFIGURATION
    for name, part in PARTS.items():
        text = text.replace(f"<{name}>", part)
    text = text.replace("EXT.", "type.googleapis.com/envoy.extensions.")
    return text.replace("PATH", str(log)).replace("FORMAT", FORMAT + "\\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespaces]:
    """A pod at number 5.1, and the world outside at 5.2, with a server on each port that a test asks for."""
    leaf = ROOT_CA.leaf("server", "DNS:*.named.example", "DNS:*.other.example")
    pem = tmp_path_factory.mktemp("pki") / "server.pem"
    pem.write_bytes(leaf.pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    with Namespaces("pod", "out") as spaces, contextlib.ExitStack() as stack:
        spaces.link("eth0", ("pod", "5.1"), ("out", "5.2"))
        owned = f"-t nat -A OUTPUT -p tcp -m owner --uid-owner {APPLICATION} -j REDIRECT --to-ports 15001"
        spaces.iptables("pod", owned)
        spaces.iptables("pod", "-t nat -A PREROUTING -i eth0 -p tcp -j REDIRECT --to-ports 15006")
        for address in ("10.5.0.2", "fd00:5::2"):
            for port in (80, 81, 82):
                stack.callback(Server(spaces, "out", address, port).close)
            stack.callback(Server(spaces, "out", address, 443, tls).close)
        for address in ("10.5.0.1", "fd00:5::1"):
            stack.callback(Server(spaces, "pod", address, 8080).close)
            stack.callback(Server(spaces, "pod", address, 8443, tls).close)
        yield spaces


class Pod:
    """A proxy in the pod; what it logs."""

    def __init__(self, kind: str, spaces: Namespaces, page: Callable[[str], str], log: Path) -> None:
        self.kind = kind
        self.spaces = spaces
        self.page = page
        self._log = log
        self._seen = 0

    def outbound(self, address: str, port: int) -> str:
        """What the application is answered."""
        with self.spaces.connect("pod", address, port, APPLICATION) as sock:
            return ask(sock)

    def inbound(self, address: str, port: int) -> str:
        with self.spaces.connect("out", address, port) as sock:
            return ask(sock)

    def tls(self, place: str, address: str, port: int, name: str) -> str:
        uid = APPLICATION if place == "pod" else 0
        context = ssl.create_default_context(cadata=ROOT_CA.cert_pem.decode())
        with self.spaces.connect(place, address, port, uid) as sock:
            try:
                secured = context.wrap_socket(sock, server_hostname=name)
            except OSError as error:
                return type(error).__name__
            with secured:
                return ask(secured)

    def log(self) -> str:
        """The next line of the access log."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            lines = self._log.read_text().splitlines() if self._log.exists() else []
            if len(lines) > self._seen:
                self._seen += 1
                return lines[self._seen - 1]
            time.sleep(0.02)
        raise AssertionError("no line in the access log")


@pytest.fixture(scope="module", params=PROXIES)
def pod(
    request: pytest.FixtureRequest, world: Namespaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pod]:
    directory = tmp_path_factory.mktemp(request.param)
    log = directory / "access.log"
    with world.proxy("pod", request.param, bootstrap(log), directory) as page:
        yield Pod(request.param, world, page, log)


def line(local: str, host: str, source: str, chain: str, *, remote: str = "", name: str = "-") -> str:
    return f"{name} local {local} remote {remote or source} host {host} from {source} flags - by {chain}"


PAIRS = pytest.mark.parametrize(
    ("own", "other"), [("10.5.0.1", "10.5.0.2"), ("fd00:5::1", "fd00:5::2")], ids=["ipv4", "ipv6"]
)


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@PAIRS
def test_outbound_connection_reaches_the_address_that_was_meant(pod: Pod, own: str, other: str) -> None:
    assert pod.outbound(other, 82) == f"{own} > {other}:82"
    assert pod.log() == line(_at(other, 82), _at(other, 82), own, "other")


@PAIRS
def test_outbound_connection_is_handed_to_the_listener_of_its_address(pod: Pod, own: str, other: str) -> None:
    assert pod.outbound(other, 80) == f"{own} > {other}:80"
    assert pod.log() == line(_at(other, 80), _at(other, 80), own, "one address")


@PAIRS
def test_outbound_connection_is_handed_to_the_listener_of_its_port(pod: Pod, own: str, other: str) -> None:
    assert pod.outbound(other, 81) == f"{own} > {other}:81"
    assert pod.log() == line(_at(other, 81), _at(other, 81), own, "one port")


@PAIRS
@pytest.mark.parametrize(("name", "chain"), [("a.named.example", "named"), ("a.other.example", "other")])
def test_outbound_tls_passes_by_its_name(pod: Pod, own: str, other: str, name: str, chain: str) -> None:
    assert pod.tls("pod", other, 443, name) == f"{own} > {other}:443"
    assert pod.log() == line(_at(other, 443), _at(other, 443), own, chain, name=name)


@PAIRS
def test_outbound_connection_to_nobody_is_closed(pod: Pod, own: str, other: str) -> None:
    assert pod.outbound(other, 9) in ("closed", "ConnectionResetError")
    # The kernel lets no socket of its own answer on behalf of who refused.
    at = _at(other, 9)
    assert pod.log() == f"- local {at} remote {own} host {at} from - flags UF,URX by other"


@PAIRS
def test_inbound_connection_reaches_the_application(pod: Pod, own: str, other: str) -> None:
    assert pod.inbound(own, 8080) == f"{own} > {own}:8080"
    chain = "inbound ipv6" if ":" in own else "inbound http"
    assert pod.log() == line(_at(own, 8080), _at(own, 8080), own, chain, remote=other)


@PAIRS
def test_inbound_tls_passes_by_its_name(pod: Pod, own: str, other: str) -> None:
    assert pod.tls("out", own, 8443, "in.named.example") == f"{own} > {own}:8443"
    assert pod.log() == line(
        _at(own, 8443), _at(own, 8443), own, "inbound tls", remote=other, name="in.named.example"
    )


def test_inbound_tls_where_none_is_meant_finds_no_chain(pod: Pod) -> None:
    assert pod.tls("out", "10.5.0.1", 8080, "in.named.example") in ("SSLEOFError", "ConnectionResetError")
    assert "no_filter_chain_match: 1" in pod.page("/stats?filter=15006.no_filter_chain_match")


def test_connection_that_was_not_redirected_has_no_address_to_go_to(pod: Pod) -> None:
    """Envoy connects to itself until ``max_connections`` is reached (docs/envoy-differences.md)."""
    with pod.spaces.connect("pod", "127.0.0.1", 15001) as sock:
        assert ask(sock) in ("closed", "ConnectionResetError")
    lines = [pod.log()]
    while "flags UR" in lines[-1]:
        lines.append(pod.log())
    flag = "UO" if pod.kind == "envoy" else "UH"
    assert lines[-1] == f"- local 127.0.0.1:15001 remote 127.0.0.1 host - from - flags {flag} by other"
    assert len(lines) == 1 or pod.kind == "envoy"
