"""Outlier detection: hosts that answer badly leave the load balancer for a while.

Arithmetic alone, as Envoy's ``outlier_detection_impl.cc`` does it: the router says how each exchange ended
(:class:`HostMonitor`), the cluster manager calls :meth:`Detector.tick` every ``interval``, and the detector
raises and lowers ``FAILED_OUTLIER_CHECK``.  Clock and chance are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import HeaderMap
from sidecar.observability.stats import Scope
from sidecar.upstream.host import HealthFlag, Host

__all__ = ["Detector", "DetectorStats", "EventLog", "HostMonitor", "OutlierSettings", "SuccessRates"]

_EJECTED = HealthFlag.FAILED_OUTLIER_CHECK
_DEGRADED = HealthFlag.DEGRADED_OUTLIER_DETECTION


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """``envoy.config.cluster.v3.OutlierDetection`` with Envoy's defaults; times in seconds."""

    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_time_jitter_s: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    split_external_local_origin_errors: bool = False
    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    successful_active_health_check_uneject_host: bool = True
    detect_degraded_hosts: bool = False
    #: Which responses are errors (``HttpProtocolOptions.outlier_detection``); None where the status says it.
    error_matcher: Callable[[HeaderMap], bool] | None = None


#: ``OutlierEjectionType`` → its stats' name and the setting that says how often it is enforced.
_TYPES = {
    "CONSECUTIVE_5XX": ("consecutive_5xx", "enforcing_consecutive_5xx"),
    "CONSECUTIVE_GATEWAY_FAILURE": ("consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
    "CONSECUTIVE_LOCAL_ORIGIN_FAILURE": (
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
    ),
    "SUCCESS_RATE": ("success_rate", "enforcing_success_rate"),
    "SUCCESS_RATE_LOCAL_ORIGIN": ("local_origin_success_rate", "enforcing_local_origin_success_rate"),
    "FAILURE_PERCENTAGE": ("failure_percentage", "enforcing_failure_percentage"),
    "FAILURE_PERCENTAGE_LOCAL_ORIGIN": (
        "local_origin_failure_percentage",
        "enforcing_failure_percentage_local_origin",
    ),
}


class DetectorStats:
    """``outlier_detection.``; all are there from the start."""

    def __init__(self, scope: Scope) -> None:
        self.ejections_active = scope.gauge("ejections_active")
        self.ejections_enforced_total = scope.counter("ejections_enforced_total")
        self.ejections_overflow = scope.counter("ejections_overflow")
        #: The deprecated ones still count.
        self.ejections_total = scope.counter("ejections_total")
        self.ejections_consecutive_5xx = scope.counter("ejections_consecutive_5xx")
        self.ejections_success_rate = scope.counter("ejections_success_rate")
        self.ejections_detected_degradation = scope.counter("ejections_detected_degradation")
        self.detected = {
            kind: scope.counter(f"ejections_detected_{name}") for kind, (name, _) in _TYPES.items()
        }
        self.enforced = {
            kind: scope.counter(f"ejections_enforced_{name}") for kind, (name, _) in _TYPES.items()
        }


class EventLog(Protocol):
    """Writes what happens to hosts (:mod:`sidecar.upstream.outlier_events`)."""

    def eject(self, detector: Detector, monitor: HostMonitor, kind: str, enforced: bool, now: float) -> None:
        """The host was ejected, or would have been."""
        ...

    def uneject(self, detector: Detector, monitor: HostMonitor, now: float) -> None:
        """The host is back."""
        ...


class SuccessRates:
    """How many of a host's requests went well, this interval and in the last whole one."""

    __slots__ = ("last_success", "last_total", "rate", "success", "total")

    def __init__(self) -> None:
        self.success = self.total = 0
        self.last_success = self.last_total = 0
        #: Percent of the last interval; -1 where there was too little to tell.
        self.rate = -1.0

    def turn_over(self) -> None:
        """An interval ended."""
        self.last_success, self.last_total = self.success, self.total
        self.success = self.total = 0
        self.rate = -1.0


class Penalty:
    """For how long a host is ejected, or degraded; the time grows while it comes back again and again."""

    __slots__ = ("backoff", "began", "ended", "jitter_s")

    def __init__(self) -> None:
        #: Of how many base times the current one lasts.
        self.backoff = 0
        self.jitter_s = 0.0
        self.began: float | None = None
        self.ended: float | None = None

    def begin(self, settings: OutlierSettings, now: float, draw: Callable[[int], int]) -> None:
        """It begins, and lasts longer than the last one."""
        self.began = now
        self.jitter_s = draw(int(settings.max_ejection_time_jitter_s * 1000) + 1) / 1000
        base = settings.base_ejection_time_s
        if self.backoff * base < settings.max_ejection_time_s + base:
            self.backoff += 1

    def is_served(self, settings: OutlierSettings, now: float) -> bool:
        """Whether it is over."""
        assert self.began is not None
        wanted = min(settings.base_ejection_time_s * self.backoff, settings.max_ejection_time_s)
        return wanted + self.jitter_s <= now - self.began

    def shrink(self, settings: OutlierSettings, now: float) -> None:
        """An interval without it ended."""
        if self.backoff and self.ended is not None and now - self.ended >= settings.interval_s:
            self.backoff -= 1


class HostMonitor:
    """What the detector knows of one host; it stands at :attr:`Host.outlier`."""

    __slots__ = (
        "_consecutive_5xx",
        "_consecutive_gateway",
        "_consecutive_local",
        "_detector",
        "degraded",
        "detects_degraded",
        "ejected",
        "error_matcher",
        "external",
        "host",
        "local",
        "num_ejections",
    )

    def __init__(self, detector: Detector, host: Host) -> None:
        self._consecutive_5xx = self._consecutive_gateway = self._consecutive_local = 0
        self._start(detector, host, SuccessRates(), SuccessRates())

    def _start(self, detector: Detector, host: Host, external: SuccessRates, local: SuccessRates) -> None:
        self._detector = detector
        self.host = host
        self.external = external
        self.local = local
        self.num_ejections = 0
        self.ejected = Penalty()
        self.degraded = Penalty()
        self.error_matcher = detector.settings.error_matcher
        self.detects_degraded = detector.settings.detect_degraded_hosts

    def put_status(self, status: int) -> None:
        """The host answered: its HTTP status, or what its gRPC status stands for."""
        detector = self._detector
        if detector.is_split:
            self._put_connected()
        self._put_code(status)

    def put_connected(self) -> None:
        """There is a connection for a TCP proxy, which is all that it learns of a host."""
        if self._detector.is_split:
            self._put_connected()
        else:
            self._put_code(200)

    def put_degraded(self) -> None:
        """A response that is no error said that the host is degraded."""
        self._detector.on_degraded(self)

    def put_connection_failure(self, *, was_connected: bool) -> None:
        """There was no connection, or it broke, or the stream was reset."""
        if self._detector.is_split:
            if was_connected:
                self._put_connected()
            self._put_local_failure()
        else:
            self._put_code(503)

    def put_timeout(self, *, was_connected: bool, status: int = 504) -> None:
        """The answer did not come in time; the client got ``status``."""
        if self._detector.is_split:
            if was_connected:
                self._put_connected()
            self._put_local_failure()
        else:
            self._put_code(status)

    def reset_counts(self) -> None:
        """Begin to count failures in a row anew."""
        self._consecutive_5xx = self._consecutive_gateway = self._consecutive_local = 0

    def _put_code(self, status: int) -> None:
        external = self.external
        external.total += 1
        if status < 500 or status > 599:
            external.success += 1
            self._consecutive_5xx = self._consecutive_gateway = 0
            return
        detector = self._detector
        settings = detector.settings
        if 502 <= status <= 504:
            count = self._consecutive_gateway = self._consecutive_gateway + 1
            if count == settings.consecutive_gateway_failure and detector.on_consecutive(
                self, "CONSECUTIVE_GATEWAY_FAILURE"
            ):
                self._consecutive_gateway = 0
        else:
            self._consecutive_gateway = 0
        count = self._consecutive_5xx = self._consecutive_5xx + 1
        if count == settings.consecutive_5xx and detector.on_consecutive(self, "CONSECUTIVE_5XX"):
            self._consecutive_5xx = 0

    def _put_connected(self) -> None:
        self.local.total += 1
        self.local.success += 1
        self._consecutive_local = 0

    def _put_local_failure(self) -> None:
        self.local.total += 1
        count = self._consecutive_local = self._consecutive_local + 1
        detector = self._detector
        if count == detector.settings.consecutive_local_origin_failure and detector.on_consecutive(
            self, "CONSECUTIVE_LOCAL_ORIGIN_FAILURE"
        ):
            self._consecutive_local = 0


@dataclass(slots=True)
class _Numbers:
    """What the last interval came to, over all hosts; -1 where there was too little to tell."""

    average: float = -1.0
    threshold: float = -1.0


class Detector:
    """See the module.  ``changed(host)`` is called when a host was ejected or came back."""

    #: Whether this one ejects; a worker's leaves it to its supervisor's.
    judges = True

    def __init__(
        self,
        settings: OutlierSettings,
        scope: Scope,
        *,
        clock: Callable[[], float],
        draw: Callable[[int], int],
        changed: Callable[[Host], None],
    ) -> None:
        """``scope`` is the cluster's; ``draw(n)`` gives a random number below n."""
        self.settings = settings
        self.is_split = settings.split_external_local_origin_errors
        self.stats = DetectorStats(scope.scope("outlier_detection"))
        #: Set by the cluster manager where the bootstrap names an event log.
        self.event_log: EventLog | None = None
        self.external = _Numbers()
        self.local = _Numbers()
        self._clock = clock
        self._draw = draw
        self._changed = changed
        self._monitors: dict[int, HostMonitor] = {}

    def set_hosts(self, hosts: Iterable[Host]) -> None:
        """Watch these hosts; what is known of one that stays is kept."""
        before = self._monitors
        self._monitors = {}
        for host in hosts:
            monitor = before.pop(id(host), None)
            if monitor is None:
                monitor = host.outlier = self._make_monitor(host)
            self._monitors[id(host)] = monitor
        for monitor in before.values():
            monitor.host.outlier = None
            if monitor.host.health_flags & _EJECTED:
                self.stats.ejections_active.dec()

    def _make_monitor(self, host: Host) -> HostMonitor:
        return HostMonitor(self, host)

    def watches(self, host: Host) -> bool:
        """Whether it is one of the cluster's hosts."""
        return id(host) in self._monitors

    def tick(self) -> None:
        """An interval is over."""
        now = self._clock()
        monitors = list(self._monitors.values())
        for monitor in monitors:
            flags = monitor.host.health_flags
            if flags & _EJECTED and monitor.ejected.is_served(self.settings, now):
                self.uneject(monitor)
            if flags & _DEGRADED and monitor.degraded.is_served(self.settings, now):
                self._restore(monitor)
            monitor.external.turn_over()
            monitor.local.turn_over()
        self.external = self._judge(
            [(each, each.external) for each in monitors], "SUCCESS_RATE", "FAILURE_PERCENTAGE"
        )
        self.local = self._judge(
            [(each, each.local) for each in monitors],
            "SUCCESS_RATE_LOCAL_ORIGIN",
            "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
        )
        for monitor in monitors:
            flags = monitor.host.health_flags
            if not flags & _EJECTED:
                monitor.ejected.shrink(self.settings, now)
            if not flags & _DEGRADED:
                monitor.degraded.shrink(self.settings, now)

    def on_consecutive(self, monitor: HostMonitor, kind: str) -> bool:
        """Failures in a row reached their number; whether they are counted anew."""
        host = monitor.host
        if host.health_flags & _EJECTED or not self.watches(host):
            return False
        self.stats.detected[kind].value += 1
        self._eject(monitor, kind)
        if kind == "CONSECUTIVE_5XX":
            self.stats.ejections_consecutive_5xx.value += 1
        return True

    def on_health_check_passed(self, host: Host) -> None:
        """An active health check found the host well."""
        monitor = self._monitors.get(id(host))
        if (
            monitor is not None
            and self.settings.successful_active_health_check_uneject_host
            and host.health_flags & _EJECTED
            and not host.health_flags & HealthFlag.FAILED_ACTIVE_HC
        ):
            self.uneject(monitor)

    def uneject(self, monitor: HostMonitor) -> None:
        """Let the host back in."""
        self.stats.ejections_active.dec()
        monitor.host.clear_flag(_EJECTED)
        monitor.reset_counts()
        now = monitor.ejected.ended = self._clock()
        self._changed(monitor.host)
        if self.event_log is not None:
            self.event_log.uneject(self, monitor, now)

    def on_degraded(self, monitor: HostMonitor) -> None:
        """A host says that it is degraded; it gets fewer requests for a while, however many others are."""
        host = monitor.host
        if host.health_flags & _DEGRADED or not self.watches(host):
            return
        self.stats.ejections_detected_degradation.value += 1
        now = self._clock()
        host.set_flag(_DEGRADED)
        monitor.degraded.begin(self.settings, now, self._draw)
        self._changed(host)
        if self.event_log is not None:
            self.event_log.eject(self, monitor, "DEGRADED", True, now)

    def _restore(self, monitor: HostMonitor) -> None:
        monitor.host.clear_flag(_DEGRADED)
        now = monitor.degraded.ended = self._clock()
        self._changed(monitor.host)
        if self.event_log is not None:
            self.event_log.uneject(self, monitor, now)

    def _eject(self, monitor: HostMonitor, kind: str) -> None:
        settings, stats = self.settings, self.stats
        active = stats.ejections_active.value
        percent = 100.0 * (active + 1) / len(self._monitors)
        may = percent <= min(100, settings.max_ejection_percent)
        if not may and not (settings.always_eject_one_host and active == 0):
            stats.ejections_overflow.value += 1
            return
        if kind in ("CONSECUTIVE_5XX", "SUCCESS_RATE"):
            stats.ejections_total.value += 1
        enforced = self._draw(100) < getattr(settings, _TYPES[kind][1])
        now = self._clock()
        if enforced and not monitor.host.health_flags & _EJECTED:
            stats.ejections_active.inc()
            stats.ejections_enforced_total.value += 1
            stats.enforced[kind].value += 1
            monitor.host.set_flag(_EJECTED)
            monitor.num_ejections += 1
            monitor.ejected.begin(settings, now, self._draw)
            self._changed(monitor.host)
        if self.event_log is not None:
            self.event_log.eject(self, monitor, kind, enforced, now)

    def _judge(
        self, hosts: Sequence[tuple[HostMonitor, SuccessRates]], rate_kind: str, failure_kind: str
    ) -> _Numbers:
        """Eject by the rates of the last interval."""
        settings = self.settings
        numbers = _Numbers()
        if len(hosts) < settings.success_rate_minimum_hosts and (
            len(hosts) < settings.failure_percentage_minimum_hosts
        ):
            return numbers
        for_rate: list[tuple[HostMonitor, float]] = []
        for_failure: list[tuple[HostMonitor, float]] = []
        for monitor, rates in hosts:
            volume = rates.last_total
            if monitor.host.health_flags & _EJECTED or not volume:
                continue
            rate = rates.last_success * 100.0 / volume
            if volume >= min(
                settings.success_rate_request_volume, settings.failure_percentage_request_volume
            ):
                rates.rate = rate
            if volume >= settings.success_rate_request_volume:
                for_rate.append((monitor, rate))
            if volume >= settings.failure_percentage_request_volume:
                for_failure.append((monitor, rate))
        if for_rate and len(for_rate) >= settings.success_rate_minimum_hosts:
            numbers = _threshold([rate for _, rate in for_rate], settings.success_rate_stdev_factor / 1000)
            self._set_numbers(rate_kind, numbers)
            for monitor, rate in for_rate:
                if rate < numbers.threshold:
                    self.stats.ejections_success_rate.value += 1
                    self.stats.detected[rate_kind].value += 1
                    self._eject(monitor, rate_kind)
        if for_failure and len(for_failure) >= settings.failure_percentage_minimum_hosts:
            for monitor, rate in for_failure:
                if 100.0 - rate >= settings.failure_percentage_threshold:
                    self.stats.detected[failure_kind].value += 1
                    self._eject(monitor, failure_kind)
        return numbers

    def _set_numbers(self, rate_kind: str, numbers: _Numbers) -> None:
        """The event log shows them."""
        if rate_kind == "SUCCESS_RATE":
            self.external = numbers
        else:
            self.local = numbers


def _threshold(rates: Sequence[float], factor: float) -> _Numbers:
    """The mean, and ``factor`` standard deviations (of the population) below it."""
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return _Numbers(mean, mean - factor * math.sqrt(variance))
