"""One route: its conditions and what it does (envoy.config.route.v3.Route), compiled.

Which of many is tried is :mod:`sidecar.router.route_table`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.core.matching import Tree
from sidecar.router.cluster_choice import (
    HeaderChoice,
    LiveWeightedChoice,
    TreeChoice,
    WeightedChoice,
    WeightedCluster,
)
from sidecar.router.hash_policy import HashPolicy
from sidecar.router.header_mutation import Mutations
from sidecar.router.internal_redirects import InternalRedirectPolicy
from sidecar.router.rewrites import HostRewriter, PathRewriter
from sidecar.router.timeouts import GrpcTimeouts, StreamDuration

if TYPE_CHECKING:
    from sidecar.api.rate_limit import RateLimits
    from sidecar.api.stream import Stream
    from sidecar.http.tracing import Decorator, RouteTracing
    from sidecar.router.mirroring import MirrorPolicy
    from sidecar.router.retry_policy import RetryPolicy
    from sidecar.upstream.metadata_match import MetadataMatch

__all__ = [
    "CONNECT",
    "NOWHERE",
    "PATH",
    "PREFIX",
    "REGEX",
    "SEPARATED_PREFIX",
    "ConnectConfig",
    "DirectResponse",
    "Predicate",
    "Redirect",
    "Route",
    "WeightedCluster",
]

PREFIX = 0
PATH = 1
REGEX = 2
SEPARATED_PREFIX = 3
CONNECT = 4

#: A further condition of a route: headers, query parameters …  There may be no stream.
Predicate = Callable[[RequestHeaders, Any], bool]


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """``direct_response``: an answer without an upstream."""

    status: int
    body: bytes = b""
    #: ``body_format``: makes the body of the stream and ``body``; None leaves it.
    body_format: Callable[[Stream, bytes], bytes] | None = None
    #: Empty for ``text/plain``.
    content_type: bytes = b""


@dataclass(frozen=True, slots=True)
class Redirect:
    """``redirect`` (envoy.config.route.v3.RedirectAction)."""

    status: int = 301
    #: Empty for what the request has; the same for the rest.
    scheme: bytes = b""
    host: bytes = b""
    port: int = 0
    #: Its own, or what ``path_rewrite`` makes for a stream.
    path: bytes | Callable[[Stream], bytes] = b""
    #: ``prefix_rewrite``, ``regex_rewrite``: done to the request itself.
    path_rewriter: PathRewriter | None = None
    strip_query: bool = False
    #: Whether the port stays whatever the scheme.
    keeps_port: bool = False


#: A redirect to where the request went already.
NOWHERE = Redirect()


@dataclass(frozen=True, slots=True)
class ConnectConfig:
    """``upgrade_configs.connect_config``: the tunnel ends at this proxy."""

    allow_post: bool = False
    #: ``proxy_protocol_config.version``, 1 or 2; 0 for no head.
    proxy_protocol: int = 0


class Route:
    """One route, its conditions and its action."""

    __slots__ = (
        "append_x_forwarded_host",
        "auto_host_rewrite",
        "case_sensitive",
        "choose",
        "chosen_by",
        "cluster_header",
        "cluster_name",
        "cluster_not_found_status",
        "cluster_tree",
        "connect_config",
        "decorator",
        "direct_response",
        "durations",
        "filter_switches",
        "flush_timeout_s",
        "grpc_timeouts",
        "hash_policy",
        "hedge_on_per_try_timeout",
        "host_rewriter",
        "idle_timeout_s",
        "internal_redirect",
        "is_plain",
        "is_response_plain",
        "is_simple",
        "kind",
        "metadata",
        "metadata_match",
        "mirrors",
        "name",
        "path_rewriter",
        "path_value",
        "per_filter_config",
        "per_request_buffer_limit_bytes",
        "predicates",
        "priority",
        "rate_limits",
        "redirect",
        "request_body_buffer_limit",
        "request_mutations",
        "response_mutations",
        "retry_policy",
        "stat_prefix",
        "tells_of_timeouts",
        "timeout_field",
        "timeout_s",
        "tracing",
        "tries_policy",
        "typed_metadata",
        "upgrades",
        "virtual_host_metadata",
        "virtual_host_name",
        "weighted",
        "weighted_by",
        "weighted_header",
    )

    def __init__(self, kind: int = PREFIX, path_value: Any = b"/") -> None:
        self.name = ""
        self.kind = kind
        #: Bytes for prefix and path, a compiled RE2 for a regex (matched whole).
        self.path_value = path_value
        self.case_sensitive = True
        self.predicates: tuple[Predicate, ...] = ()
        self.cluster_name = ""
        self.cluster_header: bytes | None = None
        #: A match tree that finds the cluster's name.
        self.cluster_tree: Tree[tuple[RequestHeaders, Any]] | None = None
        self.weighted: tuple[WeightedCluster, ...] = ()
        #: The header whose value chooses among them, in place of a random one.
        self.weighted_header: bytes | None = None
        #: The same for a hash of the request (``use_hash_policy``).
        self.weighted_by: HashPolicy | None = None
        #: Chooses among clusters, or by a header; None where one is named.
        self.choose: Callable[[RequestHeaders, Any], Route] | None = None
        #: What chose this route's cluster, and may choose another for another try; None where it is named.
        self.chosen_by: Any = None
        self.cluster_not_found_status = 503
        #: How CONNECT, and POST where it allows that, ends here as raw bytes; None hands it on.
        self.connect_config: ConnectConfig | None = None
        #: Upgrade types in lower case, and whether they are allowed; others are the connection manager's.
        self.upgrades: dict[bytes, bool] | None = None
        self.direct_response: DirectResponse | None = None
        self.redirect: Redirect | None = None
        #: Seconds; 0 for none.
        self.timeout_s = 15.0
        #: Seconds; None takes the connection manager's.
        self.idle_timeout_s: float | None = None
        self.flush_timeout_s: float | None = None
        #: ``max_stream_duration``, which puts ``timeout`` out of use; None where it is unset.
        self.durations: StreamDuration | None = None
        #: ``max_grpc_timeout``, for gRPC requests in the place of ``timeout``.
        self.grpc_timeouts: GrpcTimeouts | None = None
        self.path_rewriter: PathRewriter | None = None
        self.host_rewriter: HostRewriter | None = None
        #: What copies of requests go out (``request_mirror_policies``).
        self.mirrors: tuple[MirrorPolicy, ...] = ()
        #: Which redirects of an upstream are followed inside.
        self.internal_redirect: InternalRedirectPolicy | None = None
        #: How many bytes of a request are kept for another try: the first alone where it is set, else the
        #: second, and no more than the connection manager's limit.
        self.request_body_buffer_limit: int | None = None
        self.per_request_buffer_limit_bytes = 2**32 - 1
        #: When the request is tried again; None for never.
        self.retry_policy: RetryPolicy | None = None
        #: The cluster's ``retry_policy``, in the place of the route's for all but the limits of tries.
        self.tries_policy: RetryPolicy | None = None
        #: ``include_is_timeout_retry_header``.
        self.tells_of_timeouts = False
        #: ``hedge_policy``: a try that is too slow goes on beside the next.
        self.hedge_on_per_try_timeout = False
        #: Whether the host becomes the name of the chosen upstream host.
        self.auto_host_rewrite = False
        #: ``RoutingPriority``: whose connections and limits of a cluster are used; 1 is HIGH.
        self.priority = 0
        #: What a cluster that balances by a hash is given.
        self.hash_policy: HashPolicy | None = None
        self.append_x_forwarded_host = False
        #: Levels from the route outwards, those without an effect left out.
        self.request_mutations: tuple[Mutations, ...] = ()
        self.response_mutations: tuple[Mutations, ...] = ()
        self.metadata: dict[str, dict[str, Any]] = {}
        #: ``metadata.typed_filter_metadata``, each a serialized ``Any``.
        self.typed_metadata: dict[str, bytes] = {}
        #: What the metadata of a host has to be, in clusters that part their hosts by it.
        self.metadata_match: MetadataMatch | None = None
        self.per_filter_config: dict[str, Any] = {}
        #: Filters that the route says something of: whether they are off.
        self.filter_switches: dict[str, bool] = {}
        #: What it says of tracing (:class:`sidecar.http.tracing.RouteTracing`), and what it calls a request.
        self.tracing: RouteTracing | None = None
        self.decorator: Decorator | None = None
        self.virtual_host_name = ""
        self.virtual_host_metadata: dict[str, dict[str, Any]] = {}
        self.stat_prefix = ""
        #: Whether it goes to one named cluster, and whether it leaves the request as it is (:meth:`freeze`).
        self.is_simple = False
        self.is_plain = False
        #: Whether it leaves the response as it is.
        self.is_response_plain = False
        #: ``rate_limits`` of itself and its virtual host, for the filters that limit; None for none.
        self.rate_limits: RateLimits | None = None
        #: The x-envoy-expected-rq-timeout-ms that the timeout makes, None for no timeout.
        self.timeout_field: tuple[bytes, bytes] | None = None

    @property
    def is_forwarding(self) -> bool:
        """Whether it leads to an upstream."""
        return self.direct_response is None and self.redirect is None

    def freeze(self) -> None:
        """Work out what the router can skip; called when everything else is set."""
        if self.timeout_s:
            self.timeout_field = (b"x-envoy-expected-rq-timeout-ms", b"%d" % round(self.timeout_s * 1000))
        is_simple = self.is_forwarding and not self.weighted and self.cluster_header is None
        is_simple = is_simple and self.cluster_tree is None
        self.is_simple = is_simple and self.durations is None
        if self.weighted:
            is_live = any(entry.live_weight is not None for entry in self.weighted)
            self.choose = (LiveWeightedChoice if is_live else WeightedChoice)(self)
        elif self.cluster_header is not None:
            self.choose = HeaderChoice(self, self.cluster_header)
        elif self.cluster_tree is not None:
            self.choose = TreeChoice(self, self.cluster_tree)
        self.is_response_plain = not self.response_mutations and self.internal_redirect is None
        self.is_plain = (
            not self.weighted
            and self.grpc_timeouts is None
            and not self.request_mutations
            and not self.auto_host_rewrite
            and self.connect_config is None
            and self.host_rewriter is None
            and self.path_rewriter is None
            and self.internal_redirect is None
            and not self.mirrors
            and self.retry_policy is None
            and self.tries_policy is None
            and not self.priority
        )

    def matches(self, headers: RequestHeaders, path: bytes, stream: Any = None) -> bool:
        """Whether this route takes a request; ``path`` is without its query."""
        kind = self.kind
        value = self.path_value
        if kind == PREFIX:
            if not (path if self.case_sensitive else path.lower()).startswith(value):
                return False
        elif kind == PATH:
            if (path if self.case_sensitive else path.lower()) != value:
                return False
        elif kind == REGEX:
            if value.fullmatch(path) is None:
                return False
        elif kind == SEPARATED_PREFIX:
            text = path if self.case_sensitive else path.lower()
            if not text.startswith(value) or (len(text) > len(value) and text[len(value)] != 0x2F):
                return False
        elif headers.method != b"CONNECT":
            return False
        return not self.predicates or all(predicate(headers, stream) for predicate in self.predicates)
