"""What a proxy says of itself, and what it leaves behind."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.conformance.proxy import SIDECAR, Proxy

__all__ = ["Baseline", "count_left", "cpu_s", "read_stats"]

#: Idle connections are kept for a second; a hung one is found by its timeout.
SETTLE_S = 20.0
POLL_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")
#: What must be none when nobody asks for anything.
_SLOTS = (
    "upstream_rq_active",
    "upstream_rq_pending_active",
    "http.main.downstream_rq_active",
    "http.main.downstream_cx_active",
    "circuit_breakers.default.cx_open",
    "circuit_breakers.default.rq_open",
    "circuit_breakers.default.rq_pending_open",
    "circuit_breakers.default.rq_retry_open",
    "outlier_detection.ejections_active",
)


async def read_stats(proxy: Proxy) -> dict[str, int]:
    """Counters and gauges by name."""
    answer = await proxy.admin("GET", "/stats?format=json")
    return {
        each["name"]: each["value"]
        for each in json.loads(answer.body)["stats"]
        if isinstance(each.get("value"), int)
    }


async def strands(proxy: Proxy) -> int:
    """How many strands there are; Envoy has none."""
    if proxy.kind != SIDECAR:
        return 0
    answer = await proxy.admin("GET", "/strands?format=json")
    return len(json.loads(answer.body)["strands"])


def sockets(proxy: Proxy) -> int:
    """Open sockets of the process."""
    folder = Path(f"/proc/{proxy.pid}/fd")
    count = 0
    for entry in os.listdir(folder):
        try:
            count += os.readlink(folder / entry).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


def cpu_s(proxy: Proxy) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{proxy.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is there before the load."""

    sockets: int
    strands: int
    cpu_s: float

    @classmethod
    async def take(cls, proxy: Proxy) -> Baseline:
        """Once the health checks have their connections and nothing changes any more."""
        before = -1
        while before != (count := sockets(proxy)):
            before = count
            await trio.sleep(1.5)
        return cls(count, await strands(proxy), cpu_s(proxy))


async def count_left(proxy: Proxy, baseline: Baseline) -> dict[str, int]:
    """What is there beyond the baseline once all should be over; waits for that, for a while."""
    for _ in range(int(SETTLE_S / POLL_S)):
        left = await _left(proxy, baseline)
        if not any(left.values()):
            break
        await trio.sleep(POLL_S)
    return left


async def _left(proxy: Proxy, baseline: Baseline) -> dict[str, int]:
    left = {
        "sockets": max(0, sockets(proxy) - baseline.sockets),
        "strands": max(0, await strands(proxy) - baseline.strands),
    }
    stats = await read_stats(proxy)
    for slot in _SLOTS:
        left[slot] = sum(value for name, value in stats.items() if name == slot or name.endswith("." + slot))
    return left
