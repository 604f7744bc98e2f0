"""The Wasm HTTP filter (``envoy.filters.http.wasm``): a proxy-wasm guest on requests and responses.

Callbacks that the guest does not export cost nothing.  A guest that stops a message makes the hook, or the
stage on the body, wait for its ``continue_stream``.  Where a guest traps, its VM takes no more calls: by
policy such streams are answered with 503 (``FAIL_CLOSED``), go on without the guest (``FAIL_OPEN``), or the
next stream starts a new VM (``FAIL_RELOAD``).

Configuration is :mod:`sidecar.extensions.http.wasm_config`'s, the roles :mod:`…wasm_host`'s, the ABI
``wasm_abi``'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sidecar.api.filters import HttpFilter
from sidecar.api.message import Body, LocalReply
from sidecar.api.stream import Flag
from sidecar.core.errors import Disconnected, StreamAborted
from sidecar.extensions.http.wasm_host import PluginSide, StreamSide
from wasm_abi import DataAction, HeadersAction, TrailersAction, WasmError

if TYPE_CHECKING:
    from sidecar.api.message import Message
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from wasm_abi import Plugin

__all__ = ["LivePlugin", "WasmFilter"]

_FAILED = LocalReply(503, b"", "wasm_fail_stream", grpc_status=14)
_TOO_LARGE = (
    LocalReply(413, b"Payload Too Large", "request_payload_too_large"),
    LocalReply(500, b"Internal Server Error", "response_payload_too_large"),
)
_REQUEST, _RESPONSE = 0, 1
#: Actions of a headers callback that let the message go on at once.
_GO_ON = frozenset({HeadersAction.CONTINUE, HeadersAction.CONTINUE_AND_END_STREAM})


class LivePlugin:
    """A plugin and its side, replaced when a failed VM is reloaded.

    ``reload`` gives a new plugin or None while it has to wait; None itself where the policy is not to.
    """

    __slots__ = ("fail_open", "plugin", "reload", "side")

    def __init__(
        self,
        plugin: Plugin,
        side: PluginSide,
        *,
        fail_open: bool = False,
        reload: Callable[[], tuple[Plugin, PluginSide] | None] | None = None,
    ) -> None:
        self.plugin = plugin
        self.side = side
        self.fail_open = fail_open
        self.reload = reload

    def revive(self) -> bool:
        """Whether the plugin can take a new stream, after a reload if need be."""
        if self.plugin.vm.failure is None:
            return True
        fresh = None if self.reload is None else self.reload()
        if fresh is None:
            return False
        self.plugin, self.side = fresh
        return True


class WasmFilter(HttpFilter):
    """Calls one plugin for every stream."""

    uses_trio = False

    def __init__(self, live: LivePlugin, config_name: str = "envoy.filters.http.wasm") -> None:
        self.config_name = config_name
        self._live = live
        plugin = live.plugin
        self._has_body = (
            plugin.exports_request_body or plugin.exports_request_trailers,
            plugin.exports_response_body or plugin.exports_response_trailers,
        )
        self._has_response = plugin.exports_response_headers or self._has_body[_RESPONSE]

    def active_hooks(self) -> frozenset[str]:
        """The hooks that this guest has anything to do in."""
        plugin = self._live.plugin
        if not (self._has_response or self._has_body[_REQUEST] or plugin.exports_request_headers):
            return frozenset({"on_complete"}) if plugin.exports_log else frozenset()
        hooks = {"decode_headers", "on_complete"}
        if self._has_response:
            hooks.add("encode_headers")
        return frozenset(hooks)

    # -- hooks ------------------------------------------------------------------------------------
    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        live = self._live
        if live.plugin.vm.failure is not None and not live.revive():
            return None if live.fail_open else _FAILED
        plugin = live.plugin
        side = StreamSide(live.side, stream)
        stream.set_slot(self.slot, side)
        message = stream.request
        headers = message.headers
        try:
            context = side.context = plugin.create_stream(side)
            if not plugin.exports_request_headers:
                action = HeadersAction.CONTINUE
            else:
                side.maps[0] = headers
                count = (
                    len(headers.fields)
                    + (headers.authority is not None)
                    + (headers.path is not None)
                    + (headers.method is not None)
                    + (headers.scheme is not None)
                )
                action = context.on_request_headers(count, message.body is None)
        except WasmError as error:
            return self._trapped(side, error)
        if action is HeadersAction.CONTINUE and side.reply is None and not side.invalid:
            side.maps[0] = None
            if self._has_body[_REQUEST] and message.body is not None:
                message.pipe_body(_GuestStage(self, side, message, _REQUEST))
            return None
        return self._settle(side, message, action, _REQUEST)

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        side: StreamSide | None = stream.get_slot(self.slot)
        # A stream whose request half never came this far is not the guest's (Envoy: http_request_started_).
        if side is None or side.is_dead:
            return None
        message = stream.response
        context = side.context
        assert message is not None
        assert context is not None
        side.reply = None
        side.maps[0] = side.maps[1] = None
        headers = message.headers
        try:
            if not self._live.plugin.exports_response_headers:
                action = HeadersAction.CONTINUE
            else:
                side.maps[2] = headers
                action = context.on_response_headers(len(headers.fields) + 1, message.body is None)
        except WasmError as error:
            return self._trapped(side, error)
        if action is HeadersAction.CONTINUE and side.reply is None:
            side.maps[2] = None
            if self._has_body[_RESPONSE] and message.body is not None:
                message.pipe_body(_GuestStage(self, side, message, _RESPONSE))
            return None
        return self._settle(side, message, action, _RESPONSE)

    def on_complete(self, stream: Stream) -> None:
        side: StreamSide | None = stream.get_slot(self.slot)
        live = self._live
        try:
            if side is None:
                # Envoy too first makes the context when an access log is all there is to do.
                if not live.plugin.exports_log or live.plugin.vm.failure is not None:
                    return
                side = StreamSide(live.side, stream)
                side.context = live.plugin.create_stream(side)
            context = side.context
            if context is None:
                return
            maps = side.maps
            maps[0] = stream.request.headers
            maps[2] = stream.response_headers
            maps[3] = stream.response_trailers
            context.on_log()
            maps[0] = maps[2] = maps[3] = None
            context.on_done()
            context.on_delete()
        except WasmError as error:
            live.side.report("at the end of a stream", error)
        live.side.run_deferred()

    # -- what a callback came to ----------------------------------------------------------------------
    def _settle(
        self, side: StreamSide, message: Message, action: HeadersAction, direction: int
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        """The hook's result where the guest did not simply let the headers go on."""
        ended = self.verdict(side)
        if ended is not None:
            return ended
        if side.is_closed or not (action in _GO_ON or side.resumed[direction]):
            return self._wait_with_headers(side, message, action, direction)
        self._let_go(side, message, direction)
        return None

    async def _wait_with_headers(
        self, side: StreamSide, message: Message, action: HeadersAction, direction: int
    ) -> LocalReply | None:
        if side.is_closed:
            raise Disconnected("wasm_close_stream")
        if action is HeadersAction.STOP_ITERATION and message.body is not None and self._has_body[direction]:
            return await self._feed_behind_headers(side, message, direction)
        await self.wait(side, direction)
        ended = self.verdict(side)
        if ended is None:
            self._let_go(side, message, direction)
        return ended

    async def _feed_behind_headers(
        self, side: StreamSide, message: Message, direction: int
    ) -> LocalReply | None:
        """Headers are held while the guest sees the body (allow_on_headers_stop_iteration)."""
        source = message.body
        assert source is not None
        stage = _GuestStage(self, side, message, direction)
        message.pipe_body(stage)
        piped = message.body
        assert piped is not None
        # The stage gives nothing before the guest lets the body go on, and with it the headers.
        first = await piped.receive()
        ended = self.verdict(side)
        if ended is not None:
            return ended
        side.maps[0 if direction == _REQUEST else 2] = None
        message.body = _Begun(first, piped)
        return None

    def _let_go(self, side: StreamSide, message: Message, direction: int) -> None:
        side.resumed[direction] = False
        side.maps[0 if direction == _REQUEST else 2] = None
        if self._has_body[direction] and message.body is not None:
            message.pipe_body(_GuestStage(self, side, message, direction))

    def verdict(self, side: StreamSide) -> LocalReply | None:
        """What the stream is answered with, if it is."""
        if side.reply is not None:
            reply, side.reply = side.reply, None
            return reply
        if side.invalid:
            problem, side.invalid = side.invalid, ""
            details = f"filter_removed_required_request_headers{{{problem}}}".replace(" ", "_")
            return LocalReply(503, problem.encode(), details, Flag.DOWNSTREAM_PROTOCOL_ERROR)
        return None

    async def wait(self, side: StreamSide, direction: int) -> None:
        """Until the guest continues this direction, answers the stream or closes it.

        Raises: Disconnected when the guest closed the stream.
        """
        signal = side.signal(direction)
        while not (side.resumed[direction] or side.reply is not None or side.is_closed):
            await signal.wait()
        if side.is_closed:
            raise Disconnected("wasm_close_stream")

    def _trapped(self, side: StreamSide, error: WasmError) -> LocalReply | None:
        """The guest failed in the middle of this stream."""
        self._live.side.report("on a stream", error)
        side.is_dead = True
        side.context = None
        return None if self._live.fail_open else _FAILED

    def trapped_in_body(self, side: StreamSide, error: WasmError) -> None:
        """The same, while a body passes.  Raises: StreamAborted, unless the policy is to go on."""
        reply = self._trapped(side, error)
        if reply is not None:
            raise StreamAborted(reply) from error


class _Begun(Body):
    """A body whose first chunk was already taken."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: bytes, rest: Body) -> None:
        super().__init__()
        self._first = first
        self._rest = rest
        self.ended = rest.ended
        self.trailers = rest.trailers

    async def receive(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        data = await self._rest.receive()
        self.ended = self._rest.ended
        self.trailers = self._rest.trailers
        return data


class _GuestStage:
    """Shows a body to the guest, chunk by chunk; what the guest holds back it sees again with the next."""

    __slots__ = ("_direction", "_ends_apart", "_filter", "_held", "_message", "_side")

    def __init__(self, wasm_filter: WasmFilter, side: StreamSide, message: Message, direction: int) -> None:
        self._filter = wasm_filter
        self._side = side
        self._message = message
        self._direction = direction
        self._held = b""
        stream = side.stream
        protocol = stream.protocol if direction == _REQUEST else stream.upstream_protocol
        # HTTP/1 learns of the end after the last bytes: Envoy's guests see an empty end there.
        self._ends_apart = protocol.startswith("HTTP/1")

    def push(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        if end_stream and data and self._ends_apart:
            return self._push_twice(data)
        return self._push(data, end_stream)

    def _push(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        side = self._side
        direction = self._direction
        released = self._release() if side.resumed[direction] else b""
        buffer = self._held + data
        self._held = b""
        context = side.context
        if side.is_dead or context is None:
            return released + buffer
        limit: int = side.stream.hcm.buffer_limit_bytes
        side.buffers[direction] = buffer
        call = context.on_request_body if direction == _REQUEST else context.on_response_body
        try:
            action = call(len(buffer), end_stream)
        except WasmError as error:
            side.buffers[direction] = None
            self._filter.trapped_in_body(side, error)
            return released + buffer
        changed = side.buffers[direction]
        buffer = b"" if changed is None else changed
        self._check()
        if action is DataAction.CONTINUE:
            side.buffers[direction] = None
            side.resumed[direction] = False
            return released + buffer
        if action is DataAction.STOP_ITERATION_NO_BUFFER:
            buffer = b""
        self._held = buffer
        if side.resumed[direction]:
            return released + self._release()
        if not end_stream:
            if len(buffer) > limit:
                raise StreamAborted(_TOO_LARGE[direction])
            return released
        return self._wait(released)

    async def _push_twice(self, data: bytes) -> bytes:
        out = self._push(data, False)
        first = out if isinstance(out, bytes) else await out
        out = self._push(b"", True)
        return first + (out if isinstance(out, bytes) else await out)

    async def _wait(self, released: bytes) -> bytes:
        await self._filter.wait(self._side, self._direction)
        self._check()
        return released + self._release()

    def end(self, trailers: HeaderMap) -> bytes | Awaitable[bytes]:
        side = self._side
        direction = self._direction
        context = side.context
        if side.is_dead or context is None:
            return self._release()
        side.maps[1 if direction == _REQUEST else 3] = trailers
        if self._held:
            side.buffers[direction] = self._held
        call = context.on_request_trailers if direction == _REQUEST else context.on_response_trailers
        count = len(trailers.fields)
        try:
            action = call(count)
        except WasmError as error:
            self._filter.trapped_in_body(side, error)
            return self._release()
        changed = side.buffers[direction]
        if changed is not None:
            self._held = changed
        self._check()
        if action is TrailersAction.CONTINUE or side.resumed[direction]:
            side.maps[1 if direction == _REQUEST else 3] = None
            return self._release()
        return self._wait(b"")

    def _release(self) -> bytes:
        side = self._side
        side.resumed[self._direction] = False
        side.buffers[self._direction] = None
        held, self._held = self._held, b""
        return held

    def _check(self) -> None:
        side = self._side
        if side.is_closed:
            raise Disconnected("wasm_close_stream")
        reply = self._filter.verdict(side)
        if reply is not None:
            raise StreamAborted(reply)
