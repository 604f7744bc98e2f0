"""What the overload manager measures: each monitor's ``read`` gives the pressure, from 0 to 1.

``read`` raises OSError or ValueError where there is nothing to be read: that counts in ``failed_updates``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

__all__ = ["CgroupMemory", "CpuUtilization", "FixedHeap", "InjectedResource", "Monitor"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
#: A limit of cgroup v1 that is none is written as a number near the largest there is.
_NO_LIMIT = 1 << 62
#: How much of a new measurement goes into the average.
_DAMPING = 0.05


class Monitor(Protocol):
    """A resource."""

    def read(self) -> float:
        """The pressure.  Raises: OSError, ValueError."""
        ...


class FixedHeap:
    """``fixed_heap``: the memory of this process, against a size."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit

    def read(self) -> float:
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * _PAGE
        return resident / self._limit()


class CgroupMemory:
    """``cgroup_memory``: that of the whole container, against its limit or a smaller one."""

    def __init__(self, most: int, root: Path = Path("/sys/fs/cgroup")) -> None:
        self._most = most or None
        for usage, limit in (
            (root / "memory.current", root / "memory.max"),
            (root / "memory/memory.usage_in_bytes", root / "memory/memory.limit_in_bytes"),
        ):
            if usage.exists() and limit.exists():
                self._usage, self._limit = usage, limit
                return
        raise ValueError("No supported cgroup memory implementation found")

    def read(self) -> float:
        text = self._limit.read_text().strip()
        limit = None if text in ("max", "-1") or int(text) >= _NO_LIMIT else int(text)
        known = [each for each in (limit, self._most) if each is not None]
        if not known:
            return 0.0
        return int(self._usage.read_text()) / min(known)


class CpuUtilization:
    """``cpu_utilization``: of the machine or of the container, averaged over some twenty readings."""

    def __init__(self, times: Callable[[], tuple[float, float]]) -> None:
        self._times = times
        self._before = times()
        self._average = 0.0

    def read(self) -> float:
        work, total = self._times()
        worked, passed = work - self._before[0], total - self._before[1]
        self._before = work, total
        if passed <= 0 or worked < 0:
            raise ValueError(f"no time has passed: {worked} of {passed}")
        self._average = worked / passed * _DAMPING + self._average * (1 - _DAMPING)
        return min(self._average, 1.0)


class InjectedResource:
    """``injected_resource``: a number in a file, read again when another one was moved into its place."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._seen = 0
        self._pressure = 0.0
        self._error: ValueError | None = None

    def read(self) -> float:
        number = os.stat(self._filename).st_ino
        if number != self._seen:
            self._seen = number
            self._error = None
            try:
                self._pressure = self._parse(Path(self._filename).read_text())
            except ValueError as error:
                self._error = error
        if self._error is not None:
            raise self._error
        return self._pressure

    @staticmethod
    def _parse(text: str) -> float:
        pressure = float(text)
        if not 0 <= pressure <= 1:
            raise ValueError("pressure out of range")
        return pressure


def host_times() -> tuple[float, float]:
    """Of all CPUs of the machine: the time with work, and all of it."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle = (float(each) for each in file.readline().split()[1:5])
    return user + nice + system, user + nice + system + idle


def container_times(clock: Callable[[], float], root: Path = Path("/sys/fs/cgroup")) -> tuple[float, float]:
    """Of this container: seconds of CPU that were used, and that there were, by its limit or its CPUs."""
    if (root / "cpu.stat").exists():
        used = next(
            int(line.split()[1]) / 1e6
            for line in (root / "cpu.stat").read_text().splitlines()
            if line.startswith("usage_usec ")
        )
        cpus = float(len(os.sched_getaffinity(0)))
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
            if quota != "max":
                cpus = min(cpus, int(quota) / int(period))
        return used, clock() * cpus
    used = int((root / "cpu/cpuacct.usage").read_text()) / 1e9
    shares = int((root / "cpu/cpu.shares").read_text())
    return used, clock() * shares / 1024  # as Kubernetes writes requested CPUs
