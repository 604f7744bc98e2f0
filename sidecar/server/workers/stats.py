"""Statistics of workers in the supervisor's store: what they read of theirs, and how it is put together.

Counters travel as growth, histograms as the bins of the interval, gauges as values.  A stat that belongs to
Envoy's main thread (:func:`is_of_supervisor`) is counted by the supervisor alone: its workers do the same
work on the same configuration once more, and nobody wants to see that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.core.late_pattern import late_pattern
from sidecar.observability.stats import Counter, Gauge, LiveGauge, Store

__all__ = ["MergedGauge", "StatsMerger", "StatsReader", "is_of_supervisor"]

_PREFIXES = (
    "cluster_manager.",
    "control_plane.",
    "filesystem.watch",
    "http.admin.",
    "listener_manager.",
    "main_thread.",
    "runtime.",
    "server.",
    "workers.",
)
#: Below a prefix of the supervisor's, and yet a worker's own.
_OF_WORKERS = "listener_manager.worker_"
_ENDINGS = late_pattern(
    r"\.(membership_(change|degraded|excluded|healthy|total)|max_host_weight|version(_text)?|warming_state"
    r"|update_(attempt|duration|empty|failure|no_rebuild|rejected|success|time)|init_fetch_timeout"
    r"|assignment_(stale|timeout_received|use_cached)|config_(reload|reload_time_ms|conflict|fail)"
    r"|total_match_count|extension_config_missing|key_rotation_failed|ssl_context_update_by_sds"
    r"|expiration_unix_time_seconds|max_pools)$"
    r"|\.health_check\.|\.control_plane\.|\.outlier_detection\."
    r"|^overload\.(.*\.(failed|skipped)_updates|refresh_interval_delay)$"
)
#: Of a gauge that says whether something is full or pressed: where it is most is what counts.
_GREATEST = late_pattern(r"\.circuit_breakers\..*_open$|^overload\.")
_LEAST = late_pattern(r"\.circuit_breakers\..*\.remaining_")


def is_of_supervisor(name: str) -> bool:
    """Whether the supervisor alone counts this stat."""
    if name.startswith(_OF_WORKERS):
        return False
    return name.startswith(_PREFIXES) or _ENDINGS.search(name) is not None


class StatsReader:
    """What a worker's store has to tell since it was asked last; that of an epoch tells of every counter."""

    def __init__(self, store: Store, *, of_epoch: bool = False) -> None:
        self._store = store
        self._has_all = of_epoch
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, tuple[int, bool]] = {}
        self._histograms: set[str] = set()

    def read(self) -> dict[str, Any]:
        """As values of a frame; what has not changed is left out, what is new is told even at zero."""
        store = self._store
        counters: dict[str, int] = {}
        for name, counter in store.counters.items():
            grown = counter.latch()
            if grown or self._counters.get(name) is not counter:
                self._counters[name] = counter
                counters[name] = grown
        gauges: dict[str, tuple[int, bool]] = {}
        for name, gauge in store.gauges.items():
            found = (gauge.value, gauge.used)
            if self._gauges.get(name) != found:
                self._gauges[name] = gauges[name] = found
        histograms: dict[str, tuple[str, dict[int, int]]] = {}
        for name, histogram in store.histograms.items():
            if histogram.pending or name not in self._histograms:
                self._histograms.add(name)
                histograms[name] = (histogram.unit, dict(histogram.pending))
                histogram.pending.clear()
        for name in [name for name in self._gauges if name not in store.gauges]:
            del self._gauges[name]
        return {
            "counters": {n: each for n, each in counters.items() if self._has_all or not is_of_supervisor(n)},
            "gauges": {n: each for n, each in gauges.items() if not self._is_own(n)},
            "histograms": {n: each for n, each in histograms.items() if not is_of_supervisor(n)},
        }

    def _is_own(self, name: str) -> bool:
        """Whether a gauge means nothing to who asks: an epoch keeps its pressure to itself, too."""
        if self._has_all and name.startswith("overload."):
            return True
        return is_of_supervisor(name) and not (self._has_all and ".outlier_detection." in name)


class MergedGauge(LiveGauge):
    """A gauge of all processes, in the place of the supervisor's own, which goes on to count for itself."""

    __slots__ = ("own", "parts", "was_used")

    def __init__(self, own: Gauge) -> None:
        super().__init__(own.name, self._sum)
        self.own: Gauge = own
        #: By worker.
        self.parts: dict[int, int] = {}
        self.was_used = False

    def _sum(self) -> int:
        parts = self.parts.values()
        if _GREATEST.search(self.name):
            return max(self.own.value, *parts, 0)
        if _LEAST.search(self.name):
            return min(self.own.value, *parts)
        return self.own.value + sum(parts)

    @property
    def used(self) -> bool:
        """Whether any process ever set it."""
        return self.was_used or self.own.used

    def inc(self, n: int = 1) -> None:
        """The supervisor's own."""
        self.own.inc(n)

    def dec(self, n: int = 1) -> None:
        """The supervisor's own."""
        self.own.dec(n)

    def set(self, value: int) -> None:
        """The supervisor's own."""
        self.own.set(value)


class StatsMerger:
    """Puts what workers tell into the supervisor's store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gauges: dict[str, MergedGauge] = {}

    def take(self, worker: int, told: dict[str, Any]) -> None:
        """What :meth:`StatsReader.read` gave."""
        store = self._store
        for name, grown in told["counters"].items():
            store.counter(name).value += grown
        for name, (unit, bins) in told["histograms"].items():
            pending = store.histogram(name, unit).pending
            for lower, count in bins.items():
                pending[int(lower)] = pending.get(int(lower), 0) + count
        for name, (value, used) in told["gauges"].items():
            merged = self._gauges.get(name)
            if merged is None:
                merged = self._gauges[name] = MergedGauge(store.gauge(name))
            merged.parts[worker] = value
            merged.was_used = merged.was_used or used
        self._put_back(self._gauges.items())

    def _put_back(self, gauges: Iterable[tuple[str, MergedGauge]]) -> None:
        """Show the merged ones, also where the supervisor made its own anew."""
        table = self._store.gauges
        for name, merged in gauges:
            shown = table.get(name)
            if shown is not None and shown is not merged:
                merged.own = shown
                table[name] = merged

    def forget(self, worker: int) -> None:
        """A worker is gone: so is what its gauges showed."""
        for merged in self._gauges.values():
            merged.parts.pop(worker, None)
