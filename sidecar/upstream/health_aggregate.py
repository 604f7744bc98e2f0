"""Several active health checks of one host: it is as bad as the worst of them says.

Each check writes into a :class:`CheckView` of its own; :class:`Aggregate` puts the host's flags together
after every result, as Envoy's ``multi_health_checker.cc`` does: nothing is changed before each check had
its first result, and then a flag is up while any of them raises it.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.observability.stats import Gauge
from sidecar.upstream.host import HealthFlag, Host

__all__ = ["Aggregate", "CheckView"]

_FAILED = HealthFlag.FAILED_ACTIVE_HC
_DEGRADED = HealthFlag.DEGRADED_ACTIVE_HC
_PENDING = HealthFlag.PENDING_ACTIVE_HC
#: What active health checks raise.
_MASK = (
    _FAILED | _DEGRADED | _PENDING | HealthFlag.ACTIVE_HC_TIMEOUT | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
)
_NEWS = _FAILED | _DEGRADED | _PENDING


class CheckView:
    """The flags of a host as one of its checks sees them."""

    __slots__ = ("health_flags",)

    def __init__(self, host: Host) -> None:
        self.health_flags: int = host.health_flags & _MASK

    def set_flag(self, flag: int) -> None:
        self.health_flags |= flag

    def clear_flag(self, flag: int) -> None:
        self.health_flags &= ~flag


class Aggregate:
    """See the module.  The gauges count hosts (``health_check.healthy``, ``health_check.degraded``)."""

    __slots__ = ("_degraded", "_healthy", "_host", "_told", "_waiting", "views")

    def __init__(
        self,
        host: Host,
        count: int,
        healthy: Gauge,
        degraded: Gauge,
        told: Callable[[bool, bool], None],
    ) -> None:
        """``told(has_changed, is_well)`` is called after every result that counts."""
        self._host = host
        self._healthy = healthy
        self._degraded = degraded
        self._told = told
        self._waiting = set(range(count))
        self.views = tuple(CheckView(host) for _ in range(count))
        self._count(1)

    def take(self, number: int) -> None:
        """The check of this number has a result in its view."""
        self._waiting.discard(number)
        if self._waiting:
            return
        host = self._host
        was = host.health_flags
        now = 0
        for view in self.views:
            now |= view.health_flags
        self._count(-1)
        host.clear_flag(_MASK & ~now)
        host.set_flag(now & _MASK)
        self._count(1)
        if was & now & _PENDING:
            return
        self._told(bool((was ^ now) & _NEWS), not now & _FAILED)

    def close(self) -> None:
        """The host left."""
        self._count(-1)

    def _count(self, step: int) -> None:
        flags = self._host.health_flags
        if not flags & _FAILED:
            self._healthy.set(self._healthy.value + step)
        if flags & _DEGRADED:
            self._degraded.set(self._degraded.value + step)
