"""A stream: one request and its response, and everything known about them.

The stream is what every hook gets and what access logs, stats and properties read
(Envoy's ``StreamInfo`` and the filter callbacks in one object).  It belongs to one coroutine, which
alone changes it.  Times are ``time.monotonic_ns()`` marks, 0 where the point was not reached.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Any, Protocol

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from sidecar.api.message import RequestMessage, ResponseMessage
    from sidecar.api.wire import StreamWire
    from sidecar.core.headers import HeaderMap

__all__ = [
    "EMPTY_DETAILS",
    "FLAG_NAMES",
    "LOOK_AGAIN",
    "AnyStream",
    "ConnectionInfo",
    "Flag",
    "HostInfo",
    "RouteInfo",
    "Stream",
    "flag_text",
]

#: In ``Stream.resolve_route``: filters may have changed what the route was found by.
LOOK_AGAIN = 2


@mypyc_attr(native_class=False)
class _Empty(str):
    """A text without characters that counts as given."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


#: Response code details that are there and say nothing, which a log shows as nothing instead of ``-``.
EMPTY_DETAILS = _Empty()


class Flag(IntFlag):
    """Response flags (envoy ``StreamInfo::CoreResponseFlag``)."""

    FAILED_LOCAL_HEALTH_CHECK = 1 << 0
    NO_HEALTHY_UPSTREAM = 1 << 1
    UPSTREAM_REQUEST_TIMEOUT = 1 << 2
    LOCAL_RESET = 1 << 3
    UPSTREAM_REMOTE_RESET = 1 << 4
    UPSTREAM_CONNECTION_FAILURE = 1 << 5
    UPSTREAM_CONNECTION_TERMINATION = 1 << 6
    UPSTREAM_OVERFLOW = 1 << 7
    NO_ROUTE_FOUND = 1 << 8
    DELAY_INJECTED = 1 << 9
    FAULT_INJECTED = 1 << 10
    RATE_LIMITED = 1 << 11
    UNAUTHORIZED_EXTERNAL_SERVICE = 1 << 12
    RATE_LIMIT_SERVICE_ERROR = 1 << 13
    DOWNSTREAM_CONNECTION_TERMINATION = 1 << 14
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 1 << 15
    STREAM_IDLE_TIMEOUT = 1 << 16
    INVALID_ENVOY_REQUEST_HEADERS = 1 << 17
    DOWNSTREAM_PROTOCOL_ERROR = 1 << 18
    UPSTREAM_MAX_STREAM_DURATION_REACHED = 1 << 19
    RESPONSE_FROM_CACHE_FILTER = 1 << 20
    NO_FILTER_CONFIG_FOUND = 1 << 21
    DURATION_TIMEOUT = 1 << 22
    UPSTREAM_PROTOCOL_ERROR = 1 << 23
    NO_CLUSTER_FOUND = 1 << 24
    OVERLOAD_MANAGER_TERMINATED = 1 << 25
    DNS_RESOLUTION_FAILED = 1 << 26
    DROP_OVERLOAD = 1 << 27
    DOWNSTREAM_REMOTE_RESET = 1 << 28
    UNCONDITIONAL_DROP_OVERLOAD = 1 << 29
    #: No more attempts to connect: a TCP proxy's, which raises it behind what the last one met.
    CONNECT_ATTEMPTS_EXCEEDED = 1 << 30
    #: A tunnel was given up before it was there: a TCP proxy's, which raises it behind why.
    TUNNEL_GIVEN_UP = 1 << 31


#: (flag, short, long) in Envoy's order: that in which flags are raised.  No more tries comes before why.
FLAG_NAMES: tuple[tuple[int, str, str], ...] = (
    (Flag.FAILED_LOCAL_HEALTH_CHECK, "LH", "FailedLocalHealthCheck"),
    (Flag.NO_HEALTHY_UPSTREAM, "UH", "NoHealthyUpstream"),
    (Flag.UPSTREAM_OVERFLOW, "UO", "UpstreamOverflow"),
    (Flag.UPSTREAM_RETRY_LIMIT_EXCEEDED, "URX", "UpstreamRetryLimitExceeded"),
    (Flag.UPSTREAM_REQUEST_TIMEOUT, "UT", "UpstreamRequestTimeout"),
    (Flag.LOCAL_RESET, "LR", "LocalReset"),
    (Flag.UPSTREAM_REMOTE_RESET, "UR", "UpstreamRemoteReset"),
    (Flag.UPSTREAM_CONNECTION_FAILURE, "UF", "UpstreamConnectionFailure"),
    (Flag.CONNECT_ATTEMPTS_EXCEEDED, "URX", "UpstreamRetryLimitExceeded"),
    (Flag.UPSTREAM_CONNECTION_TERMINATION, "UC", "UpstreamConnectionTermination"),
    (Flag.NO_ROUTE_FOUND, "NR", "NoRouteFound"),
    (Flag.DELAY_INJECTED, "DI", "DelayInjected"),
    (Flag.FAULT_INJECTED, "FI", "FaultInjected"),
    (Flag.RATE_LIMITED, "RL", "RateLimited"),
    (Flag.UNAUTHORIZED_EXTERNAL_SERVICE, "UAEX", "UnauthorizedExternalService"),
    (Flag.RATE_LIMIT_SERVICE_ERROR, "RLSE", "RateLimitServiceError"),
    (Flag.DOWNSTREAM_CONNECTION_TERMINATION, "DC", "DownstreamConnectionTermination"),
    (Flag.STREAM_IDLE_TIMEOUT, "SI", "StreamIdleTimeout"),
    (Flag.INVALID_ENVOY_REQUEST_HEADERS, "IH", "InvalidEnvoyRequestHeaders"),
    (Flag.DOWNSTREAM_PROTOCOL_ERROR, "DPE", "DownstreamProtocolError"),
    (Flag.UPSTREAM_MAX_STREAM_DURATION_REACHED, "UMSDR", "UpstreamMaxStreamDurationReached"),
    (Flag.RESPONSE_FROM_CACHE_FILTER, "RFCF", "ResponseFromCacheFilter"),
    (Flag.NO_FILTER_CONFIG_FOUND, "NFCF", "NoFilterConfigFound"),
    (Flag.DURATION_TIMEOUT, "DT", "DurationTimeout"),
    (Flag.UPSTREAM_PROTOCOL_ERROR, "UPE", "UpstreamProtocolError"),
    (Flag.NO_CLUSTER_FOUND, "NC", "NoClusterFound"),
    (Flag.OVERLOAD_MANAGER_TERMINATED, "OM", "OverloadManagerTerminated"),
    (Flag.DNS_RESOLUTION_FAILED, "DF", "DnsResolutionFailed"),
    (Flag.DROP_OVERLOAD, "DO", "DropOverload"),
    (Flag.DOWNSTREAM_REMOTE_RESET, "DR", "DownstreamRemoteReset"),
    (Flag.UNCONDITIONAL_DROP_OVERLOAD, "UDO", "UnconditionalDropOverload"),
    (Flag.TUNNEL_GIVEN_UP, "UF", "UpstreamConnectionFailure"),
)


def flag_text(flags: int, *, long: bool = False) -> str:
    """Flags as the access log shows them: names joined by commas, or ``-``."""
    if not flags:
        return "-"
    return ",".join(name if long else short for flag, short, name in FLAG_NAMES if flags & flag)


class ConnectionInfo(Protocol):
    """What filters and formatters may know of a downstream connection.

    Addresses are in Envoy's text form: ``127.0.0.1:8080``, ``[::1]:8080``, or a Unix socket's path.
    """

    connection_id: int
    remote_address: str
    direct_remote_address: str
    local_address: str
    #: The socket's, where ``local_address`` was restored to what the client meant.
    direct_local_address: str
    listener_name: str
    #: ``UNSPECIFIED``, ``INBOUND`` or ``OUTBOUND``, and ``metadata.filter_metadata`` of the listener.
    traffic_direction: str
    listener_metadata: dict[str, dict[str, Any]]
    filter_chain_name: str
    requested_server_name: str
    #: What listener filters kept for all streams; None for nothing.
    dynamic_metadata: dict[str, dict[str, Any]] | None
    #: The messages among it, as plain data.
    typed_metadata: dict[str, dict[str, Any]] | None
    filter_state: dict[str, Any] | None
    #: From where upstreams are connected to: a :class:`sidecar.upstream.source.UpstreamSource`, None for us.
    upstream_source: Any
    #: A :class:`sidecar.net.tls_facts.TlsFacts`; None without TLS.
    tls: Any
    #: Why the transport socket failed.
    transport_failure_reason: str
    #: ``Normal`` or ``RemoteReset``; why we closed it.
    detected_close_type: str
    local_close_reason: str
    #: Of its first request (:mod:`sidecar.http.user_agents`); False until there was one.
    agent: Any
    start_ns: int


class HostInfo(Protocol):
    """What may be known of the chosen upstream host."""

    address: str
    hostname: str


class RouteInfo(Protocol):
    """What filters may know of the matched route."""

    name: str
    cluster_name: str
    virtual_host_name: str
    #: ``metadata.filter_metadata`` of the route as plain dicts.
    metadata: dict[str, dict[str, Any]]
    virtual_host_metadata: dict[str, dict[str, Any]]
    #: Compiled ``typed_per_filter_config``, most specific entry per filter config name.
    per_filter_config: dict[str, Any]


class Stream:
    """One request and its response."""

    # Defaults on the class instead of slots: a plain request sets two dozen of these fifty attributes.
    # Measured, that costs what slots with fifty first stores cost (0.5 µs).

    #: :class:`ResponseMessage`; None until a response, the upstream's or our own, exists.
    response: ResponseMessage | None = None
    #: Wall clock, seconds since the epoch, at the start of the request.
    start_time: float = 0.0
    start_ns: int = 0
    #: ``start_ns`` of the request that came, where this one is what an internal redirect made of it.
    first_start_ns: int = 0
    #: Number inside the connection (HTTP/2 stream id; 0 on HTTP/1).
    stream_id: int = 0
    #: The trusted client address, after x-forwarded-for.  Text with port, as ConnectionInfo's.
    remote_address: str = ""
    #: Who sends the response, where the connection manager proxies 1xx.
    responder: Any = None
    #: An upstream sent a 1xx that is one of those that count.
    had_interim: bool = False
    #: Whether the request is internal in the sense of x-envoy-internal.
    internal: bool = False
    #: By which its lines of the log are told apart; 0 without any.
    log_id: int = 0
    #: In which trees of a cluster's statistics its response counts: ``internal``, or
    #: :class:`sidecar.upstream.cluster_stats.Trees`.
    trees: Any = False
    request_id: bytes | None = None
    #: :class:`RouteInfo` of the matched route, None before it was looked up or when there is none.
    route: Any = None
    #: Whether the route has to be looked up: True for the first time, LOOK_AGAIN after ``clear_route_cache``.
    resolve_route: int = True
    #: The cluster in use, None before the router ran.
    cluster: Any = None
    #: The chosen host (:class:`HostInfo`), None before there is one.
    upstream_host: Any = None
    upstream_local_address: str = ""
    #: A :class:`sidecar.net.tls_facts.TlsFacts`; None without TLS.
    upstream_tls: Any = None
    upstream_protocol: str = ""
    upstream_connection_id: int = 0
    upstream_transport_failure: str = ""
    #: How its connection ended, as far as it has, and why we ended it.
    upstream_close_type: str = "Normal"
    upstream_local_close_reason: str = ""
    attempt_count: int = 0
    #: Status sent downstream; 0 when none was begun.
    response_code: int = 0
    #: Bits of :class:`Flag`.
    flags: int = 0
    #: Of the line that is being written (``AccessLogType`` of Envoy).
    access_log_type: str = "DownstreamEnd"
    #: Response code details.
    details: str = ""
    local_reply_body: bytes = b""
    #: Why a network filter closed the connection.
    connection_termination_details: str = ""
    #: Whether response headers went to the codec.
    response_started: bool = False
    #: Request and response body bytes.
    bytes_received: int = 0
    bytes_sent: int = 0
    request_header_bytes: int = 0
    #: The path before a rewrite, None when it was not rewritten.
    original_path: bytes | None = None
    #: namespace → {key: value}; None until a filter sets something.
    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    #: namespace → a message as plain data; None until a filter sets one.
    typed_metadata: dict[str, dict[str, Any]] | None = None
    #: name → value (bytes or str); None until a filter sets something.
    filter_state: dict[str, Any] | None = None
    #: The host that a filter asks for (address, whether no other will do); None for none.
    override_host: tuple[str, bool] | None = None
    #: Per-filter state, a list by the filter's slot number; None until a filter keeps something.
    slots: list[Any] | None = None
    #: Whether this is a view of one of its tries, as filters on the way to an upstream have it.
    is_try: bool = False
    #: Filters that this try passes on its way to the upstream.
    chain: tuple[Any, ...] = ()
    #: The hooks of the filters that are on for this stream, where that varies.
    filter_hooks: Any = None
    #: Ask for this connection to end after this stream.
    drain_connection: bool = False
    request_last_rx_ns: int = 0
    upstream_first_tx_ns: int = 0
    upstream_last_tx_ns: int = 0
    upstream_first_rx_ns: int = 0
    upstream_last_rx_ns: int = 0
    downstream_last_tx_ns: int = 0
    #: The router's: the stream at the upstream, the strand that pumps the request body, what that met.
    upstream: Any = None
    pump: Any = None
    pump_error: BaseException | None = None
    #: The running ``max_stream_duration``, and the cluster's or client's limit of the upstream's stream.
    duration_timer: Any = None
    duration_route: Any = None
    upstream_limit_s: float = 0.0
    #: Where the stream counts besides its cluster (:class:`sidecar.router.route_counters.RouteCounters`).
    route_counters: tuple[Any, ...] = ()
    virtual_cluster_name: str = ""
    #: How often the route was looked up and what that took, where that is measured.
    route_resolutions: int = 0
    route_resolution_ns: int = 0
    #: What fractions and weights of this stream are drawn from; None before the first.
    random_bits: int | None = None
    #: Copies of the request that its body goes along to; None for none.
    mirrors: Any = None
    #: What goes beside its messages (:class:`sidecar.api.stream_metadata.StreamMetadata`), where the client's
    #: connection allows it.
    metadata: Any = None
    #: The redirects that were followed inside, and the body kept for another one; None for neither.
    redirects: Any = None
    replay: Any = None
    #: How the request is tried (:class:`sidecar.router.retrying.Tries`), where there may be several tries.
    tries: Any = None
    #: Values of ``set-cookie`` that keep the client to its host; None for none.
    routing_cookies: list[bytes] | None = None
    #: Whether a timeout of the upstream is a 204 (x-envoy-upstream-rq-timeout-alt-response).
    is_timeout_204: bool = False
    #: A circuit breaker refused it before anything was waited for.
    is_refused: bool = False
    #: Whether a filter answered over a part of the request's body, which for Envoy had not ended.
    is_cut_short: bool = False
    #: The filter health_check takes it for a question about health.
    is_health_check: bool = False
    #: What the request asks to become (``websocket``, or ``CONNECT``); None for an ordinary request.
    upgrade: bytes | None = None
    #: Whether it was allowed to (None until that is known), and whether the response makes it a tunnel.
    is_upgraded: bool | None = None
    #: Whether a local reply is one of gRPC; None where the request's content type tells.
    is_grpc: bool | None = None
    is_tunnel: bool = False
    #: The span (:class:`sidecar.observability.span.Span`) of a request that is traced, and the one of the try
    #: under way, where tries have their own (:class:`sidecar.router.traced.TrySpan`).
    span: Any = None
    try_span: Any = None
    #: Its bytes on the wire (:class:`sidecar.api.wire.StreamWire`), where something reads them.
    wire: StreamWire | None = None
    #: Why it is traced: the digit that its request id has (:func:`sidecar.http.tracing.trace_reason`).
    trace_reason: str = "4"
    #: Whether the route's decorator names the operation, and not the caller.
    is_decorated: bool = True

    def __init__(self, connection: ConnectionInfo, hcm: Any, request: RequestMessage, protocol: str) -> None:
        #: The downstream connection.
        self.connection = connection
        #: The compiled connection manager (:class:`sidecar.http.connection_manager.ConnectionManager`).
        self.hcm = hcm
        self.request = request
        #: ``HTTP/1.0``, ``HTTP/1.1`` or ``HTTP/2``.
        self.protocol = protocol

    # -- for filters ------------------------------------------------------------------------
    def get_slot(self, slot: int) -> Any:
        """What the filter with this slot number kept, or None."""
        slots = self.slots
        return None if slots is None else slots[slot]

    def set_slot(self, slot: int, value: Any) -> None:
        """Keep ``value`` for the filter with this slot number until the stream ends."""
        slots = self.slots
        if slots is None:
            slots = self.slots = [None] * self.hcm.slot_count
        slots[slot] = value

    def metadata_namespace(self, namespace: str) -> dict[str, Any]:
        """The dynamic metadata of ``namespace``, made when missing."""
        metadata = self.dynamic_metadata
        if metadata is None:
            metadata = self.dynamic_metadata = {}
        return metadata.setdefault(namespace, {})

    def note_whole_request(self) -> None:
        """At the end, of a request whose last byte nobody took down: it came in one piece."""
        request = self.request
        # One without a method could not be.
        if request.headers.method and (request.body is None or request.body.ended):
            self.request_last_rx_ns = self.start_ns

    def clear_route_cache(self) -> None:
        """Have the route looked up again by whoever needs it next."""
        self.resolve_route = LOOK_AGAIN

    def find_route(self) -> Any:
        """The matched route (:class:`RouteInfo`), looked up now if it has to be; None if none matches."""
        if self.resolve_route:
            self.hcm.resolve_route(self)
        return self.route

    @property
    def response_headers(self) -> HeaderMap | None:
        return None if self.response is None else self.response.headers

    @property
    def response_trailers(self) -> HeaderMap | None:
        response = self.response
        return None if response is None or response.body is None else response.body.trailers


#: A stream, or what stands in for one: the view that filters of a try have, a connection's for its log.
#: (Any beside Stream: mypy checks what is read of it, and a compiled function takes either.)
AnyStream = Stream | Any
