"""gRPC calls and streams of Wasm plugins, made by the proxy's own client.

What is told of a stream, in this order, is Envoy's: initial metadata, messages, trailing metadata, close; of
one that never had an answer the last two alone.  A call has one message, or a status that it failed with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import SidecarError
from sidecar.http.local_reply import reply_for
from sidecar.router.grpc_client import GrpcClient, GrpcStream, GrpcUnaryCall
from sidecar.router.grpc_service import InitialMetadata
from wasm_abi import Status, WasmError

if TYPE_CHECKING:
    from sidecar.router.grpc_service import GrpcService
    from sidecar.router.http_client import HttpCall, HttpClient
    from wasm_abi import Callouts

__all__ = ["GrpcCalls"]

Pairs = Sequence[tuple[bytes, bytes]]

#: Bytes that a guest may have waiting on a stream that nobody reads; with more the stream is given up.
_MOST_WAITING = 16 * 1024 * 1024


#: An invalid code is the number that all bits make.
_ALL_BITS = 0xFFFF_FFFF


class _Streaming:
    """One stream: what waits to be sent, and what was told of it."""

    __slots__ = ("call", "has_told_head", "is_ending", "waiting", "waiting_bytes")

    def __init__(self, call: GrpcStream) -> None:
        self.call = call
        self.waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.is_ending = False
        self.has_told_head = False

    def send(self, message: bytes) -> bool:
        """Send it, or let it wait; False where too much does already."""
        if not self.waiting and self.call.try_send(message):
            return True
        self.waiting.append(message)
        self.waiting_bytes += len(message)
        return self.waiting_bytes <= _MOST_WAITING

    def flush(self) -> None:
        """Send what there is room for."""
        while self.waiting and self.call.try_send(self.waiting[0]):
            self.waiting_bytes -= len(self.waiting.popleft())
        if self.is_ending and not self.waiting:
            self.is_ending = False
            self.call.end()


class GrpcCalls:
    """The calls and streams of one plugin."""

    def __init__(
        self,
        get_client: Callable[[], HttpClient],
        find_cluster: Callable[[str], Any],
        find_service: Callable[[bytes], GrpcService | None],
        report: Callable[[str, WasmError], None],
    ) -> None:
        self._get_client = get_client
        self._find_cluster = find_cluster
        self._find_service = find_service
        self._report = report
        self._calls: dict[int, GrpcUnaryCall] = {}
        self._streams: dict[int, _Streaming] = {}
        #: Whom to tell.
        self.told: Callouts | None = None

    def call(
        self, number: int, upstream: bytes, path: bytes, metadata: Pairs, message: bytes, timeout_ms: int
    ) -> Status:
        """Start a call."""
        client = self._client(upstream, metadata, timeout_ms)
        if not isinstance(client, GrpcClient):
            return client
        call = client.call(path, message)
        _hide(call)
        if not timeout_ms:  # none, which Envoy says all the same
            call.stream.request.headers.fields.insert(1, (b"grpc-timeout", b"0m"))
        self._calls[number] = call
        call.on_done = lambda _: self._call_over(number, call)
        return Status.OK

    def stream(self, number: int, upstream: bytes, path: bytes, metadata: Pairs) -> Status:
        """Start a stream."""
        client = self._client(upstream, metadata, 0)
        if not isinstance(client, GrpcClient):
            return client
        call = client.stream(path)
        _hide(call)
        self._streams[number] = _Streaming(call)
        call.on_event = lambda _: self._event(number)
        return Status.OK

    def send(self, number: int, message: bytes, *, end_of_stream: bool) -> None:
        """Send a message on a stream."""
        stream = self._streams.get(number)
        if stream is None:
            return
        if not stream.send(message):
            stream.call.cancel()
        elif end_of_stream:
            self.close(number)

    def close(self, number: int) -> None:
        """End our half of a stream."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.is_ending = True
            stream.flush()

    def cancel(self, number: int) -> None:
        """Give up; nothing more is told."""
        call = self._calls.pop(number, None)
        if call is not None:
            call.on_done = None
            call.cancel()
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.call.on_event = None
            stream.call.cancel()

    def _client(self, upstream: bytes, metadata: Pairs, timeout_ms: int) -> GrpcClient | Status:
        """Who makes the call, or why nobody does."""
        service = self._find_service(upstream)
        if service is None:
            return Status.PARSE_FAILURE
        if self._find_cluster(service.cluster) is None:
            return Status.INTERNAL_FAILURE
        more = tuple(InitialMetadata(name, value, value) for name, value in metadata)
        initial = (*service.initial_metadata, *more)
        timeout_s = timeout_ms / 1000
        return GrpcClient(self._get_client(), replace(service, initial_metadata=initial, timeout_s=timeout_s))

    # -- what comes of them ---------------------------------------------------------------------------
    def _call_over(self, number: int, call: GrpcUnaryCall) -> None:
        if self._calls.pop(number, None) is None or self.told is None or call.status is None:
            return
        try:
            if call.status.is_ok and call.message is not None:
                self.told.on_grpc_message(number, call.message)
            else:
                self.told.on_grpc_close(number, call.status.code & _ALL_BITS, _reason(call))
        except WasmError as error:
            self._report("in a callback of a gRPC call", error)

    def _event(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None or self.told is None:
            return
        stream.flush()
        try:
            self._tell(number, stream, self.told)
        except WasmError as error:
            self._report("in a callback of a gRPC stream", error)

    def _tell(self, number: int, stream: _Streaming, told: Callouts) -> None:
        call = stream.call
        is_bare = call.head is not None and call.head is call.trailers
        if call.head is not None and not stream.has_told_head:
            stream.has_told_head = True
            told.on_grpc_initial_metadata(number, [] if is_bare else list(call.head))
        while number in self._streams:
            message = call.take_message()
            if message is None:
                break
            told.on_grpc_message(number, message)
        if call.is_done and self._streams.pop(number, None) is not None:
            told.on_grpc_trailing_metadata(number, [] if call.trailers is None else list(call.trailers))
            assert call.status is not None
            told.on_grpc_close(number, call.status.code & _ALL_BITS, _reason(call))


def _reason(call: GrpcUnaryCall | GrpcStream) -> bytes:
    """The status message with the response code details behind it, as Envoy puts them."""
    assert call.status is not None
    details = "via_upstream"
    if call.head is None:
        error = call.error
        details = reply_for(error, call.stream).details if isinstance(error, SidecarError) else ""
    message = call.status.message
    return message + b"{%s}" % details.encode() if message and details else message or details.encode()


def _hide(call: HttpCall) -> None:
    """As in Envoy the call does not say for whom it is made; it is sent at the end of this pass."""
    call.stream.request.headers.remove(b"x-forwarded-for")
