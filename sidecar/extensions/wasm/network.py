"""The Wasm network filter (``envoy.filters.network.wasm``): a proxy-wasm guest on the bytes of a connection.

Both directions are shown to the guest as they come; what it stops it sees again in front of what comes next,
and may let go at any time by ``continue_stream`` (of what the client sent; Envoy has no such call for the
other direction).  Callbacks, their order and who closed are Envoy's (``context.cc``).
Where a guest traps, or has no code, its connections are closed, or go on without it, as the policy says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.network import CLOSE, CONTINUE, HELD, HOLD, NetworkFilter, NetworkSession
from sidecar.extensions.http.wasm_properties import NO_MAPS, find_property
from sidecar.extensions.http.wasm_state import set_property
from wasm_abi import BufferType, NetworkAction, PeerType, Status, StreamType, WasmError

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.extensions.http.wasm_host import PluginSide
    from sidecar.extensions.wasm.live import LivePlugin
    from wasm_abi import TcpContext

__all__ = ["WasmNetworkFilter"]

_DOWNSTREAM, _UPSTREAM = 0, 1
_DIRECTIONS = {BufferType.DOWNSTREAM_DATA: _DOWNSTREAM, BufferType.UPSTREAM_DATA: _UPSTREAM}

_SIZES = frozenset({(b"request", b"size"), (b"request", b"total_size")})


class ConnectionSide:
    """One connection as a guest sees it (``wasm_abi.TcpStreamHost``), and what it keeps back."""

    __slots__ = (
        "buffers", "context", "filter", "has_ended", "has_left", "held", "is_closed", "is_dead",
        "is_in_callback", "is_stopped", "keeps", "output_ended", "plugin_side", "received", "session",
    )  # fmt: skip

    context: TcpContext

    def __init__(self, owner: WasmNetworkFilter, plugin_side: PluginSide, session: NetworkSession) -> None:
        self.filter = owner
        self.plugin_side = plugin_side
        self.session = session
        #: Bytes that are open to the guest now, by direction.
        self.buffers: list[bytes | None] = [None, None]
        #: Bytes that the guest stopped.
        self.held = [b"", b""]
        #: Whether the guest stopped what the client sends, and whether that had ended.
        self.is_stopped = False
        self.has_ended = False
        #: Whether bytes of the client, or their end, wait for the guest.
        self.keeps = False
        #: Whether what goes to the client has ended; whether the client then was the last to end.
        self.output_ended = False
        self.has_left = False
        self.is_closed = False
        #: The guest failed: what is left of the connection passes it by.
        self.is_dead = False
        self.is_in_callback = False
        #: How many bytes the client has sent.
        self.received = 0

    def get_buffer(self, buffer_type: BufferType) -> bytes | None:
        direction = _DIRECTIONS.get(buffer_type)
        return None if direction is None else self.buffers[direction]

    def replace_buffer(self, buffer_type: BufferType, start: int, stop: int, data: bytes) -> bool:
        direction = _DIRECTIONS.get(buffer_type)
        old = None if direction is None else self.buffers[direction]
        if direction is None or old is None:
            return False
        self.buffers[direction] = old[:start] + data + old[stop:]
        return True

    def get_property(self, path: tuple[bytes, ...]) -> bytes | Status | None:
        if path in _SIZES:
            # The terminal filter counts what it gets; here it is what the client has sent.
            return self.received.to_bytes(8, "little")
        return find_property(self.session.connection.stream, NO_MAPS, self.plugin_side.facts, path)

    @property
    def shown_stream(self) -> Stream:
        """What the guest is told of."""
        return self.stateful_stream

    @property
    def stateful_stream(self) -> Stream:
        """Whose filter state the guest may change."""
        stream: Stream = self.session.connection.stream
        return stream

    def set_property(self, path: tuple[bytes, ...], value: bytes) -> Status:
        return set_property(self.session.connection.stream, self.plugin_side.declared, path, value)

    def continue_stream(self, stream_type: StreamType) -> None:
        if stream_type is not StreamType.DOWNSTREAM:
            return
        self.is_stopped = False
        if not self.is_in_callback:
            self.let_go()

    def let_go(self) -> None:
        """Give on what the guest stopped, and begin where it let the connection wait."""
        if self.session.is_waiting:
            self.session.go_on()
        held, self.held[_DOWNSTREAM] = self.held[_DOWNSTREAM], b""
        self.buffers[_DOWNSTREAM] = None
        self.session.is_input_full = False
        kept, self.keeps = self.keeps, False
        if held or (kept and self.has_ended):
            self.session.give(self.filter, held, end_stream=self.has_ended)

    def vm_failed(self) -> None:
        """The guest failed over something else: what it kept back goes on without it, or all ends."""
        if self.is_dead or self.is_in_callback:
            return  # who called it sees to that
        self.is_dead = True
        if self.filter.traps_open:
            self.session.is_output_full = False
            self.let_go()
        else:
            self.is_closed = True
            self.session.close()

    def close_stream(self, stream_type: StreamType) -> None:
        if stream_type in (StreamType.DOWNSTREAM, StreamType.UPSTREAM):
            self.is_closed = True
            if not self.is_in_callback:
                self.session.close()


class WasmNetworkFilter(NetworkFilter):
    """Calls one plugin for every connection."""

    def __init__(self, live: LivePlugin) -> None:
        self._live = live

    @property
    def traps_open(self) -> bool:
        """Whether connections go on that a guest fails over."""
        return self._live.traps_open

    def on_new_connection(self, session: NetworkSession) -> int:
        live = self._live
        if not live.revive():
            return CONTINUE if live.fail_open else CLOSE
        assert live.plugin is not None
        assert live.side is not None
        side = ConnectionSide(self, live.side, session)
        try:
            side.context = live.plugin.create_connection(side)
            session.state[self] = side
            side.is_in_callback = side.is_stopped = True
            action = side.context.on_new_connection()
            side.is_in_callback = False
        except WasmError as error:
            self._trapped(side, error)
            return CONTINUE if live.traps_open else CLOSE
        if side.is_closed:
            return CLOSE
        return HOLD if action is NetworkAction.STOP_ITERATION and side.is_stopped else CONTINUE

    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        side: ConnectionSide | None = session.state.get(self)
        if side is None:
            return data
        if side.is_dead:
            if side.is_closed:
                return None
            side.keeps = False
            held, side.held[_DOWNSTREAM] = side.held[_DOWNSTREAM], b""
            return held + data
        if not data:
            side.has_ended = True
            side.has_left = side.output_ended or not session.knows_halves
            if not session.knows_halves:
                return data  # for Envoy the connection is over, and nothing is read
        side.received += len(data)
        side.is_stopped = True  # until the guest says otherwise
        side.keeps = False
        left = self._show(side, _DOWNSTREAM, data, end_stream=not data)
        if side.is_closed:
            return None
        side.keeps = left is None and side.is_stopped
        if left is None:
            if side.is_dead or not side.is_stopped:  # resumed from inside of its own callback
                left, side.held[_DOWNSTREAM] = side.held[_DOWNSTREAM], b""
            else:
                return HELD
        if left and not data:  # what was held goes in front of the end
            session.give(self, left, end_stream=True)
            return HELD
        return left

    def on_output(self, session: NetworkSession, data: bytes, *, end_stream: bool) -> bytes:
        side: ConnectionSide | None = session.state.get(self)
        if side is None:
            return data
        if side.is_dead:
            if side.is_closed:
                session.close()
                return b""
            held, side.held[_UPSTREAM] = side.held[_UPSTREAM], b""
            return held + data
        left = self._show(side, _UPSTREAM, data, end_stream=end_stream)
        if end_stream and not side.is_dead:
            side.output_ended = True
            self._call(side, lambda: side.context.on_upstream_close(PeerType.UNKNOWN))
        if side.is_closed:
            session.close()
            return b""
        return b"" if left is None else left

    def on_close(self, session: NetworkSession) -> None:
        side: ConnectionSide | None = session.state.pop(self, None)
        if side is None:
            return
        peer = PeerType.REMOTE if session.is_broken or side.has_left else PeerType.LOCAL
        side.is_closed = True
        self._call(side, lambda: side.context.on_downstream_close(peer))
        self._call(side, side.context.finish)

    def _show(self, side: ConnectionSide, direction: int, data: bytes, *, end_stream: bool) -> bytes | None:
        """One callback over all that is there; None where the guest stopped it."""
        buffer = side.buffers[direction] = side.held[direction] + data
        side.held[direction] = b""
        context = side.context
        call = context.on_downstream_data if direction == _DOWNSTREAM else context.on_upstream_data
        side.is_in_callback = True
        try:
            action = call(len(buffer), end_stream)
        except WasmError as error:
            side.buffers[direction] = None
            self._trapped(side, error)
            return buffer
        finally:
            side.is_in_callback = False
        changed = side.buffers[direction] or b""
        if action is NetworkAction.CONTINUE:
            side.buffers[direction] = None
            return changed
        side.held[direction] = changed
        session = side.session
        if len(changed) > session.buffer_limit_bytes:
            # As behind Envoy's watermarks; what goes to the client the guest cannot let go later.
            if direction == _UPSTREAM:
                session.is_output_full = not end_stream
            elif side.is_stopped:
                session.is_input_full = True
        return None

    def _call(self, side: ConnectionSide, call: Callable[[], None]) -> None:
        """A callback that has no result."""
        if side.is_dead:
            return
        try:
            call()
        except WasmError as error:
            self._trapped(side, error)

    def _trapped(self, side: ConnectionSide, error: WasmError) -> None:
        side.is_dead = True
        side.plugin_side.report("on a connection", error)
        if not self._live.traps_open:
            side.is_closed = True
        elif side.keeps:
            side.let_go()
