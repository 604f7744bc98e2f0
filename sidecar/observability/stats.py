"""Counters, gauges, histograms and text readouts under Envoy's names, and the store that holds them.

The data plane asks the store once, when configuration is compiled, and keeps the objects: counting is
``counter.value += 1``.  The same name gives the same object.  Rendering is
:mod:`sidecar.observability.rendering`'s, tags are :mod:`sidecar.observability.tags`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sidecar.observability.counting import Counter, Gauge
from sidecar.observability.histogram import Histogram

__all__ = ["Counter", "Gauge", "Histogram", "LiveGauge", "Scope", "Store", "TextReadout", "sanitize"]


class LiveGauge(Gauge):
    """A gauge of what is counted elsewhere: it is asked when somebody looks."""

    __slots__ = ("_read", "_was_seen")

    def __init__(self, name: str, read: Callable[[], int]) -> None:
        self.name = name
        self._read = read
        self._was_seen = False

    @property
    def value(self) -> int:  # type: ignore[override] # nobody sets it
        """What it is now."""
        return self._read()

    @property
    def used(self) -> bool:
        """Whether it was ever seen at another value than 0."""
        self._was_seen = self._was_seen or self._read() != 0
        return self._was_seen


class TextReadout:
    """A piece of text that changes seldom (a version, an identifier)."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = ""

    def set(self, value: str) -> None:
        """Make it ``value``."""
        self.value = value

    @property
    def used(self) -> bool:
        """Whether it has any text."""
        return self.value != ""


#: So many prefixes are looked for one by one.
_FEW = 8


class Store:
    """All stats of one server.

    ``reject`` says which names are not wanted (``stats_config.stats_matcher``): their objects work but
    are not kept, so nobody sees them.  ``bounds_of`` gives a histogram's bucket bounds
    (``stats_config.histogram_bucket_settings``).
    """

    def __init__(
        self,
        reject: Callable[[str], bool] | None = None,
        bounds_of: Callable[[str], Sequence[float]] | None = None,
    ) -> None:
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        self.text_readouts: dict[str, TextReadout] = {}
        #: How often a name was looked up, and of those since it is tracked which (None while it is not).
        self.lookups = 0
        self.recent_lookups: dict[str, int] | None = None
        self._reject = reject
        self._bounds_of = bounds_of

    def counter(self, name: str) -> Counter:
        """The counter of this name, made when missing."""
        name = self._look_up(name)
        found = self.counters.get(name)
        if found is None:
            found = Counter(name)
            if not self._is_rejected(name):
                self.counters[name] = found
        return found

    def gauge(self, name: str) -> Gauge:
        """The gauge of this name, made when missing, to count with; ``gauges`` has what is shown."""
        name = self._look_up(name)
        found = self.gauges.get(name)
        if found is None:
            found = Gauge(name)
            if not self._is_rejected(name):
                self.gauges[name] = found
        return found.own

    def live_gauge(self, name: str, read: Callable[[], int]) -> LiveGauge:
        """A gauge that shows what ``read`` returns, in the place of one of this name that was there."""
        name = sanitize(name)
        made = LiveGauge(name, read)
        if not self._is_rejected(name):
            self.gauges[name] = made
        return made

    def histogram(self, name: str, unit: str = "unspecified") -> Histogram:
        """The histogram of this name, made when missing; the unit is the first caller's."""
        name = self._look_up(name)
        found = self.histograms.get(name)
        if found is None:
            found = Histogram(name, unit)
            if self._bounds_of is not None:
                found.bounds = self._bounds_of(name)
            if not self._is_rejected(name):
                self.histograms[name] = found
        return found

    def text_readout(self, name: str) -> TextReadout:
        """The text readout of this name, made when missing."""
        name = self._look_up(name)
        found = self.text_readouts.get(name)
        if found is None:
            found = TextReadout(name)
            if not self._is_rejected(name):
                self.text_readouts[name] = found
        return found

    def _look_up(self, name: str) -> str:
        name = sanitize(name)
        self.lookups += 1
        if self.recent_lookups is not None:
            self.recent_lookups[name] = self.recent_lookups.get(name, 0) + 1
        return name

    def track_lookups(self, what: str) -> None:
        """``enable``, ``disable`` or ``clear`` (``/stats/recentlookups/``)."""
        if what == "enable":
            self.recent_lookups = self.recent_lookups or {}
        elif what == "disable":
            self.recent_lookups = None
        else:
            self.lookups = 0
            if self.recent_lookups is not None:
                self.recent_lookups = {}

    def scope(self, prefix: str) -> Scope:
        """A view in which every name begins with ``prefix`` and a dot."""
        return Scope(self, prefix)

    def remove(self, *prefixes: str) -> None:
        """Forget every stat under one of these (of clusters or listeners that are gone), in one pass."""
        found = frozenset(map(_dotted, prefixes))
        if not found:
            return
        tables: tuple[dict[str, Counter], dict[str, Gauge], dict[str, Histogram], dict[str, TextReadout]]
        tables = (self.counters, self.gauges, self.histograms, self.text_readouts)
        is_under = _is_under_many(found) if len(found) > _FEW else _is_under_few(tuple(found))
        for table in tables:
            for name in [name for name in table if is_under(name)]:
                del table[name]

    def forget(self, names: Iterable[str]) -> None:
        """Show these counters no more; who has one goes on counting."""
        for name in names:
            self.counters.pop(name, None)

    def flush(self) -> None:
        """End the interval: latch counters, merge histograms.  The server calls it every flush interval."""
        for counter in self.counters.values():
            counter.latch()
        for histogram in self.histograms.values():
            histogram.merge()

    def reset_counters(self) -> None:
        """Zero all counters."""
        for counter in self.counters.values():
            counter.reset()

    def _is_rejected(self, name: str) -> bool:
        return self._reject is not None and self._reject(name)


def _is_under_few(prefixes: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda name: name.startswith(prefixes)


def _is_under_many(prefixes: frozenset[str]) -> Callable[[str], bool]:
    """Looks each beginning of a name up that ends with a dot."""

    def is_under(name: str) -> bool:
        dot = name.find(".")
        while dot >= 0:
            if name[: dot + 1] in prefixes:
                return True
            dot = name.find(".", dot + 1)
        return False

    return is_under


class Scope:
    """A prefix over a store."""

    __slots__ = ("prefix", "store")

    def __init__(self, store: Store, prefix: str) -> None:
        self.store = store
        #: Ends with a dot, unless it is empty.
        self.prefix = _dotted(prefix)

    def counter(self, name: str) -> Counter:
        """The counter ``prefix + name``."""
        return self.store.counter(self.prefix + name)

    def gauge(self, name: str) -> Gauge:
        """The gauge ``prefix + name``."""
        return self.store.gauge(self.prefix + name)

    def live_gauge(self, name: str, read: Callable[[], int]) -> LiveGauge:
        """The gauge ``prefix + name``, which shows what ``read`` returns."""
        return self.store.live_gauge(self.prefix + name, read)

    def histogram(self, name: str, unit: str = "unspecified") -> Histogram:
        """The histogram ``prefix + name``."""
        return self.store.histogram(self.prefix + name, unit)

    def text_readout(self, name: str) -> TextReadout:
        """The text readout ``prefix + name``."""
        return self.store.text_readout(self.prefix + name)

    def scope(self, prefix: str) -> Scope:
        """A scope inside this one."""
        return Scope(self.store, self.prefix + prefix)


def sanitize(name: str) -> str:
    """A name as Envoy writes it: addresses lose their colons, and there is no dot at either end."""
    name = name.strip(".")
    if ":" in name:
        name = name.replace("://", "_").replace(":/", "_").replace(":", "_")
    return name.replace("\0", "_") if "\0" in name else name


def _dotted(prefix: str) -> str:
    prefix = sanitize(prefix)
    return prefix + "." if prefix else ""
