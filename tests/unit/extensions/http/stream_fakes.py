"""What a stream hangs on, without sockets: bodies, connection, route, connection manager."""

from __future__ import annotations

from typing import Any

from sidecar.api.message import Body
from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap


class ScriptedBody(Body):
    """Gives its chunks one by one, then perhaps trailers."""

    def __init__(self, *chunks: bytes, trailers: HeaderMap | None = None) -> None:
        super().__init__()
        self._chunks = list(chunks)
        self._trailers = trailers

    async def receive(self) -> bytes:
        if self._chunks:
            data = self._chunks.pop(0)
            if not self._chunks and self._trailers is None:
                self.ended = True
            return data
        self.ended = True
        self.trailers = self._trailers
        return b""


class FakeConnection:
    connection_id = 7
    remote_address = "192.0.2.1:1111"
    direct_remote_address = "192.0.2.2:2222"
    direct_local_address = "127.0.0.1:80"
    filter_state = dynamic_metadata = None
    local_address = "127.0.0.1:80"
    listener_name = "ingress"
    traffic_direction = "OUTBOUND"
    listener_metadata = {"of": {"listener": 2}}  # noqa: RUF012
    filter_chain_name = "chain"
    detected_close_type = "Normal"
    agent: Any = False
    local_close_reason = ""
    requested_server_name = "sni.example"
    tls = None
    transport_failure_reason = ""
    start_ns = 0


class FakeRoute:
    def __init__(self, **given: Any) -> None:
        self.name = "main"
        self.cluster_name = "backend"
        self.virtual_host_name = "all"
        self.metadata: dict[str, dict[str, Any]] = {}
        self.typed_metadata: dict[str, bytes] = {}
        self.virtual_host_metadata: dict[str, dict[str, Any]] = {}
        self.per_filter_config: dict[str, Any] = {}
        self.__dict__.update(given)


class FakeHcm:
    slot_count = 2
    buffer_limit_bytes = 64

    def __init__(self, route: FakeRoute | None) -> None:
        self.route = route
        self.lookups = 0

    def resolve_route(self, stream: Stream) -> None:
        self.lookups += 1
        stream.resolve_route = False
        stream.route = self.route


async def read_all(body: Body | None) -> list[bytes]:
    """Every chunk of a body."""
    chunks = []
    while body is not None and (chunk := await body.receive()):
        chunks.append(chunk)
    return chunks
