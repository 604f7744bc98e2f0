"""The tasks of active health checks: one per host and check, which asks, waits and asks again.

They run in the cluster's task, outside the data path.  A cluster is ready when each of its
hosts was asked once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.errors import Disconnected
from sidecar.upstream.health_aggregate import Aggregate
from sidecar.upstream.health_check import NETWORK, HealthStats, HostChecks, Outcome
from sidecar.upstream.health_probes import CheckContext, cluster_for_checks
from sidecar.upstream.host import HealthFlag, Host

if TYPE_CHECKING:
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.health_check import HealthEventLog
    from sidecar.upstream.health_probes import MakePool

__all__ = ["HealthTasks"]

_LATE = Outcome("NETWORK_TIMEOUT")


class _Watch:
    """The checks of one host, one for each of the cluster's."""

    __slots__ = ("aggregate", "checks", "host", "is_over", "scopes")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.checks: tuple[HostChecks, ...] = ()
        #: Where there is more than one check.
        self.aggregate: Aggregate | None = None
        self.scopes: list[trio.CancelScope] = []
        self.is_over = False

    def close(self) -> None:
        """The host left."""
        self.is_over = True
        for scope in self.scopes:
            scope.cancel()
        if self.aggregate is not None:
            self.aggregate.close()
        self.host.checks = None
        for checks in self.checks:
            checks.close()


class HealthTasks:
    """The checks of one cluster."""

    def __init__(
        self, cluster: Cluster, reactor: Reactor, make_pool: MakePool, draw: Callable[[int], int]
    ) -> None:
        self._cluster = cluster
        self._settings = cluster.config.health_checks
        self._reactor = reactor
        self._make_pool = make_pool
        self._draw = draw
        self._scope = cluster.stats.scope.scope("health_check")
        self._stats = [
            HealthStats(self._scope.scope(f"name.{each.name}") if each.name else self._scope)
            for each in self._settings
        ]
        self._contexts: dict[int, CheckContext] = {}
        self._nursery: trio.Nursery | None = None
        self._event_logs: dict[int, tuple[HealthEventLog, ...]] = {}
        self._watches: dict[int, _Watch] = {}
        #: Results that are missing until the cluster is ready, as many as it had hosts.
        self._missing = 0
        #: Told of each host that has a result: who serves may be another process.
        self.on_taken: Callable[[Host], None] | None = None
        #: Set when every host that was there had its first check.
        self.initialized = trio.Event()
        cluster.on_hosts_set = self._set_hosts
        self._set_hosts(cluster.hosts)

    async def run(self) -> None:
        """Check until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._missing = len(self._watches)
            if not self._missing:
                self.initialized.set()
            for watch in self._watches.values():
                self._start(nursery, watch)
            await trio.sleep_forever()

    def set_event_logs(self, number: int, logs: tuple[HealthEventLog, ...]) -> None:
        """Write what the check of this number finds of its hosts, and of those to come."""
        self._event_logs[number] = logs
        for watch in self._watches.values():
            watch.checks[number].event_logs = logs

    def _set_hosts(self, hosts: Any) -> None:
        """Check these hosts; one that comes has failed until it was asked."""
        before = self._watches
        self._watches = {}
        for host in hosts:
            if not host.has_no_health_checks:
                watch = before.pop(id(host), None)
                self._watches[id(host)] = watch or self._add(host)
        for watch in before.values():
            watch.close()

    def _add(self, host: Host) -> _Watch:
        if not host.keeps_health or len(self._settings) > 1:
            host.set_flag(HealthFlag.FAILED_ACTIVE_HC)
        if (
            host.health_flags & HealthFlag.FAILED_ACTIVE_HC
            and self._cluster.config.ignore_new_hosts_until_first_hc
        ):
            host.set_flag(HealthFlag.PENDING_ACTIVE_HC)
        traffic = self._cluster.stats.upstream_cx_total
        watch = _Watch(host)
        count = len(self._settings)
        if count > 1:
            healthy, degraded = self._scope.gauge("healthy"), self._scope.gauge("degraded")
            told = partial(self._take, watch)
            watch.aggregate = Aggregate(host, count, healthy, degraded, told)
        watch.checks = tuple(
            HostChecks(
                settings,
                self._stats[number],
                host,
                draw=self._draw,
                had_traffic=lambda: traffic.used,
                told=partial(self._take_one, watch, number),
                view=None if watch.aggregate is None else watch.aggregate.views[number],
            )
            for number, settings in enumerate(self._settings)
        )
        for number, checks in enumerate(watch.checks):
            checks.event_logs = self._event_logs.get(number, ())
        # What the data path hears is told to one of them, as in Envoy.
        host.checks = watch.checks[-1]
        if self._nursery is not None:
            self._start(self._nursery, watch)
        return watch

    def _take_one(self, watch: _Watch, number: int, has_changed: bool, is_well: bool) -> None:
        """One check has a result."""
        if watch.aggregate is None:
            self._take(watch, has_changed, is_well)
        elif not watch.is_over:
            watch.aggregate.take(number)

    def _take(self, watch: _Watch, has_changed: bool, is_well: bool) -> None:
        """A host has a result, or left before its first one."""
        if not watch.is_over:
            if has_changed:
                self._cluster.on_host_changed(watch.host)
            detector = self._cluster.detector
            if is_well and detector is not None:
                detector.on_health_check_passed(watch.host)
            if self.on_taken is not None:
                self.on_taken(watch.host)
        if self._missing:
            self._missing -= 1
            if not self._missing:
                self.initialized.set()

    def _start(self, nursery: trio.Nursery, watch: _Watch) -> None:
        name = f"health check {watch.host.address}"
        for number, settings in enumerate(self._settings):
            label = f"{name} {settings.name}" if settings.name else name
            nursery.start_soon(self._keep, watch, number, name=label)

    async def _keep(self, watch: _Watch, number: int) -> None:
        """One check of one host, again and again."""
        settings, stats, checks = self._settings[number], self._stats[number], watch.checks[number]
        with trio.CancelScope() as scope:
            if watch.is_over:
                return
            watch.scopes.append(scope)
            session = settings.probe.connect(self._context_for(number), watch.host)
            try:
                if delay := checks.initial_delay_s():
                    await trio.sleep(delay)
                while True:
                    stats.attempt.value += 1
                    outcome = await self._within(session.ask, settings.timeout_s or math.inf)
                    is_late = outcome is None
                    if session.verified:
                        session.verified = False
                        stats.verify_cluster.value += 1
                    if not settings.reuse_connection or (is_late and session.closes_when_late):
                        session.disconnect()
                    delay = checks.take(outcome or _LATE)
                    while session.is_listening:
                        outcome = await self._within(session.listen, delay)
                        if outcome is None:
                            break
                        delay = checks.take(outcome)
                    else:
                        await trio.sleep(delay)
            finally:
                session.disconnect()

    def _context_for(self, number: int) -> CheckContext:
        """What the check of this number has of its own; made when there is somebody to check."""
        context = self._contexts.get(number)
        if context is None:
            settings = self._settings[number]
            context = self._contexts[number] = CheckContext(
                self._reactor,
                cluster_for_checks(self._cluster, http2=settings.probe.http2),
                self._make_pool,
                self._cluster.config.transport_sockets,
                settings.match_criteria,
                settings.alpn,
            )
        return context

    async def _within(
        self, asks: Callable[[Strand], Coroutine[Any, Any, Outcome]], seconds: float
    ) -> Outcome | None:
        """What the strand finds within the time, or None."""
        over = trio.Event()
        found = [NETWORK]

        async def ask(strand: Strand) -> None:
            found[0] = await asks(strand)

        strand = self._reactor.spawn("health check", ask, on_done=lambda error: over.set())
        try:
            with trio.move_on_after(seconds) as timeout:
                await over.wait()
        finally:
            if not over.is_set():
                strand.fail(Disconnected("the check is over"))
        if not timeout.cancelled_caught:
            return found[0]
        await over.wait()  # the next question must not find it at work
        return None
