"""Statsd, DogStatsD and Graphite's statsd: lines of text in datagrams, or over a connection.

https://github.com/statsd/statsd/blob/master/docs/metric_types.md,
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell,
https://graphite.readthedocs.io/en/latest/tags.html.  Envoy sends a line for every value that a histogram
takes, at once; here the values of a flush interval go with the flush, those that are alike in one line with
a sample rate.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.core.address import Address
    from sidecar.observability.snapshot import Snapshot
    from sidecar.observability.tags import Tag

__all__ = ["DOG", "GRAPHITE", "PLAIN", "Statsd", "StatsdWriter", "TagFormat", "UdpWriter"]

logger = logging.getLogger("sidecar.stats")


@dataclass(frozen=True, slots=True)
class TagFormat:
    """How tags are written; ``start`` is empty where they are left in the name."""

    start: str = ""
    assign: str = ""
    separator: str = ""
    is_after_name: bool = False


PLAIN = TagFormat()
DOG = TagFormat("|#", ":", ",")
GRAPHITE = TagFormat(";", "=", ";", is_after_name=True)


class StatsdWriter(Protocol):
    """Takes the lines of a flush."""

    def write(self, lines: Iterator[str]) -> None:
        """Send them; returns at once and never raises."""


class UdpWriter:
    """Sends lines as datagrams of at most so many bytes; a line that is longer has one for itself."""

    def __init__(self, address: Address, max_bytes: int = 0) -> None:
        """``max_bytes``: 0 for a datagram each.  Raises: OSError."""
        self._socket = socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._target = address.sockaddr
        self._max_bytes = max_bytes

    def write(self, lines: Iterator[str]) -> None:
        """Send them; what the kernel does not take is lost, as datagrams may be."""
        gathered: list[bytes] = []
        size = 0
        for line in lines:
            data = line.encode()
            if len(data) >= self._max_bytes:
                self._send(data)
                continue
            if size + len(data) + 1 > self._max_bytes:
                self._send(b"\n".join(gathered))
                gathered, size = [], 0
            gathered.append(data)
            size += len(data) + (size > 0)
        if gathered:
            self._send(b"\n".join(gathered))

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._target)
        except OSError as error:
            logger.debug("statsd: %s", error)

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()


class Statsd:
    """The sink."""

    def __init__(
        self,
        writer: StatsdWriter,
        prefix: str = "envoy",
        tags: TagFormat = PLAIN,
        *,
        scales_to_ms: bool = False,
    ) -> None:
        """``scales_to_ms``: ``scale_histogram_units_to_milliseconds``."""
        self._writer = writer
        self._prefix = prefix
        self._tags = tags
        self._scales_to_ms = scales_to_ms

    def flush(self, snapshot: Snapshot) -> None:
        """Send what was counted since the last flush, gauges and the values of histograms."""
        self._writer.write(self._lines(snapshot))

    def _lines(self, snapshot: Snapshot) -> Iterator[str]:
        for counter in snapshot.counters:
            yield self._line(snapshot, counter.name, counter.delta, "|c")
        for gauge in snapshot.gauges:
            yield self._line(snapshot, gauge.name, gauge.value, "|g")
        for histogram in snapshot.histograms:
            divisor = 1000 if self._scales_to_ms and histogram.unit == "microseconds" else 1
            for value, count in histogram.interval.bins:
                kind = "|ms" if count == 1 else f"|ms|@{1 / count:.6g}"
                yield self._line(snapshot, histogram.name, value // divisor, kind)

    def _line(self, snapshot: Snapshot, name: str, value: int, kind: str) -> str:
        form = self._tags
        if not form.start:
            return f"{self._prefix}.{name}:{value}{kind}"
        name, tags = snapshot.apart(name)
        told = _told(form, tags)
        if form.is_after_name:
            return f"{self._prefix}.{name}{told}:{value}{kind}"
        return f"{self._prefix}.{name}:{value}{kind}{told}"


def _told(form: TagFormat, tags: list[Tag]) -> str:
    if not tags:
        return ""
    return form.start + form.separator.join(f"{name}{form.assign}{value}" for name, value in tags)
