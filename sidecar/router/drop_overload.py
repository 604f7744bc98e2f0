"""Requests that a cluster drops because whoever assigns its endpoints says so (``policy.drop_overloads``).

Envoy draws once for a request, before it looks for a host, and not again for its retries.  Nothing is counted
beside the 503: its own stats of it are those of load reports.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag, Stream

__all__ = ["MILLION", "drop_overload"]

MILLION = 1_000_000

_ALL = LocalReply(
    503,
    b"unconditional drop overload",
    details="unconditional_drop_overload",
    flag=Flag.UNCONDITIONAL_DROP_OVERLOAD,
    has_route_headers=True,
    headers=[(b"x-envoy-unconditional-drop-overload", b"true")],
)
_SOME = LocalReply(
    503,
    b"drop overload",
    details="drop_overload",
    flag=Flag.DROP_OVERLOAD,
    has_route_headers=True,
    headers=[(b"x-envoy-drop-overload", b"true")],
)


def drop_overload(stream: Stream, cluster: Any, suppress_envoy_headers: bool) -> LocalReply | None:
    """The answer to a request that is dropped, None for one that goes on."""
    share: int = cluster.drop_per_million
    if share < MILLION and cluster.draw(MILLION) >= share:
        return None
    cluster.dropped_overload += 1
    cluster.stats.charge_response(503, stream.trees)
    for each in stream.route_counters:
        each.charge_response(503)
    stream.attempt_count = 0
    reply = _ALL if share >= MILLION else _SOME
    return replace(reply, headers=[]) if suppress_envoy_headers else reply
