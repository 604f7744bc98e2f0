"""``original_src`` in network namespaces: upstreams see the client's own address, on sidecar and on Envoy.

A client, a proxy and a server, each in a namespace of its own; the proxy marks its packets, and what comes
back on a marked connection is for the proxy, whoever it is addressed to.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
from namespaces import Namespaces, Server, ask, needs_namespaces
from proxy_process import PROXIES

pytestmark = [needs_namespaces, pytest.mark.oracle]

MARK = 123
CONFIGURATION = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  clusters:
  - {name: four, connect_timeout: 1s, load_assignment: {cluster_name: four, endpoints: [{lb_endpoints: [
      {endpoint: {address: {socket_address: {address: 10.6.0.2, port_value: 80}}}}]}]}}
  - {name: six, connect_timeout: 1s, load_assignment: {cluster_name: six, endpoints: [{lb_endpoints: [
      {endpoint: {address: {socket_address: {address: "fd00:6::2", port_value: 80}}}}]}]}}
  - {name: bound, connect_timeout: 1s,
      upstream_bind_config: {source_address: {address: 10.6.0.1, port_value: 0}},
      load_assignment: {cluster_name: bound, endpoints: [{lb_endpoints: [
      {endpoint: {address: {socket_address: {address: 10.6.0.2, port_value: 80}}}}]}]}}
  - {name: meant, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}
  listeners:
  - name: http
    address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
    additional_addresses: [{address: {socket_address: {address: "::", port_value: 8080}}}]
    listener_filters: [<source>]
    filter_chains: [{filters: [<http>]}]
  - name: plain
    address: {socket_address: {address: 0.0.0.0, port_value: 8081}}
    filter_chains: [{filters: [<http>]}]
  - name: tcp
    address: {socket_address: {address: 0.0.0.0, port_value: 8082}}
    listener_filters: [<source>]
    filter_chains: [{filters: [{name: t, typed_config: {
      "@type": EXT.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: four}}]}]
  - name: ours
    address: {socket_address: {address: 0.0.0.0, port_value: 15008}}
    additional_addresses: [{address: {socket_address: {address: "::", port_value: 15008}}}]
    transparent: true
    listener_filters:
    - {name: o, typed_config: {"@type": EXT.filters.listener.original_dst.v3.OriginalDst}}
    - <source>
    filter_chains: [{filters: [{name: t, typed_config: {
      "@type": EXT.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: meant}}]}]
"""
SOURCE = """{name: s, typed_config: {
  "@type": EXT.filters.listener.original_src.v3.OriginalSrc, mark: 123, bind_port: true}}"""
HTTP = """{name: h, typed_config: {
  "@type": EXT.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: http,
  route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [
    {match: {prefix: /six}, route: {cluster: six}},
    {match: {prefix: /bound}, route: {cluster: bound}},
    {match: {prefix: /}, route: {cluster: four}}]}]},
  http_filters: [{name: r, typed_config: {"@type": EXT.filters.http.router.v3.Router}}]}}"""


def bootstrap() -> str:
    text = CONFIGURATION.replace("<source>", SOURCE).replace("<http>", HTTP)
    return text.replace("EXT.", "type.googleapis.com/envoy.extensions.")


@pytest.fixture(scope="module")
def world() -> Iterator[Namespaces]:
    """A client at 5.2 and 5.3, a proxy at 5.1 and 6.1, a server at 6.2."""
    with Namespaces("client", "proxy", "server") as spaces, contextlib.ExitStack() as stack:
        spaces.link("eth0", ("client", "5.2"), ("proxy", "5.1"))
        spaces.link("eth1", ("proxy", "6.1"), ("server", "6.2"))
        spaces.run("client", "ip addr add 10.5.0.3/24 dev eth0")
        spaces.run("client", "ip route add 10.7.0.0/16 via 10.5.0.1")
        spaces.run("client", "ip -6 route add fd00:6::/64 via fd00:5::1")
        spaces.run("server", "ip route add 10.5.0.0/24 via 10.6.0.1")
        spaces.run("server", "ip addr add 10.7.0.9/32 dev lo")
        spaces.run("proxy", "ip route add 10.7.0.0/16 via 10.6.0.2")
        spaces.run("server", "ip -6 route add fd00:5::/64 via fd00:6::1")
        for name in ("all", "default", "eth0", "eth1"):
            spaces.set("proxy", f"net/ipv4/conf/{name}/rp_filter", "0")
        # What a marked connection is answered is for the proxy, whoever it is addressed to.
        spaces.iptables("proxy", f"-t mangle -A OUTPUT -p tcp -m mark --mark {MARK} -j CONNMARK --save-mark")
        back = f"-t mangle -A PREROUTING -i eth1 -p tcp -m connmark --mark {MARK} -j CONNMARK --restore-mark"
        spaces.iptables("proxy", back)
        for version, everywhere in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
            spaces.run("proxy", f"ip {version} rule add fwmark {MARK} iif eth1 lookup 100")
            spaces.run("proxy", f"ip {version} rule add fwmark 1 iif eth0 lookup 100")
            spaces.run("proxy", f"ip {version} route add local {everywhere} dev lo table 100")
        ours = "-t mangle -A PREROUTING -i eth0 -p tcp --dport 90 -j TPROXY --on-port 15008 --tproxy-mark 1"
        spaces.iptables("proxy", ours)
        for address in ("10.6.0.2", "fd00:6::2", "10.7.0.9"):
            for port in (80, 90):
                stack.callback(Server(spaces, "server", address, port, has_port=True).close)
        yield spaces


class Proxy:
    def __init__(self, spaces: Namespaces, page: Callable[[str], str]) -> None:
        self.page = page
        self._spaces = spaces

    def get(
        self, path: str, port: int, *, address: str = "10.5.0.1", source: str = ""
    ) -> tuple[str, str, int]:
        """From where the server was asked, and what was asked; the port of the client's."""
        with self._spaces.connect("client", address, port, source=source) as sock:
            own = sock.getsockname()[1]
            answer = ask(sock, path)
        came_from, _, at = answer.partition(" > ")
        return came_from, at, own

    def count(self, name: str) -> int:
        found = re.search(r": (\d+)", self.page(f"/stats?filter=^{name}$"))
        return int(found[1]) if found else 0


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, world: Namespaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with world.proxy("proxy", request.param, bootstrap(), tmp_path_factory.mktemp("o")) as page:
        yield Proxy(world, page)


@pytest.mark.parametrize("port", [8080, 8082], ids=["http", "tcp"])
def test_upstream_sees_the_address_of_the_client(proxy: Proxy, port: int) -> None:
    for source in ("10.5.0.2", "10.5.0.3"):
        came_from, at, own = proxy.get("/", port, source=source)
        assert (came_from.rpartition(":")[0], at) == (source, "10.6.0.2:80")
        # bind_port means nothing.
        assert came_from != f"{source}:{own}"


def test_upstream_sees_the_address_of_a_client_over_ipv6(proxy: Proxy) -> None:
    came_from, at, _ = proxy.get("/six", 8080, address="fd00:5::1")
    assert (came_from.rpartition(":")[0], at) == ("fd00:5::2", "fd00:6::2:80")


def test_listener_without_the_filter_is_seen_itself(proxy: Proxy) -> None:
    assert proxy.get("/", 8081)[0].rpartition(":")[0] == "10.6.0.1"


def test_connections_are_kept_for_each_address(proxy: Proxy) -> None:
    before = proxy.count("cluster.bound.upstream_cx_total")
    sources = ["10.5.0.2", "10.5.0.3", "10.5.0.2", "10.5.0.3"]
    seen = [proxy.get("/bound", 8080, source=source)[0] for source in sources]
    assert seen[0] == seen[2]
    assert seen[1] == seen[3]
    assert proxy.count("cluster.bound.upstream_cx_total") == before + 2


def test_address_of_the_client_goes_before_that_of_the_cluster(proxy: Proxy) -> None:
    assert proxy.get("/bound", 8080)[0].startswith("10.5.0.2:")
    assert proxy.get("/bound", 8081)[0].startswith("10.6.0.1:")


def test_address_of_another_family_than_the_hosts_fails(proxy: Proxy) -> None:
    before = proxy.count("cluster.six.upstream_cx_connect_fail")
    errors = proxy.count("cluster.six.bind_errors")
    assert "local connection failure" in proxy.get("/six", 8080)[0]
    assert proxy.count("cluster.six.upstream_cx_connect_fail") == before + 1
    assert proxy.count("cluster.six.bind_errors") == errors + 1
    assert "local connection failure" in proxy.get("/", 8080, address="fd00:5::1")[0]
    assert proxy.count("cluster.four.bind_errors") == 0


@pytest.mark.parametrize(
    ("address", "client"), [("10.7.0.9", "10.5.0.2"), ("fd00:6::2", "fd00:5::2")], ids=["ipv4", "ipv6"]
)
def test_nobody_sees_a_proxy_that_is_transparent_on_both_sides(
    proxy: Proxy, address: str, client: str
) -> None:
    """TPROXY brings what was meant for another; original_dst and original_src tell both addresses."""
    came_from, at, _ = proxy.get("/", 90, address=address)
    assert (came_from.rpartition(":")[0], at) == (client, f"{address}:90")
