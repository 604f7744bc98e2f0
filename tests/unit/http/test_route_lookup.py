"""When the route is looked up: before the first filter, and again when a filter clears it."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.api.filters import HttpFilter
from sidecar.core.headers import RequestHeaders
from sidecar.http.route_resolution import ResolutionStats
from sidecar.router.route import PATH, PREFIX, DirectResponse, Route
from sidecar.router.route_table import RouteTable, VirtualHost
from tests.support.h1_lab import GET, open_h1_lab
from tests.unit.http.test_h1_driver import refused


class Edits(HttpFilter):
    """Gives the request another path."""

    uses_trio = False

    def __init__(self, *, clears: bool) -> None:
        self._clears = clears

    def decode_headers(self, stream: Any) -> None:
        stream.request.headers.path = b"/edited"
        if self._clears:
            stream.clear_route_cache()


class CountingTable(RouteTable):
    """A table that counts how often it is asked."""

    lookups = 0

    def find(self, headers: RequestHeaders, stream: Any = None) -> Route | None:
        self.lookups += 1
        return super().find(headers, stream)


def two_routes() -> CountingTable:
    edited, rest = Route(PATH, b"/edited"), Route(PREFIX, b"/")
    edited.direct_response = DirectResponse(200, b"edited")
    rest.direct_response = DirectResponse(200, b"first")
    table = CountingTable()
    table.add(b"*", VirtualHost("all", [edited, rest]))
    return table


@pytest.mark.parametrize(
    ("filters", "body", "lookups"),
    [
        ((), b"first", 1),
        ((Edits(clears=False),), b"first", 1),
        ((Edits(clears=True),), b"edited", 2),
        ((Edits(clears=True), Edits(clears=True)), b"edited", 2),
    ],
)
async def test_route_is_that_of_the_request_as_it_came_unless_a_filter_clears_it(
    filters: tuple[HttpFilter, ...], body: bytes, lookups: int
) -> None:
    async with open_h1_lab() as lab:
        lab.manager.resolution_stats = ResolutionStats(lab.store.scope("http.x"))
        table = two_routes()
        lab.manager.set_filters(filters)
        lab.manager.set_route_table(table)
        answer, _ = await refused(lab, GET)
        assert answer.endswith(b"\r\n\r\n" + body)
        assert table.lookups == lookups
        lab.store.flush()
        for name in ("downstream_rq_route_resolutions", "downstream_rq_route_resolution_time_us"):
            assert lab.store.histograms[f"http.x.{name}"].used
