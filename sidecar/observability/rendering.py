"""A store as text, as JSON and in Prometheus' exposition format, byte for byte as Envoy's ``/stats``.

Text and JSON list text readouts, then counters and gauges together, then histograms, each sorted by
name.  Prometheus groups by the name without its tags; names compare word by word there.  The admin API
parses the query; a :class:`Selection` says what is wanted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sidecar.observability.histogram import QUANTILES, Histogram, HistogramStatistics
from sidecar.observability.numbers import json_number, text_number, wide_number
from sidecar.observability.stats import Counter, Gauge, Store, TextReadout
from sidecar.observability.tags import Tag, TagProducer

__all__ = ["CUSTOM_NAMESPACE", "Selection", "render_json", "render_prometheus", "render_text"]

#: Names under it lose it and get no ``envoy_`` in the Prometheus rendering (metrics of Wasm modules).
CUSTOM_NAMESPACE = "wasmcustom."

StatT = TypeVar("StatT", Counter, Gauge, Histogram, TextReadout)

_NOT_PROMETHEUS = re.compile(r"[^a-zA-Z0-9_]")


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


# -- Prometheus -----------------------------------------------------------------------------------
def render_prometheus(
    store: Store, selection: Selection, producer: TagProducer, *, text_readouts: bool = False
) -> str:
    """Exposition format; ``histogram_buckets`` is ``cumulative`` (histograms) or ``summary``."""
    lines: list[str] = []
    for name, labels, counter in _groups(selection.counters(store), producer, "counter", lines):
        lines.append(f"{name}{{{labels}}} {counter.value}\n")
    for name, labels, gauge in _groups(selection.gauges(store), producer, "gauge", lines):
        lines.append(f"{name}{{{labels}}} {gauge.value}\n")
    if text_readouts:
        for name, labels, readout in _groups(selection.text_readouts(store), producer, "gauge", lines):
            labels = _join_labels(labels, f'text_value="{_escape(readout.value)}"')
            lines.append(f"{name}{{{labels}}} 0\n")
    summary = selection.histogram_buckets == "summary"
    kind = "summary" if summary else "histogram"
    for name, labels, histogram in _groups(selection.histograms(store), producer, kind, lines):
        add = _add_summary if summary else _add_histogram
        add(lines, name, labels, histogram)
    return "".join(lines)


def _groups(
    stats: Iterable[StatT], producer: TagProducer, kind: str, lines: list[str]
) -> Iterable[tuple[str, str, StatT]]:
    """Yields (name, labels, stat) in order, and puts each group's TYPE line where it begins."""
    groups: dict[str, list[tuple[list[str], list[Tag], StatT]]] = {}
    for stat in stats:
        extracted, tags = producer.extract(stat.name)
        groups.setdefault(extracted, []).append((stat.name.split("."), tags, stat))
    for extracted in sorted(groups, key=lambda name: name.split(".")):
        name = _prometheus_name(extracted)
        if not name:
            continue
        lines.append(f"# TYPE {name} {kind}\n")
        for _, tags, stat in sorted(groups[extracted], key=lambda entry: entry[0]):
            labels = ",".join(f'{_NOT_PROMETHEUS.sub("_", tag)}="{_escape(value)}"' for tag, value in tags)
            yield name, labels, stat


def _prometheus_name(extracted: str) -> str:
    if extracted.startswith(CUSTOM_NAMESPACE):
        name = _NOT_PROMETHEUS.sub("_", extracted.removeprefix(CUSTOM_NAMESPACE))
        return "" if name[:1].isdigit() else name
    return "envoy_" + _NOT_PROMETHEUS.sub("_", extracted)


def _add_histogram(lines: list[str], name: str, labels: str, histogram: Histogram) -> None:
    statistics = histogram.cumulative
    counts = statistics.cumulative_buckets(histogram.bounds)
    for bound, count in zip(histogram.bounds, counts, strict=True):
        le = _join_labels(labels, f'le="{wide_number(bound)}"')
        lines.append(f"{name}_bucket{{{le}}} {count}\n")
    le = _join_labels(labels, 'le="+Inf"')
    lines.append(f"{name}_bucket{{{le}}} {statistics.count}\n")
    _add_totals(lines, name, labels, statistics)


def _add_summary(lines: list[str], name: str, labels: str, histogram: Histogram) -> None:
    statistics = histogram.interval
    for quantile, value in zip(QUANTILES, statistics.quantiles(), strict=True):
        with_quantile = _join_labels(labels, f'quantile="{text_number(quantile)}"')
        lines.append(f"{name}{{{with_quantile}}} {wide_number(value)}\n")
    _add_totals(lines, name, labels, statistics)


def _add_totals(lines: list[str], name: str, labels: str, statistics: HistogramStatistics) -> None:
    lines.append(f"{name}_sum{{{labels}}} {wide_number(statistics.sum)}\n")
    lines.append(f"{name}_count{{{labels}}} {statistics.count}\n")


def _join_labels(labels: str, more: str) -> str:
    return f"{labels},{more}" if labels else more


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
