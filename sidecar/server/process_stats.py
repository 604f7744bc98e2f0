"""Statistics of the process that Envoy has besides what is counted elsewhere: names that stand at rest.

There is one thread here, which is the main thread and worker 0, and nothing watches over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.observability.stats import Store
from sidecar.upstream.host import Host

__all__ = ["make_process_stats", "show_clusters", "show_endpoints"]

_WATCHDOGS = ("main_thread", "workers", "server.main_thread", "server.worker_0")
_THREADS = ("main_thread", "worker_0")
_ENDPOINT_COUNTERS = ("cx_total", "cx_connect_fail", "rq_total", "rq_error", "rq_success", "rq_timeout")
_ENDPOINT_GAUGES = ("cx_active", "rq_active", "rq_pending_active")


def make_process_stats(store: Store) -> None:
    """Make them."""
    for watchdog in _WATCHDOGS:
        for name in ("watchdog_mega_miss", "watchdog_miss"):
            store.counter(f"{watchdog}.{name}")
    for thread in _THREADS:
        store.gauge(f"thread_local_cluster_manager.{thread}.clusters_inflated")
    store.counter("envoy.overload_actions.reset_high_memory_stream.count")
    store.histogram("overload.refresh_interval_delay", "milliseconds")
    store.gauge("listener_manager.workers_pinned")
    store.gauge("server.compilation_settings.fips_mode")


def show_clusters(store: Store, clusters: Iterable[Any]) -> None:
    """Bring up to date how many clusters there are, and what endpoints say."""
    found = list(clusters)
    show_endpoints(store, found)
    for thread in _THREADS:
        store.gauge(f"thread_local_cluster_manager.{thread}.clusters_inflated").set(len(found))


def show_endpoints(store: Store, clusters: Iterable[Any]) -> None:
    """Bring ``cluster.<name>.endpoint.<address>.`` up to date, of clusters that count by endpoint."""
    for cluster in clusters:
        if not cluster.config.per_endpoint_stats:
            continue
        scope = cluster.stats.scope.scope("endpoint")
        shown = set()
        for host in cluster.hosts:
            of_host = scope.scope(host.address)
            shown.add(of_host.prefix)
            _show_endpoint(of_host, host)
        for prefix in _prefixes(store, scope.prefix) - shown:
            store.remove(prefix)


def _show_endpoint(scope: Any, host: Host) -> None:
    shown = host.shown
    if shown is None:
        shown = host.shown = {}
    for name in _ENDPOINT_COUNTERS:
        counter = scope.counter(name)
        # What other processes counted is in there, too.
        now = getattr(host, name)
        counter.value += now - shown.get(name, 0)
        shown[name] = now
    for name in _ENDPOINT_GAUGES:
        scope.gauge(name).set(getattr(host, name))
    scope.gauge("healthy").set(int(host.health_flags_text() == "healthy"))


def _prefixes(store: Store, under: str) -> set[str]:
    """Of the endpoints that are shown (`` …endpoint.127.0.0.1_80.``)."""
    return {
        name.removesuffix("healthy")
        for name in store.gauges
        if name.startswith(under) and name.endswith(".healthy")
    }
