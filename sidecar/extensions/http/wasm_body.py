"""Bodies as Wasm guests see them: chunk by chunk, held back, replaced, let go.

Used by :mod:`sidecar.extensions.http.wasm`, which says what becomes of a stream; buffering is
cumulative: what a guest holds back it sees again in front of the next chunk (proxy-wasm 0.2.1,
``proxy_on_request_body``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final

from sidecar.api.message import Body, FixedBody, LocalReply, Message
from sidecar.core.errors import Disconnected, StreamAborted, StreamClosed
from sidecar.core.headers import HeaderMap
from sidecar.extensions.http.wasm_host import NONE, NOT_RESUMED
from wasm_abi import DataAction, TrailersAction, WasmError

if TYPE_CHECKING:
    from sidecar.api.stream import AnyStream
    from sidecar.extensions.http.wasm import WasmFilter
    from sidecar.extensions.http.wasm_host import StreamSide

__all__ = ["BegunBody", "GuestStage", "is_http1", "show_rest", "show_whole"]

_REQUEST: Final = 0
_CONTINUE: Final = DataAction.CONTINUE
#: By direction.
_TOO_LARGE = (
    LocalReply(413, b"Payload Too Large", "request_payload_too_large"),
    LocalReply(500, b"Internal Server Error", "response_payload_too_large"),
)


class BegunBody(Body):
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


class LaterBody(Body):
    """A body of one piece that the guest still holds, or an error in its place."""

    __slots__ = ("_outcome",)

    def __init__(self, outcome: GuestStage | StreamAborted | Disconnected) -> None:
        super().__init__()
        self._outcome: GuestStage | StreamAborted | Disconnected | None = outcome

    async def receive(self) -> bytes:
        outcome = self._outcome
        if outcome is None:
            return b""
        if not isinstance(outcome, GuestStage):
            raise outcome
        data = await outcome.rest()
        self._outcome = None
        self.trailers = outcome.made_trailers
        self.ended = True
        return data


def show_whole(
    wasm_filter: WasmFilter, side: StreamSide, message: Message, direction: int, *, was_held: bool
) -> None:
    """Show a body that is at hand, so that it stays one piece."""
    source = message.body
    assert source is not None
    data = source.whole
    assert data is not None
    stage: GuestStage | None = None
    out: bytes | None
    try:
        if (
            not data
            or was_held
            or side.buffers is not NONE
            or side.resumed is not NOT_RESUMED
            or side.context is None
            or side.is_dead
            or not is_http1(side.stream, direction)
        ):
            stage = GuestStage(wasm_filter, side, direction, was_held=was_held)
            out = stage.push_whole(data)
        else:
            # What a stage does where a guest lets it all pass as it is; in all other cases there is one.
            shown: Sequence[bytes | None] = (None, data) if direction else (data, None)
            side.buffers = shown
            context = side.context
            show = context.on_response_body if direction else context.on_request_body
            action: DataAction | WasmError
            try:
                action = show(len(data), False)
            except WasmError as error:
                action = error
            if (
                action is not _CONTINUE
                or side.asked
                or side.buffers is not shown
                or side.resumed is not NOT_RESUMED
            ):
                stage = GuestStage(wasm_filter, side, direction)
                out = stage.push_whole(data, action)
            else:
                shown = (None, b"") if direction else (b"", None)
                side.buffers = shown
                made = side.maps[3 if direction else 1] = HeaderMap()
                try:
                    action = show(0, True)
                except WasmError as error:
                    action = error
                if (
                    action is not _CONTINUE
                    or side.asked
                    or side.buffers is not shown
                    or side.resumed is not NOT_RESUMED
                    or made.fields
                ):
                    stage = GuestStage(wasm_filter, side, direction)
                    out = stage.end_whole(data, action, made)
                else:
                    side.buffers = NONE
                    message.body = FixedBody(data)
                    return
    except (StreamAborted, Disconnected) as error:
        # The headers go on first, as in Envoy; who pulls the body meets the error.
        message.body = LaterBody(error)
        return
    # Also where the guest left it alone: it is read, and an answer need not end the connection.
    message.body = LaterBody(stage) if out is None else FixedBody(out, stage.made_trailers)


def show_rest(
    wasm_filter: WasmFilter,
    side: StreamSide,
    message: Message,
    body: DataAction | WasmError,
    end: DataAction | WasmError | None,
) -> None:
    """The same for a response whose guest was shown all of it, or its end as well, and did something."""
    source = message.body
    assert source is not None
    data = source.whole
    assert data is not None
    try:
        stage = GuestStage(wasm_filter, side, 1)
        if end is None:
            if side.buffers is NONE:
                side.buffers = (None, data)
            out = stage.push_whole(data, body)
        else:
            made = side.maps[3]
            if made is None:
                made = HeaderMap()
            passed = data if body is _CONTINUE else b""  # else it was held, and shown again at the end
            if side.buffers is NONE:
                side.buffers = (None, b"" if passed else data)
            out = stage.end_whole(passed, end, made)
    except (StreamAborted, Disconnected) as error:
        message.body = LaterBody(error)
        return
    message.body = LaterBody(stage) if out is None else FixedBody(out, stage.made_trailers)


def is_http1(stream: AnyStream, direction: int) -> bool:
    """Whether a half of the stream comes over HTTP/1."""
    if direction:
        return stream.upstream_protocol[:6] == "HTTP/1" and (
            stream.is_try or stream.upstream_first_rx_ns != 0
        )
    return stream.protocol[:6] == "HTTP/1"


class GuestStage:
    """Shows a body to the guest, chunk by chunk; what the guest holds back it sees again with the next."""

    __slots__ = (
        "_direction",
        "_ends_apart",
        "_filter",
        "_given",
        "_held",
        "_is_http1",
        "_parked",
        "_side",
        "made_trailers",
    )

    def __init__(
        self, wasm_filter: WasmFilter, side: StreamSide, direction: int, *, was_held: bool = False
    ) -> None:
        self._filter = wasm_filter
        self._side = side
        self._direction = direction
        #: Trailers that the guest made in the last callback, where there were none.
        self.made_trailers: HeaderMap | None = None
        self._held = b""
        #: What the guest stopped and does not see again (``STOP_ITERATION_AND_WATERMARK``).
        self._parked = b""
        #: What goes on before the bytes that are waited for.
        self._given = b""
        self._is_http1 = is_http1(side.stream, direction)
        # HTTP/1 learns of the end after the last bytes: Envoy's guests see an empty end there, unless all of
        # it has come while the guest held the head.
        self._ends_apart = self._is_http1 and not was_held

    def push(self, data: bytes, end_stream: bool) -> bytes | Awaitable[bytes]:
        out = self.push_whole(data) if end_stream else self._push(data, False)
        self._ends_apart = self._is_http1
        if out is not None and len(self._parked) > self._side.stream.hcm.buffer_limit_bytes:
            return self._behind(out)
        return self.rest() if out is None else out

    async def _behind(self, given: bytes) -> bytes:
        """So much is stopped that no more is read before the guest lets it go."""
        self._given = given
        return await self.rest()

    def push_whole(self, data: bytes, begun: DataAction | WasmError | None = None) -> bytes | None:
        """The last chunk; None: the guest holds it, :meth:`rest` waits for it.

        ``begun`` is what the callback for the bytes came to, where it was already made.
        Raises: StreamAborted, Disconnected.
        """
        first = b""
        if data and self._ends_apart:
            try:
                given = self._push(data, False) if begun is None else self._settle(begun, None, b"")
            except (StreamAborted, Disconnected):
                if self._direction == _REQUEST and not self._side.stream.is_try:
                    self._side.stream.bytes_received += len(data)
                raise
            assert given is not None
            first, data = given, b""
        return self._behind_first(first, self._push(data, True))

    def end_whole(self, first: bytes, ended: DataAction | WasmError, made: HeaderMap) -> bytes | None:
        """The same where the callback for the end was made, too; ``first`` has passed."""
        return self._behind_first(first, self._settle(ended, made, b""))

    def _behind_first(self, first: bytes, out: bytes | None) -> bytes | None:
        if out is None:
            self._given = first + self._given
            return None
        return first + out if out else first

    async def rest(self) -> bytes:
        """What the guest holds, when it lets it go.  Raises: StreamAborted, Disconnected."""
        await self._filter.wait(self._side, self._direction)
        self._check()
        given, self._given = self._given, b""
        return given + self._release()

    def _push(self, data: bytes, end_stream: bool) -> bytes | None:
        """One callback; None when the end was held back."""
        side = self._side
        direction = self._direction
        released = b""
        if side.resumed is not NOT_RESUMED and side.resumed[direction]:
            released = self._release()
        buffer = data
        if self._held:
            buffer = self._held + data
            self._held = b""
        context = side.context
        if side.is_dead or context is None:
            return released + buffer
        if side.buffers is NONE:
            side.buffers = (None, buffer) if direction else (buffer, None)
        else:
            side.show(direction, buffer)
        made: HeaderMap | None = None
        if end_stream:
            made = side.maps[3 if direction else 1] = HeaderMap()
        action: DataAction | WasmError
        try:
            if direction:
                action = context.on_response_body(len(buffer), end_stream)
            else:
                action = context.on_request_body(len(buffer), end_stream)
        except WasmError as error:
            action = error
        return self._settle(action, made, released)

    def _settle(
        self, action: DataAction | WasmError, made: HeaderMap | None, released: bytes
    ) -> bytes | None:
        """What a callback came to; ``made``, at the end, are the trailers that it could add to."""
        side = self._side
        direction = self._direction
        end_stream = made is not None
        buffers = side.buffers
        buffer = buffers[direction] or b""
        if isinstance(action, WasmError):
            side.show(direction, None)
            self._filter.trapped_in_body(side, action)
            return released + buffer
        if made is not None and made.fields:
            self.made_trailers = made
        if side.asked:
            self._check(is_end=end_stream)
        if action is _CONTINUE:
            if buffers[1 - direction] is None:
                side.buffers = NONE
            else:
                side.show(direction, None)
            if side.resumed is not NOT_RESUMED:
                side.resume(direction, is_resumed=False)
            if not (released or self._parked):
                return buffer
            parked, self._parked = self._parked, b""
            return released + parked + buffer
        if action is DataAction.STOP_ITERATION_AND_WATERMARK:
            self._parked += buffer
            buffer = b""
        elif action is DataAction.STOP_ITERATION_NO_BUFFER:
            buffer = b""
        self._held = buffer
        if side.resumed[direction]:
            return released + self._release()
        if not end_stream:
            if len(buffer) > side.stream.hcm.buffer_limit_bytes:
                raise StreamAborted(_TOO_LARGE[direction])
            return released
        self._given = released
        return None

    def end(self, trailers: HeaderMap) -> bytes | Awaitable[bytes]:
        side = self._side
        direction = self._direction
        context = side.context
        if side.is_dead or context is None:
            return self._release()
        side.maps[1 if direction == _REQUEST else 3] = trailers
        if self._held:
            side.show(direction, self._held)
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
        return self.rest()

    def _release(self) -> bytes:
        side = self._side
        side.resume(self._direction, is_resumed=False)
        side.show(self._direction, None)
        held, self._held = self._held, b""
        parked, self._parked = self._parked, b""
        return parked + held

    def _check(self, *, is_end: bool = True) -> None:
        side = self._side
        if side.is_closed:
            raise StreamClosed("wasm_close_stream")
        reply = self._filter.verdict(side)
        if reply is not None:
            # Where the response has begun this is all that is left of the answer.
            side.stream.details = reply.details
            if not is_end and self._direction == _REQUEST and self._ends_apart:
                side.stream.is_cut_short = True
            raise StreamAborted(reply)
