"""Statsd: what lines say, and how they are packed into datagrams."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sidecar.core.address import Address
from sidecar.extensions.stat_sinks.statsd import DOG, GRAPHITE, PLAIN, Statsd, TagFormat, UdpWriter
from sidecar.observability.snapshot import Snapshots
from sidecar.observability.stats import Store
from sidecar.observability.tags import TagProducer


class _Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, lines: Iterator[str]) -> None:
        self.lines = list(lines)


def _store() -> Store:
    store = Store()
    store.counter("cluster.web.upstream_rq_200").inc(3)
    store.counter("cluster.web.unused")
    store.gauge("cluster.web.upstream_cx_active").set(2)
    times = store.histogram("cluster.web.upstream_rq_time", "milliseconds")
    for value in (7, 7, 7, 7, 1234):
        times.record(value)
    return store


def _sent(tags: TagFormat, *, prefix: str = "envoy", scales_to_ms: bool = False) -> list[str]:
    store, writer = _store(), _Lines()
    snapshots = Snapshots(store, TagProducer())
    store.flush()
    Statsd(writer, prefix, tags, scales_to_ms=scales_to_ms).flush(snapshots.take())
    return writer.lines


def test_line_is_name_value_and_kind() -> None:
    assert _sent(PLAIN) == [
        "envoy.cluster.web.upstream_rq_200:3|c",
        "envoy.cluster.web.upstream_cx_active:2|g",
        "envoy.cluster.web.upstream_rq_time:7|ms|@0.25",
        "envoy.cluster.web.upstream_rq_time:1200|ms",
    ]


def test_tags_stand_behind_the_value_or_behind_the_name() -> None:
    assert _sent(DOG, prefix="dog")[:2] == [
        "dog.cluster.upstream_rq:3|c|#envoy.response_code:200,envoy.cluster_name:web",
        "dog.cluster.upstream_cx_active:2|g|#envoy.cluster_name:web",
    ]
    assert _sent(GRAPHITE)[1] == "envoy.cluster.upstream_cx_active;envoy.cluster_name=web:2|g"


def test_counter_tells_its_growth_and_histogram_its_interval() -> None:
    store, writer = _store(), _Lines()
    snapshots, sink = Snapshots(store, TagProducer()), Statsd(writer)
    store.flush()
    sink.flush(snapshots.take())
    store.counter("cluster.web.upstream_rq_200").inc(2)
    store.flush()
    sink.flush(snapshots.take())
    assert writer.lines == [
        "envoy.cluster.web.upstream_rq_200:2|c",
        "envoy.cluster.web.upstream_cx_active:2|g",
    ]


def test_microseconds_are_scaled_where_that_is_asked_for() -> None:
    store, writer = Store(), _Lines()
    store.histogram("took_us", "microseconds").record(5000)
    store.flush()
    snapshot = Snapshots(store, TagProducer()).take()
    Statsd(writer).flush(snapshot)
    assert writer.lines == ["envoy.took_us:5000|ms"]
    Statsd(writer, scales_to_ms=True).flush(snapshot)
    assert writer.lines == ["envoy.took_us:5|ms"]


@pytest.mark.parametrize(
    ("most", "datagrams"),
    [
        (0, [b"aaaa", b"bbbb", b"cccccccccccc", b"dd"]),
        (8, [b"aaaa", b"cccccccccccc", b"bbbb\ndd"]),
        (9, [b"aaaa\nbbbb", b"cccccccccccc", b"dd"]),
        (100, [b"aaaa\nbbbb\ncccccccccccc\ndd"]),
    ],
)
def test_datagram_holds_as_many_lines_as_it_may(most: int, datagrams: list[bytes]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        writer = UdpWriter(Address.ip("127.0.0.1", server.getsockname()[1]), most)
        writer.write(iter(["aaaa", "bbbb", "cccccccccccc", "dd"]))
        writer.close()
        got = [server.recv(1000) for _ in datagrams]
    assert sorted(got) == sorted(datagrams)


def test_nobody_there_is_nobodys_trouble() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        address = Address.ip("127.0.0.1", server.getsockname()[1])
    writer = UdpWriter(address)
    for _ in range(3):
        writer.write(iter(["line"]))
    writer.close()
