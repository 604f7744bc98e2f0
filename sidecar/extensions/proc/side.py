"""One direction of a stream under processing: what its processor is waited for, and what its answers change.

Answers come as plain calls from the processor's stream, in whose strand nothing waits; who waits for them is
told by signals.  The states are those of ``source/extensions/filters/http/ext_proc/processor_state.cc``.
"""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import StreamAborted
from sidecar.extensions.proc.modes import (
    BUFFERED,
    BUFFERED_PARTIAL,
    FULL_DUPLEX_STREAMED,
    NONE,
    SEND,
    SKIP,
    STREAMED,
    Mode,
)
from sidecar.extensions.proc.mutations import Limits, Refused
from sidecar.extensions.proc.proc_messages import Common
from sidecar.net.reactor import Signal

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap
    from sidecar.extensions.proc.exchange import Exchange
    from sidecar.net.timer import Timer

__all__ = [
    "BODY",
    "HEADERS",
    "IDLE",
    "PARTIAL_BODY",
    "STREAMED_BODY",
    "TRAILERS",
    "Side",
]

#: Waiting for nothing, an answer to the head, to a whole body, to pieces, to a first part, to trailers.
IDLE, HEADERS, BODY, STREAMED_BODY, PARTIAL_BODY, TRAILERS = range(6)
_SPURIOUS = "spurious_message"
_STREAMED_SPURIOUS = (
    "spurious message: streamed_response is received while body_mode_ is not FULL_DUPLEX_STREAMED"
)
_DUPLEX_SPURIOUS = (
    "spurious message: Normal body mutation response is received while body_mode_ is FULL_DUPLEX_STREAMED"
)
_MISMATCH = "mismatch between content length and the length of the mutated body"


class Side:
    """The request's side, or the response's."""

    __slots__ = (
        "body_mode",
        "chunks",
        "common",
        "direction",
        "error",
        "exchange",
        "feeder",
        "has_begun_body",
        "has_fed_all",
        "has_sent_attributes",
        "has_sent_trailers",
        "headers",
        "is_over",
        "is_pending",
        "is_timeout_extended",
        "limits",
        "new_body",
        "out",
        "out_bytes",
        "out_signal",
        "queued",
        "room",
        "sends_headers",
        "sends_trailers",
        "signal",
        "started_ns",
        "state",
        "timed_call",
        "timer",
        "trailers",
    )

    def __init__(self, exchange: Exchange, direction: str, mode: Mode, limits: Limits | None) -> None:
        reactor = exchange.reactor
        self.exchange = exchange
        self.direction = direction
        self.limits = limits
        self.set_mode(mode)
        self.state = IDLE
        #: Whether somebody waits for the answer to a message, and how it looked when it came.
        self.is_pending = False
        self.signal = Signal(reactor)
        self.common: Common | None = None
        #: The head as long as it may be changed, and the trailers.
        self.headers: HeaderMap | None = None
        self.trailers: HeaderMap | None = None
        #: What the answer to a body makes of it; None leaves it.
        self.new_body: bytes | None = None
        self.has_begun_body = False
        #: Whether all of the body was sent in pieces.
        self.has_fed_all = False
        self.has_sent_trailers = False
        self.has_sent_attributes = False
        #: Pieces that were sent and are not answered, each with whether it is the last.
        self.chunks: deque[tuple[bytes, bool]] = deque()
        self.queued = 0
        self.room = Signal(reactor)
        #: Pieces that may go on.
        self.out: deque[bytes] = deque()
        self.out_bytes = 0
        self.out_signal = Signal(reactor)
        self.is_over = False
        #: What broke the body off that is fed to the processor.
        self.error: BaseException | None = None
        self.feeder: Any = None
        #: The running timer of a message, and the call that it belongs to.
        self.timer: Timer | None = None
        self.timed_call: Any = None
        self.is_timeout_extended = False
        self.started_ns = 0

    def set_mode(self, mode: Mode) -> None:
        """Send what ``mode`` says."""
        if self.direction == "request":
            header, body, trailer = mode.request_header, mode.request_body, mode.request_trailer
        else:
            header, body, trailer = mode.response_header, mode.response_body, mode.response_trailer
        self.sends_headers = header != SKIP
        self.sends_trailers = trailer == SEND
        self.body_mode = body

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of this side is sent."""
        return not self.sends_headers and not self.sends_trailers and self.body_mode == NONE

    @property
    def removes_length(self) -> bool:
        """Whether the length of the body cannot be known any more when the head goes on."""
        mode = self.body_mode
        return (
            mode in (STREAMED, BUFFERED_PARTIAL, FULL_DUPLEX_STREAMED)
            or (mode == BUFFERED and not self.sends_headers)
        ) and not self.exchange.settings.allow_content_length_header

    # -- calls ------------------------------------------------------------------------------------
    def start(self, state: int) -> None:
        """A message is sent whose answer is waited for."""
        exchange = self.exchange
        self.state = state
        self.is_pending = True
        self.stop_timer()
        timeout = exchange.settings.message_timeout_s
        if self.body_mode != FULL_DUPLEX_STREAMED and timeout:
            self._set_timer(timeout, "message_timeout")
        self.started_ns = monotonic_ns()
        self.is_timeout_extended = False

    def finish(self, status: int, state: int = IDLE) -> None:
        """The answer is here, or will not come."""
        self.stop_timer()
        if self.started_ns:
            self.exchange.log.record(self.direction, self.state, monotonic_ns() - self.started_ns, status)
            self.started_ns = 0
        self.state = state
        self.is_pending = False
        self.is_timeout_extended = False
        self.signal.fire()
        self.room.fire()

    def stop_timer(self) -> None:
        """No answer is late any more."""
        timer, self.timer = self.timer, None
        if timer is not None:
            self.timed_call.forget(timer)

    def extend(self, seconds: float) -> bool:
        """Give the processor more time, once for a message; whether that could be."""
        if self.timer is None or self.is_timeout_extended:
            return False
        self.stop_timer()
        self._set_timer(seconds, "override_message_timeout")
        self.is_timeout_extended = True
        return True

    def _set_timer(self, seconds: float, name: str) -> None:
        exchange = self.exchange
        self.timed_call = exchange.call
        self.timer = exchange.call.after(seconds, exchange.on_timeout, name)

    async def answered(self) -> None:
        """Wait for the answer, or for the end of processing.  Raises: StreamAborted."""
        exchange = self.exchange
        while self.is_pending and not exchange.is_complete:
            await self.signal.wait()
        if exchange.reply is not None:
            raise StreamAborted(exchange.reply)

    def give_up(self, status: int) -> None:
        """Processing is over: what waits for an answer goes on as it was."""
        self.finish(status)
        for data, is_last in self.chunks:
            self._give(data)
            if is_last:
                self.is_over = True
        self.chunks.clear()
        self.queued = 0
        if self.has_fed_all:  # of FULL_DUPLEX_STREAMED nothing is kept
            self.is_over = True
        self.out_signal.fire()

    # -- answers ------------------------------------------------------------------------------------
    def take_headers(self, common: Common) -> None:
        """An answer to the head.  Raises: Refused."""
        if self.state != HEADERS:
            raise Refused(_SPURIOUS, is_spurious=True)
        self._change_headers(common)
        self.exchange.clear_route_cache(self, common)
        self.common = common
        self.finish(0, IDLE if common.replaces else self._state_after_headers())

    def _state_after_headers(self) -> int:
        if self.chunks:
            return STREAMED_BODY
        if self.body_mode == FULL_DUPLEX_STREAMED:
            if self.has_begun_body:
                return STREAMED_BODY
            if self.trailers is not None:
                return TRAILERS
        return IDLE

    def take_body(self, common: Common) -> None:
        """An answer to a body, or to a piece of it.  Raises: Refused."""
        state = self.state
        if state in (BODY, PARTIAL_BODY):
            self._change_headers(common)
            if common.has_body and state == BODY:
                self._check_length(common)
            self.new_body = common.body
            self.exchange.clear_route_cache(self, common)
            self.headers = None
            self.finish(0)
        elif state == STREAMED_BODY:
            self._take_piece(common)
            self.exchange.clear_route_cache(self, common)
            self.headers = None
        else:
            raise Refused(_SPURIOUS, is_spurious=True)

    def _check_length(self, common: Common) -> None:
        length = None if self.headers is None else self.headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) != common.body_size:
            raise Refused(_MISMATCH)

    def _take_piece(self, common: Common) -> None:
        is_duplex = self.body_mode == FULL_DUPLEX_STREAMED
        if common.piece is not None:
            if not is_duplex:
                raise Refused(_STREAMED_SPURIOUS, is_spurious=True)
            self._give(common.piece)
            if common.piece_ends:
                self.is_over = True
            self.finish(0, IDLE if common.piece_ends else STREAMED_BODY)
        elif is_duplex:
            raise Refused(_DUPLEX_SPURIOUS, is_spurious=True)
        else:
            data, is_last = self.chunks.popleft()
            self.queued -= len(data)
            self._give(data if common.body is None else common.body)
            if is_last:
                self.is_over = True
            # The time for the next piece runs from when that was sent, so it is not begun anew.
            self.finish(0, STREAMED_BODY if self.chunks else IDLE)
        self.out_signal.fire()

    def _give(self, data: bytes) -> None:
        if data and not self.is_over:
            self.out.append(data)
            self.out_bytes += len(data)
            self.out_signal.fire()

    def take_trailers(self, common: Common) -> None:
        """An answer to trailers.  Raises: Refused."""
        if self.state != TRAILERS and self.body_mode != FULL_DUPLEX_STREAMED:
            raise Refused(_SPURIOUS, is_spurious=True)
        if common.changes is not None and self.trailers is not None:
            self.exchange.change(common.changes, self.trailers, self.limits)
        if self.body_mode == FULL_DUPLEX_STREAMED:
            self.is_over = True
            self.out_signal.fire()
        self.finish(0)

    def _change_headers(self, common: Common) -> None:
        if common.changes is not None and self.headers is not None:
            self.exchange.change(
                common.changes,
                self.headers,
                self.limits,
                replaces=common.replaces,
                keeps_length=not self.removes_length,
            )

    # -- pieces --------------------------------------------------------------------------------------
    def pass_on(self, data: bytes, *, is_last: bool) -> None:
        """A piece goes on as it is: the processor does not want it any more."""
        self._give(data)
        if is_last:
            self.is_over = True
        self.out_signal.fire()

    def take_out(self) -> bytes:
        """The next piece that may go on; there is one."""
        data = self.out.popleft()
        self.out_bytes -= len(data)
        self.room.fire()
        self.exchange.resume()
        return data
