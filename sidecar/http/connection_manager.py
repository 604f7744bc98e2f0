"""The HTTP connection manager: one stream through filters, router and back.

Compiled from envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager and
shared by all connections of its filter chain.  Codec drivers make a stream and call
:meth:`ConnectionManager.run_stream` with a :class:`Responder`; that coroutine is the whole life of
the stream, and what it opens it closes, whatever happens.

The modules of the exchange never touch trio: they may be stepped by the reactor.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import gmtime, monotonic_ns, time
from typing import TYPE_CHECKING, Any, Protocol

from mypy_extensions import mypyc_attr

from sidecar.api.filters import AccessLogger, HttpFilter
from sidecar.api.message import LocalReply, ReadBody, ResponseMessage
from sidecar.api.stream import LOOK_AGAIN, Flag, Stream
from sidecar.codec.h1_choice import LLHTTP
from sidecar.codec.h1_types import H1Settings
from sidecar.codec.h2_types import H2Settings
from sidecar.core.errors import (
    DeadlineExceeded,
    Disconnected,
    RemoteProtocolError,
    SidecarError,
    StreamAborted,
    StreamClosed,
    UpstreamError,
)
from sidecar.core.headers import Field
from sidecar.http.h1_target import ASSUMED_SCHEME
from sidecar.http.hcm_stats import HcmStats
from sidecar.http.local_reply import build_response, is_grpc, reply_for
from sidecar.http.request_headers import RequestIds, prepare_request_headers
from sidecar.http.request_options import RequestOptions
from sidecar.http.route_resolution import MeasuredTable, ResolutionStats
from sidecar.http.stream_duration import StreamDurations
from sidecar.http.stream_log import log_begin, log_end, switch
from sidecar.http.user_agents import agent_of
from sidecar.http.varying_chain import VaryingChain, hooks_of
from sidecar.net.interfaces import local_address
from sidecar.net.reactor import run_adopted
from sidecar.net.timer import end_stream_timers
from sidecar.router.internal_redirects import InternalRedirect, renew
from sidecar.router.route_table import RouteTable

if TYPE_CHECKING:
    from sidecar.codec.h1 import RequestParser
    from sidecar.codec.h1_chunks import ChunkedDecoder
    from sidecar.core.overload import Overload
    from sidecar.http.client_address import IpDetection
    from sidecar.http.client_cert import ClientCert
    from sidecar.http.local_reply_config import LocalReplyConfig
    from sidecar.http.overload_timers import StreamIdle
    from sidecar.http.proxy_status import ProxyStatus
    from sidecar.http.tracing import Tracing
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.router.exchange import Router
    from sidecar.router.ordered_mutations import OrderedMutations

__all__ = ["ConnectionManager", "Responder"]

logger = logging.getLogger("sidecar.http")


class Responder(Protocol):
    """The codec's side of one stream."""

    def send_response(self, stream: Stream, response: ResponseMessage) -> Awaitable[None] | None:
        """Send head, body and trailers, pulling the body; None when all of it went out at once.

        Raises: Disconnected; whatever ``body.receive`` raises, after part of the response was sent.
        """
        ...

    async def send_continue(self) -> None:
        """Send ``100 Continue``."""
        ...

    def send_interim(self, response: ResponseMessage) -> Awaitable[None] | None:
        """Send an upstream's 1xx; None when it went out at once.  Raises: Disconnected."""
        ...

    def is_client_gone(self) -> bool:
        """Whether the client has left (nothing that is sent will be read)."""
        ...

    def reset(self, stream: Stream) -> None:
        """Cut the response off: it cannot be finished."""
        ...

    def start_drain(self) -> bool:
        """Let the connection end after ``drain_timeout``; False when it was going to."""
        ...


#: Refusals of what a request says, after which HTTP/1 can go on
#: (``override_stream_error_on_invalid_http_message``).
_STREAM_ERRORS = frozenset(("missing_host_header", "path_normalization_failed", "query_missing_content_type"))
#: What a stream was reset for, where it is not that its connection ended.
_TOLD_RESETS = (
    Flag.DOWNSTREAM_REMOTE_RESET | Flag.DOWNSTREAM_PROTOCOL_ERROR | Flag.OVERLOAD_MANAGER_TERMINATED
)
#: Answers a request that the overload manager refuses, before anything looks at it.
_OVERLOADED = LocalReply(503, b"envoy overloaded", details="overload")
#: What a stream may end with in the ordinary course of things, a lost client aside.
_EXPECTED = (StreamAborted, UpstreamError, DeadlineExceeded, RemoteProtocolError)


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _http_date(second: int) -> bytes:
    """An IMF-fixdate (RFC 9110 §5.6.7)."""
    year, month, day, hour, minute, at, weekday = gmtime(second)[:7]
    text = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{at:02} GMT"
    return text.encode()


class _Clock:
    """The date header, made once a second."""

    __slots__ = ("_field", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._field: Field = (b"date", b"")

    def field(self, now: float) -> Field:
        """The header ``date``."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._field = (b"date", _http_date(second))
        return self._field


_clock = _Clock()


@mypyc_attr(allow_interpreted_subclasses=True)
class ConnectionManager:
    """One compiled connection manager."""

    #: Whether the requests are the proxy's own (:mod:`sidecar.router.http_client`).
    is_client = False

    def __init__(self, reactor: Reactor, stats: HcmStats, router: Router) -> None:
        self.reactor = reactor
        self.stats = stats
        #: A :class:`Router`, or what guards one.
        self.router: Any = router
        self.stat_prefix = ""
        self.codec_type = "AUTO"
        #: A :class:`RouteTable`, or what measures one and has its attributes.
        self.route_table: Any = RouteTable()
        #: Asks for routes that are not here yet: ``request(stream)``; None where there is nobody to ask.
        self.on_demand_routes: Any = None
        #: ``record_route_resolution_stats``.
        self.resolution_stats: ResolutionStats | None = None
        self.filters: tuple[HttpFilter, ...] = ()
        #: Whether they are replaced while streams run, each of which keeps those with which it began.
        self.filters_change = False
        self.slot_count = 0
        #: ``upgrade_configs`` (:class:`sidecar.http.upgrade.UpgradeConfig`) by type in lower case.
        self.upgrades: dict[bytes, Any] = {}
        #: Their connection managers, made when the first request of a type comes.
        self.upgrade_managers: dict[bytes, Any] = {}
        self._decode_hooks: tuple[tuple[Callable[[Stream], Any], bool], ...] = ()
        self._encode_hooks: tuple[tuple[Callable[[Stream], Any], bool], ...] = ()
        self._complete_hooks: tuple[Callable[[Stream], None], ...] = ()
        self.access_logs: tuple[AccessLogger, ...] = ()
        #: Whether something reads how many bytes a stream took on the wire.
        self.counts_wire = False
        #: Those of its routers, which log tries.
        self.upstream_logs: tuple[AccessLogger, ...] = ()
        self.server_name = b"envoy"
        #: ``OVERWRITE``, ``APPEND_IF_ABSENT`` or ``PASS_THROUGH``.
        self.server_header_transformation = "OVERWRITE"
        self.use_remote_address = False
        self.xff_num_trusted_hops = 0
        self.skip_xff_append = False
        #: ``early_header_mutation_extensions``.
        self.early_mutations: tuple[OrderedMutations, ...] = ()
        #: ``original_ip_detection_extensions``.
        self.ip_detections: tuple[IpDetection, ...] = ()
        #: ``forward_client_cert_details: ALWAYS_FORWARD_ONLY``; other modes differ with client certificates.
        #: ``forward_client_cert_details``; None for SANITIZE.
        self.client_cert: ClientCert | None = None
        #: ``proxy_status_config``: adds the header where something went wrong.
        self.proxy_status: ProxyStatus | None = None
        #: Whether an option makes every request one that is looked at closely.
        self.is_thorough = False
        #: What x-forwarded-for says of a peer on loopback.
        self.local_address = local_address().encode()
        self.generate_request_id = True
        self.preserve_external_request_id = False
        #: ``pack_trace_reason`` of the request ids' extension.
        self.packs_trace_reason = True
        self.always_set_request_id_in_response = False
        self.add_user_agent = False
        self.service_cluster = b""
        self.service_node = b""
        self.via = b""
        #: What becomes of local replies; None leaves them as they are.
        self.local_reply_config: LocalReplyConfig | None = None
        #: What is done to a request before filters see it; None where nothing is.
        self.request_options: RequestOptions | None = None
        #: Whether the overload manager lets a new stream be refused; None where it has no say.
        self.refuses: Callable[[], bool] | None = None
        #: ``REJECT_REQUEST`` or ``DROP_HEADER`` (``headers_with_underscores_action``); None allows them.
        self.underscores: str | None = None
        #: ``http1.`` and ``http2.`` counters of headers with underscores: rejected, dropped.
        #: Whether an address is internal (``internal_address_config``); None: none is.
        self.is_internal: Callable[[str], bool] | None = None
        #: ``scheme_header_transformation.scheme_to_overwrite``.
        self.scheme_to_overwrite: bytes | None = None
        self.append_x_forwarded_port = False
        #: Requests after which a connection ends; 0 for no limit.
        self.max_requests_per_connection = 0
        #: Seconds; 0 for none.
        self.idle_timeout_s = 3600.0
        self.stream_idle_timeout_s = 300.0
        #: For the end of an HTTP/2 response that waits for the client's windows; None takes the idle one's.
        self.stream_flush_timeout_s: float | None = None
        self.request_timeout_s = 0.0
        self.request_headers_timeout_s = 0.0
        self.max_connection_duration_s = 0.0
        #: Whether an HTTP/1 connection that is too old ends with an answer that says so, and only then.
        self.http1_safe_max_connection_duration = False
        #: Whether a line is logged when a tunnel is there.
        self.logs_tunnels = False
        #: Called when a request is here and no filter has seen it; None where nothing has to be done.
        self.on_begin: Callable[[Stream, Strand], None] | None = None
        #: :class:`sidecar.http.tracing.Tracing`; None where nothing is traced.
        self.tracing: Tracing | None = None
        #: ``max_stream_duration`` of itself and of its routes; None where there is none.
        self.durations: StreamDurations | None = None
        self.drain_timeout_s = 5.0
        self.delayed_close_timeout_s = 1.0
        self.max_request_headers_bytes = 60 * 1024
        self.max_headers_count = 100
        self.http1 = H1Settings()
        self.h1_codec = LLHTTP
        #: Whether the counters of its codec were made, with the first connection.
        self.has_h1_stats = False
        #: Hand 1xx of upstreams on, and leave ``Expect: 100-continue`` to them.
        self.proxy_100_continue = False
        #: ``http2_protocol_options``, and the limits of headers above.
        self.http2_settings = H2Settings()
        self.request_ids = RequestIds()
        #: What serves a connection, of all that are open.
        self.drivers: set[Any] = set()
        #: Asked when an answer begins: whether its connection is to end (2: since there is overload).
        self.is_draining: Callable[[], int] = _never
        #: What the overload manager says of it (``http/overload_guard``); None where there is none.
        self.overload: Overload | None = None
        #: Connections that sent nothing yet, and what watches streams, for ``http/overload_timers``.
        self.silent_connections: set[Strand] | None = None
        self.stream_idle: StreamIdle | None = None
        #: Terminal instead of the router (the admin server).
        self.terminal: Callable[[Stream], Awaitable[ResponseMessage]] | None = None
        self.buffer_limit_bytes = 1024 * 1024
        self._classes: tuple[Any, ...] = (
            None,
            stats.downstream_rq_1xx,
            stats.downstream_rq_2xx,
            stats.downstream_rq_3xx,
            stats.downstream_rq_4xx,
            stats.downstream_rq_5xx,
        )
        self._listener_classes: tuple[Any, ...] | None = None
        self._listener_completed: Any = None

    def set_filters(self, filters: tuple[HttpFilter, ...]) -> None:
        """Compile the chain: tuples of the hooks that are overridden."""
        self.filters = filters
        self.slot_count = len(filters)
        for number, each in enumerate(filters):
            each.slot = number
            each.first_extra_slot = self.slot_count
            self.slot_count += getattr(each, "extra_slots", 0)
        self._set_hooks()

    def set_route_table(self, table: RouteTable) -> None:
        """Route by ``table``, which may turn filters on and off."""
        self.route_table = table if self.resolution_stats is None else MeasuredTable(table)
        self.is_thorough |= bool(table.internal_only_headers)
        self._set_hooks()

    def _set_hooks(self) -> None:
        for each in self.filters:
            if getattr(each, "finds_route", False):
                each.counts_route = self.resolution_stats is not None
        is_varying = self.filters_change or self.route_table.switches_filters
        if is_varying or any(map(_is_disabled, self.filters)):
            hooks = VaryingChain(self.filters, self._look_up_route, self.set_local_reply).hooks()
            self._decode_hooks = hooks.decode
        else:
            hooks = hooks_of(self.filters)
            # The route is what the request asks for before any filter edits it.
            self._decode_hooks = hooks.decode
            if hooks.decode and not (hooks.finds_route and self.resolution_stats is None):
                self._decode_hooks = ((self._look_up_route, False), *hooks.decode)
        self._encode_hooks = hooks.encode
        self._complete_hooks = hooks.complete
        if self.resolution_stats is not None:
            self._complete_hooks = (self.resolution_stats.record, *hooks.complete)
        if self.tracing is not None:
            self._complete_hooks += (self.tracing.complete,)  # the end of a request is the end of its span
        self.upgrade_managers.clear()  # they have these hooks

    def set_listener_stats(self, scope: Any) -> None:
        """``listener.<address>.http.<stat_prefix>.`` counts responses too."""
        self._listener_completed = scope.counter("downstream_rq_completed")
        self._listener_classes = (None, *(scope.counter(f"downstream_rq_{n}xx") for n in range(1, 6)))

    def _look_up_route(self, stream: Stream) -> None:
        """The first hook of a chain: find the route, unless a limit on the stream needed it sooner."""
        if stream.resolve_route:
            self.resolve_route(stream)

    def resolve_route(self, stream: Stream) -> None:
        """Look the route of ``stream`` up."""
        headers = stream.request.headers
        if stream.resolve_route == LOOK_AGAIN and not headers.index().get(b"x-forwarded-proto"):
            stream.resolve_route = False
            stream.route = None  # a filter has taken it away
            return
        stream.resolve_route = False
        route = self.route_table.find(headers, stream)
        if route is not None and route.choose is not None:
            route = route.choose(headers, stream)
        stream.route = route

    # -- the life of a stream ------------------------------------------------------------------------
    async def run_stream(self, stream: Stream, responder: Responder, strand: Strand) -> None:
        """Run one stream to its end.  Raises nothing but Cancelled and what is a bug here.

        Afterwards ``stream.drain_connection`` says whether its connection should end with it.
        """
        stats = self.stats
        stats.downstream_rq_total.value += 1
        stats.downstream_rq_active.value += 1
        encode_hooks = self._encode_hooks
        reply: Any = None  # a LocalReply, what gives one when awaited, or None
        if switch.on:
            log_begin(stream)
        try:
            try:
                headers = stream.request.headers
                path = headers.path
                # What the common request is not, before the call that looks closer.
                if (
                    path is None
                    or headers.authority is None
                    or b"#" in path
                    or path[:1] != b"/"
                    or headers.method == b"QUERY"
                    or self.request_options is not None
                    or self.refuses is not None
                ):
                    reply = self._check_request(stream)
                if reply is None:
                    reply = prepare_request_headers(self, stream, headers)
                if reply is None:
                    if stream.connection.agent is False:
                        stream.connection.agent = agent_of(headers, stats.scope)
                    if self.on_begin is not None:
                        self.on_begin(stream, strand)
                    for hook, uses_trio in self._decode_hooks:
                        reply = hook(stream)
                        if reply is not None:
                            if reply.__class__ is not LocalReply:
                                reply = await (run_adopted(reply) if uses_trio else reply)
                            if reply is not None:
                                break
                if reply is None:
                    if self.terminal is None:
                        router = self.router
                        reply = router.begin(self, stream, responder, strand)
                        if reply is not None and reply.__class__ is not LocalReply:
                            reply = await reply
                        if reply is None:
                            router.take_response(stream, await stream.upstream.response(stream), strand)
                    else:
                        stream.response = await self.terminal(stream)
                if reply is not None:
                    if reply is _OVERLOADED:
                        encode_hooks = ()  # no filter sees it
                    self.set_local_reply(stream, reply)
            except _EXPECTED as error:
                self.set_local_reply(stream, self._reply_early(stream, error))
            for hook, uses_trio in encode_hooks:
                reply = hook(stream)
                if reply is not None:
                    if reply.__class__ is not LocalReply:
                        reply = await (run_adopted(reply) if uses_trio else reply)
                    if reply is not None:
                        self.set_local_reply(stream, reply)
            self._finish_headers(stream, responder)
            waiting = responder.send_response(stream, stream.response)  # type: ignore[arg-type]
            if waiting is not None:
                await waiting
            stream.downstream_last_tx_ns = monotonic_ns()
        except InternalRedirect as redirect:
            reply = redirect
        except Disconnected as error:
            self._on_disconnect(stream, responder, error)
        except _EXPECTED as error:
            await self._fail_late(stream, responder, error)
        except Exception:
            logger.exception("stream %s failed", stream.request_id)
            await self._fail_late(stream, responder, SidecarError("internal error"))
        finally:
            if stream.upstream is not None:
                self.router.finish(stream)
            strand.deadline = 0.0
            if strand.timers is not None:
                end_stream_timers(strand)
            self._complete(stream)
            if stream.pump_error is not None:
                stream.pump_error = None  # the frames in it hold the stream
        if reply.__class__ is InternalRedirect:
            renew(stream)
            await self.run_stream(stream, responder, strand)

    async def run_broken(self, stream: Stream, responder: Responder, reply: LocalReply) -> None:
        """Answer a request that the codec could not read: encoder filters, access log and stats see it.

        Its flag is known once it is sent, as in Envoy: neither Proxy-Status nor a body's format sees it.
        """
        self.stats.downstream_rq_total.value += 1
        self.stats.downstream_rq_active.value += 1
        self.set_local_reply(stream, replace(reply, flag=0))
        try:
            for hook, uses_trio in self._encode_hooks:
                result = hook(stream)
                if result is not None and result.__class__ is not LocalReply:
                    result = await (run_adopted(result) if uses_trio else result)
            await self._respond(stream, responder)
        except SidecarError:
            responder.reset(stream)
        finally:
            stream.flags |= reply.flag
            self._complete(stream)

    def _check_request(self, stream: Stream) -> LocalReply | None:
        """Requests that are answered before any filter sees them (``ActiveStream::decodeHeaders``)."""
        if self.refuses is not None and self.refuses():
            self.stats.downstream_rq_overload_close.value += 1
            stream.resolve_route = False
            return _OVERLOADED
        headers = stream.request.headers
        path = headers.path
        if headers.authority is None:
            if headers.scheme is ASSUMED_SCHEME:
                headers.scheme = None  # it is assumed later
            return LocalReply(400, details="missing_host_header", close=True)
        if path is None:
            if headers.method == b"CONNECT":
                return None
            return LocalReply(404, details="missing_path_rejected")
        if path[:1] != b"/":
            self.stats.downstream_rq_non_relative_path.value += 1
            return LocalReply(404, details="absolute_path_rejected")
        if b"#" in path:
            self.stats.downstream_rq_failed_path_normalization.value += 1
            return LocalReply(400, details="path_normalization_failed", close=True)
        if headers.method == b"QUERY" and not headers.get(b"content-type"):
            return LocalReply(400, details="query_missing_content_type", close=True)
        if self.request_options is not None:
            reply = self.request_options.apply(headers, stream.connection.local_address)
            if reply is not None:
                if reply.status == 307:
                    self.stats.downstream_rq_redirected_with_normalized_path.value += 1
                else:
                    self.stats.downstream_rq_failed_path_normalization.value += 1
                return reply
        return None

    def _finish_headers(self, stream: Stream, responder: Responder) -> None:
        """Set the connection manager's own response headers (``ActiveStream::encodeHeaders``)."""
        response = stream.response
        assert response is not None
        headers = response.headers
        fields = headers.fields
        names = headers._index
        if names is None:
            names = headers.index()
        if b"date" not in names:
            field = _clock.field(time())
            fields.append(field)
            names[b"date"] = field[1]
        transformation = self.server_header_transformation
        if transformation == "OVERWRITE":
            if b"server" in names:
                before = names[b"server"]
                if len(names) != len(fields):
                    headers.set(b"server", self.server_name)
                elif before != self.server_name:  # the same, without the call
                    fields[fields.index((b"server", before))] = (b"server", self.server_name)
                    names[b"server"] = self.server_name
            else:
                names[b"server"] = name = self.server_name
                fields.append((b"server", name))
        elif transformation == "APPEND_IF_ABSENT" and b"server" not in names:
            headers.add(b"server", self.server_name)
        if (
            self.always_set_request_id_in_response
            or (stream.internal and b"x-envoy-force-trace" in stream.request.headers)
        ) and (request_id := stream.request.headers.get(b"x-request-id")) is not None:
            headers.set(b"x-request-id", request_id)
        if self.via:
            found = headers.get(b"via")
            headers.set(b"via", found + b", " + self.via if found else self.via)
        if self.proxy_status is not None:
            self.proxy_status.apply(headers, stream)
        if (reason := self.is_draining()) and responder.start_drain():
            self.stats.downstream_cx_drain_close.value += 1
            if reason == 2:
                self.stats.downstream_cx_overload_disable_keepalive.value += 1
        if self.tracing is not None:
            self.tracing.finish_headers(stream)
        stream.response_code = headers.status

    async def _respond(self, stream: Stream, responder: Responder) -> None:
        self._finish_headers(stream, responder)
        response = stream.response
        assert response is not None
        waiting = responder.send_response(stream, response)
        if waiting is not None:
            await waiting
        stream.downstream_last_tx_ns = monotonic_ns()

    def set_local_reply(self, stream: Stream, reply: LocalReply) -> None:
        """Let ``reply`` be the response of ``stream``."""
        stream.flags |= reply.flag
        stream.details = reply.details
        body = stream.request.body
        if body.__class__ is ReadBody and not stream.bytes_received:
            stream.bytes_received = body.size  # a filter has read it
        stream.response = build_response(reply, stream, self.local_reply_config)
        if reply.close and not (
            reply.details in _STREAM_ERRORS and self.http1.override_stream_error_on_invalid_http_message
        ):
            stream.drain_connection = True
        if reply.status == 400 and stream.protocol != "HTTP/2":
            # Whoever says it, for Envoy the connection is out of step, unless errors are their stream's own.
            stream.drain_connection |= not self.http1.override_stream_error_on_invalid_http_message

    def _reply_early(self, stream: Stream, error: SidecarError) -> LocalReply:
        """What answers a stream that failed before it had a response.  Raises: Disconnected."""
        if isinstance(error, RemoteProtocolError) and error.status == 0:
            raise Disconnected("the request broke off") from error
        if isinstance(error, UpstreamError):
            if stream.pump_error is not None:
                if isinstance(stream.pump_error, Disconnected):
                    raise stream.pump_error from None
                if isinstance(stream.pump_error, SidecarError):
                    error = stream.pump_error
            else:
                self.router.take_error(stream, error)
        self._count_timeout(stream, error)
        return reply_for(error, stream)

    async def _fail_late(self, stream: Stream, responder: Responder, error: SidecarError) -> None:
        """An error while the response was under way: answer if nothing went out, else cut it off."""
        if isinstance(error, UpstreamError) and stream.upstream_host is not None:
            self.router.take_error(stream, error)
        self._count_timeout(stream, error)
        if not stream.response_started:
            self.set_local_reply(stream, reply_for(error, stream))
            try:
                await self._respond(stream, responder)
            except (SidecarError, OSError):
                responder.reset(stream)
            return
        if isinstance(error, UpstreamError):
            stream.flags |= error.flag
            reason = error.details.replace(" ", "_")
            stream.details = f"upstream_reset_after_response_started{{{reason}}}"
            if is_grpc(stream.request.headers.get(b"content-type") or b""):
                # Of gRPC alone: whether another response was good is known from its head.
                self.stats.rq_reset_after_downstream_response_started.value += 1
        elif isinstance(error, DeadlineExceeded):
            reply = reply_for(error, stream)
            stream.flags |= reply.flag
            stream.details = reply.details
            if error.kind == "flush":  # for Envoy the stream was over
                responder.reset(stream)
                return
        elif isinstance(error, StreamAborted):
            stream.flags |= error.reply.flag
            stream.details = error.reply.details
        elif isinstance(error, RemoteProtocolError):
            stream.flags |= Flag.DOWNSTREAM_PROTOCOL_ERROR
            stream.details = error.details
        self.stats.downstream_rq_tx_reset.value += 1
        self.stats.downstream_rq_rx_reset.value += 1  # Envoy counts every reset here too
        body = stream.request.body
        if body is not None and not body.ended:
            self.stats.downstream_rq_response_before_rq_complete.value += 1
        responder.reset(stream)

    def _count_timeout(self, stream: Stream, error: SidecarError) -> None:
        if not isinstance(error, DeadlineExceeded):
            return
        if error.kind == "idle":
            self.stats.downstream_rq_idle_timeout.value += 1
        elif error.kind != "flush":
            self.router.count_timeout(stream)

    def _on_disconnect(self, stream: Stream, responder: Responder, error: Disconnected) -> None:
        if isinstance(error, StreamClosed):
            self._on_close(stream, responder, error)
            return
        if not stream.flags & _TOLD_RESETS:
            stream.flags |= Flag.DOWNSTREAM_CONNECTION_TERMINATION
        if stream.stream_id == 0 or not stream.details:  # the HTTP/2 driver has set its own
            stream.details = "downstream_remote_disconnect"
        if not stream.response_started:
            stream.response_code = 0
        self.stats.downstream_rq_rx_reset.value += 1
        responder.reset(stream)

    def _on_close(self, stream: Stream, responder: Responder, error: StreamClosed) -> None:
        """A filter closed the stream: the log has no flag, and the status that an upstream had answered."""
        if not stream.details:
            stream.details = str(error)
        if stream.response is not None and not stream.response_started:
            stream.response_code = stream.response.headers.status
        self.stats.downstream_rq_tx_reset.value += 1
        self.stats.downstream_rq_rx_reset.value += 1  # Envoy counts every reset here too
        responder.reset(stream)

    def make_request_parser(self) -> RequestParser:
        """A parser for one HTTP/1 connection."""
        http1 = self.http1
        return self.h1_codec.request_parser(
            self.max_headers_count,
            allow_custom_methods=http1.allow_custom_methods,
            allow_chunked_length=http1.allow_chunked_length,
        )

    def make_chunked_decoder(self) -> ChunkedDecoder:
        """A decoder for one chunked request body.  Trailers that are kept are counted."""
        return self.h1_codec.chunked_decoder(
            self.max_request_headers_bytes, self.max_headers_count if self.http1.enable_trailers else 0
        )

    def count_interim(self) -> None:
        """A 1xx was sent: Envoy counts it as a response."""
        self.stats.downstream_rq_1xx.value += 1
        self.stats.downstream_rq_completed.value += 1

    def _complete(self, stream: Stream, *, is_timed: bool = True) -> None:
        stats = self.stats
        stats.downstream_rq_active.value -= 1
        code = stream.response_code
        if stream.is_health_check:
            stats.tracing_health_check.value += 1
        elif stream.response_started:
            stats.downstream_rq_completed.value += 1
            bucket = code // 100
            if 0 < bucket < 6:
                self._classes[bucket].value += 1
                if self._listener_classes is not None:
                    self._listener_completed.value += 1
                    self._listener_classes[bucket].value += 1
        end = stream.downstream_last_tx_ns or monotonic_ns()
        took = (end - stream.start_ns) // 1_000_000
        if not is_timed:
            pass
        elif took < 100:
            pending = stats.downstream_rq_time.pending
            pending[took] = pending.get(took, 0) + 1
        else:
            stats.downstream_rq_time.record(took)
        for hook in self._complete_hooks:
            hook(stream)
        if switch.on:
            log_end(stream)
        if self.access_logs:
            if not stream.request_last_rx_ns:
                stream.note_whole_request()
            for log in self.access_logs:
                log.log(stream)


def _is_disabled(each: HttpFilter) -> bool:
    return getattr(each, "is_disabled", False)


def _never() -> bool:
    return False
