"""The tasks of active health checks: one per host, which asks, waits and asks again.

They run in the cluster's task, outside the data path.  A cluster is ready when each of its
hosts was asked once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from sidecar.core.errors import Disconnected
from sidecar.upstream.health_check import HealthStats, HostChecks, Outcome
from sidecar.upstream.host import HealthFlag, Host

if TYPE_CHECKING:
    from sidecar.net.reactor import Reactor, Strand
    from sidecar.upstream.cluster import Cluster
    from sidecar.upstream.health_check import HealthCheckSettings, HealthEventLog
    from sidecar.upstream.health_probes import MakePool

__all__ = ["HealthTasks"]


class HealthTasks:
    """The checks of one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        settings: HealthCheckSettings,
        reactor: Reactor,
        make_pool: MakePool,
        draw: Callable[[int], int],
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._reactor = reactor
        self._make_pool = make_pool
        self._draw = draw
        self._stats = HealthStats(cluster.stats.scope.scope("health_check"))
        self._waiting: set[int] = set()
        self._scopes: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self.event_log: HealthEventLog | None = None
        #: Set when every host that was there had its first check.
        self.initialized = trio.Event()
        cluster.on_hosts_set = self._set_hosts
        self._checks: dict[int, HostChecks] = {}
        self._set_hosts(cluster.hosts)

    async def run(self) -> None:
        """Check until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for checks in self._checks.values():
                self._start(checks)
            if not self._waiting:
                self.initialized.set()
            await trio.sleep_forever()

    def _set_hosts(self, hosts: Any) -> None:
        """Check these hosts; one that comes has failed until it was asked."""
        before = self._checks
        self._checks = {}
        for host in hosts:
            if host.has_no_health_checks:
                continue
            checks = before.pop(id(host), None)
            if checks is None:
                checks = self._add(host)
            self._checks[id(host)] = checks
        for key, checks in before.items():
            scope = self._scopes.pop(key, None)
            if scope is not None:
                scope.cancel()
            checks.host.checks = None
            checks.close()

    def _add(self, host: Host) -> HostChecks:
        cluster = self._cluster
        host.set_flag(HealthFlag.FAILED_ACTIVE_HC)
        if cluster.config.ignore_new_hosts_until_first_hc:
            host.set_flag(HealthFlag.PENDING_ACTIVE_HC)
        stats = cluster.stats
        detector = cluster.detector
        checks = HostChecks(
            self._settings,
            self._stats,
            host,
            draw=self._draw,
            changed=cluster.on_host_changed,
            had_traffic=lambda: stats.upstream_cx_total.used,
            passed=None if detector is None else detector.on_health_check_passed,
        )
        checks.event_log = self.event_log
        host.checks = checks
        key = id(host)
        self._waiting.add(key)

        def on_first() -> None:
            self._waiting.discard(key)
            if not self._waiting:
                self.initialized.set()

        checks.on_first = on_first
        if self._nursery is not None:
            self._checks[key] = checks
            self._start(checks)
        return checks

    def set_event_log(self, log: HealthEventLog) -> None:
        """Write events of these hosts, and of those to come."""
        self.event_log = log
        for checks in self._checks.values():
            checks.event_log = log

    def _start(self, checks: HostChecks) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._keep, checks, name=f"health check {checks.host.address}")

    async def _keep(self, checks: HostChecks) -> None:
        host = checks.host
        with trio.CancelScope() as scope:
            if self._checks.get(id(host)) is not checks:
                return
            self._scopes[id(host)] = scope
            probe = self._settings.probe
            session = probe.connect(self._reactor, self._cluster.config, host, self._make_pool)
            try:
                if delay := checks.initial_delay_s():
                    await trio.sleep(delay)
                while True:
                    self._stats.attempt.value += 1
                    outcome = await self._ask(session)
                    if session.verified:
                        session.verified = False
                        self._stats.verify_cluster.value += 1
                    if outcome.failure.startswith("NETWORK") or not self._settings.reuse_connection:
                        session.disconnect()
                    await trio.sleep(checks.take(outcome))
            finally:
                session.disconnect()

    async def _ask(self, session: Any) -> Outcome:
        over = trio.Event()
        found = [Outcome("NETWORK")]

        async def ask(strand: Strand) -> None:
            found[0] = await session.ask(strand)

        strand = self._reactor.spawn("health check", ask, on_done=lambda error: over.set())
        try:
            with trio.move_on_after(self._settings.timeout_s or math.inf) as timeout:
                await over.wait()
        finally:
            if not over.is_set():
                strand.fail(Disconnected("the check is over"))
        return Outcome("NETWORK_TIMEOUT") if timeout.cancelled_caught else found[0]
