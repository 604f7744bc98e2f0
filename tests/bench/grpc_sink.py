"""``python -m tests.bench.grpc_sink PORT``: takes every call of gRPC, and ends each with status 0."""

from __future__ import annotations

import asyncio
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
_WINDOW = (1 << 31) - 1


class _Sink(asyncio.Protocol):
    def __init__(self) -> None:
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW - 65_535)
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            events = self._h2.receive_data(data)
            for event in events:
                if isinstance(event, RequestReceived):
                    self._h2.send_headers(event.stream_id, _HEAD)
                elif isinstance(event, DataReceived):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self._h2.send_data(event.stream_id, b"\0\0\0\0\0")
                    self._h2.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        except ProtocolError:
            self._transport.close()
            return
        self._transport.write(self._h2.data_to_send())


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
