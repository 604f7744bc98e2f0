"""What workers count is seen in the supervisor's store, once."""

from __future__ import annotations

from sidecar.observability.stats import Store
from sidecar.server.workers.stats import StatsMerger, StatsReader, is_of_supervisor


def test_counters_of_workers_come_to_the_supervisors() -> None:
    supervisor, workers = Store(), [Store(), Store()]
    merger, readers = StatsMerger(supervisor), [StatsReader(each) for each in workers]
    supervisor.counter("http.a.rq").value = 1
    for worker in workers:
        worker.counter("http.a.rq").value += 5
    for _ in range(2):
        for number, reader in enumerate(readers):
            merger.take(number, reader.read())
    assert supervisor.counters["http.a.rq"].value == 11
    workers[1].reset_counters()
    workers[1].counter("http.a.rq").value += 2
    merger.take(1, readers[1].read())
    assert supervisor.counters["http.a.rq"].value == 13


def test_stat_that_is_new_is_told_at_zero() -> None:
    supervisor, worker = Store(), Store()
    worker.counter("a")
    worker.gauge("b")
    worker.histogram("c", "milliseconds")
    StatsMerger(supervisor).take(0, StatsReader(worker).read())
    assert (*supervisor.counters, *supervisor.gauges, *supervisor.histograms) == ("a", "b", "c")
    assert supervisor.histograms["c"].unit == "milliseconds"


def test_gauges_add_up_until_their_worker_is_gone() -> None:
    supervisor, worker = Store(), Store()
    own = supervisor.gauge("cluster.c.upstream_cx_active")
    merger, reader = StatsMerger(supervisor), StatsReader(worker)
    worker.gauge("cluster.c.upstream_cx_active").set(3)
    merger.take(0, reader.read())
    own.inc()
    assert supervisor.gauges["cluster.c.upstream_cx_active"].value == 4
    supervisor.gauge("cluster.c.upstream_cx_active").inc()  # whoever asks for it by name
    supervisor.live_gauge("cluster.c.upstream_cx_active", lambda: 10)  # the cluster was replaced
    merger.take(0, reader.read())
    assert supervisor.gauges["cluster.c.upstream_cx_active"].value == 13
    merger.forget(0)
    assert supervisor.gauges["cluster.c.upstream_cx_active"].value == 10


def test_breaker_that_is_open_somewhere_is_open() -> None:
    supervisor = Store()
    merger = StatsMerger(supervisor)
    for number, value in enumerate((1, 1)):
        worker = Store()
        worker.gauge("cluster.c.circuit_breakers.default.cx_open").set(value)
        merger.take(number, StatsReader(worker).read())
    assert supervisor.gauges["cluster.c.circuit_breakers.default.cx_open"].value == 1


def test_histograms_are_put_together() -> None:
    supervisor = Store()
    merger = StatsMerger(supervisor)
    for number in range(2):
        worker = Store()
        worker.histogram("t", "milliseconds").record(5)
        merger.take(number, StatsReader(worker).read())
    supervisor.flush()
    assert supervisor.histograms["t"].cumulative.bins == [(5, 2)]


def test_what_the_main_thread_counts_is_the_supervisors() -> None:
    for name in ("server.live", "cluster.a.b.membership_total", "cluster.a.health_check.success",
                 "http.h.rds.r.update_success", "listener_manager.listener_added"):  # fmt: skip
        assert is_of_supervisor(name)
    for name in ("cluster.a.upstream_rq_total", "http.h.downstream_rq_2xx", "listener.l.downstream_cx_total"):
        assert not is_of_supervisor(name)


def test_gauge_that_is_asked_for_after_it_was_put_together_counts_here() -> None:
    # Of a new epoch: what the old one counts is there before the first connection over HTTP/2 is.
    here, other = Store(), Store()
    other.gauge("http2.streams_active").set(2)
    merger = StatsMerger(here)
    merger.take(0, StatsReader(other).read())
    active = here.gauge("http2.streams_active")
    active.value += 1
    assert here.gauges["http2.streams_active"].value == 3
    merger.forget(0)
    assert here.gauges["http2.streams_active"].value == 1


def test_an_epoch_hands_on_the_timings_that_no_sink_has_seen() -> None:
    old, new = Store(), Store()
    old.histogram("http.main.downstream_rq_time", "ms").record(7)
    old.histogram("http.main.downstream_rq_time", "ms").record(7)
    new.histogram("http.main.downstream_rq_time", "ms").record(7)
    reader, merger = StatsReader(old, of_epoch=True), StatsMerger(new)
    for _ in range(2):  # nothing is handed on twice
        merger.take(0, reader.read())
    assert sum(new.histograms["http.main.downstream_rq_time"].pending.values()) == 3
