"""Tunnels through a whole proxy: WebSocket peers of two packages, and much data in little memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio_websocket
from proxy_process import RunningProxy, running_proxy
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}"
#: ``/bridged`` comes back to the listener as an extended CONNECT over HTTP/2.
_CONFIG = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9901}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 10000}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          delayed_close_timeout: 0.05s
          upgrade_configs: [{{upgrade_type: websocket}}]
          http2_protocol_options: {{allow_connect: true}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{connect_matcher: {{}}}}
                route: {{cluster: app, upgrade_configs: [{{upgrade_type: CONNECT, connect_config: {{}}}}]}}
              - {{match: {{prefix: /bridged}}, route: {{cluster: itself, prefix_rewrite: /}}}}
              - {{match: {{prefix: /}}, route: {{cluster: app}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {_EXTENSIONS}.filters.http.router.v3.Router}}
  clusters:
  - name: app
    type: STATIC
    load_assignment: {{cluster_name: app, endpoints: [{{lb_endpoints: [{_ENDPOINT % 20000}]}}]}}
  - name: itself
    type: STATIC
    load_assignment: {{cluster_name: itself, endpoints: [{{lb_endpoints: [{_ENDPOINT % 10000}]}}]}}
    typed_extension_protocol_options:
      {_OPTIONS}:
        "@type": type.googleapis.com/{_OPTIONS}
        explicit_http_config: {{http2_protocol_options: {{}}}}
"""
PATHS = pytest.mark.parametrize("path", ["/", "/bridged"])
_MIB = 1 << 20


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy("sidecar", _CONFIG, tmp_path_factory.mktemp("tunnels")) as running:
        yield running


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "leave":
            await connection.close(4001, "as you wish")
        else:
            await connection.send(message)


def _refuse(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(418, "no tea\n") if request.path.endswith("refused") else None


def talk(proxy: RunningProxy, path: str, client: Callable[[ClientConnection], Awaitable[None]]) -> None:
    """Let ``client`` speak to an echoing server through the proxy."""

    async def main() -> None:
        options = {"max_size": 16 * _MIB, "process_request": _refuse}
        async with (
            serve(_echo, "127.0.0.1", proxy.ports[20000], **options),
            connect(f"ws://127.0.0.1:{proxy.ports[10000]}{path}", max_size=16 * _MIB) as connection,
        ):
            await client(connection)

    asyncio.run(asyncio.wait_for(main(), 30))


@PATHS
def test_websocket_messages_of_any_size_pass_both_ways(proxy: RunningProxy, path: str) -> None:
    async def client(connection: ClientConnection) -> None:
        for message in ("text \N{SNOWMAN}", b"", b"\x00\xff" * 10, "x" * 70_000, bytes(8 * _MIB)):
            await connection.send(message)
            assert await connection.recv() == message
        # The extension was negotiated between the peers: the proxy carries it.
        assert [each.name for each in connection.protocol.extensions] == ["permessage-deflate"]

    talk(proxy, path, client)


@PATHS
def test_websocket_pings_are_answered_by_the_other_peer(proxy: RunningProxy, path: str) -> None:
    async def client(connection: ClientConnection) -> None:
        for _ in range(3):
            assert await (await connection.ping(b"payload")) >= 0

    talk(proxy, path, client)


@PATHS
def test_websocket_close_codes_reach_the_other_peer(proxy: RunningProxy, path: str) -> None:
    async def client(connection: ClientConnection) -> None:
        await connection.send("leave")
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")

    talk(proxy, path, client)


def test_websocket_handshake_that_is_refused_keeps_its_status(proxy: RunningProxy) -> None:
    async def client(connection: ClientConnection) -> None:
        raise AssertionError("accepted")

    with pytest.raises(InvalidStatus) as refused:
        talk(proxy, "/refused", client)
    assert refused.value.response.status_code == 418
    assert refused.value.response.body == b"no tea\n"


@PATHS
async def test_trio_websocket_peers_talk_through_the_proxy(proxy: RunningProxy, path: str) -> None:
    left: list[tuple[int, str | None]] = []

    async def handler(request: trio_websocket.WebSocketRequest) -> None:
        connection = await request.accept(subprotocol=request.proposed_subprotocols[0])
        for _ in range(2):
            await connection.send_message(await connection.get_message())
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await connection.get_message()
        reason = closed.value.reason
        assert reason is not None
        left.append((reason.code, reason.reason))

    async with trio.open_nursery() as nursery:
        port = proxy.ports[20000]
        await nursery.start(trio_websocket.serve_websocket, handler, "127.0.0.1", port, None)
        url = f"ws://127.0.0.1:{proxy.ports[10000]}{path}"
        with trio.fail_after(20):
            async with trio_websocket.open_websocket_url(url, subprotocols=["chat"]) as connection:
                assert connection.subprotocol == "chat"
                for message in ("hello", bytes(300_000)):
                    await connection.send_message(message)
                    assert await connection.get_message() == message
                await connection.aclose(4002, "enough")
        assert left == [(4002, "enough")]
        nursery.cancel_scope.cancel()


# -- much data -------------------------------------------------------------------------------------
_SIZE = 256 * _MIB
_ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
_UPGRADE = b"GET %b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def _resident(proxy: RunningProxy) -> int:
    """Kilobytes of memory that the process has used at most."""
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def _pour(sock: socket.socket, size: int) -> None:
    data = bytes(_MIB)
    for _ in range(size // _MIB):
        sock.sendall(data)


def _drink(sock: socket.socket, size: int) -> None:
    left = size
    while left:
        received = len(sock.recv(_MIB))
        assert received, f"{left} bytes are missing"
        left -= received


def _head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return head


@pytest.mark.parametrize(
    ("request_head", "accepts"),
    [
        (_UPGRADE % b"/", True),
        (_UPGRADE % b"/bridged", True),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", False),
    ],
    ids=["upgrade", "bridged", "connect"],
)
def test_tunnel_carries_much_in_little_memory(
    proxy: RunningProxy, request_head: bytes, accepts: bool
) -> None:
    with (
        socket.create_server(("127.0.0.1", proxy.ports[20000])) as server,
        socket.create_connection(("127.0.0.1", proxy.ports[10000])) as client,
    ):
        client.settimeout(30)
        client.sendall(request_head)
        upstream, _ = server.accept()
        with upstream:
            upstream.settimeout(30)
            if accepts:
                _head(upstream)
                upstream.sendall(_ACCEPT)
            assert _head(client)[9:12] in (b"101", b"200")
            before = _resident(proxy)
            # All of it in both directions at once, as fast as the peers take it.
            writers = [threading.Thread(target=_pour, args=(each, _SIZE)) for each in (client, upstream)]
            readers = [threading.Thread(target=_drink, args=(each, _SIZE)) for each in (client, upstream)]
            for each in writers:
                each.start()
            for each in readers:
                each.start()
            for each in (*writers, *readers):
                each.join(60)
                assert not each.is_alive()
    assert _resident(proxy) - before < 48 * 1024


# -- ends of every kind ----------------------------------------------------------------------------
_HEADS = (_UPGRADE % b"/", _UPGRADE % b"/bridged", b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n")
_ENDS = ("client closes", "client resets", "server closes", "server resets")


def _end(writer: asyncio.StreamWriter, *, by_reset: bool) -> None:
    if by_reset:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def _one_tunnel(proxy: RunningProxy, servers: asyncio.Queue[_Peer], number: int) -> None:
    """One tunnel, ended at a place and in a way that its number says."""
    head, end, moment = _HEADS[number % 3], _ENDS[number // 3 % 4], number // 12 % 4
    if end.startswith("server"):
        moment = max(moment, 1)  # who leaves while it is connected to is asked again
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.ports[10000])
    writer.write(head + b"early" * moment)
    _, server = await servers.get()
    if moment:
        if head.startswith(b"GET"):
            server.write(_ACCEPT)
        server.write(b"x" * 100_000 * moment)
    if moment > 1:
        await reader.readexactly(1000)
    side, how = end.split()
    _end(writer if side == "client" else server, by_reset=how == "resets")
    other = server if side == "client" else writer
    with contextlib.suppress(OSError):
        await asyncio.wait_for(reader.read(-1) if side == "server" else other.drain(), 10)
    _end(other, by_reset=False)


_Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _settled(proxy: RunningProxy, pattern: str) -> None:
    """Wait until these gauges are 0."""
    deadline = time.monotonic() + 10
    while True:
        stats = proxy.get(f"/stats?filter={pattern}", port=9901).body.decode()
        busy = [line for line in stats.splitlines() if "admin" not in line and not line.endswith(": 0")]
        if not busy:
            return
        assert time.monotonic() < deadline, busy
        time.sleep(0.01)


def test_tunnels_that_end_anyhow_leave_nothing_behind(proxy: RunningProxy) -> None:
    async def main() -> None:
        servers: asyncio.Queue[_Peer] = asyncio.Queue()
        server = await asyncio.start_server(
            lambda reader, writer: servers.put_nowait((reader, writer)), "127.0.0.1", proxy.ports[20000]
        )
        async with server:
            for number in range(96):
                await asyncio.wait_for(_one_tunnel(proxy, servers, number), 20)
                await asyncio.sleep(0)
                # A connection that was made for nobody would serve the next one.
                await asyncio.to_thread(_settled, proxy, "app.upstream_cx_active")

    asyncio.run(main())
    _settled(proxy, "upgrades_active|rq_active|rq_pending_active|app.upstream_cx_active")
    assert len(list(Path(f"/proc/{proxy.pid}/fd").iterdir())) < 40
