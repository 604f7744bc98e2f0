"""A store in Prometheus' exposition format, byte for byte as Envoy's ``/stats/prometheus``.

Stats are grouped by their name without tags; names compare word by word.  A proxy of ten thousand clusters
has a million stats, so a line is one string from the beginning, with what it is sorted by in front of it:
objects that the garbage collector knows would cost more than the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

from sidecar.observability.histogram import QUANTILES, Histogram, HistogramStatistics
from sidecar.observability.numbers import text_number, wide_number
from sidecar.observability.rendering import Selection
from sidecar.observability.stats import Counter, Gauge, Store, TextReadout
from sidecar.observability.tags import TagProducer

__all__ = ["CUSTOM_NAMESPACE", "escape_label", "label_name", "metric_name", "render_prometheus"]

#: Names under it lose it and get no ``envoy_`` (metrics of Wasm modules).
CUSTOM_NAMESPACE = "wasmcustom."

StatT = TypeVar("StatT", Counter, Gauge, Histogram, TextReadout)

_NEEDS_ESCAPE = re.compile(r'[\\\n"]')
_NOT_PROMETHEUS = re.compile(r"[^a-zA-Z0-9_]")
#: Between what a line is sorted by and the line, which has no such character: less than any word.
_KEY_END = "\0\0"


def render_prometheus(
    store: Store, selection: Selection, producer: TagProducer, *, text_readouts: bool = False
) -> str:
    """``selection.histogram_buckets`` is ``cumulative`` (histograms) or ``summary``."""
    labels = _Labels(producer)
    parts: list[str] = []
    wanted = selection.shows if selection.used_only or selection.wants is not None else None
    _add_groups(parts, _picked(store.counters.values(), wanted), labels, "counter", _number)
    _add_groups(parts, _picked(store.gauges.values(), wanted), labels, "gauge", _number)
    if text_readouts:
        _add_groups(parts, _picked(store.text_readouts.values(), wanted), labels, "gauge", _text_readout)
    if selection.histogram_buckets == "summary":
        _add_groups(parts, _picked(store.histograms.values(), wanted), labels, "summary", _summary)
    else:
        _add_groups(parts, _picked(store.histograms.values(), wanted), labels, "histogram", _histogram)
    return "".join(parts)


def _picked(stats: Iterable[StatT], wanted: Callable[[StatT], bool] | None) -> Iterable[StatT]:
    return stats if wanted is None else filter(wanted, stats)


def _add_groups(
    parts: list[str],
    stats: Iterable[StatT],
    labels: _Labels,
    kind: str,
    show: Callable[[str, str, StatT], str],
) -> None:
    """Each group's TYPE line and the lines of its stats."""
    groups: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    read = labels.read
    for stat in stats:
        extracted, text = read(stat.name)
        lines = groups.get(extracted)
        if lines is None:
            lines = groups[extracted] = []
            names[extracted] = metric_name(extracted)
        # Compared like this, words are compared one by one.
        lines.append(f"{stat.name.replace('.', chr(0))}{_KEY_END}{show(names[extracted], text, stat)}")
    for extracted in sorted(groups, key=lambda name: name.replace(".", "\0")):
        name = names[extracted]
        if not name:
            continue
        parts.append(f"# TYPE {name} {kind}\n")
        lines = groups.pop(extracted)
        lines.sort()
        parts += [line[line.rindex("\0") + 1 :] for line in lines]


class _Labels:
    """Takes names apart into the name of a group, and labels as they are written."""

    def __init__(self, producer: TagProducer) -> None:
        self._producer = producer
        #: What stands behind a cluster's name → the group, and what is written around that name.
        self._of_clusters: dict[str, tuple[str, str, str]] = {}

    def read(self, name: str) -> tuple[str, str]:
        """The name without its tags, and the labels."""
        if name.startswith("cluster."):
            _, cluster, rest = (name + ".").split(".", 2)
            found = self._of_clusters.get(rest)
            if found is None:
                found = self._of_clusters[rest] = self._around(rest)
            extracted, before, after = found
            if extracted and self._producer.is_plain_cluster(cluster):
                return extracted, f"{before}{escape_label(cluster)}{after}"
        extracted, tags = self._producer.extract(name)
        return extracted, ",".join(f'{label_name(tag)}="{escape_label(value)}"' for tag, value in tags)

    def _around(self, rest: str) -> tuple[str, str, str]:
        """For thousands of clusters that have the same stats; empty where a cluster has to be looked at."""
        found = self._producer.cluster_template(rest[:-1])
        if found is None:
            return "", "", ""
        extracted, tags, mark = found
        text = ",".join(f'{label_name(tag)}="{escape_label(value)}"' for tag, value in tags)
        before, _, after = text.partition(mark)
        return extracted, before, after


def label_name(tag: str) -> str:
    """What a tag is called."""
    return _NOT_PROMETHEUS.sub("_", tag)


def metric_name(extracted: str) -> str:
    """What a group is called; empty where Prometheus could not read it."""
    if extracted.startswith(CUSTOM_NAMESPACE):
        name = _NOT_PROMETHEUS.sub("_", extracted.removeprefix(CUSTOM_NAMESPACE))
        return "" if name[:1].isdigit() else name
    return "envoy_" + _NOT_PROMETHEUS.sub("_", extracted)


# -- lines ----------------------------------------------------------------------------------------
def _number(name: str, labels: str, stat: Counter | Gauge) -> str:
    return f"{name}{{{labels}}} {stat.value}\n"


def _text_readout(name: str, labels: str, stat: TextReadout) -> str:
    text = f'text_value="{escape_label(stat.value.replace(chr(0), ""))}"'
    return f"{name}{{{_join_labels(labels, text)}}} 0\n"


def _histogram(name: str, labels: str, histogram: Histogram) -> str:
    if not histogram.used:
        text = _empty_histogram(tuple(histogram.bounds)).replace("\1", name)
        return text.replace("\2", f"{labels}," if labels else "").replace("\3", labels)
    statistics = histogram.cumulative
    counts = statistics.cumulative_buckets(histogram.bounds)
    lines = []
    for bound, count in zip(histogram.bounds, counts, strict=True):
        le = _join_labels(labels, f'le="{wide_number(bound)}"')
        lines.append(f"{name}_bucket{{{le}}} {count}\n")
    le = _join_labels(labels, 'le="+Inf"')
    lines.append(f"{name}_bucket{{{le}}} {statistics.count}\n")
    return "".join(lines) + _totals(name, labels, statistics)


@cache
def _empty_histogram(bounds: tuple[float, ...]) -> str:
    """One without values: three marks stand for its name, its labels with a comma, and its labels."""
    lines = [f'\1_bucket{{\2le="{wide_number(bound)}"}} 0\n' for bound in bounds]
    return "".join([*lines, '\1_bucket{\2le="+Inf"} 0\n']) + _totals("\1", "\3", HistogramStatistics({}))


def _summary(name: str, labels: str, histogram: Histogram) -> str:
    statistics = histogram.interval
    lines = []
    for quantile, value in zip(QUANTILES, statistics.quantiles(), strict=True):
        with_quantile = _join_labels(labels, f'quantile="{text_number(quantile)}"')
        lines.append(f"{name}{{{with_quantile}}} {wide_number(value)}\n")
    return "".join(lines) + _totals(name, labels, statistics)


def _totals(name: str, labels: str, statistics: HistogramStatistics) -> str:
    return (
        f"{name}_sum{{{labels}}} {wide_number(statistics.sum)}\n{name}_count{{{labels}}} {statistics.count}\n"
    )


def _join_labels(labels: str, more: str) -> str:
    return f"{labels},{more}" if labels else more


def escape_label(value: str) -> str:
    """A label's value between quotes."""
    if _NEEDS_ESCAPE.search(value) is None:
        return value
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
