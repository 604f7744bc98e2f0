"""What a stream takes on the wire, counted beside the codecs."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.api.wire import StreamWire, WireBytes
from sidecar.codec.h1_sizes import note_received_head, note_sent_head
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_sizes import MeteredCodec
from sidecar.codec.h2_types import H2Settings

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


class Owner:
    """A handler that begins every stream of a client and keeps what it is told."""

    def __init__(self, *, client: bool) -> None:
        self.is_client = client
        self.told: list[Any] = []
        self.wires: dict[int, StreamWire] = {}
        self.codec: Any = H2Connection(self, client=client, settings=H2Settings())

    def metered(self, *, client: bool) -> MeteredCodec:
        self.codec = MeteredCodec(self.codec, self, client=client)
        return self.codec  # type: ignore[no-any-return]

    def on_headers(self, stream_id: int, fields: Any, end_stream: bool) -> None:
        self.told.append(("headers", stream_id, list(fields)))
        if isinstance(self.codec, MeteredCodec) and not self.is_client:
            self.wires[stream_id] = self.codec.begin(stream_id)

    def on_data(self, stream_id: int, data: Any, end_stream: bool, flow_bytes: int) -> None:
        self.told.append(("data", stream_id, bytes(data)))
        self.codec.consume(stream_id, flow_bytes)

    def on_trailers(self, stream_id: int, fields: Any) -> None:
        self.told.append(("trailers", stream_id, fields))

    def on_informational(self, stream_id: int, fields: Any) -> None:
        self.told.append(("interim", stream_id, fields))

    def on_settings(self) -> None:
        return

    def on_window(self, stream_id: int) -> None:
        return


def exchange(a: Any, b: Any, split: int = 1 << 20) -> int:
    """Let both say what they have to say; the bytes that ``a`` sent."""
    sent = 0
    while True:
        there, back = a.take_output(), b.take_output()
        if not there and not back:
            return sent
        sent += len(there)
        for receiver, data in ((b, there), (a, back)):
            for at in range(0, len(data), split):
                receiver.receive_data(data[at : at + split])


@pytest.mark.parametrize("split", [1 << 20, 7, 1])
def test_frames_of_a_stream_count_whole_however_they_are_split(split: int) -> None:
    client, server = Owner(client=True), Owner(client=False)
    meter, server_meter = client.metered(client=True), server.metered(client=False)
    exchange(meter, server_meter, split)
    wire = WireBytes()
    stream_id = meter.open_stream()
    meter.watch(stream_id, wire)
    meter.send_headers(stream_id, [*GET, (b"cookie", b"a=b"), (b"cookie", b"c=d")], False)
    meter.send_data(stream_id, b"hello", False)
    meter.send_trailers(stream_id, [(b"x-t", b"v")])
    wire.settle()
    queued = wire.sent
    sent = exchange(meter, server_meter, split)
    down = server.wires[stream_id].down
    assert wire.sent == queued == sent == down.received
    assert wire.header_sent == down.header_received == sent - 14
    assert wire.decompressed_sent == down.decompressed_received == 38 + 2 * 9 + 4
    server_meter.send_headers(stream_id, [(b":status", b"200")], False)
    server_meter.send_data(stream_id, b"ok", True)
    back = exchange(server_meter, meter, split)
    down.settle()
    assert down.sent == wire.received == back
    assert wire.header_received == down.header_sent == back - 11
    assert wire.decompressed_received == down.decompressed_sent == 10
    assert [each[0] for each in client.told] == ["headers", "data"]


def test_a_codec_in_use_counts_from_then_on() -> None:
    client, server = Owner(client=True), Owner(client=False)
    exchange(client.codec, server.codec)
    first = client.codec.open_stream()
    client.codec.send_headers(first, GET, True)
    exchange(client.codec, server.codec)
    server.codec.send_headers(first, [(b":status", b"200")], False)
    server.codec.send_data(first, b"x" * 100, True)
    data = server.codec.take_output()
    client.codec.receive_data(data[:40])  # inside a frame
    meter = client.metered(client=True)
    wire = WireBytes()
    second = meter.open_stream()
    meter.watch(second, wire)
    meter.send_headers(second, GET, True)
    meter.receive_data(data[40:])
    assert client.told[-1] == ("data", first, b"x" * 100)
    assert not wire.received
    sent = exchange(meter, server.codec)
    assert wire.sent == sent
    meter.forget(second)
    assert wire.pending is None


def test_heads_that_never_become_streams_are_not_kept() -> None:
    server = Owner(client=False)
    meter = server.metered(client=False)
    for number in range(1000):
        meter._kept(number)
        assert len(meter._unbegun) <= 256


def test_head_of_http1_counts_fields_as_envoy_does() -> None:
    wire = WireBytes()
    note_received_head(wire, b"GET / HTTP/1.1\r\nHost:   a  \r\nX-Y:zz\r\n\r\n")
    assert wire.header_received == wire.decompressed_received == 16
    note_received_head(wire, b"HTTP/1.1 200 OK\r\n\r\n")
    assert (wire.header_received, wire.decompressed_received) == (19, 35)
    note_sent_head(wire, b"HTTP/1.1 200 OK\r\na: b\r\n\r\n")
    assert wire.header_sent == wire.decompressed_sent == 6
