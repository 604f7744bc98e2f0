"""Counts what each stream of an HTTP/2 connection takes on the wire, as Envoy's log operators tell it.

Frames of a stream count whole, HEADERS and CONTINUATION as header bytes; names and values of fields are the
decompressed ones.  :class:`MeteredCodec` stands between a codec and its owner, for both of them; without it
nothing is counted and nothing costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sidecar.api.wire import StreamWire, WireBytes
from sidecar.codec.h2_types import CONNECTION_PREFACE, MAX_WINDOW

__all__ = ["MeteredCodec"]

_HEAD_BYTES = 9
_HEADERS, _CONTINUATION = 1, 9
_HEADER_KINDS = frozenset((_HEADERS, _CONTINUATION))
#: Streams that a head came of and that did not begin, of which is kept what came.
_MOST_UNBEGUN = 256


class _Frames:
    """Where frames begin in bytes that come in any split."""

    __slots__ = ("_head", "_left")

    def __init__(self, skip: int) -> None:
        self._left = skip
        self._head = b""

    def feed(self, data: Any) -> Iterator[tuple[int, int, int]]:
        """(kind, stream, size) of each frame that begins."""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            piece = bytes(data[at : at + _HEAD_BYTES - len(self._head)])
            at += len(piece)
            head = self._head = self._head + piece
            if len(head) == _HEAD_BYTES:
                self._head = b""
                self._left = int.from_bytes(head[:3], "big")
                yield head[3], int.from_bytes(head[5:], "big") & MAX_WINDOW, self._left


def _size(fields: Iterable[Any]) -> int:
    return sum(len(name) + len(value) for name, value in fields)


class MeteredCodec:
    """An :class:`~sidecar.codec.h2_types.H2Codec`, and the handler of the one in it.

    It may be put around a codec that is in use.
    """

    #: Responses are told in pieces, which are counted.
    on_whole: Any = None

    def __init__(self, codec: Any, handler: Any, *, client: bool) -> None:
        self._codec = codec
        self._handler = handler
        out: Any = getattr(codec, "_out", None)
        self._out_seen = 0
        is_fresh = bool(out) and out[0] == CONNECTION_PREFACE
        self._sent = _Frames(len(CONNECTION_PREFACE) if client and is_fresh else 0)
        is_unread = getattr(codec, "_expect_preface", False)
        self._received = _Frames(len(CONNECTION_PREFACE) if is_unread else 0)
        for _ in self._received.feed(getattr(codec, "_buffer", b"")):
            pass  # the frame that is being received belongs to nobody who counts
        self._wires: dict[int, WireBytes] = {}
        self._unbegun: dict[int, WireBytes] = {}
        codec._handler = self
        if getattr(codec, "_on_whole", None) is not None:
            codec._on_whole = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler if name.startswith("on_") else self._codec, name)

    def let_go(self) -> None:
        """See :meth:`sidecar.codec.h2_connection.H2Connection.let_go`."""
        self._codec.let_go()
        self._handler = None

    # -- whose bytes are counted ------------------------------------------------------------------
    def begin(self, stream_id: int) -> StreamWire:
        """The bytes of a stream that the peer began."""
        made = StreamWire()
        made.down = self._unbegun.pop(stream_id, made.down)
        self.watch(stream_id, made.down)
        return made

    def watch(self, stream_id: int, wire: WireBytes) -> None:
        """Count what the stream takes into ``wire``."""
        self._wires[stream_id] = wire
        wire.pending = self

    def forget(self, stream_id: int) -> None:
        """The stream is over."""
        self.settle()
        wire = self._wires.pop(stream_id, None)
        if wire is not None:
            wire.pending = None

    def settle(self) -> None:
        """Count what is queued."""
        out = getattr(self._codec, "_out", ())
        for piece in out[self._out_seen :]:
            self._count_sent(piece)
        self._out_seen = len(out)

    # -- frames -------------------------------------------------------------------------------------
    def _count_sent(self, data: Any) -> None:
        for kind, stream_id, size in self._sent.feed(data):
            wire = self._wires.get(stream_id)
            if wire is not None:
                wire.sent += _HEAD_BYTES + size
                if kind in _HEADER_KINDS:
                    wire.header_sent += _HEAD_BYTES + size

    def receive_data(self, data: bytes) -> None:
        for kind, stream_id, size in self._received.feed(data):
            is_header = kind in _HEADER_KINDS
            wire = self._wires.get(stream_id) or self._unbegun.get(stream_id)
            if wire is None:
                if not is_header:
                    continue
                wire = self._kept(stream_id)
            wire.received += _HEAD_BYTES + size
            if is_header:
                wire.header_received += _HEAD_BYTES + size
        self._codec.receive_data(data)

    def _kept(self, stream_id: int) -> WireBytes:
        wire = self._unbegun.get(stream_id)
        if wire is None:
            if len(self._unbegun) >= _MOST_UNBEGUN:
                self._unbegun.clear()
            wire = self._unbegun[stream_id] = WireBytes()
        return wire

    def take_output(self) -> bytes:
        self.settle()
        self._out_seen = 0
        data: bytes = self._codec.take_output()
        if not hasattr(self._codec, "_out"):
            self._count_sent(data)
        return data

    def take_pieces(self) -> list[Any]:
        self.settle()
        self._out_seen = 0
        pieces: list[Any] = self._codec.take_pieces()
        if not hasattr(self._codec, "_out"):
            for piece in pieces:
                self._count_sent(piece)
        return pieces

    # -- fields -------------------------------------------------------------------------------------
    def _add_sent(self, stream_id: int, fields: Iterable[Any]) -> None:
        wire = self._wires.get(stream_id)
        if wire is not None:
            wire.decompressed_sent += _size(fields)

    def send_headers(self, stream_id: int, fields: Any, end_stream: bool) -> None:
        self._add_sent(stream_id, fields)
        self._codec.send_headers(stream_id, fields, end_stream)

    def send_whole(self, stream_id: int, fields: Any, data: bytes) -> bool:
        if not self._codec.send_whole(stream_id, fields, data):
            return False
        self._add_sent(stream_id, fields)
        return True

    def send_trailers(self, stream_id: int, fields: Any) -> None:
        self._add_sent(stream_id, fields)
        self._codec.send_trailers(stream_id, fields)

    def _add_received(self, stream_id: int, fields: Any) -> None:
        size = _size(fields)
        for name, value in fields:
            if name == b"cookie":
                # Pieces of a cookie come as fields of their own, and are one by now.
                size += value.count(b"; ") * (len(name) - 2)
        wire = self._wires.get(stream_id) or self._kept(stream_id)
        wire.decompressed_received += size

    def on_headers(self, stream_id: int, fields: Any, end_stream: bool) -> None:
        self._add_received(stream_id, fields)
        self._handler.on_headers(stream_id, fields, end_stream)

    def on_informational(self, stream_id: int, fields: Any) -> None:
        self._add_received(stream_id, fields)
        self._handler.on_informational(stream_id, fields)

    def on_trailers(self, stream_id: int, fields: Any) -> None:
        self._add_received(stream_id, fields)
        self._handler.on_trailers(stream_id, fields)
