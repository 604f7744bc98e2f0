"""Which priorities are left to the next try."""

from __future__ import annotations

from typing import Any

from sidecar.core.address import Address
from sidecar.upstream.host import Host
from sidecar.upstream.host_set import part_hosts
from sidecar.upstream.load_balancer import LbContext
from sidecar.upstream.priority_loads import PriorityLoads
from sidecar.upstream.retry_priorities import PreviousPriorities

CONTEXT = LbContext(lambda n: 0, None)


def a_host(priority: int) -> Host:
    host = Host(Address.from_sockaddr(2, ("127.0.0.1", 1000 + priority)))
    host.priority = priority
    return host


HOSTS = [a_host(priority) for priority in range(3)]
SETS: Any = part_hosts(HOSTS)
ORIGINAL = PriorityLoads((100, 0, 0), (0, 0, 0), (False, False, False))


def test_priorities_go_out_one_after_another_and_come_back() -> None:
    state = PreviousPriorities(1)
    seen = []
    for _ in range(7):
        loads = state.loads(CONTEXT, SETS, ORIGINAL).healthy
        seen.append(loads.index(100))
        state.add(HOSTS[loads.index(100)])
    assert seen == [0, 1, 2, 0, 1, 2, 0]


def test_priorities_stay_until_enough_hosts_were_tried() -> None:
    state = PreviousPriorities(2)
    state.add(HOSTS[0])
    assert state.loads(CONTEXT, SETS, ORIGINAL) is ORIGINAL
    state.add(HOSTS[0])
    assert state.loads(CONTEXT, SETS, ORIGINAL).healthy == (0, 100, 0)
    state.add(HOSTS[1])
    assert state.loads(CONTEXT, SETS, ORIGINAL).healthy == (0, 100, 0)


def test_load_that_rounding_leaves_goes_to_the_first() -> None:
    well = [a_host(1), a_host(2)]
    for host in well:
        host.priority = 1
    third = [a_host(2) for _ in range(3)]
    sets: Any = part_hosts([HOSTS[0], *well, *third])
    state = PreviousPriorities(1)
    state.add(HOSTS[0])
    assert sum(state.loads(CONTEXT, sets, ORIGINAL).healthy) == 100


def test_nobody_who_is_well_leaves_the_loads_as_they_are() -> None:
    state = PreviousPriorities(1)
    sets: Any = part_hosts([])
    state.add(HOSTS[0])
    assert state.loads(CONTEXT, sets, ORIGINAL) is ORIGINAL
