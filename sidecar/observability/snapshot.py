"""What a stats sink is shown at each flush: all stats, as they are at that moment."""

from __future__ import annotations

import time
from typing import Protocol

from sidecar.observability.stats import Counter, Gauge, Histogram, Store
from sidecar.observability.tags import Tag, TagProducer

__all__ = ["Snapshot", "Snapshots", "StatsSink"]


class StatsSink(Protocol):
    """Sends statistics away (``envoy/stats/sink.h``)."""

    def flush(self, snapshot: Snapshot) -> None:
        """Send what is told; returns at once and never raises."""


class Snapshot:
    """The stats of one flush; counters are latched and histograms merged."""

    __slots__ = ("_snapshots", "counters", "gauges", "histograms", "last_ns", "now_ns")

    def __init__(self, snapshots: Snapshots, last_ns: int, now_ns: int) -> None:
        store = snapshots.store
        self.counters: list[Counter] = [each for each in store.counters.values() if each.used]
        self.gauges: list[Gauge] = [each for each in store.gauges.values() if each.used]
        self.histograms: list[Histogram] = [each for each in store.histograms.values() if each.used]
        #: Nanoseconds since the epoch: of the flush before this one (or the start), and of this one.
        self.last_ns = last_ns
        self.now_ns = now_ns
        self._snapshots = snapshots

    def apart(self, name: str) -> tuple[str, list[Tag]]:
        """A name without its tags, and the tags."""
        return self._snapshots.apart(name)


class Snapshots:
    """Takes snapshots of a store; names are taken apart once."""

    def __init__(self, store: Store, tags: TagProducer) -> None:
        self.store = store
        self._tags = tags
        self._known: dict[str, tuple[str, list[Tag]]] = {}
        self._last_ns = time.time_ns()

    def take(self) -> Snapshot:
        """One more; the store is flushed."""
        last_ns, self._last_ns = self._last_ns, time.time_ns()
        if len(self._known) > 2 * (
            len(self.store.counters) + len(self.store.gauges) + len(self.store.histograms)
        ):
            self._known.clear()  # of stats that are gone
        return Snapshot(self, last_ns, self._last_ns)

    def apart(self, name: str) -> tuple[str, list[Tag]]:
        """See :meth:`Snapshot.apart`."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._tags.extract(name)
        return found
