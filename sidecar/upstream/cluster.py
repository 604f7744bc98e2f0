"""A cluster: its hosts, its load balancer, its limits and its stats.

The configuration compiler makes it (:mod:`sidecar.config.compile.cluster`), discovery keeps its hosts,
the router asks it for one.  Connections are the pools'.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import field, replace
from random import randrange
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.codec.h1_types import UPSTREAM_HTTP1, H1Settings
from sidecar.codec.h2_types import H2Settings
from sidecar.core.dataclass import dataclass
from sidecar.net.dns import ResolverSettings
from sidecar.observability.stats import Store
from sidecar.upstream.cluster_stats import ClusterStats
from sidecar.upstream.connect_options import ConnectOptions
from sidecar.upstream.connector import Connector
from sidecar.upstream.host import Health, Host
from sidecar.upstream.host_removal import has_failed_removal
from sidecar.upstream.host_set import NO_HOSTS, HostSet, compare_hosts, part_hosts
from sidecar.upstream.load_balancer import LbContext, LoadBalancer, Steering
from sidecar.upstream.load_balancer_factory import make_load_balancer
from sidecar.upstream.load_balancer_pickers import Picker
from sidecar.upstream.load_balancer_policies import ROUND_ROBIN, LbPolicy
from sidecar.upstream.local_zone import NOWHERE, LocalZone
from sidecar.upstream.merge_window import MergeWindow
from sidecar.upstream.outlier_detection import Detector, OutlierSettings
from sidecar.upstream.resources import DEFAULT_LIMITS, CircuitBreakerLimits
from sidecar.upstream.shared_outliers import SharedDetector
from sidecar.upstream.shared_resources import make_resources

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.overload import LoadShedPoint
    from sidecar.core.shared_memory import SharedMemory
    from sidecar.upstream.discovery import Endpoint
    from sidecar.upstream.health_check import HealthCheckSettings
    from sidecar.upstream.original_dst import OriginalDstBalancer
    from sidecar.upstream.retry_priorities import PreviousPriorities
    from sidecar.upstream.transport_sockets import RequestNames, TransportSockets

__all__ = ["Cluster", "ClusterConfig", "DnsSettings", "EdsSettings", "OriginalDstSettings", "PathSource"]


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How a DNS cluster asks."""

    lookup_family: str = "AUTO"
    refresh_rate_s: float = 5.0
    jitter_s: float = 0.0
    respect_ttl: bool = False
    #: The shortest time that a TTL may ask for; 0 for any.
    min_refresh_rate_s: float = 0.0
    #: Base and maximum of the backoff after a failure; None retries at the refresh rate.
    failure_base_s: float | None = None
    failure_max_s: float | None = None
    resolver: ResolverSettings = field(default_factory=ResolverSettings)
    #: Do not wait for the first answer when starting.
    wait_for_warm_on_init: bool = True


@dataclass(frozen=True, slots=True)
class PathSource:
    """``envoy.config.core.v3.PathConfigSource``: resources in a file."""

    path: str
    #: Moves into it tell that the file changed; empty takes the file's own.
    watched_directory: str = ""


@dataclass(frozen=True, slots=True)
class EdsSettings:
    """``envoy.config.cluster.v3.Cluster.EdsClusterConfig``."""

    #: The name of the resource.
    service_name: str
    #: None for a source that is still to come: such a configuration is not served.
    source: PathSource | None = None
    #: The ``ConfigSource`` of one that comes over gRPC.
    stream: Any = None


@dataclass(frozen=True, slots=True)
class OriginalDstSettings:
    """``envoy.config.cluster.v3.Cluster.OriginalDstLbConfig``, and how often hosts that nobody uses go."""

    #: None without ``use_http_header``.
    http_header_name: bytes | None = None
    #: ``metadata_key``, the name of the filter first; empty without.
    metadata_path: tuple[str, ...] = ()
    upstream_port_override: int | None = None
    cleanup_interval_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """One compiled ``envoy.config.cluster.v3.Cluster``."""

    name: str
    #: ``STATIC``, ``STRICT_DNS``, ``LOGICAL_DNS``, ``EDS`` or ``ORIGINAL_DST``.
    type: str = "STATIC"
    alt_stat_name: str = ""
    #: ``track_cluster_stats.per_endpoint_stats``.
    per_endpoint_stats: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    connect_timeout_s: float = 5.0
    #: None where nothing is said of sockets and addresses.
    connect_options: ConnectOptions | None = None
    #: ``preconnect_policy.per_upstream_preconnect_ratio``.
    preconnect_ratio: float = 1.0
    lb_policy: LbPolicy = ROUND_ROBIN
    panic_threshold: float = 50.0
    overprovisioning_factor: int = 140
    weighted_priority_health: bool = False
    close_connections_on_host_set_change: bool = False
    #: How long changes of health may wait for others (``update_merge_window``).
    merge_window_s: float = 1.0
    #: ``drop_overloads``.
    drop_per_million: int = 0
    drop_category: str = ""
    #: ``per_connection_buffer_limit_bytes``, where reads would bring more; None elsewhere.
    read_limit: int | None = None
    max_requests_per_connection: int = 0
    http1: H1Settings = UPSTREAM_HTTP1
    #: Seconds; 0 never.
    idle_timeout_s: float = 3600.0
    max_connection_duration_s: float = 0.0
    max_stream_duration_s: float = 0.0
    http2: bool = False
    #: The upstream speaks what the downstream spoke (``use_downstream_protocol_config``).
    use_downstream_protocol: bool = False
    connection_pool_per_downstream_connection: bool = False
    http2_settings: H2Settings = field(default_factory=H2Settings)
    default_limits: CircuitBreakerLimits = DEFAULT_LIMITS
    high_limits: CircuitBreakerLimits = DEFAULT_LIMITS
    dns: DnsSettings = DnsSettings()
    #: None but for an EDS cluster.
    eds: EdsSettings | None = None
    #: None but for an ORIGINAL_DST cluster.
    original_dst: OriginalDstSettings | None = None
    #: None without outlier detection.
    outliers: OutlierSettings | None = None
    #: At most one so far.
    health_checks: tuple[HealthCheckSettings, ...] = ()
    ignore_new_hosts_until_first_hc: bool = False
    #: A host that discovery drops goes at once, well or not (:mod:`sidecar.upstream.host_removal`).
    ignore_health_on_host_removal: bool = False
    #: A host that fails loses its raw connections with the tunnels on them.
    close_connections_on_host_health_failure: bool = False
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What takes the place of routes' policies (:class:`sidecar.router.cluster_policies.ClusterPolicies`).
    policies: Any = None
    #: None where a request says nothing about the handshake of its connection.
    request_names: RequestNames | None = None
    #: HTTP/2 or HTTP/1.1 as the server says in the handshake (``auto_config``).
    is_auto: bool = False
    #: None where the bytes of every connection are used as they are.
    transport_sockets: TransportSockets | None = None
    added_via_api: bool = False
    version_info: str = ""
    #: The message, for ``/config_dump`` alone.
    message: Any = None


class Cluster:
    """See the module.  Attributes that come from :class:`ClusterConfig` have its names."""

    __slots__ = (
        "_balanced",
        "_drops",
        "_has_new_policy",
        "_load_balancer",
        "_local",
        "_steering",
        "awaited",
        "closers",
        "config",
        "connection_shed",
        "connector",
        "detector",
        "draw",
        "drop_category",
        "drop_per_million",
        "dropped_overload",
        "has_pools_of_clients",
        "host_sets",
        "hosts",
        "http2",
        "idle_timeout_s",
        "max_connection_duration_s",
        "max_requests_per_connection",
        "max_stream_duration_s",
        "merging",
        "metadata",
        "name",
        "on_hosts_removed",
        "on_hosts_set",
        "original_dst",
        "picker",
        "policies",
        "removal_watchers",
        "resources",
        "stats",
        "use_downstream_protocol",
    )

    def __init__(
        self,
        config: ClusterConfig,
        store: Store,
        *,
        draw: Callable[[int], int] = randrange,
        memory: SharedMemory | None = None,
    ) -> None:
        """``draw(n)`` gives a random number below n; ``memory`` is where workers count together."""
        self.config = config
        self.name = config.name
        self.stats = ClusterStats(store.scope(f"cluster.{config.alt_stat_name or config.name}"))
        if config.transport_sockets is not None:
            config.transport_sockets.set_scope(self.stats.scope)
        #: Makes all connections to the hosts.
        self.connector = Connector(config, self.stats)
        self.idle_timeout_s = config.idle_timeout_s
        self.max_connection_duration_s = config.max_connection_duration_s
        self.max_stream_duration_s = config.max_stream_duration_s
        self.max_requests_per_connection = config.max_requests_per_connection
        self.http2 = config.http2
        self.use_downstream_protocol = config.use_downstream_protocol
        self.has_pools_of_clients = config.connection_pool_per_downstream_connection
        self.metadata = config.metadata
        self.policies = config.policies
        self._steering = Steering()
        #: All hosts, of every priority and health.
        self.hosts: tuple[Host, ...] = ()
        #: The same by priority.
        self.host_sets: list[HostSet] = [NO_HOSTS]
        #: What the load balancer knows of them.
        self._balanced: list[HostSet] = [NO_HOSTS]
        self._has_new_policy = False
        #: Called with the hosts that left, so that their idle connections are closed.
        self.on_hosts_removed: Callable[[Sequence[Host]], None] | None = None
        #: The same, for sessions that have no pool.
        self.removal_watchers: list[Callable[[Sequence[Host]], None]] = []
        #: Called with the hosts of a new membership, before the load balancer takes them in.
        self.on_hosts_set: Callable[[Sequence[Host]], None] | None = None
        #: Keeps changes from the load balancer for a while, once the first hosts are here.
        self.merging: MergeWindow | None = None
        #: What it waits for before it is used, of one that was added while running, and what ends with it.
        self.awaited: Sequence[Callable[[], Awaitable[object]]] = ()
        self.closers: Sequence[Callable[[], None]] = ()
        #: Picks a host for every request (the router asks it first); None where there is more to it.
        self.picker: Picker | None = None
        #: Ejects hosts, where the cluster has outlier detection.
        #: The overload manager's ``connection_pool_new_connection``; None where nobody is asked.
        self.connection_shed: LoadShedPoint | None = None
        self.detector: Detector | None = None
        if config.outliers is not None and memory is None:
            self.detector = Detector(
                config.outliers, self.stats.scope, clock=monotonic, draw=draw, changed=self.on_host_changed
            )
        elif config.outliers is not None and memory is not None:
            self.detector = SharedDetector(
                config.outliers,
                self.stats.scope,
                memory,
                config.name,
                clock=monotonic,
                draw=draw,
                changed=self.on_host_changed,
            )
        breakers = self.stats.scope.scope("circuit_breakers")
        #: What is allowed and used, by routing priority.
        self.resources = make_resources(
            config.name, (config.default_limits, config.high_limits), breakers, memory
        )
        self.stats.show_use(self.resources)
        self.draw = draw
        #: How many were, for load reports.
        self.dropped_overload = 0
        #: Of so many requests in a million that are to be dropped (:mod:`sidecar.router.drop_overload`).
        self.drop_per_million = self._drops = config.drop_per_million
        self.drop_category = config.drop_category
        self._local = NOWHERE
        #: The balancer of an ORIGINAL_DST cluster, which makes its hosts.
        self.original_dst: OriginalDstBalancer | None = None
        self._load_balancer = self._make_load_balancer()

    def _make_load_balancer(self) -> LoadBalancer:
        config = self.config
        if config.original_dst is not None:
            from sidecar.upstream.original_dst import OriginalDstBalancer

            self.original_dst = OriginalDstBalancer(self, config.original_dst)
            return self.original_dst
        context = LbContext(
            self.draw,
            self.stats,
            panic_threshold=config.panic_threshold,
            overprovisioning_factor=config.overprovisioning_factor,
            weighted_priority_health=config.weighted_priority_health,
            # The proxies themselves are not chosen by zone.
            local=NOWHERE if self.is_local else self._local,
            steering=self._steering,
        )
        return make_load_balancer(config.lb_policy, context)

    @property
    def is_local(self) -> bool:
        """Whether the proxy itself is one of the hosts (``cluster_manager.local_cluster_name``)."""
        return self._local is not NOWHERE and self.name == self._local.cluster_name

    @property
    def own_zone(self) -> str:
        """``node.locality.zone``, or empty."""
        locality = self._local.locality
        return "" if locality is None else locality.zone

    def count_socket_matches(self, count: int, metadata: Iterable[dict[str, dict[str, Any]]]) -> None:
        """Count ``count`` endpoints that transport sockets were chosen for; ``metadata`` is theirs."""
        sockets = self.config.transport_sockets
        if sockets is not None and sockets.matches:
            count -= sum(map(sockets.count_match, metadata))
        self.stats.default_total_match_count.value += count

    def join(self, local: LocalZone) -> None:
        """Stand among the clusters of a cluster manager; one that warmed up has its hosts by then."""
        self._local = local
        if not self.is_local:
            local.on_change[self.name] = self._balance_again
        self._load_balancer = self._make_load_balancer()
        if self.hosts:
            self.refresh_health()

    def choose_host(
        self, stream: Stream | None = None, attempt: int = 0, priorities: PreviousPriorities | None = None
    ) -> Host | None:
        """The host for the next request; None when none can be had (503 with UH).

        ``attempt`` counts the hosts that were chosen for the same try before and refused, ``priorities`` says
        what the tries before leave of the priorities.
        """
        if priorities is None:
            host = self._load_balancer.choose(stream, attempt)
        else:
            self._steering.priorities = priorities
            try:
                host = self._load_balancer.choose(stream, attempt)
            finally:
                self._steering.priorities = None
        if host is None:
            self.stats.upstream_cx_none_healthy.value += 1
        return host

    def find_host(self, stream: Stream | None = None, attempt: int = 0) -> Host | None:
        """The same, but nothing is counted where none can be had."""
        return self._load_balancer.choose(stream, attempt)

    def set_hosts(
        self,
        hosts: Sequence[Host],
        *,
        moved: Collection[int] | None = None,
        changed: Collection[int] = (),
    ) -> None:
        """Go on with these hosts; a host that stays is the same object as before.

        ``moved`` are the priorities to which hosts came or from which they went, where the hosts themselves
        do not show it (one that stays may have moved); ``changed`` are those of which something else is new.
        """
        before, self.hosts = self.hosts, tuple(hosts)
        added, removed = compare_hosts(before, self.hosts)
        if moved is None:
            moved = {host.priority for host in (*added, *removed)}
        self.stats.membership_change.value += len(moved)
        if self.on_hosts_set is not None:
            self.on_hosts_set(self.hosts)
        if self.detector is not None:
            self.detector.set_hosts(self.hosts)
        self._take_in({*moved, *changed})
        if removed and self.on_hosts_removed is not None:
            self.on_hosts_removed(removed)
        if removed:
            for watcher in tuple(self.removal_watchers):
                watcher(removed)

    def set_assignment_policy(self, overprovisioning_factor: int, weighted_priority_health: bool) -> bool:
        """Take what an assignment says about all its hosts; whether that is something new.

        Who calls it sets the hosts, or refreshes their health, behind it.
        """
        config = self.config
        if (config.overprovisioning_factor, config.weighted_priority_health) == (
            overprovisioning_factor,
            weighted_priority_health,
        ):
            return False
        self.config = replace(
            config,
            overprovisioning_factor=overprovisioning_factor,
            weighted_priority_health=weighted_priority_health,
        )
        self._has_new_policy = True
        return True

    def set_drops(self, per_million: int, category: str = "") -> None:
        """Drop so many of a million requests from the next change of the hosts on, as Envoy does."""
        self._drops = per_million
        self.drop_category = category

    def on_host_changed(self, host: Host) -> None:
        """A detector or a health check changed a host's flags; one that fails loses its connections."""
        if self.config.type == "EDS" and has_failed_removal(host):
            self.set_hosts([each for each in self.hosts if each is not host])
            return
        self.refresh_health()
        if host.health is Health.UNHEALTHY:
            _drain(host)
            if self.config.close_connections_on_host_health_failure:
                for pool in host.pools:
                    pool.break_off()

    def refresh_health(self) -> None:
        """Take in changed health flags or weights of hosts."""
        self._take_in(None)

    def _take_in(self, changed: Collection[int] | None) -> None:
        """Part the hosts anew; None: nothing but health has changed, anywhere."""
        self.host_sets = part_hosts(self.hosts, self._local.locality, self.host_sets)
        if self.merging is None:
            self.balance(range(len(self.host_sets)))
        elif changed is None:
            self.merging.take(range(len(self.host_sets)), is_mergeable=True)
        else:
            self.merging.take(changed, is_mergeable=False)
        if self.config.close_connections_on_host_set_change:
            # Whatever it was that changed about any of them.
            for host in self.hosts:
                _drain(host)
        stats = self.stats
        stats.membership_total.set(len(self.hosts))
        stats.membership_healthy.set(sum(len(each.healthy) for each in self.host_sets))
        stats.membership_degraded.set(sum(len(each.degraded) for each in self.host_sets))
        stats.membership_excluded.set(sum(each.excluded for each in self.host_sets))

    def balance(self, priorities: Collection[int]) -> None:
        """Let the load balancer know what there is in these priorities now."""
        known = self._balanced
        self._balanced = [
            now if priority in priorities or priority >= len(known) else known[priority]
            for priority, now in enumerate(self.host_sets)
        ]
        if self._has_new_policy:
            self._has_new_policy = False
            self._load_balancer = self._make_load_balancer()
        self._balance_again()
        if self.is_local:
            self._local.set_peers(self._balanced[0])

    def _balance_again(self) -> None:
        self._load_balancer.update(self._balanced)
        self.drop_per_million = self._drops
        self.picker = None if self._drops else self._load_balancer.only

    def __repr__(self) -> str:
        return f"<Cluster {self.name} {self.config.type} {len(self.hosts)} hosts>"


def _drain(host: Host) -> None:
    """Let no further request go on the connections that a host has now."""
    for pool in host.pools:
        pool.drain()
