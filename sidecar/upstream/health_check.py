"""Active health checks: what a check's outcome makes of a host, and when the next one is due.

Arithmetic alone, as Envoy's ``health_checker_base_impl.cc`` does it; the checks themselves are
:mod:`sidecar.upstream.health_probes`', the tasks :mod:`sidecar.upstream.health_tasks`'.  Times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sidecar.core.dataclass import dataclass
from sidecar.observability.stats import Counter, Scope
from sidecar.upstream.host import HealthFlag, Host

__all__ = [
    "ACTIVE",
    "NETWORK",
    "EventLogPath",
    "Flags",
    "HealthCheckSettings",
    "HealthEventLog",
    "HealthStats",
    "HostChecks",
    "Outcome",
]

_FAILED = HealthFlag.FAILED_ACTIVE_HC
_DEGRADED = HealthFlag.DEGRADED_ACTIVE_HC
_TIMEOUT = HealthFlag.ACTIVE_HC_TIMEOUT
_EXCLUDED = HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL


@dataclass(frozen=True, slots=True)
class EventLogPath:
    """A file of events, and where the configuration names it."""

    path: str
    at: str


@dataclass(frozen=True, slots=True)
class HealthCheckSettings:
    """``envoy.config.core.v3.HealthCheck``."""

    #: ``HTTP``, ``TCP`` or ``GRPC``.
    kind: str
    timeout_s: float
    interval_s: float
    unhealthy_threshold: int
    healthy_threshold: int
    no_traffic_interval_s: float = 60.0
    no_traffic_healthy_interval_s: float = 60.0
    unhealthy_interval_s: float = 0.0
    unhealthy_edge_interval_s: float = 0.0
    healthy_edge_interval_s: float = 0.0
    initial_jitter_s: float = 0.0
    interval_jitter_s: float = 0.0
    interval_jitter_percent: int = 0
    reuse_connection: bool = True
    always_log_failures: bool = False
    always_log_success: bool = False
    #: Where several are, each has one; it stands in the names of the stats.
    name: str = ""
    #: Files that get an event each: ``event_log_path`` and the sinks of ``event_logger``.
    event_logs: tuple[EventLogPath, ...] = ()
    #: ``transport_socket_match_criteria`` and ``tls_options.alpn_protocols``.
    match_criteria: dict[str, Any] | None = None
    alpn: tuple[str, ...] = ()
    #: What the check asks (:mod:`sidecar.upstream.health_probes`).
    probe: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found: ``failure`` is a ``HealthCheckFailureType``, empty where the host is well."""

    failure: str = ""
    is_degraded: bool = False
    #: An HTTP status of ``retriable_statuses``: counts to the threshold.
    is_retriable: bool = False
    status: int = 0
    #: The host asks to be left out at once.
    is_immediate: bool = False


NETWORK = Outcome("NETWORK")
ACTIVE = Outcome("ACTIVE")


class HealthStats:
    """``health_check.``, or ``health_check.name.<name>.`` of a check that has one."""

    def __init__(self, scope: Scope) -> None:
        self.attempt = scope.counter("attempt")
        self.success = scope.counter("success")
        self.failure = scope.counter("failure")
        self.network_failure = scope.counter("network_failure")
        self.passive_failure = scope.counter("passive_failure")
        self.verify_cluster = scope.counter("verify_cluster")
        self.healthy = scope.gauge("healthy")
        self.degraded = scope.gauge("degraded")


class HealthEventLog(Protocol):
    """Writes what happens to hosts (:mod:`sidecar.upstream.health_events`)."""

    def put(self, host: Host, event: str, **values: Any) -> None: ...


class Flags(Protocol):
    """What a check finds is written here: a host, or one checker's view of it."""

    health_flags: int

    def set_flag(self, flag: int) -> None: ...

    def clear_flag(self, flag: int) -> None: ...


class HostChecks:
    """The state of one check of one host (Envoy's ``ActiveHealthCheckSession``)."""

    __slots__ = (
        "_draw",
        "_had_traffic",
        "_is_first",
        "_num_healthy",
        "_num_unhealthy",
        "_settings",
        "_stats",
        "_told",
        "_view",
        "event_logs",
        "host",
    )

    def __init__(
        self,
        settings: HealthCheckSettings,
        stats: HealthStats,
        host: Host,
        *,
        draw: Callable[[int], int],
        had_traffic: Callable[[], bool],
        told: Callable[[bool, bool], None],
        view: Flags | None = None,
    ) -> None:
        """``told(has_changed, is_well)`` is called after every check, and when the host leaves without one.

        ``view`` gets the flags where the host itself does not.
        """
        self._settings = settings
        self._stats = stats
        self._draw = draw
        self._had_traffic = had_traffic
        self._told = told
        self._is_first = True
        self._num_healthy = self._num_unhealthy = 0
        self._view: Flags = host if view is None else view
        self.host = host
        self.event_logs: tuple[HealthEventLog, ...] = ()
        if not self._view.health_flags & _FAILED:
            stats.healthy.inc()
        if self._view.health_flags & _DEGRADED:
            stats.degraded.inc()

    def take(self, outcome: Outcome) -> float:
        """Use what a check found; the seconds until the next."""
        if outcome.is_immediate and outcome.failure:
            self._view.set_flag(_EXCLUDED)
        if outcome.failure:
            return self._delay(False, self.fail(outcome))
        return self._delay(True, self._succeed(outcome.is_degraded))

    def fail_immediately(self) -> None:
        """A response of the data path said ``x-envoy-immediate-health-check-fail``."""
        self._view.set_flag(_EXCLUDED)
        self.fail(Outcome("PASSIVE"))

    def initial_delay_s(self) -> float:
        """Before the first check."""
        jitter = int(self._settings.initial_jitter_s * 1000)
        return max(1, self._draw(jitter)) / 1000 if jitter else 0.0

    def close(self) -> None:
        """The host left."""
        flags = self._view.health_flags
        if not flags & _FAILED:
            self._stats.healthy.dec()
        if flags & _DEGRADED:
            self._stats.degraded.dec()
        if self._is_first:
            self._is_first = False
            self._told(False, not flags & _FAILED)

    def fail(self, outcome: Outcome) -> str:
        """Count a failure; ``changed``, ``pending`` or nothing."""
        settings, view, stats = self._settings, self._view, self._stats
        is_network = outcome.failure in ("NETWORK", "NETWORK_TIMEOUT")
        self._num_healthy = 0
        change = ""
        if not view.health_flags & _FAILED:
            if is_network or outcome.is_retriable:
                self._num_unhealthy += 1
            if (
                not (is_network or outcome.is_retriable)
                or self._num_unhealthy == settings.unhealthy_threshold
            ):
                view.set_flag(_FAILED)
                stats.healthy.dec()
                change = "changed"
                self._log("eject_unhealthy_event", failure_type=outcome.failure,
                          http_status_code=outcome.status)  # fmt: skip
            else:
                change = "pending"
        if outcome.failure == "NETWORK_TIMEOUT" and view.health_flags & _FAILED:
            view.set_flag(_TIMEOUT)
        else:
            view.clear_flag(_TIMEOUT)
        change = self._clear_pending(change)
        if self._is_first or settings.always_log_failures:
            self._log("health_check_failure_event", failure_type=outcome.failure,
                      first_check=self._is_first, http_status_code=outcome.status)  # fmt: skip
        stats.failure.value += 1
        kind: Counter | None = stats.network_failure if is_network else None
        if outcome.failure == "PASSIVE":
            kind = stats.passive_failure
        if kind is not None:
            kind.value += 1
        self._is_first = False
        self._told(change == "changed", False)
        return change

    def _succeed(self, is_degraded: bool) -> str:
        settings, view, stats = self._settings, self._view, self._stats
        self._num_unhealthy = 0
        change = ""
        if view.health_flags & _FAILED:
            self._num_healthy += not self._is_first
            if self._is_first or self._num_healthy == settings.healthy_threshold:
                view.clear_flag(_TIMEOUT | _EXCLUDED | _FAILED)
                stats.healthy.inc()
                change = "changed"
                self._log("add_healthy_event", first_check=self._is_first)
            else:
                change = "pending"
        if change != "changed" and settings.always_log_success:
            self._log("successful_health_check_event")
        change = self._clear_pending(change)
        if is_degraded != bool(view.health_flags & _DEGRADED):
            if is_degraded:
                view.set_flag(_DEGRADED)
                stats.degraded.inc()
            else:
                # The gauge stays: Envoy counts each time that a host became degraded while it was there.
                view.clear_flag(_DEGRADED)
            self._log("degraded_healthy_host" if is_degraded else "no_longer_degraded_host")
            change = change or "changed"
        stats.success.value += 1
        self._is_first = False
        self._told(change == "changed", True)
        return change

    def _clear_pending(self, change: str) -> str:
        if self._view.health_flags & HealthFlag.PENDING_ACTIVE_HC:
            self._view.clear_flag(HealthFlag.PENDING_ACTIVE_HC)
            return "changed"
        return change

    def _log(self, event: str, **values: Any) -> None:
        for log in self.event_logs:
            log.put(self.host, event, **values)

    def _delay(self, is_well: bool, change: str) -> float:
        settings = self._settings
        is_edge = change == "pending"
        if self._had_traffic():
            if is_well:
                base = settings.healthy_edge_interval_s if is_edge else settings.interval_s
            else:
                base = settings.unhealthy_edge_interval_s if is_edge else settings.unhealthy_interval_s
        elif is_well and not is_edge:
            base = settings.no_traffic_healthy_interval_s
        else:
            base = settings.no_traffic_interval_s
        milliseconds = round(base * 1000)
        for jitter in (
            milliseconds * settings.interval_jitter_percent // 100,
            int(settings.interval_jitter_s * 1000),
        ):
            if jitter:
                milliseconds += self._draw(jitter)
        return max(1, milliseconds) / 1000
