"""Changes of health that wait for one another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.merge_window import MergeStats, MergeWindow

EJECTED = HealthFlag.FAILED_OUTLIER_CHECK


class Bed:
    """A cluster of three hosts, and the time."""

    def __init__(self, window_s: float = 1.0) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.store = Store()
        self.hosts = [Host(Address.ip(f"192.0.2.{n}", 80), priority=n // 2) for n in range(3)]
        self.cluster = Cluster(ClusterConfig("c", panic_threshold=0.0), self.store)
        self.cluster.set_hosts(self.hosts)
        self.cluster.merging = MergeWindow(
            window_s,
            MergeStats(self.store.scope("cluster_manager")),
            apply=self.cluster.balance,
            later=self._later,
            clock=lambda: self.now,
        )

    def _later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        timer = self.now + delay_s, call
        self.timers.append(timer)
        return lambda: self.timers.remove(timer)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for timer in [each for each in self.timers if each[0] <= self.now]:
            self.timers.remove(timer)
            timer[1]()

    def eject(self, number: int, *, is_back: bool = False) -> None:
        host = self.hosts[number]
        (host.clear_flag if is_back else host.set_flag)(EJECTED)
        self.cluster.on_host_changed(host)

    def chosen(self) -> set[int]:
        found = (self.cluster.choose_host() for _ in range(40))
        return {self.hosts.index(each) for each in found if each is not None}

    def counted(self) -> tuple[int, ...]:
        names = (
            "cluster_updated",
            "cluster_updated_via_merge",
            "update_merge_cancelled",
            "update_out_of_merge_window",
        )
        return tuple(self.store.scope("cluster_manager").counter(name).value for name in names)


def test_what_comes_soon_after_another_change_counts_when_the_window_is_over() -> None:
    bed = Bed()
    bed.eject(0)
    assert (bed.chosen() - {2}, bed.counted()) == ({1}, (2, 0, 0, 2))  # each of two priorities
    bed.pass_by(0.5)
    bed.eject(1)
    assert bed.cluster.stats.membership_healthy.value == 1  # what is told is true at once
    assert (bed.chosen() - {2}, bed.counted()) == ({1}, (2, 0, 0, 2))
    bed.pass_by(0.5)
    bed.eject(0, is_back=True)
    assert bed.chosen() - {2} == {1}
    bed.pass_by(0.5)
    assert (bed.chosen() - {2}, bed.counted()) == ({0}, (2, 2, 0, 2))
    bed.pass_by(1.1)
    bed.eject(1, is_back=True)
    assert (bed.chosen(), bed.counted()) == ({0, 1}, (4, 2, 0, 4))


def test_what_discovery_says_counts_at_once_and_takes_along_what_waits() -> None:
    bed = Bed()
    bed.eject(0)
    bed.eject(1)
    bed.cluster.set_hosts(bed.hosts, changed={0})
    assert (bed.chosen(), bed.counted()) == ({2}, (3, 0, 1, 2))
    bed.cluster.set_hosts(bed.hosts[1:])
    assert bed.counted() == (4, 0, 1, 2)
    bed.pass_by(2)
    assert bed.counted() == (4, 1, 1, 2)  # the other priority's waits on


@pytest.mark.parametrize("is_closed", [False, True])
def test_without_a_window_nothing_waits_nor_when_the_cluster_is_gone(is_closed: bool) -> None:
    bed = Bed(1.0 if is_closed else 0.0)
    bed.eject(0)
    bed.eject(1)
    if is_closed:
        assert bed.cluster.merging is not None
        bed.cluster.merging.close()
    assert bed.timers == []
    assert bed.counted() == ((2, 0, 0, 2) if is_closed else (4, 0, 0, 0))
