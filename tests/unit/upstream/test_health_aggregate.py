"""What several checks make of one host."""

from __future__ import annotations

from sidecar.core.address import Address
from sidecar.observability.stats import Store
from sidecar.upstream.health_aggregate import Aggregate
from sidecar.upstream.host import HealthFlag, Host

FAILED, DEGRADED = HealthFlag.FAILED_ACTIVE_HC, HealthFlag.DEGRADED_ACTIVE_HC
PENDING = HealthFlag.PENDING_ACTIVE_HC


class Lab:
    def __init__(self, count: int = 2, *, is_pending: bool = False) -> None:
        self.host = Host(Address.ip("127.0.0.1", 80))
        self.host.set_flag(FAILED | (PENDING if is_pending else 0))
        self.told: list[tuple[bool, bool]] = []
        store = Store()
        self.healthy, self.degraded = store.gauge("healthy"), store.gauge("degraded")
        self.all = Aggregate(
            self.host, count, self.healthy, self.degraded, lambda *told: self.told.append(told)
        )

    def find(self, number: int, flags: int) -> str:
        self.all.views[number].health_flags = flags
        self.all.take(number)
        return self.host.health_flags_text()

    def gauges(self) -> tuple[int, int]:
        return self.healthy.value, self.degraded.value


def test_nothing_changes_before_each_has_a_result() -> None:
    lab = Lab(3)
    assert [lab.find(0, 0), lab.find(1, 0), lab.find(0, DEGRADED)] == ["/failed_active_hc"] * 3
    assert lab.told == []
    assert lab.find(2, 0) == "/degraded_active_hc"
    assert lab.told == [(True, True)]
    assert lab.gauges() == (1, 1)


def test_one_that_fails_is_enough() -> None:
    lab = Lab()
    found = [lab.find(0, 0), lab.find(1, 0), lab.find(0, FAILED), lab.find(1, FAILED), lab.find(0, 0)]
    failed = "/failed_active_hc"
    assert found == [failed, "healthy", failed, failed, failed]
    assert lab.told == [(True, True), (True, False), (False, False), (False, False)]
    assert lab.gauges() == (0, 0)


def test_pending_flag_of_one_holds_the_news_back() -> None:
    lab = Lab(is_pending=True)
    lab.find(0, PENDING)
    lab.find(1, 0)
    assert lab.told == []
    assert lab.host.excluded
    assert lab.find(0, 0) == "healthy"
    assert lab.told == [(True, True)]


def test_host_that_leaves_is_not_counted_any_more() -> None:
    lab = Lab()
    lab.find(0, DEGRADED)
    lab.find(1, 0)
    lab.all.close()
    assert lab.gauges() == (0, 0)
