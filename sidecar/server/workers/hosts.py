"""Hosts across processes: the supervisor resolves names and checks health, its workers are told.

A worker makes its hosts of the same configuration, assignments and addresses, so that an address names the
same host everywhere.  Of the flags those of active checks and of outlier detection travel; EDS health comes
with the assignment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import trio

from sidecar.net.dns import DnsAnswer
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.discovery import DnsDiscovery, Resolver
from sidecar.upstream.health_tasks import HealthTasks
from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.shared_outliers import OUTLIER_FLAGS, SharedDetector

__all__ = ["GivenHosts", "HostRelay"]

_CHECKED = int(
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.DEGRADED_ACTIVE_HC
    | HealthFlag.PENDING_ACTIVE_HC
    | HealthFlag.ACTIVE_HC_TIMEOUT
    | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
)

Send = Callable[[str, dict[str, Any]], None]


class HostRelay:
    """The supervisor's part."""

    def __init__(self, broadcast: Send) -> None:
        self._broadcast = broadcast
        #: Flags by cluster and address.
        self._flags: dict[str, dict[str, int]] = {}
        self._hosts: dict[str, dict[str, Host]] = {}
        self._answers: dict[str, dict[int, DnsAnswer]] = {}
        #: Flags of outlier detection, of those that have any.
        self._outliers: dict[str, dict[str, int]] = {}

    def watch(self, cluster: Cluster, tasks: HealthTasks) -> HealthTasks:
        """Tell what ``tasks`` find of the hosts of ``cluster``."""
        name = cluster.name

        def take(host: Host) -> None:
            flags = host.health_flags & _CHECKED
            known = self._flags.setdefault(name, {})
            self._hosts.setdefault(name, {})[host.address] = host
            if known.get(host.address) != flags:
                known[host.address] = flags
                self._broadcast("health", {"cluster": name, "host": host.address, "flags": flags})

        tasks.on_taken = take
        return tasks

    def watch_outliers(self, cluster: Cluster) -> None:
        """Tell whom the detector of ``cluster`` ejects and lets back in."""
        detector, name = cluster.detector, cluster.name
        assert isinstance(detector, SharedDetector)

        def tell(host: Host, _kind: str) -> None:
            flags = host.health_flags & int(OUTLIER_FLAGS)
            if _keep_flags(self._outliers, name, host.address, flags):
                self._broadcast("outlier", {"cluster": name, "host": host.address, "flags": flags})

        detector.tell = tell

    def take_outlier(self, cluster: Cluster, address: str, kind: str) -> None:
        """A worker counted the failure that makes a row, or was told that a host is degraded."""
        detector = cluster.detector
        if isinstance(detector, SharedDetector):
            detector.take(address, kind)

    def make_dns(self, cluster: Cluster, resolver: Resolver, draw: Callable[[int], int]) -> DnsDiscovery:
        """A discovery whose answers are told."""
        found = DnsDiscovery(cluster, resolver, draw)
        name = cluster.name
        self._answers[name] = {}

        def take(index: int, answer: DnsAnswer) -> None:
            self._answers[name][index] = answer
            self._broadcast("dns", _told(name, index, answer))

        found.on_answer = take
        return found

    def tell(self, send: Send) -> None:
        """Send one worker what there is."""
        for name, hosts in self._flags.items():
            for address, flags in hosts.items():
                send("health", {"cluster": name, "host": address, "flags": flags})
        for name, hosts in self._outliers.items():
            for address, flags in hosts.items():
                send("outlier", {"cluster": name, "host": address, "flags": flags})
        for name, answers in self._answers.items():
            for index, answer in answers.items():
                send("dns", _told(name, index, answer))

    def fail_immediately(self, cluster: str, address: str) -> None:
        """A worker had an answer with ``x-envoy-immediate-health-check-fail``."""
        host = self._hosts.get(cluster, {}).get(address)
        if host is not None and host.checks is not None:
            host.checks.fail_immediately()


def _keep_flags(known: dict[str, dict[str, int]], cluster: str, address: str, flags: int) -> bool:
    """Whether that is something new of the host."""
    hosts = known.setdefault(cluster, {})
    if hosts.get(address, 0) == flags:
        return False
    hosts[address] = flags
    if not flags:
        del hosts[address]
    return True


def _told(name: str, index: int, answer: DnsAnswer) -> dict[str, Any]:
    return {"cluster": name, "endpoint": index, "ok": answer.ok, "addresses": list(answer.addresses)}


class GivenHosts:
    """A worker's part."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._flags: dict[str, dict[str, int]] = {}
        self._health: dict[str, list[GivenHealth]] = {}
        self._answers: dict[str, dict[int, DnsAnswer]] = {}
        self._dns: dict[str, list[_GivenDns]] = {}
        self._outliers: dict[str, dict[str, int]] = {}
        self._detectors: dict[str, WeakSet[SharedDetector]] = {}

    def make_health(self, cluster: Cluster) -> GivenHealth:
        """In the place of health checks."""
        flags = self._flags.setdefault(cluster.name, {})
        made = GivenHealth(cluster, flags, self._send, lambda: self._health[cluster.name].remove(made))
        self._health.setdefault(cluster.name, []).append(made)
        return made

    def make_dns(self, cluster: Cluster, resolver: Resolver, draw: Callable[[int], int]) -> _GivenDns:
        """In the place of questions to name servers."""
        made = _GivenDns(cluster, resolver, draw)
        made.answers = self._answers.setdefault(cluster.name, {})
        made.on_end = lambda: self._dns[cluster.name].remove(made)
        self._dns.setdefault(cluster.name, []).append(made)
        return made

    def watch_outliers(self, cluster: Cluster) -> None:
        """Tell the supervisor what the detector of ``cluster`` detects, and have it know what that says."""
        detector, name = cluster.detector, cluster.name
        assert isinstance(detector, SharedDetector)

        def tell(host: Host, kind: str) -> None:
            self._send("outlier", {"cluster": name, "host": host.address, "kind": kind})

        detector.tell = tell
        detector.flags_of = lambda host: self._outliers.get(name, {}).get(host.address, 0)
        self._detectors.setdefault(name, WeakSet()).add(detector)

    def take_outlier(self, cluster: str, address: str, flags: int) -> None:
        """The supervisor's detector ejected a host, or let it back in."""
        if _keep_flags(self._outliers, cluster, address, flags):
            for each in list(self._detectors.get(cluster, ())):
                each.take_flags(address, flags)

    def take_health(self, cluster: str, address: str, flags: int) -> None:
        """The supervisor has a result."""
        self._flags.setdefault(cluster, {})[address] = flags
        for each in self._health.get(cluster, ()):
            each.take(address)

    def take_dns(self, values: dict[str, Any]) -> None:
        """The supervisor has an answer."""
        answer = DnsAnswer(values["ok"], tuple((ip, ttl) for ip, ttl in values["addresses"]))
        self._answers.setdefault(values["cluster"], {})[values["endpoint"]] = answer
        for each in self._dns.get(values["cluster"], ()):
            each.take(values["endpoint"], answer)


class _GivenDns(DnsDiscovery):
    """Takes what the supervisor was answered."""

    answers: dict[int, DnsAnswer]
    on_end: Callable[[], None]

    async def run(self) -> None:
        for index, answer in list(self.answers.items()):
            self.take(index, answer)
        try:
            await trio.sleep_forever()
        finally:
            self.on_end()


class GivenHealth:
    """Keeps the flags of one cluster's hosts as the supervisor says (a ``HealthWatch``)."""

    def __init__(
        self, cluster: Cluster, flags: dict[str, int], send: Send, on_end: Callable[[], None]
    ) -> None:
        self.initialized = trio.Event()
        self._cluster = cluster
        self._flags = flags
        self._send = send
        self._on_end = on_end
        self._hosts: dict[str, Host] = {}
        self._is_running = False
        cluster.on_hosts_set = self._set_hosts
        self._set_hosts(cluster.hosts)

    async def run(self) -> None:
        """Wait until cancelled."""
        self._is_running = True
        self._look()
        try:
            await trio.sleep_forever()
        finally:
            self._on_end()

    def _set_hosts(self, hosts: Any) -> None:
        before, self._hosts = self._hosts, {}
        for host in hosts:
            if host.has_no_health_checks:
                continue
            self._hosts[host.address] = host
            if before.get(host.address) is host:
                continue
            host.checks = _Checks(self._cluster.name, host.address, self._send)
            flags = self._flags.get(host.address)
            if flags is None and not host.keeps_health:
                flags = int(HealthFlag.FAILED_ACTIVE_HC)
                if self._cluster.config.ignore_new_hosts_until_first_hc:
                    flags |= int(HealthFlag.PENDING_ACTIVE_HC)
            if flags is not None:
                _set(host, flags)

    def take(self, address: str) -> None:
        """The supervisor has a result of the host at ``address``."""
        host = self._hosts.get(address)
        if host is not None:
            before = host.health_flags
            _set(host, self._flags[address])
            if host.health_flags != before:
                self._cluster.on_host_changed(host)
        self._look()

    def _look(self) -> None:
        if self._is_running and all(address in self._flags for address in self._hosts):
            self.initialized.set()


class _Checks:
    """What the data path knows of the checks of a host."""

    __slots__ = ("_address", "_cluster", "_send")

    def __init__(self, cluster: str, address: str, send: Send) -> None:
        self._cluster, self._address, self._send = cluster, address, send

    def fail_immediately(self) -> None:
        """A response said ``x-envoy-immediate-health-check-fail``."""
        self._send("fail_immediately", {"cluster": self._cluster, "host": self._address})


def _set(host: Host, flags: int) -> None:
    gone = host.health_flags & _CHECKED & ~flags
    if gone:
        host.clear_flag(gone)
    if flags:
        host.set_flag(flags)
