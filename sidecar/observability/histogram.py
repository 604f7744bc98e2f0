"""Histograms with Envoy's resolution: log-linear bins of two significant digits (circllhist).

A value below 100 is its own bin; a greater one falls into the bin of its two leading digits
(1234 into 1200).  Bins are kept as ``{lower bound: count}``, so that recording is one dictionary
update and the number of bins is bounded (90 for each decimal magnitude).  Quantiles interpolate
inside a bin as libcircllhist's ``hist_approx_quantile`` does; sums are of bin midpoints as its
``hist_approx_sum``.  What a rendering shows is what :meth:`Histogram.merge` last took in: Envoy
merges at each stats flush.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["DEFAULT_BUCKETS", "QUANTILES", "Histogram", "HistogramStatistics", "bin_width"]

#: Envoy's supported quantiles.
QUANTILES: tuple[float, ...] = (0, 0.25, 0.5, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999, 1)

#: Envoy's default upper bounds, in the histogram's own unit.
DEFAULT_BUCKETS: tuple[float, ...] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000,
    30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip


def bin_width(lower: int) -> float:
    """The width of the bin that begins at ``lower``."""
    if lower == 0:
        return 0.0
    if lower < 10:
        return 0.1
    return float(10 ** (len(str(lower)) - 2))


def _midpoint(lower: int) -> float:
    """Where libcircllhist thinks the samples of a bin lie (a little below its middle)."""
    if lower == 0:
        return 0.0
    width = bin_width(lower)
    return lower + width * (lower / (lower + lower + width))


class HistogramStatistics:
    """What can be told from a set of bins."""

    __slots__ = ("bins", "count")

    def __init__(self, bins: Mapping[int, int]) -> None:
        #: (lower bound, count) in ascending order.
        self.bins: list[tuple[int, int]] = sorted(bins.items())
        self.count = sum(bins.values())

    def sized_bins(self) -> list[tuple[int, float, int]]:
        """(lower bound, width, count) in ascending order."""
        return [(lower, bin_width(lower), count) for lower, count in self.bins]

    @property
    def sum(self) -> float:
        """Approximately the sum of all samples (added up in ascending order, as the oracle's digits show)."""
        total = 0.0
        for lower, count in self.bins:
            total += _midpoint(lower) * count
        return total

    def quantiles(self, wanted: Sequence[float] = QUANTILES) -> list[float]:
        """The values at ``wanted`` (ascending, each in 0..1); NaN where nothing was recorded.

        Quantile q is sample number ceil(q·n); the k-th of n samples of a bin is expected at k/(n+1) of it.
        """
        bins = self.bins
        if not bins:
            return [math.nan] * len(wanted)
        at = 0
        below = 0
        lower, count = bins[0]
        result: list[float] = []
        for quantile in wanted:
            target = float(self.count) * quantile
            while at < len(bins) - 1 and below + count < target:
                at += 1
                below += count
                lower, count = bins[at]
            rank = math.ceil(target - below) or 1
            result.append(lower + rank / (count + 1) * bin_width(lower))
        return result

    def count_below(self, bound: float) -> int:
        """Samples of the bins up to and with the one that ``bound`` falls into."""
        total = 0
        for lower, count in self.bins:
            if lower > bound:
                break
            total += count
        return total

    def cumulative_buckets(self, bounds: Sequence[float] = DEFAULT_BUCKETS) -> list[int]:
        """Samples up to each bound."""
        return [self.count_below(bound) for bound in bounds]

    def disjoint_buckets(self, bounds: Sequence[float] = DEFAULT_BUCKETS) -> list[int]:
        """Samples between each bound and the one before."""
        totals = self.cumulative_buckets(bounds)
        return [total - before for total, before in zip(totals, [0, *totals], strict=False)]


class Histogram:
    """A distribution of non-negative integers."""

    __slots__ = ("_interval_bins", "_total_bins", "bounds", "name", "pending", "unit", "used")

    def __init__(
        self, name: str, unit: str = "unspecified", bounds: Sequence[float] = DEFAULT_BUCKETS
    ) -> None:
        self.name = name
        #: ``ms``, ``us``, ``bytes`` or ``unspecified``.
        self.unit = unit
        #: Upper bounds of the buckets that a rendering shows (``histogram_bucket_settings``).
        self.bounds = bounds
        #: Whether a merged sample exists.
        self.used = False
        #: Bins since the last merge, always the same dict: who records on the hot path keeps it and
        #: counts values below 100 there without a call.
        self.pending: dict[int, int] = {}
        self._interval_bins: dict[int, int] = {}
        self._total_bins: dict[int, int] = {}

    def record(self, value: int) -> None:
        """Take one sample."""
        if value >= 100:
            if value < 1000:
                value -= value % 10
            elif value < 10000:
                value -= value % 100
            else:
                value -= value % int(10 ** (len(str(value)) - 2))
        pending = self.pending
        pending[value] = pending.get(value, 0) + 1

    def merge(self) -> None:
        """End the interval: what came since the last merge is the new interval and joins the total."""
        pending = self.pending
        self._interval_bins = dict(pending)
        if pending:
            self.used = True
            total = self._total_bins
            for lower, count in pending.items():
                total[lower] = total.get(lower, 0) + count
            pending.clear()

    @property
    def interval(self) -> HistogramStatistics:
        """The samples between the last two merges."""
        return HistogramStatistics(self._interval_bins)

    @property
    def cumulative(self) -> HistogramStatistics:
        """All samples up to the last merge."""
        return HistogramStatistics(self._total_bins)
