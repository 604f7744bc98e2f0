"""Guests that trap in one callback after another: the fault ends with its moment, whichever it was."""

from __future__ import annotations

from pathlib import Path

import trio
from proxy_process import RunningProxy, running_proxy
from test_wasm_hostile import MODULES, configuration, stats

GUEST = MODULES / "conformance_guest_0_2_1.wasm"
CALLBACKS = (
    *("request_headers", "request_body", "response_headers"),
    *("done", "log", "delete", "http_call_response"),
)
SCRIPT = (
    "\n".join(f"@on_{name}:{name}\ntrap" for name in CALLBACKS)
    + """
@on_request_headers:http_call_response
http_call "nobody" [:method: GET, :path: /, :authority: a] "" "" 1000
return 1
@on_request_headers:tick
set_tick_period_milliseconds 1
@on_tick
trap
@on_request_headers:fine
add_header_map_value 0 "x-guest" "yes"
"""
)
CLUSTER = """
  clusters:
  - name: nobody
    load_assignment:
      cluster_name: nobody
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}}]
"""


async def ask(port: int, case: str) -> int:
    """The status, 0 where the connection ends without one."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        request = (
            f"POST / HTTP/1.1\r\nhost: a\r\nx-case: {case}\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx"
        )
        await stream.send_all(request.encode())
        found = b""
        with trio.fail_after(20):
            async for data in stream:
                found += data
        return int(found.split(b" ", 2)[1]) if found else 0


def test_trap_in_any_callback_is_over_with_its_stream(tmp_path: Path) -> None:
    async def run(proxy: RunningProxy) -> dict[str, int]:
        port = proxy.ports[10000]
        found = {}
        for case in (*CALLBACKS, "tick"):
            found[case] = await ask(port, case)
            assert await ask(port, "fine") == 200
        return found

    text = configuration(tmp_path / "access", script=SCRIPT, guest=GUEST) + CLUSTER
    with running_proxy("sidecar", text, tmp_path) as proxy:
        found = trio.run(run, proxy)
        assert stats(proxy)["http.main.downstream_rq_active"] == 0
        assert stats(proxy)["wasm.wasm_vm_count"] == 1
        output = proxy.output.read_text(errors="replace")
    headers = ("request_headers", "response_headers", "http_call_response")
    assert {case: found[case] for case in headers} == dict.fromkeys(headers, 503)
    over = ("done", "log", "delete", "tick")
    assert {case: found[case] for case in over} == dict.fromkeys(over, 200)
    for name in CALLBACKS:
        assert f"plugin guest failed in proxy_on_{name}" in output
