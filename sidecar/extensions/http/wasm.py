"""The Wasm HTTP filter (``envoy.filters.http.wasm``): a proxy-wasm guest on requests and responses.

Callbacks that the guest does not export cost nothing.  A guest that stops a message makes the hook, or the
stage on the body, wait for its ``continue_stream``.  Where a guest traps, its VM takes no more calls: by
policy such streams are answered with 503 (``FAIL_CLOSED``), go on without the guest (``FAIL_OPEN``), or the
next stream starts a new VM (``FAIL_RELOAD``).

Configuration is :mod:`sidecar.extensions.http.wasm_config`'s, the roles :mod:`…wasm_host`'s, the ABI
``wasm_abi``'s.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from sidecar.api.filters import HttpFilter
from sidecar.api.message import FixedBody, LocalReply
from sidecar.core.errors import StreamAborted, StreamClosed
from sidecar.extensions.http.header_edits import unsendable_reply
from sidecar.extensions.http.wasm_body import BegunBody, GuestStage, is_http1, show_rest, show_whole
from sidecar.extensions.http.wasm_host import FAILED, NONE, NOT_RESUMED, StreamSide
from wasm_abi import DataAction, HeadersAction, WasmError, WasmTrap

if TYPE_CHECKING:
    from sidecar.api.message import Message, ResponseMessage
    from sidecar.api.stream import AnyStream
    from sidecar.api.stream_metadata import StreamMetadata
    from sidecar.core.headers import Field
    from sidecar.extensions.wasm.live import LivePlugin
    from sidecar.extensions.wasm.plugin_config import Plugins

__all__ = ["WasmFilter"]

_REQUEST: Final = 0
_RESPONSE: Final = 1
_ALL_HOOKS = frozenset({"decode_headers", "encode_headers", "on_complete"})
#: Actions of a headers callback that let the message go on at once.
#: (A member of an enumeration costs ten times what a name of the module does.)
_CONTINUE: Final = HeadersAction.CONTINUE
_PASS: Final = DataAction.CONTINUE
_KEEP: Final = DataAction.STOP_ITERATION_AND_BUFFER
_GO_ON: Final = frozenset({_CONTINUE, HeadersAction.CONTINUE_AND_END_STREAM})


def _end(side: StreamSide, live: LivePlugin) -> None:
    """End the VM that was this stream's own."""
    plugin = side.plugin_side.plugin
    if plugin is None or plugin is live.plugin:
        return
    try:
        plugin.shutdown()
    except WasmError as error:
        side.plugin_side.report("at the end of a stream", error)
    plugin.calls.cancel_all()
    plugin.vm.close()
    plugin.take_apart()
    side.plugin_side.take_apart()


class WasmFilter(HttpFilter):
    """Calls one plugin for every stream: that of its route, else its own."""

    uses_trio = False

    def __init__(
        self, live: LivePlugin, plugins: Plugins, config_name: str = "envoy.filters.http.wasm"
    ) -> None:
        self.config_name = config_name
        self._live = live
        self._plugins = plugins

    def active_hooks(self) -> frozenset[str]:
        """The hooks that this guest has anything to do in."""
        live = self._live
        plugin = live.plugin
        if plugin is None or self._plugins.has_routes:  # what is still to come may have to do with all
            return _ALL_HOOKS
        if not (live.has_response or live.has_body[_REQUEST] or plugin.exports_request_headers):
            return frozenset({"on_complete"}) if plugin.exports_log else frozenset()
        return _ALL_HOOKS if live.has_response else _ALL_HOOKS - {"encode_headers"}

    def _choose(self, stream: AnyStream) -> LivePlugin:
        """The plugin for this stream."""
        route = stream.find_route()
        if route is None:
            return self._live
        live: LivePlugin = route.per_filter_config.get(self.config_name, self._live)
        return live

    # -- hooks ------------------------------------------------------------------------------------
    def decode_headers(self, stream: AnyStream) -> LocalReply | Awaitable[LocalReply | None] | None:
        live = self._choose(stream) if self._plugins.has_routes else self._live
        plugin = live.plugin
        if plugin is None or plugin.vm.failure is not None:
            if not live.revive():
                return None if live.fail_open else FAILED
            plugin = live.plugin
        assert plugin is not None
        assert live.side is not None
        if live.make is None:
            side = StreamSide(live.side, stream)
        else:
            try:
                plugin, own = live.make()
            except WasmError as error:
                live.side.report("when it was to be started for a stream", error)
                return None if live.fail_open else FAILED
            side = StreamSide(own, stream)
        side.live = live
        slots = stream.slots
        if slots is None:
            stream.set_slot(self.slot, side)
        else:
            slots[self.slot] = side
        message = stream.request
        headers = message.headers
        begun: HeadersAction | None
        try:
            if not plugin.exports_request_headers:
                side.context = plugin.create_stream(side)
                begun = _CONTINUE
            else:
                context = side.context = plugin.new_context(side)
                side.maps[0] = headers
                count = (
                    len(headers.fields)
                    + (headers.authority is not None)
                    + (headers.path is not None)
                    + (headers.method is not None)
                    + (headers.scheme is not None)
                )
                begun = context.begin(count, message.body is None)
                if begun is None:
                    side.maps[0] = headers
                    begun = context.on_request_headers(count, message.body is None)
            if live.has_metadata and stream.metadata is not None:
                self._listen(side, stream.metadata)
        except WasmError as error:
            return self._trapped(side, error)
        action = begun
        if action is _CONTINUE and not side.asked:
            side.maps[0] = None
            if message.body is not None and live.has_body[_REQUEST]:
                self._show_body(side, message, _REQUEST)
            return None
        return self._settle(side, message, action, _REQUEST)

    def encode_headers(self, stream: AnyStream) -> LocalReply | Awaitable[LocalReply | None] | None:
        slots = stream.slots
        side: StreamSide | None = None if slots is None else slots[self.slot]
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
        body = message.body
        plugin = context.plugin
        assert plugin is not None
        if (
            body is not None
            and body.whole
            and plugin.respond is not None
            and len(body.whole) <= stream.hcm.buffer_limit_bytes
            and side.buffers is NONE
            and side.resumed is NOT_RESUMED
            and not stream.is_try
            and is_http1(stream, _RESPONSE)
        ):
            return self._respond(side, message, body.whole)
        try:
            if not plugin.exports_response_headers:
                action = _CONTINUE
            else:
                side.maps[2] = headers
                action = context.on_response_headers(len(headers.fields) + 1, message.body is None)
        except WasmError as error:
            return self._trapped(side, error)
        if action is _CONTINUE and not side.asked:
            side.maps[2] = None
            if message.body is not None and side.live.has_body[_RESPONSE]:
                self._show_body(side, message, _RESPONSE)
            return None
        return self._settle(side, message, action, _RESPONSE)

    def _respond(
        self, side: StreamSide, message: ResponseMessage, whole: bytes
    ) -> LocalReply | Awaitable[LocalReply | None] | None:
        """Show a response with a body that is at hand in one call."""
        context = side.context
        assert context is not None
        headers = message.headers
        side.maps[2] = headers
        body: DataAction | WasmError | None
        end: DataAction | WasmError | None
        try:
            action, body, end = context.respond(len(headers.fields) + 1, whole)
        except WasmError as error:
            if not isinstance(error, WasmTrap) or error.callback != "proxy_on_response_body":
                return self._trapped(side, error)
            action = _CONTINUE
            plugin = context.plugin
            assert plugin is not None
            body, is_end = plugin.responded_to
            body, end = (body, error) if is_end else (error, None)
        if body is None:  # as if the headers had been shown alone
            if action is not _CONTINUE or side.asked:
                return self._settle(side, message, action, _RESPONSE)
            side.maps[2] = None
            show_whole(self, side, message, _RESPONSE, was_held=False)
            return None
        side.maps[2] = None
        if end is _PASS and side.resumed is NOT_RESUMED and not side.asked:
            if side.buffers is NONE:
                message.body = FixedBody(whole)
                return None
            made = side.maps[3]
            changed = side.buffers[1]
            if body is _KEEP and changed and (made is None or not made.fields):
                # Held until its end, and let go as it is then: most that change a body do so.
                side.buffers = NONE
                message.body = FixedBody(changed)
                return None
        show_rest(self, side, message, body, end)
        return None

    def on_complete(self, stream: AnyStream) -> None:
        slots = stream.slots
        side: StreamSide | None = None
        if slots is not None:
            # Stream, side and context point at each other.  With these rings cut here and below, a stream is
            # freed when it ends; else all of it waits for the garbage collector and leaves the cache.
            side = slots[self.slot]
            slots[self.slot] = None
        live = self._live if side is None else side.live
        if side is None and self._plugins.has_routes:
            live = self._choose(stream)
        try:
            if side is None:
                # Envoy too first makes the context when an access log is all there is to do.
                plugin = live.plugin
                if plugin is None or not plugin.exports_log or plugin.vm.failure is not None or stream.is_try:
                    return
                assert live.side is not None
                side = StreamSide(live.side, stream)
                side.context = plugin.create_stream(side)
            context = side.context
            if context is None:  # the guest failed in it
                if live.make is not None:
                    _end(side, live)
                return
            if stream.is_try:  # Envoy does not log tries
                context.end()
            else:
                maps = side.maps
                maps[0] = stream.request.headers
                response = stream.response
                if response is not None:
                    maps[2] = response.headers
                    body = response.body
                    maps[3] = None if body is None else body.trailers
                else:
                    maps[2] = maps[3] = None
                context.conclude()
        except WasmError as error:
            reporter = live.side if side is None else side.plugin_side
            if reporter is not None:
                reporter.report("at the end of a stream", error)
        if side is not None:
            side.context = None
            if live.make is not None:
                _end(side, live)

    def _listen(self, side: StreamSide, metadata: StreamMetadata) -> None:
        """Have the guest told of METADATA, both ways, as long as it is there."""

        def on_request(pairs: list[Field]) -> None:
            tell(pairs, is_response=False)

        def on_response(pairs: list[Field]) -> None:
            tell(pairs, is_response=True)

        def tell(pairs: list[Field], *, is_response: bool) -> None:
            context = side.context
            if context is None or side.is_dead:
                return
            maps, side.maps = side.maps, [None, None, None, None]
            try:
                if is_response:
                    context.on_response_metadata(len(pairs))
                else:
                    context.on_request_metadata(len(pairs))
            except WasmError as error:
                # What becomes of the stream is decided where its guest is called next, which fails as well.
                side.plugin_side.report("at METADATA", error)
            finally:
                side.maps = maps

        metadata.listen(on_request, on_response)

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
            raise StreamClosed("wasm_close_stream")
        if (
            action is HeadersAction.STOP_ITERATION
            and message.body is not None
            and side.live.has_body[direction]
        ):
            return await self._feed_behind_headers(side, message, direction)
        await self.wait(side, direction)
        ended = self.verdict(side)
        if ended is None:
            self._let_go(side, message, direction, was_held=True)
        elif message.body is not None and message.body.whole is not None:
            await message.body.receive()  # it has come: the answer need not end the connection
        return ended

    async def _feed_behind_headers(
        self, side: StreamSide, message: Message, direction: int
    ) -> LocalReply | None:
        """Headers are held while the guest sees the body (allow_on_headers_stop_iteration)."""
        source = message.body
        assert source is not None
        stage = GuestStage(self, side, direction)
        message.pipe_body(stage)
        piped = message.body
        assert piped is not None
        # The stage gives nothing before the guest lets the body go on, and with it the headers.
        first = await piped.receive()
        ended = self.verdict(side)
        if ended is not None:
            return ended
        side.maps[0 if direction == _REQUEST else 2] = None
        message.body = BegunBody(first, piped)
        return None

    def _let_go(self, side: StreamSide, message: Message, direction: int, *, was_held: bool = False) -> None:
        side.resume(direction, is_resumed=False)
        side.maps[0 if direction == _REQUEST else 2] = None
        if message.body is not None and side.live.has_body[direction]:
            self._show_body(side, message, direction, was_held=was_held)

    def _show_body(
        self, side: StreamSide, message: Message, direction: int, *, was_held: bool = False
    ) -> None:
        """Let the guest see the body: at once where it is at hand, so that it stays one piece."""
        body = message.body
        assert body is not None
        # An upstream's body is shown when it is pulled: a try that is followed by another ends with its head.
        if body.whole is None or (side.stream.is_try and direction == _RESPONSE):
            message.pipe_body(GuestStage(self, side, direction, was_held=was_held))
        else:
            show_whole(self, side, message, direction, was_held=was_held)

    def verdict(self, side: StreamSide) -> LocalReply | None:
        """What the stream is answered with, if it is."""
        if side.reply is not None:
            reply, side.reply = side.reply, None
            return reply
        if side.is_suspect:
            problem = side.take_problem()
            return unsendable_reply(problem) if problem else None
        return None

    async def wait(self, side: StreamSide, direction: int) -> None:
        """Until the guest continues this direction, answers the stream or closes it.

        Raises: StreamClosed when the guest closed the stream.
        """
        signal = side.signal(direction)
        while not (side.resumed[direction] or side.reply is not None or side.is_closed):
            await signal.wait()
        if side.is_closed:
            raise StreamClosed("wasm_close_stream")

    def _trapped(self, side: StreamSide, error: WasmError) -> LocalReply | None:
        """The guest failed in the middle of this stream."""
        request_id = side.stream.request.headers.get(b"x-request-id")
        where = "for a request" if request_id is None else f"for request {request_id.decode('latin-1')}"
        side.plugin_side.report(where, error)
        side.is_dead = True
        side.context = None
        return None if side.live.traps_open else FAILED

    def trapped_in_body(self, side: StreamSide, error: WasmError) -> None:
        """The same, while a body passes.  Raises: StreamAborted, unless the policy is to go on."""
        reply = self._trapped(side, error)
        if reply is not None:
            side.stream.details = reply.details
            raise StreamAborted(reply) from error
