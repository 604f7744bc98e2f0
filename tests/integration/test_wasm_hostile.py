"""Guests that fail: whom it touches, and what is left of it.

A thousand requests, fifty at a time, one in ten of which sets the guest off.
"""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import trio
from proxy_process import ROOT, RunningProxy, running_proxy

GUEST = ROOT / "tests" / "conformance" / "modules" / "conformance_guest_0_2_1.wasm"
SCRIPT = """
@on_request_headers:trap
trap
@on_request_headers:panic
panic
@on_request_headers:loop
loop
@on_request_headers:eat
eat
@on_request_headers:recurse
recurse
@on_response_headers:late
panic
@on_request_headers:fine
add_header_map_value 0 "x-guest" "yes"
"""
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
REQUESTS, AT_A_TIME = 1000, 50
CONFIGURATION = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": HCM
          stat_prefix: main
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
          http_filters:
          - name: guest
            typed_config: FILTER
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""


def configuration(**own: object) -> str:
    plugin = {
        "name": "guest",
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": SCRIPT},
        "vm_config": {"code": {"local": {"filename": str(GUEST)}}},
    }
    message: dict[str, object] = {"config": plugin}
    message["@type"] = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
    if own:
        message = {"@type": "type.googleapis.com/sidecar.extensions.filters.http.wasm.v1.Wasm", **own}
        message["wasm"] = {"config": plugin}
    return CONFIGURATION.replace("FILTER", json.dumps(message)).replace("HCM", HCM)


def stats(proxy: RunningProxy) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.ports[9901]}/stats", timeout=20) as reply:
        lines = reply.read().decode().splitlines()
    pairs = (line.rpartition(": ") for line in lines)
    return {name: int(value) for name, _, value in pairs if value.isdigit()}


async def ask(stream: trio.SocketStream, case: str) -> int:
    await stream.send_all(f"GET / HTTP/1.1\r\nhost: a\r\nx-case: {case}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        assert data, head
        head += data
    return int(head.split(b" ", 2)[1])


async def storm(port: int, cases: list[str]) -> list[int]:
    """The status of each request; fifty connections send them, one after another each."""
    found = [0] * len(cases)
    left = iter(range(len(cases)))

    async def client() -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            for index in left:
                found[index] = await ask(stream, cases[index])

    async with trio.open_nursery() as nursery:
        for _ in range(AT_A_TIME):
            nursery.start_soon(client)
    return found


def memory_mib(proxy: RunningProxy) -> float:
    text = Path(f"/proc/{proxy.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", text)
    assert match is not None
    return int(match[1]) / 1024


def test_faults_of_a_shared_guest_fail_their_own_streams_alone(tmp_path: Path) -> None:
    """No request here waits in the guest, so that nothing else is in flight in the instance that fails."""
    with running_proxy("sidecar", configuration(), tmp_path) as proxy:
        port = proxy.ports[10000]
        trio.run(storm, port, ["fine"] * 200)
        before = memory_mib(proxy)
        kinds = ("trap", "panic", "late", "recurse")
        cases = [kinds[index // 10 % len(kinds)] if index % 10 == 3 else "fine" for index in range(REQUESTS)]
        found = trio.run(storm, port, cases)
        assert found == [200 if case == "fine" else 503 for case in cases]
        seen = stats(proxy)
        assert memory_mib(proxy) - before < 20
        output = proxy.output.read_text(errors="replace")
    assert seen["wasm.guest.vm_restart_success"] == REQUESTS // 10
    assert seen["wasm.wasm_vm_count"] == 1
    assert "wasm.guest.vm_restart_paused" not in seen
    assert seen["http.main.downstream_rq_active"] == 0
    assert "as the script says" in output
    assert re.search(r"plugin guest failed in proxy_on_request_headers, for request [0-9a-f-]{36}: ", output)
    assert re.search(r"plugin guest failed .* \(in .*proxy_on_request_headers", output)


def test_faults_of_guests_of_their_own_touch_no_other_stream(tmp_path: Path) -> None:
    limits = {"memory_bytes": 16 << 20, "call_time": "1s"}
    with running_proxy("sidecar", configuration(isolation="STREAM", limits=limits), tmp_path) as proxy:
        port = proxy.ports[10000]
        trio.run(storm, port, ["fine"] * 200)
        before = memory_mib(proxy)
        cases = ["fine"] * REQUESTS
        for index in range(3, REQUESTS, 10):
            cases[index] = ("trap", "panic", "late", "recurse")[index // 10 % 4]
        cases[7], cases[17] = "loop", "eat"
        found = trio.run(storm, port, cases)
        assert found == [200 if case == "fine" else 503 for case in cases]
        assert memory_mib(proxy) - before < 20
        seen = stats(proxy)
    assert "wasm.guest.vm_restart_success" not in seen
    assert seen["http.main.downstream_rq_active"] == 0
