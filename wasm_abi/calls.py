"""The HTTP and gRPC calls of one plugin: their numbers, and what the guest is told of them.

A guest starts calls through ``hostcalls.callouts``; the embedder makes them (``roles.CalloutHost``) and says
what came of them with the ``on_…`` methods here, at any time: while a guest runs, the delivery waits until it
has returned. A call belongs to the plugin, not to the stream it was started for, so its callbacks get the
root context; what is being delivered can be read from any context of the plugin for as long as the callback
runs. News of a call that is over, or of a plugin whose VM has failed, are dropped.

Spec: proxy-wasm 0.2.1, "HTTP calls", "gRPC calls". Numbers as in Envoy's host: the kind stands in the low two
bits, a number of another kind is BAD_ARGUMENT, one that is unknown NOT_FOUND.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wasm_abi.abi import CallStatus, MapType, Status

if TYPE_CHECKING:
    from wasm_abi.plugin import Plugin
    from wasm_abi.roles import CalloutHost

KIND_MASK = 3
HTTP_CALL, GRPC_CALL, GRPC_STREAM = 0, 1, 2
STEP = 4
_MAX_NUMBER = 0xFFFF_FFFF

Pairs = Sequence[tuple[bytes, bytes]]


class _GrpcStream:
    """Which halves of a stream are over."""

    __slots__ = ("is_closed_here", "is_closed_there")

    def __init__(self) -> None:
        self.is_closed_here = False
        self.is_closed_there = False


class Callouts:
    """What a plugin has asked others, and the answer that is being delivered, if one is."""

    __slots__ = ("_grpc", "_http", "_owner", "_streams", "body", "host", "maps", "message", "status")

    def __init__(self, plugin: "Plugin", host: "CalloutHost | None") -> None:
        #: None once it is over, and so are its calls.
        self._owner: Plugin | None = plugin
        self.host = host
        self._http: set[int] = set()
        self._grpc: set[int] = set()
        self._streams: dict[int, _GrpcStream] = {}
        #: What ``proxy_get_status`` says: a number and a text.
        self.status: tuple[int, bytes] = (0, b"")
        #: Maps of the delivery under way, by MapType.
        self.maps: dict[int, Pairs] = {}
        #: The body of the HTTP response being delivered, and the gRPC message.
        self.body: bytes | None = None
        self.message: bytes | None = None

    def take_apart(self) -> None:
        """Let go of the plugin, which is over."""
        self._owner = None
        self.host = None

    @property
    def _plugin(self) -> "Plugin":
        assert self._owner is not None
        return self._owner

    @property
    def open_calls(self) -> int:
        """How many calls and streams are not over."""
        return len(self._http) + len(self._grpc) + len(self._streams)

    # -- out of the guest -------------------------------------------------------------------------------

    def http_call(
        self, upstream: bytes, headers: Pairs, body: bytes, trailers: Pairs, timeout_ms: int
    ) -> tuple[Status, int]:
        """Start one; returns the status and its number."""
        assert self.host is not None
        number = self._plugin.vm.next_call_number(HTTP_CALL)
        self._http.add(number)
        status = self.host.http_call(number, upstream, headers, body, trailers, timeout_ms)
        if status is not Status.OK:
            self._http.discard(number)
        return status, number

    def grpc_call(
        self, upstream: bytes, service: bytes, method: bytes, metadata: Pairs, message: bytes, timeout_ms: int
    ) -> tuple[Status, int]:
        assert self.host is not None
        number = self._plugin.vm.next_call_number(GRPC_CALL)
        self._grpc.add(number)
        status = self.host.grpc_call(number, upstream, service, method, metadata, message, timeout_ms)
        if status is not Status.OK:
            self._grpc.discard(number)
        return status, number

    def grpc_stream(
        self, upstream: bytes, service: bytes, method: bytes, metadata: Pairs
    ) -> tuple[Status, int]:
        assert self.host is not None
        number = self._plugin.vm.next_call_number(GRPC_STREAM)
        self._streams[number] = _GrpcStream()
        status = self.host.grpc_stream(number, upstream, service, method, metadata)
        if status is not Status.OK:
            self._streams.pop(number, None)
        return status, number

    def grpc_send(self, number: int, message: bytes, end_of_stream: bool) -> Status:
        if number & KIND_MASK != GRPC_STREAM:
            return Status.BAD_ARGUMENT
        stream = self._streams.get(number)
        if stream is None:
            return Status.NOT_FOUND
        if not (stream.is_closed_here or stream.is_closed_there):
            assert self.host is not None
            self.host.grpc_send(number, message, end_of_stream)
        return Status.OK

    def grpc_close(self, number: int) -> Status:
        """Half-close a stream; a call is cancelled."""
        if number & KIND_MASK == GRPC_CALL:
            return self.grpc_cancel(number)
        if number & KIND_MASK != GRPC_STREAM:
            return Status.BAD_ARGUMENT
        stream = self._streams.get(number)
        if stream is None:
            return Status.NOT_FOUND
        assert self.host is not None
        if stream.is_closed_there:
            del self._streams[number]
        elif not stream.is_closed_here:
            stream.is_closed_here = True
            self.host.grpc_close(number)
        return Status.OK

    def grpc_cancel(self, number: int) -> Status:
        kind = number & KIND_MASK
        if kind == GRPC_CALL:
            if number not in self._grpc:
                return Status.NOT_FOUND
            self._grpc.discard(number)
        elif kind == GRPC_STREAM:
            if self._streams.pop(number, None) is None:
                return Status.NOT_FOUND
        else:
            return Status.BAD_ARGUMENT
        assert self.host is not None
        self.host.cancel_call(number)
        return Status.OK

    def cancel_all(self) -> None:
        """Give every call up; nothing is delivered any more."""
        numbers = [*self._http, *self._grpc, *self._streams]
        self._http.clear()
        self._grpc.clear()
        self._streams.clear()
        if self.host is not None:
            for number in numbers:
                self.host.cancel_call(number)

    # -- into the guest -----------------------------------------------------------------------------------

    def on_http_response(
        self, number: int, headers: Pairs | None, body: bytes = b"", trailers: Pairs = ()
    ) -> None:
        """An HTTP call is over: the response, or None for ``headers`` where there is none.

        Raises: WasmTrap.
        """
        if self._waits(self.on_http_response, number, headers, body, trailers) or number not in self._http:
            return
        self._http.discard(number)
        if headers is None:
            self.status = (CallStatus.BROKEN_CONNECTION, b"reset")
            try:
                self._call("proxy_on_http_call_response", number, 0, 0, 0)
            finally:
                self.status = (self.status[0], b"")
            return
        self.maps = {
            MapType.HTTP_CALL_RESPONSE_HEADERS: headers,
            MapType.HTTP_CALL_RESPONSE_TRAILERS: trailers,
        }
        self.body = body
        try:
            self._call("proxy_on_http_call_response", number, len(headers), len(body), len(trailers))
        finally:
            self.maps = {}
            self.body = None

    def on_grpc_initial_metadata(self, number: int, metadata: Pairs) -> None:
        """Raises: WasmTrap."""
        self._metadata(
            self.on_grpc_initial_metadata,
            "proxy_on_grpc_receive_initial_metadata",
            MapType.GRPC_CALL_INITIAL_METADATA,
            number,
            metadata,
        )

    def on_grpc_trailing_metadata(self, number: int, metadata: Pairs) -> None:
        """Raises: WasmTrap."""
        self._metadata(
            self.on_grpc_trailing_metadata,
            "proxy_on_grpc_receive_trailing_metadata",
            MapType.GRPC_CALL_TRAILING_METADATA,
            number,
            metadata,
        )

    def on_grpc_message(self, number: int, message: bytes) -> None:
        """A message of a stream, or the answer to a call, which is over then.  Raises: WasmTrap."""
        if self._waits(self.on_grpc_message, number, message) or not self._is_open(number):
            return
        self._grpc.discard(number)
        self.message = message
        try:
            self._call("proxy_on_grpc_receive", number, len(message))
        finally:
            self.message = None

    def on_grpc_close(self, number: int, status: int, message: bytes = b"") -> None:
        """A stream has ended, or a call has failed, with that gRPC status.  Raises: WasmTrap."""
        if self._waits(self.on_grpc_close, number, status, message) or not self._is_open(number):
            return
        self._grpc.discard(number)
        stream = self._streams.get(number)
        if stream is not None:
            stream.is_closed_there = True
        self.status = (status, message)
        try:
            self._call("proxy_on_grpc_close", number, status)
        finally:
            self.status = (status, b"")
            if stream is not None and stream.is_closed_here:
                self._streams.pop(number, None)

    # -- how ------------------------------------------------------------------------------------------------

    def _is_open(self, number: int) -> bool:
        return number in self._grpc or (number in self._streams and not self._streams[number].is_closed_there)

    def _waits(self, deliver: Callable[..., None], *arguments: Any) -> bool:
        """Whether the guest runs now, so that this has been put off until it has returned."""
        vm = self._plugin.vm
        if not vm.is_running:
            return False
        vm.after_call(deliver, *arguments)
        return True

    def _metadata(
        self, again: Callable[..., None], name: str, kind: MapType, number: int, metadata: Pairs
    ) -> None:
        if self._waits(again, number, metadata) or not self._is_open(number):
            return
        self.maps = {kind: metadata}
        try:
            self._call(name, number, len(metadata))
        finally:
            self.maps = {}

    def _call(self, name: str, *arguments: int) -> None:
        plugin = self._plugin
        vm = plugin.vm
        if vm.failure is None and plugin.root.id in vm.contexts:
            entry = vm.entry(name)
            if entry is not None:
                entry(plugin.root, *arguments)
