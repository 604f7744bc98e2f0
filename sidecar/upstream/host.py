"""One upstream host: where it is, how it is, and what was counted on it.

A host belongs to one cluster; the same address in two clusters is two hosts.  Pools hang their
connections on :attr:`Host.pool`; the counters are plain ints that ``/clusters`` shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from time import monotonic
from typing import Any

from sidecar.core.address import Address

__all__ = ["NO_LOCALITY", "Health", "HealthFlag", "Host", "Locality"]


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """``envoy.config.core.v3.Locality``."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


NO_LOCALITY = Locality()


class Health:
    """The three states a load balancer tells apart (Envoy's coarse health)."""

    UNHEALTHY = "unhealthy"
    DEGRADED = "degraded"
    HEALTHY = "healthy"


class HealthFlag(IntFlag):
    """What speaks against a host, in the order and with the words of ``/clusters``."""

    FAILED_ACTIVE_HC = 1 << 0
    FAILED_OUTLIER_CHECK = 1 << 1
    FAILED_EDS_HEALTH = 1 << 2
    DEGRADED_ACTIVE_HC = 1 << 3
    DEGRADED_EDS_HEALTH = 1 << 4
    PENDING_DYNAMIC_REMOVAL = 1 << 5
    PENDING_ACTIVE_HC = 1 << 6
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 1 << 7
    ACTIVE_HC_TIMEOUT = 1 << 8
    EDS_STATUS_DRAINING = 1 << 9
    DEGRADED_OUTLIER_DETECTION = 1 << 10


# Plain numbers: what an IntFlag does to its members takes a microsecond each.
_UNHEALTHY = int(
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.FAILED_EDS_HEALTH
    | HealthFlag.EDS_STATUS_DRAINING
)
_DEGRADED = int(
    HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.DEGRADED_OUTLIER_DETECTION
)
#: Such hosts do not count when the health of a priority is computed.
_EXCLUDED = int(
    HealthFlag.PENDING_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.EDS_STATUS_DRAINING
)


class Host:
    """See the module.  ``eds_health_status`` is the name of ``envoy.config.core.v3.HealthStatus``."""

    __slots__ = (
        "address",
        "addresses",
        "availability",
        "canary",
        "checks",
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "eds_health_status",
        "excluded",
        "family",
        "has_no_health_checks",
        "has_trees",
        "health",
        "health_address",
        "health_flags",
        "health_hostname",
        "hostname",
        "http_proxy",
        "keeps_health",
        "last_hc_pass_s",
        "locality",
        "locality_metadata",
        "locality_weight",
        "metadata",
        "outlier",
        "pool",
        "pools",
        "pools_by_key",
        "priority",
        "proxy_tlvs",
        "rq_active",
        "rq_error",
        "rq_pending_active",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "shown",
        "sockaddr",
        "weight",
    )

    def __init__(
        self,
        address: Address,
        *,
        hostname: str = "",
        weight: int = 1,
        priority: int = 0,
        locality: Locality = NO_LOCALITY,
        locality_weight: int = 0,
        metadata: dict[str, dict[str, Any]] | None = None,
        locality_metadata: dict[str, dict[str, Any]] | None = None,
        eds_health_status: str = "UNKNOWN",
        addresses: tuple[Address, ...] = (),
    ) -> None:
        #: Text, as Envoy writes it.
        self.address = address.text
        self.sockaddr = address.sockaddr
        self.family = address.family
        #: Further addresses of the same host, tried after the first (LOGICAL_DNS, additional_addresses).
        self.addresses = addresses or (address,)
        #: The name given in the configuration; for a DNS cluster the name that was resolved.
        self.hostname = hostname
        self.weight = weight
        self.priority = priority
        self.locality = locality
        #: ``LocalityLbEndpoints.load_balancing_weight``, the same for all hosts of a locality and priority.
        self.locality_weight = locality_weight
        self.metadata: dict[str, dict[str, Any]] = metadata or {}
        #: ``LocalityLbEndpoints.metadata``.
        self.locality_metadata: dict[str, dict[str, Any]] = locality_metadata or {}
        #: What the PROXY protocol tells of this host's connections
        #: (``typed_filter_metadata``, ``envoy.transport_sockets.proxy_protocol``).
        self.proxy_tlvs: tuple[tuple[int, bytes], ...] = ()
        #: Through whom it is reached
        #: (``typed_filter_metadata``, ``envoy.http11_proxy_transport_socket.proxy_address``).
        self.http_proxy: Address | None = None
        self.canary = bool(self.metadata.get("envoy.lb", {}).get("canary", False))
        #: Whether its responses may count in further trees of statistics (``canary.``, ``zone.``).
        self.has_trees = self.canary or bool(locality.zone)
        self.health_flags = 0
        #: One of :class:`Health`, kept in step with the flags.
        self.health = Health.HEALTHY
        #: The same, but UNHEALTHY for a host that is excluded: what load balancers go by.
        self.availability = Health.HEALTHY
        #: Whether the host is left out when the health of its priority is computed.
        self.excluded = False
        self.eds_health_status = eds_health_status
        self.set_eds_health(eds_health_status)
        self.cx_total = 0
        self.cx_active = 0
        self.cx_connect_fail = 0
        self.rq_total = 0
        self.rq_active = 0
        self.rq_pending_active = 0
        self.rq_success = 0
        self.rq_error = 0
        self.rq_timeout = 0
        #: What of these is in the statistics, where they are told by endpoint.
        self.shown: dict[str, int] | None = None
        #: The pool of most requests; None, too, where each has to ask (:mod:`sidecar.upstream.pools`).
        self.pool: Any = None
        #: All pools.
        self.pools: tuple[Any, ...] = ()
        #: Those of them that a request has to ask for.
        self.pools_by_key: dict[Any, Any] = {}
        #: What outlier detection keeps here, where the cluster has it
        #: (:class:`sidecar.upstream.outlier_detection.HostMonitor`).
        self.outlier: Any = None
        #: The state of its active health checks (:class:`sidecar.upstream.health_check.HostChecks`).
        self.checks: Any = None
        #: ``health_check_config``: where and as whom it is checked, where that differs.
        self.health_address: Address | None = None
        self.health_hostname = ""
        self.has_no_health_checks = False
        #: Whether it takes the place of a host that was checked, and is as well as that one was.
        self.keeps_health = False
        #: When a health check passed while it was unhealthy, else when a balancer first saw it well.
        self.last_hc_pass_s: float | None = None

    def set_flag(self, flag: int) -> None:
        """Raise a health flag; whoever does it tells the cluster (:meth:`Cluster.refresh_health`)."""
        self.health_flags |= int(flag)
        self._derive_health()

    def clear_flag(self, flag: int) -> None:
        """Lower a health flag."""
        if self.health_flags & flag & HealthFlag.FAILED_ACTIVE_HC:
            self.last_hc_pass_s = monotonic()
        self.health_flags &= ~int(flag)
        self._derive_health()

    def set_eds_health(self, status: str) -> None:
        """Take the health that the configuration or EDS states."""
        self.eds_health_status = status
        flags = HealthFlag.FAILED_EDS_HEALTH | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING
        self.health_flags &= ~int(flags)
        if status in ("UNHEALTHY", "TIMEOUT"):
            self.health_flags |= int(HealthFlag.FAILED_EDS_HEALTH)
        elif status == "DRAINING":
            self.health_flags |= int(HealthFlag.EDS_STATUS_DRAINING)
        elif status == "DEGRADED":
            self.health_flags |= int(HealthFlag.DEGRADED_EDS_HEALTH)
        self._derive_health()

    def health_flags_text(self) -> str:
        """``healthy``, or the raised flags as ``/clusters`` joins them."""
        if not self.health_flags:
            return "healthy"
        return "".join("/" + (flag.name or "").lower() for flag in HealthFlag if self.health_flags & flag)

    def __repr__(self) -> str:
        return f"<Host {self.address} {self.health} P{self.priority}>"

    def _derive_health(self) -> None:
        if self.health_flags & _UNHEALTHY:
            self.health = Health.UNHEALTHY
        elif self.health_flags & _DEGRADED:
            self.health = Health.DEGRADED
        else:
            self.health = Health.HEALTHY
        self.excluded = bool(self.health_flags & _EXCLUDED)
        self.availability = Health.UNHEALTHY if self.excluded else self.health
