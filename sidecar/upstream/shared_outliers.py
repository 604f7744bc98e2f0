"""Outlier detection of a server with workers: one detector judges, all processes count.

What hosts answered is counted in the shared memory, failures in a row in words of all, rates in words of each
process.  A worker that counts the last failure of a row tells its supervisor, whose detector ejects, lets
back in, and counts; everybody is told of the flags.  So Envoy does it: its threads count together, its main
thread judges.  Nobody locks: of failures that two processes have in the same moment one may not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.outlier_detection import Detector, HostMonitor, OutlierSettings, SuccessRates

if TYPE_CHECKING:
    from sidecar.core.shared_memory import SharedMemory
    from sidecar.observability.stats import Scope

__all__ = ["OUTLIER_FLAGS", "SharedDetector"]

#: What a detector says of a host.
OUTLIER_FLAGS = HealthFlag.FAILED_OUTLIER_CHECK | HealthFlag.DEGRADED_OUTLIER_DETECTION

#: Words of all for a host: failures in a row, of three kinds.
_ROWS = 3
#: Words of each process for a host: responses and those that went well, of two origins.
_RATES = 4
_EXTERNAL, _LOCAL = 0, 2


class SharedDetector(Detector):
    """The detector of one cluster in one process; the supervisor's judges."""

    def __init__(
        self,
        settings: OutlierSettings,
        scope: Scope,
        memory: SharedMemory,
        cluster: str,
        *,
        clock: Callable[[], float],
        draw: Callable[[int], int],
        changed: Callable[[Host], None],
    ) -> None:
        super().__init__(settings, scope, clock=clock, draw=draw, changed=self._tell_changed)
        self._take_in = changed
        self._memory = memory
        self._cluster = cluster
        self.judges = memory.process == memory.processes - 1
        #: A worker tells of a host and of what was detected, the supervisor of a host whose flags may be new.
        self.tell: Callable[[Host, str], None] = _nobody
        #: What a worker knows of a host that comes.
        self.flags_of: Callable[[Host], int] = _none

    def _make_monitor(self, host: Host) -> HostMonitor:
        rows = self._memory.words_of_all(f"outlier rows {self._cluster} {host.address}".encode(), _ROWS)
        rates = self._memory.words_of_each(f"outlier rates {self._cluster} {host.address}".encode(), _RATES)
        if rows is None or rates is None:
            monitor = HostMonitor(self, host)  # the memory is full: this process counts alone
        else:
            monitor = _SharedMonitor(self, host, self._memory, rows, rates)
        if self.judges:
            monitor.reset_counts()
            self.tell(host, "")
        elif flags := self.flags_of(host):
            host.set_flag(flags)
        return monitor

    def _tell_changed(self, host: Host) -> None:
        self._take_in(host)
        if self.judges:
            self.tell(host, "")

    def take_flags(self, address: str, flags: int) -> None:
        """A worker is told what the supervisor's detector says of a host."""
        for monitor in list(self._monitors.values()):
            if monitor.host.address == address:
                self._set_flags(monitor.host, flags)

    def _set_flags(self, host: Host, flags: int) -> None:
        before = host.health_flags & OUTLIER_FLAGS
        if before == flags:
            return
        if before & ~flags:
            host.clear_flag(before & ~flags)
        if flags:
            host.set_flag(flags)
        self._changed(host)

    def on_consecutive(self, monitor: HostMonitor, kind: str) -> bool:
        if self.judges:
            return super().on_consecutive(monitor, kind)
        if monitor.host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK or not self.watches(monitor.host):
            return False
        self.tell(monitor.host, kind)
        return True

    def on_degraded(self, monitor: HostMonitor) -> None:
        if self.judges:
            super().on_degraded(monitor)
        elif not monitor.host.health_flags & HealthFlag.DEGRADED_OUTLIER_DETECTION:
            self.tell(monitor.host, "DEGRADED")

    def take(self, address: str, kind: str) -> None:
        """The supervisor is told by a worker what that detected of a host."""
        for monitor in list(self._monitors.values()):
            if monitor.host.address != address:
                continue
            if kind == "DEGRADED":
                self.on_degraded(monitor)
            else:
                self.on_consecutive(monitor, kind)


def _nobody(host: Host, kind: str) -> None:
    """Nobody is there to be told yet."""


def _none(host: Host) -> int:
    return 0


def _word(index: int) -> Any:
    """An attribute that is a word of the shared memory."""

    def get(self: _SharedMonitor | _SharedRates) -> int:
        return self._words[self._at + index]

    def put(self: _SharedMonitor | _SharedRates, value: int) -> None:
        self._words[self._at + index] = value

    return property(get, put)


class _SharedMonitor(HostMonitor):
    """What all processes know of one host together."""

    __slots__ = ("_at", "_rates", "_words")

    _consecutive_5xx = _word(0)
    _consecutive_gateway = _word(1)
    _consecutive_local = _word(2)

    def __init__(
        self, detector: SharedDetector, host: Host, memory: SharedMemory, rows: int, rates: int
    ) -> None:
        self._words = memory.words
        self._at = rows
        #: Where this process counts responses.
        self._rates = rates + _EXTERNAL + memory.process * _RATES
        self._start(
            detector, host, _SharedRates(memory, rates + _EXTERNAL), _SharedRates(memory, rates + _LOCAL)
        )

    def _put_code(self, status: int) -> None:
        """The same in fewer steps where the host answers well."""
        if 500 <= status <= 599:
            super()._put_code(status)
            return
        words, rates, rows = self._words, self._rates, self._at
        words[rates] += 1
        words[rates + 1] += 1
        words[rows] = words[rows + 1] = 0


class _SharedRates(SuccessRates):
    """Responses of this process; who judges turns over those of all."""

    __slots__ = ("_at", "_first", "_memory", "_seen", "_words")

    total = _word(0)
    success = _word(1)

    def __init__(self, memory: SharedMemory, first: int) -> None:
        self._memory = memory
        self._words = memory.words
        self._first = first
        self._at = first + memory.process * _RATES
        self._seen = self._counted()
        self.last_success = self.last_total = 0
        self.rate = -1.0

    def _counted(self) -> list[tuple[int, int]]:
        """Responses and those that went well, by process; they only grow."""
        words, step = self._words, _RATES
        ats = range(self._first, self._first + self._memory.processes * step, step)
        return [(words[at], words[at + 1]) for at in ats]

    def turn_over(self) -> None:
        """An interval ended: what grew in it."""
        before, self._seen = self._seen, self._counted()
        self.last_total = self.last_success = 0
        for (total, success), (old_total, old_success) in zip(self._seen, before, strict=True):
            if total < old_total:  # of a process in the place of one that ended
                old_total = old_success = 0
            self.last_total += total - old_total
            self.last_success += success - old_success
        self.rate = -1.0
