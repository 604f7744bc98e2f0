"""on_demand: asks for the routes of a request that has none (VHDS, scopes that are loaded on demand)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar.api.filters import HttpFilter

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream

__all__ = ["OnDemandFilter"]


class OnDemandFilter(HttpFilter):
    """Costs a request that has a route one look."""

    def decode_headers(self, stream: Stream) -> Awaitable[LocalReply | None] | None:
        if stream.route is not None or stream.hcm.on_demand_routes is None:
            return None
        waiting = stream.hcm.on_demand_routes.request(stream)
        return None if waiting is None else self._wait(stream, waiting)

    async def _wait(self, stream: Stream, waiting: Awaitable[bool]) -> LocalReply | None:
        if await waiting:
            stream.hcm.resolve_route(stream)
        return None
