"""What a cluster allows in one routing priority, and how much of that is in use: the circuit breakers.

Whoever takes a connection, a place in the queue, a request, a retry or a pool counts it here; the gauges of
the cluster are read from these numbers when somebody looks (Envoy's ``ResourceManagerImpl``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.observability.stats import Scope

__all__ = ["DEFAULT_LIMITS", "CircuitBreakerLimits", "Resources", "RetryBreaker", "RetryBudget"]

_NO_LIMIT = 2**64 - 1


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """``CircuitBreakers.Thresholds.RetryBudget``: a share of the requests that are under way."""

    budget_percent: float = 20.0
    min_retry_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class CircuitBreakerLimits:
    """``envoy.config.cluster.v3.CircuitBreakers.Thresholds`` of one routing priority."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    max_connection_pools: int = _NO_LIMIT
    track_remaining: bool = False
    retry_budget: RetryBudget | None = None
    #: Of ``per_host_thresholds``.
    max_connections_per_host: int = _NO_LIMIT


DEFAULT_LIMITS = CircuitBreakerLimits()


class Resources:
    """See the module.  The counts are public: the pools add to them."""

    __slots__ = (
        "_had_connection",
        "connections",
        "limits",
        "max_connections",
        "max_connections_per_host",
        "max_pending_requests",
        "max_pools",
        "max_requests",
        "pending",
        "pools",
        "requests",
        "retries",
        "sessions",
    )

    def __init__(self, limits: CircuitBreakerLimits, scope: Scope) -> None:
        """``scope`` is ``circuit_breakers.<default|high>.``."""
        self.renew(limits)
        self._start()
        self._had_connection = False
        self._declare(scope)

    def _start(self) -> None:
        self.connections = 0
        #: How many of the connections are sessions of datagrams, which no gauge shows as connections.
        self.sessions = 0
        self.pending = 0
        self.requests = 0
        self.pools = 0
        self.retries = RetryBreaker(self)

    def in_use(self, field: str) -> int:
        """How many there are, with whomever the limits are shared."""
        return self.retries.active if field == "retries" else int(getattr(self, field))

    def renew(self, limits: CircuitBreakerLimits) -> None:
        """Allow so much from now on; what is in use stays."""
        self.limits = limits
        self.max_connections = limits.max_connections
        self.max_connections_per_host = limits.max_connections_per_host
        self.max_pending_requests = limits.max_pending_requests
        self.max_requests = limits.max_requests
        self.max_pools = limits.max_connection_pools

    def _declare(self, scope: Scope) -> None:
        """Make the gauges.  Envoy's know of a limit of 0 only once something was counted against it."""
        retries = self.retries
        live = scope.live_gauge
        in_use = self.in_use
        live("cx_open", lambda: int(self._had_connection and self.connections >= self.max_connections))
        live("cx_pool_open", lambda: int(0 < self.limits.max_connection_pools <= in_use("pools")))
        live("rq_open", lambda: int(0 < self.limits.max_requests <= in_use("requests")))
        live("rq_pending_open", lambda: int(0 < self.limits.max_pending_requests <= in_use("pending")))
        live("rq_retry_open", lambda: int(retries.was_used and retries.is_open()))
        if self.limits.track_remaining:
            # Connections may be more than the limit.
            live("remaining_cx", lambda: max(0, self.max_connections - self.connections))
            live("remaining_cx_pools", lambda: self.max_pools - self.pools)
            live("remaining_pending", lambda: self.max_pending_requests - self.pending)
            live("remaining_rq", lambda: self.max_requests - self.requests)
            live("remaining_retries", retries.remaining)

    def add_connection(self) -> None:
        """One more connection; a pool without any may make one beyond the limit."""
        self.connections += 1
        self._had_connection = True

    def add_session(self) -> None:
        """One more session of datagrams, which takes the place of a connection."""
        self.add_connection()
        self.sessions += 1

    def remove_session(self) -> None:
        """One is over."""
        self.connections -= 1
        self.sessions -= 1


class RetryBreaker:
    """The retries under way, and whether there may be one more.

    ``max_retries``, or ``retry_budget`` in its place (``RetryBudgetImpl``).
    """

    __slots__ = ("_resources", "active", "was_budgeted", "was_used")

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.active = 0
        self.was_used = False
        #: Whether the budget was asked: what remains of ``max_retries`` says nothing then.
        self.was_budgeted = False

    def limit(self) -> int:
        """How many there may be now."""
        limits = self._resources.limits
        budget = limits.retry_budget
        if budget is None:
            return limits.max_retries
        self.was_budgeted = True
        under_way = self._resources.in_use("requests") + self._resources.in_use("pending")
        return max(int(budget.budget_percent / 100.0 * under_way), budget.min_retry_concurrency)

    def can_create(self) -> bool:
        """Whether one more may be."""
        return self.active < self.limit()

    def add(self) -> None:
        """One more is under way."""
        self.active += 1
        self.was_used = True

    def remove(self) -> None:
        """One is over."""
        self.active -= 1

    def is_open(self) -> bool:
        """Whether ``max_retries`` are under way; a budget does not change the gauge."""
        return self._resources.in_use("retries") >= self._resources.limits.max_retries

    def remaining(self) -> int:
        """How many more ``max_retries`` allows."""
        resources = self._resources
        return 0 if self.was_budgeted else max(0, resources.limits.max_retries - resources.in_use("retries"))
