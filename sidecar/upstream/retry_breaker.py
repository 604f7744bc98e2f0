"""How many retries of a cluster are under way, and whether there may be one more.

``circuit_breakers.thresholds.max_retries``, or ``retry_budget``: a share of the requests that are under way
(Envoy's ``ResourceManagerImpl::RetryBudgetImpl``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.observability.stats import Gauge
    from sidecar.upstream.cluster_stats import ClusterStats

__all__ = ["RetryBreaker", "RetryBudget"]


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """``CircuitBreakers.Thresholds.RetryBudget``."""

    budget_percent: float = 20.0
    min_retry_concurrency: int = 3


class RetryBreaker:
    """The retries of one cluster in one routing priority."""

    __slots__ = ("_budget", "_is_open", "_max_retries", "_stats", "active")

    def __init__(
        self, max_retries: int, budget: RetryBudget | None, stats: ClusterStats, is_open: Gauge
    ) -> None:
        self._max_retries = max_retries
        self._budget = budget
        self._stats = stats
        self._is_open = is_open
        self.active = 0
        self._show()

    def limit(self) -> int:
        """How many there may be now."""
        budget = self._budget
        if budget is None:
            return self._max_retries
        stats = self._stats
        requests = stats.upstream_rq_active.value + stats.upstream_rq_pending_active.value
        return max(int(budget.budget_percent / 100.0 * requests), budget.min_retry_concurrency)

    def can_create(self) -> bool:
        """Whether one more may be."""
        return self.active < self.limit()

    def add(self) -> None:
        """One more is under way."""
        self.active += 1
        self._show()

    def remove(self) -> None:
        """One is over."""
        self.active -= 1
        self._show()

    def _show(self) -> None:
        self._is_open.set(0 if self.can_create() else 1)
