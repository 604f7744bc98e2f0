"""What the overload manager measures, each from files of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.server.resource_monitors import (
    CgroupMemory,
    CpuUtilization,
    FixedHeap,
    InjectedResource,
    container_times,
    host_times,
)


def test_fixed_heap_is_resident_memory() -> None:
    with open("/proc/self/statm", "rb") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert FixedHeap(lambda: resident * 2).read() == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize(
    ("limit", "most", "pressure"),
    [("1000", 0, 0.25), ("max", 0, 0.0), ("max", 500, 0.5), ("1000", 500, 0.5), ("500", 1000, 0.5)],
)
def test_cgroup_memory_is_measured_against_the_smaller_limit(
    tmp_path: Path, limit: str, most: int, pressure: float
) -> None:
    (tmp_path / "memory.current").write_text("250\n")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    assert CgroupMemory(most, tmp_path).read() == pressure


def test_cgroup_memory_of_version_1_without_a_limit_is_no_pressure(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.usage_in_bytes").write_text("250\n")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert CgroupMemory(0, tmp_path).read() == 0
    assert CgroupMemory(500, tmp_path).read() == 0.5


def test_cgroup_memory_without_cgroups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No supported cgroup memory implementation found"):
        CgroupMemory(0, tmp_path)


def test_cpu_utilization_follows_slowly_and_fails_where_no_time_passes() -> None:
    times = iter([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (2.0, 2.0), (2.0, 3.0)])
    cpu = CpuUtilization(lambda: next(times))
    assert cpu.read() == pytest.approx(0.05)
    assert cpu.read() == pytest.approx(0.0975)
    with pytest.raises(ValueError, match="no time has passed"):
        cpu.read()
    assert cpu.read() == pytest.approx(0.092625)


def test_times_of_the_host_grow() -> None:
    work, total = host_times()
    assert 0 < work < total


def test_times_of_a_container_are_of_its_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert container_times(lambda: 10.0, tmp_path) == (2.5, 5.0)


def test_times_of_a_container_of_version_1_are_of_its_shares(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpuacct.usage").write_text("2500000000\n")
    (tmp_path / "cpu/cpu.shares").write_text("2048\n")
    assert container_times(lambda: 10.0, tmp_path) == (2.5, 20.0)


def test_injected_resource_is_read_again_when_a_file_is_moved_into_place(tmp_path: Path) -> None:
    path = tmp_path / "pressure"

    def put(text: str) -> None:
        beside = tmp_path / "new"
        beside.write_text(text)
        os.replace(beside, path)

    put("0.5")
    monitor = InjectedResource(str(path))
    assert monitor.read() == 0.5
    path.write_text("0.7")
    assert monitor.read() == 0.5
    put(" 0.9\n")
    assert monitor.read() == 0.9
    for text in ("1.5", "-0.1", "many"):
        put(text)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"pressure|could not convert"):
                monitor.read()
    put("1")
    assert monitor.read() == 1
