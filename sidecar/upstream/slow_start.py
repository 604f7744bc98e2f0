"""Slow start: a host that is new, or well again, gets less than its share for a while.

Arithmetic of Envoy's ``EdfLoadBalancerBase``; documented in
intro/arch_overview/upstream/load_balancing/slow_start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sidecar.core.dataclass import dataclass
from sidecar.core.runtime import Number
from sidecar.upstream.host import Health, Host

__all__ = ["LiveNumber", "SlowStart", "SlowStartSettings"]


@dataclass(frozen=True, slots=True)
class SlowStartSettings:
    """``slow_start_config``."""

    window_ms: int
    #: A number that the runtime may change counts from the next update of the hosts on.
    aggression: float | Number = 1.0
    #: ``min_weight_percent`` / 100.
    min_weight: float = 0.1


class LiveNumber:
    """What the runtime says of a number, as it was when the hosts changed last; 1 where it is of no use."""

    __slots__ = ("_of", "value")

    def __init__(self, of: Number) -> None:
        self._of = of
        self.renew()

    def renew(self) -> None:
        """Take over what it says now."""
        found = float(self._of.value)
        self.value = found if found >= 0 else 1.0


class SlowStart:
    """Which hosts of one load balancer are in their window, and what they weigh."""

    __slots__ = ("_aggression", "_clock", "_latest_ms", "_live", "_settings", "_window_ms")

    def __init__(self, settings: SlowStartSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        aggression = settings.aggression
        self._live = LiveNumber(aggression) if isinstance(aggression, Number) else None
        self._aggression = 1.0 if isinstance(aggression, Number) else aggression
        self._window_ms = settings.window_ms
        self._clock = clock
        #: When the youngest host began; at first when the load balancer was made.
        self._latest_ms = clock() * 1000

    def note(self, hosts: Iterable[Host]) -> None:
        """Take down when hosts began; a healthy one that no health check has seen begins now."""
        if self._live is not None:
            self._live.renew()
            self._aggression = self._live.value or 1.0
        now = self._clock()
        now_ms = now * 1000
        for host in hosts:
            if host.health is not Health.HEALTHY:
                continue
            if host.last_hc_pass_s is None:
                host.last_hc_pass_s = now
            began_ms = host.last_hc_pass_s * 1000
            if began_ms > self._latest_ms and int(now_ms - began_ms) <= self._window_ms:
                self._latest_ms = began_ms

    def is_over(self) -> bool:
        """Whether no host is in its window."""
        return int(self._clock() * 1000 - self._latest_ms) > self._window_ms

    def factor(self, host: Host) -> float:
        """What to multiply a host's weight with."""
        now_ms = self._clock() * 1000
        window = self._window_ms
        began_s = host.last_hc_pass_s
        if int(now_ms - self._latest_ms) > window or began_s is None or host.health is not Health.HEALTHY:
            return 1.0
        age = int(now_ms - began_s * 1000)
        if age >= window:
            return 1.0
        factor: float = max(1, age) / window
        if self._aggression != 1.0:
            factor = factor ** (1.0 / self._aggression)
        return max(factor, self._settings.min_weight)
