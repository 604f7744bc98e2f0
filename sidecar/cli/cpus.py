"""How many CPUs this process may use: what ``--concurrency`` is where nobody says it.

As Envoy counts: those that the scheduler lets it run on, and no more than its control group's limit allows
(``cpu.max`` of version 2, ``cpu.cfs_quota_us`` of version 1), rounded down, at least one.  Envoy looks at the
process's own group; here the groups around it, as far as they are mounted, count, too.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_count", "group_limit"]

_PROC = Path("/proc/self")


def cpu_count() -> int:
    """At least one."""
    count = len(os.sched_getaffinity(0))
    if os.environ.get("ENVOY_CGROUP_CPU_DETECTION", "true").lower() != "false":
        limit = group_limit(_PROC / "cgroup", _PROC / "mountinfo")
        if limit is not None:
            count = min(count, max(1, int(limit)))
    return max(1, count)


def group_limit(cgroup: Path, mountinfo: Path) -> float | None:
    """CPUs that the control group may use; None without a limit.

    ``cgroup`` and ``mountinfo`` are files of ``/proc/self``.
    """
    try:
        groups = [line.split(":", 2) for line in cgroup.read_text().splitlines()]
        mounts = [line.split() for line in mountinfo.read_text().splitlines()]
    except OSError:
        return None
    limits: list[float] = []
    for fields in mounts:
        dash = fields.index("-") if "-" in fields else -1
        if dash < 6 or len(fields) < dash + 4:
            continue
        root, place, kind, options = fields[3], Path(fields[4]), fields[dash + 1], fields[dash + 3]
        if kind == "cgroup2":
            paths = [path for _, names, path in groups if not names]
            read = _limit_of_2
        elif kind == "cgroup" and "cpu" in options.split(","):
            paths = [path for _, names, path in groups if "cpu" in names.split(",")]
            read = _limit_of_1
        else:
            continue
        for path in paths:
            below = path[len(root) :] if root != "/" and path.startswith(root) else path
            group = place / below.strip("/")
            # A group has what every group around it has, at most.
            for each in (group, *group.parents):
                found = read(each)
                if found is not None:
                    limits.append(found)
                if each == place:
                    break
    return min(limits, default=None)


def _limit_of_2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _limit_of_1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
