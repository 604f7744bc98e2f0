"""Outlier detection over three processes: two workers that count, and their supervisor that judges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from sidecar.core.address import Address
from sidecar.core.shared_memory import SharedMemory
from sidecar.observability.stats import Store
from sidecar.server.workers.hosts import GivenHosts, HostRelay
from sidecar.upstream.host import Host
from sidecar.upstream.outlier_detection import OutlierSettings
from sidecar.upstream.shared_outliers import SharedDetector


class Process:
    """One of them, with hosts of its own at the same addresses."""

    def __init__(self, memory: SharedMemory, **settings: object) -> None:
        self.now = 100.0
        self.name = "c"
        self.changes: list[str] = []
        self.store = Store()
        self.detector = SharedDetector(
            OutlierSettings(**{"max_ejection_percent": 100, **settings}),  # type: ignore[arg-type]
            self.store.scope("cluster.c"),
            memory,
            "c",
            clock=lambda: self.now,
            draw=lambda n: 0,
            changed=lambda host: self.changes.append(host.address),
        )

    def set_hosts(self, *ports: int) -> None:
        self.hosts = [Host(Address.ip("127.0.0.1", port)) for port in ports]
        self.detector.set_hosts(self.hosts)

    def put(self, host: int, *statuses: int) -> None:
        for status in statuses:
            self.hosts[host].outlier.put_status(status)

    def flags(self, host: int = 0) -> str:
        return self.hosts[host].health_flags_text()

    def count(self, name: str) -> int:
        scope = self.store.scope("cluster.c.outlier_detection")
        return (scope.gauge if name == "ejections_active" else scope.counter)(name).value


class Lab:
    """All of them, and the frames between them."""

    def __init__(self, descriptor: int, ports: tuple[int, ...] = (1, 2), **settings: object) -> None:
        memories = [SharedMemory(os.dup(descriptor), number, 3) for number in range(3)]
        self.first, self.second, self.supervisor = (Process(each, **settings) for each in memories)
        self.workers = (self.first, self.second)
        self.relay = HostRelay(self._broadcast)
        self.given = [GivenHosts(self._told) for _ in self.workers]
        self.memory = memories[2]
        self.relay.watch_outliers(cast(Any, self.supervisor))
        for each, given in zip(self.workers, self.given, strict=True):
            given.watch_outliers(cast(Any, each))
        for process in (self.supervisor, *self.workers):
            process.set_hosts(*ports)

    def _broadcast(self, kind: str, values: dict[str, Any]) -> None:
        assert kind == "outlier"
        for given in self.given:
            given.take_outlier(values["cluster"], values["host"], values["flags"])

    def _told(self, kind: str, values: dict[str, Any]) -> None:
        assert kind == "outlier"
        self.relay.take_outlier(cast(Any, self.supervisor), values["host"], values["kind"])

    def tick(self, seconds: float = 10.0) -> None:
        self.supervisor.now += seconds
        self.supervisor.detector.tick()

    def flags(self, host: int = 0) -> list[str]:
        return [process.flags(host) for process in (*self.workers, self.supervisor)]


@pytest.fixture
def descriptor() -> Iterator[int]:
    memory = SharedMemory.create(3)
    yield memory.descriptor
    os.close(memory.descriptor)


EJECTED, DEGRADED = "/failed_outlier_check", "/degraded_outlier_detection"


def test_failures_in_a_row_of_two_workers_eject_for_all_and_count_once(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, 500, 500)
    lab.second.put(0, 500, 500)
    assert lab.flags() == 3 * ["healthy"]
    lab.first.put(0, 500)
    assert lab.flags() == 3 * [EJECTED]
    assert lab.flags(1) == 3 * ["healthy"]
    assert lab.supervisor.count("ejections_active") == lab.supervisor.count("ejections_enforced_total") == 1
    assert lab.first.count("ejections_enforced_total") == lab.first.count("ejections_active") == 0
    assert [each.changes for each in lab.workers] == [["127.0.0.1:1"], ["127.0.0.1:1"]]


def test_success_at_one_worker_begins_the_row_anew_for_both(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, 500, 500, 500, 500)
    lab.second.put(0, 200)
    lab.first.put(0, 500, 500, 500, 500)
    assert lab.flags() == 3 * ["healthy"]


def test_host_whose_time_is_over_is_back_for_all_with_a_row_of_nothing(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, *5 * [500])
    lab.second.put(0, 500, 500, 500, 500)  # still under way when it was ejected
    lab.tick(31.0)
    assert lab.flags() == 3 * ["healthy"]
    lab.first.put(0, 500)
    assert lab.flags() == 3 * ["healthy"]


def test_share_of_hosts_that_may_be_ejected_is_that_of_all(descriptor: int) -> None:
    lab = Lab(descriptor, max_ejection_percent=50)
    lab.first.put(0, *5 * [500])
    lab.second.put(1, *5 * [500])
    assert [lab.flags(0)[0], lab.flags(1)[0]] == [EJECTED, "healthy"]
    assert lab.supervisor.count("ejections_overflow") == 1


def test_rates_are_those_of_all(descriptor: int) -> None:
    lab = Lab(
        descriptor,
        (1, 2, 3),
        enforcing_consecutive_5xx=0,
        failure_percentage_minimum_hosts=3,
        failure_percentage_request_volume=10,
        enforcing_failure_percentage=100,
        success_rate_minimum_hosts=9,
    )
    for worker in lab.workers:
        worker.put(0, *5 * [500])
        worker.put(1, *5 * [200])
        worker.put(2, *5 * [200])
    lab.tick()
    assert [lab.flags(number)[0] for number in range(3)] == [EJECTED, "healthy", "healthy"]
    assert lab.supervisor.hosts[0].outlier.external.last_total == 10


def test_worker_that_comes_in_the_place_of_another_is_counted_from_nothing(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, *7 * [200])
    lab.tick()
    lab.memory.forget(0)
    lab.first.put(0, 200, 200, 500)
    lab.tick()
    rates = lab.supervisor.hosts[0].outlier.external
    assert (rates.last_total, rates.last_success) == (3, 2)


def test_worker_that_comes_later_knows_who_is_ejected(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, *5 * [500])
    late = GivenHosts(lab._told)
    lab.relay.tell(lambda kind, values: late.take_outlier(values["cluster"], values["host"], values["flags"]))
    worker = Process(SharedMemory(os.dup(descriptor), 1, 3))
    late.watch_outliers(cast(Any, worker))
    worker.set_hosts(1, 2)
    assert [worker.flags(0), worker.flags(1)] == [EJECTED, "healthy"]


def test_host_that_leaves_and_comes_again_is_well_for_all(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, *5 * [500])
    for process in (lab.supervisor, *lab.workers):
        process.set_hosts(2)
    assert lab.supervisor.count("ejections_active") == 0
    for process in (*lab.workers, lab.supervisor):
        process.set_hosts(1, 2)
    assert lab.flags() == 3 * ["healthy"]


def test_host_that_says_it_is_degraded_is_for_all(descriptor: int) -> None:
    lab = Lab(descriptor, detect_degraded_hosts=True)
    lab.second.hosts[1].outlier.put_degraded()
    assert lab.flags(1) == 3 * [DEGRADED]
    lab.first.put(1, *5 * [500])
    assert lab.flags(1) == 3 * [EJECTED + DEGRADED]
    lab.tick(31.0)
    assert lab.flags(1) == 3 * ["healthy"]


def test_health_check_that_passes_brings_the_host_back_to_all(descriptor: int) -> None:
    lab = Lab(descriptor)
    lab.first.put(0, *5 * [500])
    lab.supervisor.detector.on_health_check_passed(lab.supervisor.hosts[0])
    assert lab.flags() == 3 * ["healthy"]


def test_process_without_room_in_the_memory_counts_alone(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedMemory, "words_of_each", lambda *_: None)
    lab = Lab(descriptor)
    lab.first.put(0, *4 * [500])
    lab.second.put(0, *4 * [500])
    assert lab.flags() == 3 * ["healthy"]
    lab.first.put(0, 500)
    assert lab.flags() == 3 * [EJECTED]
