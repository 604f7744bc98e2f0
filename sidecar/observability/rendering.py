"""A store as text and as JSON, byte for byte as Envoy's ``/stats``.

Text and JSON list text readouts, then counters and gauges together, then histograms, each sorted by
name.  :mod:`sidecar.observability.prometheus` is the third form.  The admin API parses the query; a
:class:`Selection` says what is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from sidecar.core.dataclass import dataclass
from sidecar.observability.histogram import QUANTILES, Histogram, HistogramStatistics
from sidecar.observability.numbers import json_number, text_number
from sidecar.observability.stats import Counter, Gauge, Store, TextReadout

__all__ = ["Selection", "render_json", "render_text"]

StatT = TypeVar("StatT", Counter, Gauge, Histogram, TextReadout)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to show."""

    used_only: bool = False
    #: Says whether a name is wanted; None wants all.
    wants: Callable[[str], bool] | None = None
    #: ``All``, ``Counters``, ``Gauges``, ``Histograms`` or ``TextReadouts``.
    type: str = "All"
    #: ``summary``, ``cumulative``, ``disjoint`` or ``detailed``.
    histogram_buckets: str = "summary"

    def shows(self, stat: Counter | Gauge | Histogram | TextReadout) -> bool:
        """Whether this stat is wanted."""
        return (not self.used_only or stat.used) and (self.wants is None or self.wants(stat.name))

    def text_readouts(self, store: Store) -> list[TextReadout]:
        return self._pick(store.text_readouts, "TextReadouts")

    def counters(self, store: Store) -> list[Counter]:
        return self._pick(store.counters, "Counters")

    def gauges(self, store: Store) -> list[Gauge]:
        return self._pick(store.gauges, "Gauges")

    def numbers(self, store: Store) -> list[Counter | Gauge]:
        """Counters and gauges by name."""
        found: list[Counter | Gauge] = [*self.counters(store), *self.gauges(store)]
        return sorted(found, key=lambda stat: stat.name)

    def histograms(self, store: Store) -> list[Histogram]:
        return self._pick(store.histograms, "Histograms")

    def _pick(self, table: Mapping[str, StatT], type_name: str) -> list[StatT]:
        if self.type not in ("All", type_name):
            return []
        return [table[name] for name in sorted(table) if self.shows(table[name])]


# -- text -----------------------------------------------------------------------------------------
def render_text(store: Store, selection: Selection) -> str:
    """``name: value`` lines."""
    lines = [f'{stat.name}: "{stat.value}"\n' for stat in selection.text_readouts(store)]
    lines += [f"{stat.name}: {stat.value}\n" for stat in selection.numbers(store)]
    lines += [_text_histogram(stat, selection.histogram_buckets) for stat in selection.histograms(store)]
    return "".join(lines)


def _text_histogram(stat: Histogram, mode: str) -> str:
    if not stat.used:
        return f"{stat.name}: No recorded values\n"
    if mode == "detailed":
        return (
            f"{stat.name}:\n  totals={_text_bins(stat.cumulative)}\n  intervals={_text_bins(stat.interval)}"
            f"\n  summary={_text_quantiles(stat)}\n"
        )
    if mode in ("cumulative", "disjoint"):
        words = [
            f"B{bound:g}({interval},{total})"
            for bound, interval, total in zip(stat.bounds, *_buckets(stat, mode), strict=True)
        ]
        return f"{stat.name}: {' '.join(words)}\n"
    return f"{stat.name}: {_text_quantiles(stat)}\n"


def _text_quantiles(stat: Histogram) -> str:
    values = zip(QUANTILES, stat.interval.quantiles(), stat.cumulative.quantiles(), strict=True)
    return " ".join(
        f"P{100 * quantile:g}({text_number(interval)},{text_number(total)})"
        for quantile, interval, total in values
    )


def _text_bins(statistics: HistogramStatistics) -> str:
    return ", ".join(f"{lower:g},{width:g}:{count}" for lower, width, count in statistics.sized_bins())


def _buckets(stat: Histogram, mode: str) -> tuple[list[int], list[int]]:
    if mode == "cumulative":
        return stat.interval.cumulative_buckets(stat.bounds), stat.cumulative.cumulative_buckets(stat.bounds)
    return stat.interval.disjoint_buckets(stat.bounds), stat.cumulative.disjoint_buckets(stat.bounds)


# -- JSON -----------------------------------------------------------------------------------------
def render_json(store: Store, selection: Selection) -> str:
    """``{"stats":[…]}`` with one last element for all histograms."""
    items = [
        f'{{"name":{_quote(stat.name)},"value":{_quote(stat.value)}}}'
        for stat in selection.text_readouts(store)
    ]
    items += [f'{{"name":{_quote(stat.name)},"value":{stat.value}}}' for stat in selection.numbers(store)]
    histograms = selection.histograms(store)
    if histograms:
        items.append(f'{{"histograms":{_json_histograms(histograms, selection.histogram_buckets)}}}')
    return f'{{"stats":[{",".join(items)}]}}'


def _json_histograms(histograms: list[Histogram], mode: str) -> str:
    supported = ",".join(text_number(100 * quantile) for quantile in QUANTILES)
    if mode in ("cumulative", "disjoint"):
        return f"[{','.join(_json_buckets(stat, mode) for stat in histograms)}]"
    if mode == "detailed":
        details = ",".join(
            f'{{"name":{_quote(stat.name)},"totals":{_json_bins(stat.cumulative)},'
            f'"intervals":{_json_bins(stat.interval)},"percentiles":{_json_quantiles(stat)}}}'
            for stat in histograms
        )
        return f'{{"supported_percentiles":[{supported}],"details":[{details}]}}'
    computed = ",".join(
        f'{{"name":{_quote(stat.name)},"values":{_json_quantiles(stat)}}}' for stat in histograms
    )
    return f'{{"supported_quantiles":[{supported}],"computed_quantiles":[{computed}]}}'


def _json_quantiles(stat: Histogram) -> str:
    pairs = zip(stat.cumulative.quantiles(), stat.interval.quantiles(), strict=True)
    values = ",".join(
        f'{{"cumulative":{json_number(total)},"interval":{json_number(interval)}}}'
        for total, interval in pairs
    )
    return f"[{values}]"


def _json_buckets(stat: Histogram, mode: str) -> str:
    buckets = ",".join(
        f'{{"upper_bound":{json_number(bound)},"interval":{interval},"cumulative":{total}}}'
        for bound, interval, total in zip(stat.bounds, *_buckets(stat, mode), strict=True)
    )
    return f'{{"name":{_quote(stat.name)},"buckets":[{buckets}]}}'


def _json_bins(statistics: HistogramStatistics) -> str:
    bins = ",".join(
        f'{{"lower_bound":{json_number(lower)},"width":{json_number(width)},"count":{count}}}'
        for lower, width, count in statistics.sized_bins()
    )
    return f"[{bins}]"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
