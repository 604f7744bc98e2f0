"""The conversation with a processor about one stream: its gRPC stream, its answers, and how it ends.

``source/extensions/filters/http/ext_proc/ext_proc.cc``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted
from sidecar.core.headers import Field, HeaderMap, ResponseHeaders
from sidecar.core.mutation_rules import MutationRules
from sidecar.extensions.proc.attribute_values import attribute_values
from sidecar.extensions.proc.http_processor import HttpProcessor
from sidecar.extensions.proc.modes import FULL_DUPLEX_STREAMED, Mode
from sidecar.extensions.proc.mutations import Limits, Refused, apply_changes
from sidecar.extensions.proc.proc_log import ProcLog
from sidecar.extensions.proc.proc_messages import (
    PROCESS,
    Changes,
    Common,
    Immediate,
    ProcessingRequest,
    Response,
    response_of,
    response_of_json,
)
from sidecar.extensions.proc.side import HEADERS, IDLE, TRAILERS, Side
from sidecar.router.grpc_status import INTERNAL, GrpcStatus

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Strand
    from sidecar.observability.cel import Cel
    from sidecar.router.grpc_client import GrpcClient, GrpcStream

__all__ = ["COUNTERS", "Exchange", "Settings"]

COUNTERS = (
    *("streams_started", "stream_msgs_sent", "stream_msgs_received", "spurious_msgs_received"),
    *("streams_closed", "streams_failed", "failure_mode_allowed", "message_timeouts"),
    *("rejected_header_mutations", "override_message_timeout_received", "override_message_timeout_ignored"),
    *("clear_route_cache_ignored", "clear_route_cache_disabled", "clear_route_cache_upstream_ignored"),
    *("http_not_ok_resp_received", "immediate_responses_sent", "server_half_closed"),
)
_SPACE = re.compile(r"\s")
#: ``route_cache_action``.
CLEAR, RETAIN = 1, 2
_ABORTED = 10
_FAILED_PRECONDITION = 9
_DEADLINE_EXCEEDED = 4
#: Of a response's head, as Envoy has it where its cluster says nothing else.
RESPONSE_LIMITS = Limits(100, 80 * 1024)

Passes = Callable[[bytes], bool]


#: How many times the buffer's limit may wait on one side while the other one waits for an answer.
_PATIENCE = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """The filter's message, but for who is asked."""

    mode: Mode = field(default_factory=Mode)
    failure_mode_allow: bool = False
    message_timeout_s: float = 0.2
    max_message_timeout_s: float = 0.0
    rules: MutationRules = field(default_factory=MutationRules)
    #: Whether the processor may see a header; None for all.
    passes: Passes | None = None
    allow_mode_override: bool = False
    allowed_override_modes: tuple[Mode, ...] = ()
    disable_immediate_response: bool = False
    route_cache_action: int = 0
    observability_mode: bool = False
    deferred_close_timeout_s: float = 5.0
    send_body_without_waiting_for_header_response: bool = False
    status_on_error: int = 500
    allow_content_length_header: bool = False
    #: ``metadata_options``.
    forwarding_untyped: tuple[str, ...] = ()
    forwarding_typed: tuple[str, ...] = ()
    receiving_untyped: tuple[str, ...] = ()
    cluster_untyped: tuple[str, ...] = ()
    cluster_typed: tuple[str, ...] = ()
    filter_metadata: Mapping[str, Any] = field(default_factory=dict)
    #: ``request_attributes`` and ``response_attributes``: what they are called, and what they are.
    attributes: Mapping[str, tuple[tuple[str, Cel], ...]] = field(default_factory=dict)


class Exchange:
    """What one stream and its processor have to do with each other."""

    __slots__ = (
        "call",
        "client",
        "counters",
        "is_by_http",
        "is_complete",
        "is_first",
        "log",
        "main",
        "mode",
        "reactor",
        "reply",
        "request",
        "response",
        "settings",
        "stream",
    )

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        client: GrpcClient | HttpProcessor,
        counters: Mapping[str, Any],
        log: ProcLog,
    ) -> None:
        hcm = stream.hcm
        self.stream = stream
        self.settings = settings
        self.client = client
        #: There is no stream then, and each question is a call.
        self.is_by_http = client.__class__ is HttpProcessor
        self.counters = counters
        self.log = log
        self.reactor = hcm.reactor
        self.mode = settings.mode
        self.request = Side(
            self, "request", self.mode, Limits(hcm.max_headers_count, hcm.max_request_headers_bytes)
        )
        self.response = Side(self, "response", self.mode, RESPONSE_LIMITS)
        #: The stream to the processor, once there is one.
        self.call: Any = None
        #: Nothing more is sent, and nothing that comes is looked at.
        self.is_complete = False
        #: What answers the client in the place of everything else.
        self.reply: LocalReply | None = None
        self.is_first = True
        #: The strand of the stream.
        self.main: Strand | None = None

    # -- sending ------------------------------------------------------------------------------------
    def open(self) -> bool:
        """Whether there is a stream to the processor, which begins where there is none."""
        if self.is_complete:
            return False
        if self.call is None:
            self.call = self.client.stream(PROCESS, parent=self.stream)
            self.call.on_event = self._on_event
            if self.is_by_http:
                self.call.on_error = self._on_http_error
            else:
                self.counters["streams_started"].value += 1
        return True

    async def send(self, side: Side, request: ProcessingRequest, state: int) -> None:
        """Send a message of ``side``, whose answer is waited for in ``state``; the exchange is open."""
        if self.is_by_http:
            self.call.ask(request.json())
        if not self.settings.observability_mode:
            side.start(state)
        self.counters["stream_msgs_sent"].value += 1
        if not self.is_by_http:
            await self.call.send(request.serialized())
        if not self.settings.message_timeout_s and side.is_pending and side.body_mode != FULL_DUPLEX_STREAMED:
            self.on_timeout()

    async def send_headers(self, side: Side, headers: HeaderMap, *, end_of_stream: bool) -> None:
        """The head of ``side``."""
        request = self._message(side)
        request.set_headers(side.direction, self._shown(headers), end_of_stream=end_of_stream)
        await self.send(side, request, HEADERS)

    async def send_body(self, side: Side, data: bytes, state: int, *, end_of_stream: bool) -> None:
        """A body of ``side``, or a piece of it."""
        request = self._message(side)
        request.set_body(side.direction, data, end_of_stream=end_of_stream)
        await self.send(side, request, state)

    async def send_trailers(self, side: Side, trailers: HeaderMap) -> None:
        """The trailers of ``side``, once."""
        if side.has_sent_trailers:
            return
        side.has_sent_trailers = True
        request = self._message(side)
        request.set_trailers(side.direction, self._shown(trailers))
        await self.send(side, request, TRAILERS if side.state == IDLE else side.state)

    def _message(self, side: Side) -> ProcessingRequest:
        settings = self.settings
        request = ProcessingRequest(is_observed=settings.observability_mode)
        attributes = settings.attributes.get(side.direction)
        if attributes and not side.has_sent_attributes:
            side.has_sent_attributes = True
            stream = self.stream
            if stream.response is not None:
                stream.response_code = stream.response.headers.status  # which filters know before it is sent
            request.set_attributes(attribute_values(attributes, stream))
        request.set_metadata(*self._metadata())
        if self.is_first and not settings.observability_mode:
            mode = Mode(request_body=self.request.body_mode, response_body=self.response.body_mode)
            request.set_protocol(
                mode, sends_body_at_once=settings.send_body_without_waiting_for_header_response
            )
        self.is_first = False
        return request

    def _shown(self, headers: HeaderMap) -> list[Field]:
        passes = self.settings.passes
        return [each for each in headers if passes is None or passes(each[0])]

    def _metadata(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        names = self.settings.forwarding_untyped
        if not names:
            return {}, {}
        found: dict[str, Any] = {}
        for source in (self.stream.connection.dynamic_metadata, self.stream.dynamic_metadata):
            if source:
                found.update((name, source[name]) for name in names if name in source)
        return found, {}

    # -- answers ------------------------------------------------------------------------------------
    def _on_event(self, call: GrpcStream) -> None:
        if self.main is None:
            self.main = self.request.signal.strand or self.response.signal.strand
        while not self._must_wait():
            message = call.take_message()
            if message is None:
                break
            self._take(message)
        else:
            return  # what comes is left where it is, until pieces have gone on
        if call.is_done and self.call is call and not self.is_complete:
            assert call.status is not None
            self._on_end(call.status)

    def _must_wait(self) -> bool:
        """Whether more pieces wait to go on than there is room for.

        Where the other side waits for an answer, which comes behind them, there is more room: an upstream may
        answer without reading, and its answer must get past the rest of the request.
        """
        if self.is_complete:
            return False
        limit = self.stream.hcm.buffer_limit_bytes
        for side, other in ((self.request, self.response), (self.response, self.request)):
            waiting = side.out_bytes
            if waiting > limit and not (other.is_pending and waiting < _PATIENCE * limit):
                return True
        return False

    def resume(self) -> None:
        """A piece has gone on: there may be room for what the processor said since."""
        if self.call is not None:
            self._on_event(self.call)

    def _take(self, data: bytes) -> None:
        if self.settings.observability_mode or self.is_complete:
            return
        response = response_of_json(data) if self.is_by_http else response_of(data)
        if response is None:
            if self.is_by_http:
                self._on_http_error()
            else:
                self._on_error(GrpcStatus(INTERNAL))
            return
        self.take_response(response)

    def take_response(self, response: Response) -> None:
        """One answer of the processor."""
        counters = self.counters
        if response.timeout_s is not None:
            self._extend(response.timeout_s)
            return
        if response.mode_override is not None:
            self._override_mode(response.mode_override)
        try:
            self._dispatch(response)
        except Refused as refused:
            if refused.is_spurious:
                counters["spurious_msgs_received"].value += 1
                if self.failure_mode_allow:
                    counters["failure_mode_allowed"].value += 1
                    self._close()
                    self._give_up(_FAILED_PRECONDITION)
                    return
            else:
                counters["stream_msgs_received"].value += 1
            self._refuse(refused.details)
        else:
            counters["stream_msgs_received"].value += 1

    def _dispatch(self, response: Response) -> None:
        kind = response.kind
        if kind == "immediate_response":
            assert response.immediate is not None
            if self.settings.disable_immediate_response:
                raise Refused("unhandled immediate response due to config disabled it", is_spurious=True)
            self._keep_metadata(response)
            self.is_complete = True
            self._finish_calls(0)
            self._close()
            self._answer(response.immediate)
            return
        direction, _, part = kind.partition("_")
        if not part:
            raise Refused("unhandled message", is_spurious=True)
        self._keep_metadata(response)
        side = self.request if direction == "request" else self.response
        if part == "headers":
            side.take_headers(response.common)
        elif part == "body":
            side.take_body(response.common)
        else:
            side.take_trailers(response.common)

    def _override_mode(self, given: Mode) -> None:
        settings = self.settings
        configured = settings.mode
        if (
            not settings.allow_mode_override
            or settings.send_body_without_waiting_for_header_response
            or FULL_DUPLEX_STREAMED in (configured.request_body, configured.response_body)
            or HEADERS not in (self.request.state, self.response.state)
        ):
            return
        mode = configured.overridden(given)
        allowed = settings.allowed_override_modes
        if allowed and not any(mode.is_like(each) for each in allowed):
            return
        self.request.set_mode(mode)
        self.response.set_mode(mode)

    def _extend(self, seconds: float) -> None:
        milliseconds = int(seconds * 1000)
        name = "override_message_timeout_ignored"
        if 1 <= milliseconds <= self.settings.max_message_timeout_s * 1000:
            extended = [side.extend(milliseconds / 1000) for side in (self.request, self.response)]
            if any(extended):
                name = "override_message_timeout_received"
        self.counters[name].value += 1

    def _keep_metadata(self, response: Response) -> None:
        for name, value in response.metadata.items():
            if name in self.settings.receiving_untyped:
                self.stream.metadata_namespace(name).update(value if isinstance(value, dict) else {})

    def change(
        self,
        changes: Changes,
        headers: HeaderMap,
        limits: Limits | None,
        *,
        replaces: bool = False,
        keeps_length: bool = True,
    ) -> None:
        """Change headers or trailers as the processor wants.  Raises: Refused."""
        rejected = self.counters["rejected_header_mutations"]
        rules = self.settings.rules
        apply_changes(changes, headers, rules, rejected, limits, replaces=replaces, keeps_length=keeps_length)

    def clear_route_cache(self, side: Side, common: Common) -> None:
        """Have the route found anew where an answer about the request asks for it, or the file does."""
        if side is not self.request:
            return
        action = self.settings.route_cache_action
        if common.changes is None:
            if common.clear_route_cache:
                self.counters["clear_route_cache_ignored"].value += 1
        elif action == RETAIN:
            if common.clear_route_cache:
                self.counters["clear_route_cache_disabled"].value += 1
        elif common.clear_route_cache or action == CLEAR:
            self.stream.clear_route_cache()

    # -- ends ---------------------------------------------------------------------------------------
    @property
    def failure_mode_allow(self) -> bool:
        """Whether the stream goes on where the processor fails: never over a body that it has already."""
        for side in (self.request, self.response):
            if side.body_mode == FULL_DUPLEX_STREAMED and side.has_begun_body:
                return False
        return self.settings.failure_mode_allow

    def _on_end(self, status: GrpcStatus) -> None:
        if status.is_ok:
            self._end(_ABORTED)
        else:
            self._on_error(status)

    def _end(self, code: int) -> None:
        """The processor has ended its stream: nothing is asked any more."""
        self.counters["server_half_closed"].value += 1
        self.counters["streams_closed"].value += 1
        self.call = None
        self._give_up(code)

    def _on_error(self, status: GrpcStatus) -> None:
        counters = self.counters
        counters["streams_failed"].value += 1
        counters["server_half_closed"].value += 1
        if self.failure_mode_allow:
            self._end(status.code)
            counters["failure_mode_allowed"].value += 1
            return
        details = self.call.stream.details
        self.is_complete = True
        self._finish_calls(status.code)
        self.call = None
        message = status.message.decode("utf-8", "surrogateescape")
        self._fail(
            self.settings.status_on_error,
            f"ext_proc_error_gRPC_error_{status.code}{{{message}{{{details}}}}}",
        )

    def _on_http_error(self) -> None:
        """A processor that is asked by HTTP has given no answer that can be read."""
        self.counters["http_not_ok_resp_received"].value += 1
        self._close()
        if self.failure_mode_allow:
            self.counters["failure_mode_allowed"].value += 1
            self._give_up(_ABORTED)
            return
        self.is_complete = True
        self._finish_calls(_ABORTED)
        self._fail(self.settings.status_on_error, "ext_proc_error_HTTP_ERROR")

    def on_timeout(self) -> None:
        """An answer has not come in time."""
        self.counters["message_timeouts"].value += 1
        self._close()
        if self.failure_mode_allow:
            self.counters["failure_mode_allowed"].value += 1
            self._give_up(_DEADLINE_EXCEEDED)
            return
        self.is_complete = True
        self._finish_calls(_DEADLINE_EXCEEDED)
        self._fail(504, "ext_proc_error_per-message_timeout_exceeded")

    def _refuse(self, details: str) -> None:
        """The answer cannot be followed."""
        self.is_complete = True
        self._finish_calls(_FAILED_PRECONDITION)
        self._close()
        self._fail(self.settings.status_on_error, details)

    def _give_up(self, code: int) -> None:
        """Go on without the processor."""
        self.is_complete = True
        self.request.give_up(code)
        self.response.give_up(code)

    def _finish_calls(self, code: int) -> None:
        self.request.finish(code)
        self.response.finish(code)

    def _close(self) -> None:
        """Nothing more is said to the processor, or heard."""
        call, self.call = self.call, None
        if call is None:
            return
        call.on_event = None
        if self.is_by_http:
            call.cancel()
        elif not call.is_done:
            self.counters["streams_closed"].value += 1
            call.end()
            call.cancel()

    def finish(self) -> None:
        """The stream is over."""
        call = self.call
        self.is_complete = True
        for side in (self.request, self.response):
            if side.feeder is not None:
                side.feeder.fail(StreamAborted(_OVER))
            side.stop_timer()
        if call is None:
            return
        if self.settings.observability_mode and not call.is_done:
            # It may not have seen everything yet.
            call.after(self.settings.deferred_close_timeout_s, self._close, "deferred_close_timeout")
            return
        self._close()

    # -- local replies --------------------------------------------------------------------------------
    def _fail(self, status: int, details: str) -> None:
        self._answer(Immediate(status, details=details))

    def _answer(self, immediate: Immediate) -> None:
        status = 200 if immediate.status is None or immediate.status < 200 else immediate.status
        made = ResponseHeaders(status)
        if immediate.changes is not None:
            with contextlib.suppress(Refused):  # what was changed before stays
                self.change(immediate.changes, made, None)
        self.counters["immediate_responses_sent"].value += 1
        self.reply = reply = LocalReply(
            status,
            immediate.body,
            details=_SPACE.sub("_", immediate.details) or _NO_DETAILS,
            headers=list(made.fields),
            grpc_status=immediate.grpc_status,
            overrides=True,
        )
        self.request.signal.fire()
        self.response.signal.fire()
        main = self.main
        if main is not None and not main.running:
            main.fail(StreamAborted(reply))


class _NoDetails(str):
    """Details that are set and say nothing: the access log shows nothing then, not that they are missing."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


_NO_DETAILS = _NoDetails()
_OVER = LocalReply(500)
