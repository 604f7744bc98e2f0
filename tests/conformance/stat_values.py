"""Statistics by value: a snapshot of all of them, and what a block of traffic changed.

A histogram is told by how many values it holds, since the values are times mostly.  What a machine or a
moment decides (`UNSTEADY`) is told by whether it is a number.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .lab import Session

#: Statistics that name a moment, a size of the process, or how often something was polled.
UNSTEADY = re.compile(
    r"^server\.(uptime|memory_|total_connections|stats_recent_lookups|version|initialization_time|days_until|wip)"
    r"|^filesystem\.(write_buffered|write_completed|flushed_by)|watchdog_|(update_time|reload_time_ms)$"
    r"|^(http|listener)\.admin\.|timer_flushed$|memory_size$|lua_vm_count$|bytes_(total|buffered)$"
)


async def snapshot(s: Session) -> dict[str, str | int]:
    """Every statistic; histograms by the number of their values, at the end of a flush."""
    found: dict[str, str | int] = {}
    # The first flushes, the second shows what was flushed.
    await s.proxy.admin("GET", "/stats?filter=^$")
    reply = await s.proxy.admin("GET", "/stats?histogram_buckets=cumulative")
    for line in reply.body.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        name = re.sub(r"127\.0\.0\.1_\d+", "127.0.0.1_PORT", name)
        if value.startswith("B") and "(" in value:
            found[name] = int(value.rpartition(",")[2].rstrip(")"))
        elif value == "No recorded values":
            found[name] = 0
        elif value.isdigit():
            found[name] = int(value)
        else:
            found[name] = value
    return found


def shown(name: str, value: str | int | None) -> object:
    """What a record keeps of a statistic."""
    if value is None:
        return "absent"
    if UNSTEADY.search(name) and isinstance(value, int):
        return "a number"
    return value


@asynccontextmanager
async def moving(s: Session, pattern: str, label: str = "stats") -> AsyncIterator[None]:
    """Observe every statistic that matches and that the block changed: by how much, or what it is now.

    What comes with first use and is 0 then is left out: whether it was there depends on what was before.
    """
    await s.quiet()
    before = await snapshot(s)
    yield
    await s.quiet()
    after = await snapshot(s)
    moved: dict[str, object] = {}
    for name, value in sorted(after.items()):
        old = before.get(name, 0)
        if old == value or not re.search(pattern, name) or UNSTEADY.search(name):
            continue
        moved[name] = value - old if isinstance(value, int) and isinstance(old, int) else value
    s.see(label, moved)
