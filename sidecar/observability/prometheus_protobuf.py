"""A store as Prometheus' protobuf format: ``io.prometheus.client.MetricFamily``, each behind its length.

A scraper that names it first in ``accept`` gets it (Prometheus does where it wants native histograms), byte
for byte as from Envoy.  Groups and their order are those of :mod:`sidecar.observability.prometheus`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeVar

from sidecar.observability.histogram import QUANTILES, Histogram
from sidecar.observability.prometheus import escape_label, label_name, metric_name
from sidecar.observability.rendering import Selection
from sidecar.observability.stats import Counter, Gauge, Store, TextReadout
from sidecar.observability.tags import TagProducer

__all__ = ["PROTOBUF", "render_protobuf", "wants_protobuf"]

#: The content type of an answer.
PROTOBUF = b"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

StatT = TypeVar("StatT", Counter, Gauge, Histogram, TextReadout)

_COUNTER, _GAUGE, _SUMMARY, _HISTOGRAM = 0, 1, 2, 4  # io.prometheus.client.MetricType
_double = struct.Struct("<d").pack
#: The one that Envoy writes.
_NAN = b"\xff" * 7 + b"\x7f"
#: Native histograms: the finest and the coarsest schema, how many buckets there may be, and the end of the
#: bucket of zeros.
_FINEST, _COARSEST = 4, -4
_MOST_BUCKETS = 20
_ZERO_THRESHOLD = 0.5
#: A native histogram without samples: a schema, no zeros, and a span of nothing.
_EMPTY_NATIVE = b"\x28\x06\x38\x00\x62\x04\x08\x00\x10\x00"


def wants_protobuf(accept: bytes | None) -> bool:
    """Whether protobuf comes before plain text in an ``accept`` header; weights do not count, as in Envoy."""
    for entry in (accept or b"").split(b","):
        media_type = entry.strip(b" \t").partition(b";")[0]
        if media_type == b"text/plain":
            return False
        if media_type == b"application/vnd.google.protobuf":
            return True
    return False


def render_protobuf(
    store: Store, selection: Selection, producer: TagProducer, *, text_readouts: bool = False
) -> bytes:
    """``selection.histogram_buckets`` is ``cumulative``, ``summary`` or ``prometheusnative``."""
    show = _HISTOGRAMS[selection.histogram_buckets]
    kind = _SUMMARY if selection.histogram_buckets == "summary" else _HISTOGRAM
    parts: list[bytes] = []
    _add_groups(parts, selection, store.counters.values(), producer, _COUNTER, _counter)
    _add_groups(parts, selection, store.gauges.values(), producer, _GAUGE, _gauge)
    if text_readouts:
        _add_groups(parts, selection, store.text_readouts.values(), producer, _GAUGE, _text_readout)
    _add_groups(parts, selection, store.histograms.values(), producer, kind, show)
    return b"".join(parts)


def _add_groups(
    parts: list[bytes],
    selection: Selection,
    stats: Iterable[StatT],
    producer: TagProducer,
    kind: int,
    show: Callable[[StatT], bytes],
) -> None:
    groups: dict[str, list[tuple[str, bytes]]] = {}
    for stat in stats:
        if not selection.shows(stat):
            continue
        extracted, tags = producer.extract(stat.name)
        labels = b"".join([_label(name, value) for name, value in tags])
        metric = _message(4, labels + show(stat))
        groups.setdefault(extracted, []).append((stat.name.replace(".", "\0"), metric))
    for group in sorted(groups, key=lambda name: name.replace(".", "\0")):
        name = metric_name(group)
        if name:
            metrics = b"".join([metric for _, metric in sorted(groups[group])])
            family = _text(1, name) + b"\x18" + _varint(kind) + metrics
            parts += (_varint(len(family)), family)


# -- metrics --------------------------------------------------------------------------------------
@cache
def _label(name: str, value: str) -> bytes:
    # Escaped as in the text format, for which there is no need here: Envoy does.
    return _message(1, _text(1, label_name(name)) + _text(2, escape_label(value)))


def _counter(stat: Counter) -> bytes:
    return _message(3, b"\x09" + _double(stat.value))


def _gauge(stat: Gauge) -> bytes:
    return _message(2, b"\x09" + _double(stat.value))


def _text_readout(stat: TextReadout) -> bytes:
    return _message(
        1, _text(1, "text_value") + _text(2, escape_label(stat.value.replace("\0", "")))
    ) + _message(2, b"\x09" + _double(0))


def _classic(histogram: Histogram) -> bytes:
    statistics = histogram.cumulative
    counts = statistics.cumulative_buckets(histogram.bounds)
    buckets = [
        _message(3, b"\x08" + _varint(count) + b"\x11" + _double(bound))
        for bound, count in zip(histogram.bounds, counts, strict=True)
    ]
    return _message(7, _totals(statistics.count, statistics.sum) + b"".join(buckets))


def _summary(histogram: Histogram) -> bytes:
    statistics = histogram.interval
    quantiles = [
        _message(3, b"\x09" + _double(quantile) + b"\x11" + (_NAN if math.isnan(value) else _double(value)))
        for quantile, value in zip(QUANTILES, statistics.quantiles(), strict=True)
    ]
    return _message(4, _totals(statistics.count, statistics.sum) + b"".join(quantiles))


def _totals(count: int, total: float) -> bytes:
    return b"\x08" + _varint(count) + b"\x11" + _double(total)


def _native(histogram: Histogram) -> bytes:
    """Buckets that grow by a power of two: a bin counts where it begins, those up to 0.5 as zeros."""
    statistics = histogram.cumulative
    bins = statistics.sized_bins()
    if not bins:
        return _message(7, _EMPTY_NATIVE)
    zeros = sum(count for lower, _, count in bins if lower <= _ZERO_THRESHOLD)
    above = [each for each in bins if each[0] > _ZERO_THRESHOLD]
    schema = _schema(above)
    counts: dict[int, int] = {}
    for lower, _, count in above:
        number = _bucket_of(lower, schema)
        counts[number] = counts.get(number, 0) + count
    spans: list[list[int]] = []
    deltas: list[bytes] = []
    at = before = 0
    for number, count in sorted(counts.items()):
        if spans and number == at:
            spans[-1][1] += 1
        else:
            spans.append([number - at, 1])
        at = number + 1
        deltas.append(b"\x68" + _signed(count - before))
        before = count
    head = b"\x28" + _signed(schema) + b"\x31" + _double(_ZERO_THRESHOLD) + b"\x38" + _varint(zeros)
    told = [_message(12, b"\x08" + _signed(offset) + b"\x10" + _varint(length)) for offset, length in spans]
    return _message(7, b"".join((_totals(statistics.count, statistics.sum), head, *told, *deltas)))


def _schema(bins: list[tuple[int, float, int]]) -> int:
    """The finest one in which the bins, with all of their width, touch twenty buckets at most."""
    for schema in range(_FINEST, _COARSEST, -1):
        touched: set[int] = set()
        for lower, width, _ in bins:
            touched.update(range(_bucket_of(lower, schema), _bucket_of(lower + width, schema) + 1))
        if len(touched) <= _MOST_BUCKETS:
            return schema
    return _COARSEST


def _bucket_of(value: float, schema: int) -> int:
    """The number of the bucket whose upper bound, ``2 ** (number / 2 ** schema)``, is the next one."""
    return math.ceil(math.log2(value) * 2.0**schema - 1e-12)


_HISTOGRAMS: dict[str, Callable[[Histogram], bytes]] = {
    "cumulative": _classic,
    "summary": _summary,
    "prometheusnative": _native,
}


# -- the wire -------------------------------------------------------------------------------------
def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _signed(value: int) -> bytes:
    """A ``sint32`` or ``sint64``."""
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _message(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode("utf-8", "surrogateescape"))
