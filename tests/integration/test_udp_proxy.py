# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""A UDP proxy as a process: floods beside requests, bursts and trains of datagrams, clients' own addresses."""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proxy_process import PROXIES, RunningProxy, running_proxy

_CONFIG = """\
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: datagrams
    address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 10001}}
    listener_filters:
    - name: udp
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
        stat_prefix: udp
        cluster: hosts
        MORE
  - name: requests
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: hosts
    type: STATIC
    load_assignment:
      cluster_name: hosts
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 10002}}}}]}]
"""
_GRO_TRAIN = [(17, 103, struct.pack("@H", 700))]


@contextmanager
def _host(proxy: RunningProxy) -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        sock.bind(("127.0.0.1", proxy.ports[10002]))
        sock.settimeout(10)
        yield sock


@contextmanager
def _client(proxy: RunningProxy, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", proxy.ports[10001]))
        sock.settimeout(10)
        yield sock


def _stats(proxy: RunningProxy) -> dict[str, int]:
    url = f"http://127.0.0.1:{proxy.ports[9901]}/stats?format=json"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)["stats"]
    return {each["name"]: each["value"] for each in found if "name" in each}


def test_flood_of_datagrams_leaves_requests_their_turn(tmp_path: Path) -> None:
    over = threading.Event()

    def flood(proxy: RunningProxy) -> None:
        with _client(proxy) as client:
            while not over.is_set():
                try:
                    client.send(b"x" * 100)
                except OSError:
                    time.sleep(0.001)

    with running_proxy("sidecar", _CONFIG.replace("MORE", ""), tmp_path) as proxy, _host(proxy):
        thread = threading.Thread(target=flood, args=(proxy,))
        thread.start()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.ports[10000], timeout=10)
            for _ in range(50):
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"ok"
            connection.close()
        finally:
            over.set()
            thread.join()
        assert _stats(proxy)["udp.udp.downstream_sess_rx_datagrams"] > 0


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.oracle
def test_bursts_and_trains_arrive_whole_and_in_order(kind: str, tmp_path: Path) -> None:
    sizes = [100] * 20 + [50] + [100] * 3 + [0, 0, 1400, 1400, 7] + [1200] * 40
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    with (
        running_proxy(kind, _CONFIG.replace("MORE", ""), tmp_path) as proxy,
        _host(proxy) as host,
        _client(proxy) as client,
    ):
        for data in sent:
            client.send(data)
        got = [host.recvfrom(2048) for _ in sent]
        assert [data for data, _ in got] == sent
        peer = got[0][1]
        assert {each for _, each in got} == {peer}
        # Trains: whole ones, and one whose last datagram is shorter.
        for _ in range(5):
            host.sendmsg([b"a" * 700 * 9, b"b" * 100], _GRO_TRAIN, 0, peer)
        back = [len(client.recv(2048)) for _ in range(50)]
        assert back == [*[700] * 9, 100] * 5
        stats = _stats(proxy)
        assert stats["cluster.hosts.udp.sess_tx_datagrams"] == len(sent)
        assert stats["udp.udp.downstream_sess_rx_bytes"] == sum(sizes)
        assert stats["cluster.hosts.udp.sess_rx_datagrams"] == 50
        assert stats["udp.udp.downstream_sess_tx_bytes"] == 5 * (700 * 9 + 100)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="needs CAP_NET_ADMIN: datagrams are sent from a client's address"
)
@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.oracle
def test_host_sees_the_address_of_the_client(kind: str, tmp_path: Path) -> None:
    text = _CONFIG.replace("MORE", "use_original_src_ip: true")
    with (
        running_proxy(kind, text, tmp_path) as proxy,
        _host(proxy) as host,
        _client(proxy, "127.0.0.55") as client,
    ):
        for data in (b"one", b"two"):
            client.send(data)
            got, peer = host.recvfrom(100)
            assert (got, peer[0]) == (data, "127.0.0.55")
            host.sendto(b"back", peer)
            assert client.recv(100) == b"back"


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.oracle
def test_datagrams_that_found_no_room_are_counted(kind: str, tmp_path: Path) -> None:
    text = _CONFIG.replace("MORE", "").replace(
        "  - name: requests",
        "    socket_options: [{level: 1, name: 8, int_value: 4096, state: STATE_PREBIND}]\n  - name: requests",
    )
    with running_proxy(kind, text, tmp_path) as proxy, _host(proxy), _client(proxy) as client:
        name = f"listener.127.0.0.1_{proxy.ports[10001]}.udp.downstream_rx_datagram_dropped"
        deadline = time.monotonic() + 10
        while not _stats(proxy)[name] and time.monotonic() < deadline:
            for _ in range(500):
                client.send(b"x" * 10)
        assert _stats(proxy)[name] > 0
