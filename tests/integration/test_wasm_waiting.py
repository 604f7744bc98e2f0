"""Streams and connections that wait in a guest which fails over another one: they follow its policy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from proxy_process import RunningProxy, running_proxy
from test_wasm_hostile import MODULES, configuration, stats

STRING = "type.googleapis.com/google.protobuf.StringValue"
#: The answer never comes: what it is asked waits in the guest.
GUEST = MODULES / "conformance_guest_0_2_1.wasm"
WAITS = """
@on_request_headers:waits
return 1
@on_response_headers:back
return 1
@on_request_headers:trap
trap
@on_request_headers:fine
add_header_map_value 0 "x-guest" "yes"
"""
CONNECTIONS = """
@on_downstream_data
nth 1 return 1
nth 2 trap
"""
TCP = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - {name: guest, typed_config: FILTER}
      - name: echo
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
"""


async def head_of(stream: trio.SocketStream) -> int:
    found = b""
    while b"\r\n\r\n" not in found:
        data = await stream.receive_some()
        assert data, found
        found += data
    return int(found.split(b" ", 2)[1])


@asynccontextmanager
async def asking(port: int, case: str, body: bytes = b"") -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        length = f"content-length: {len(body)}\r\n" if body else ""
        await stream.send_all(f"POST / HTTP/1.1\r\nhost: a\r\nx-case: {case}\r\n{length}\r\n".encode() + body)
        yield stream


async def says(proxy: RunningProxy, *texts: str) -> None:
    """Wait until the guest has said all of this."""
    with trio.fail_after(20):
        while any(text not in proxy.output.read_text(errors="replace") for text in texts):  # noqa: ASYNC110 - a process writes it
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("policy", "status"), [({}, 503), ({"fail_open": True}, 200)], ids=["closed", "open"]
)
def test_streams_that_wait_follow_the_policy(policy: dict[str, Any], status: int, tmp_path: Path) -> None:
    log = tmp_path / "access"

    async def run(proxy: RunningProxy) -> None:
        port = proxy.ports[10000]
        async with asking(port, "waits") as head, asking(port, "back") as back:
            await says(proxy, ") waits", "on_response_headers(")
            async with asking(port, "trap") as trap:
                assert await head_of(trap) == status
            with trio.fail_after(20):
                assert [await head_of(each) for each in (head, back)] == [status] * 2
        async with asking(port, "fine") as fine:
            assert await head_of(fine) == 200
        assert stats(proxy)["http.main.downstream_rq_active"] == 0

    with running_proxy(
        "sidecar", configuration(log, script=WAITS, guest=GUEST, plugin=policy), tmp_path
    ) as proxy:
        trio.run(run, proxy)


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_connections_that_wait_follow_the_policy(is_open: bool, tmp_path: Path) -> None:
    plugin: dict[str, Any] = {
        "name": "guest",
        "configuration": {"@type": STRING, "value": CONNECTIONS},
        "vm_config": {"code": {"local": {"filename": str(GUEST)}}},
    }
    if is_open:
        plugin["fail_open"] = True
    message = {"@type": "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm", "config": plugin}

    async def run(proxy: RunningProxy) -> None:
        port = proxy.ports[10000]
        first = await trio.open_tcp_stream("127.0.0.1", port)
        await first.send_all(b"kept")
        await says(proxy, "on_downstream_data(4, 0)")
        second = await trio.open_tcp_stream("127.0.0.1", port)
        await second.send_all(b"sets it off")
        with trio.fail_after(20):
            assert await first.receive_some() == (b"kept" if is_open else b"")
            assert await second.receive_some() == (b"sets it off" if is_open else b"")
        await first.aclose()
        await second.aclose()

    with running_proxy("sidecar", TCP.replace("FILTER", json.dumps(message)), tmp_path) as proxy:
        trio.run(run, proxy)
