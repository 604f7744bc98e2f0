# ruff: noqa: E501  (a route is a line of a table)
"""Routes whose action leads nowhere."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario

LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER%\n"
ROUTES = """
- {match: {path: /filter}, name: filtered, filter_action: {}}
- {match: {path: /non-forwarding}, name: nowhere, non_forwarding_action: {}}
"""
ROUTE_FIELDS = Setup(
    "route-fields",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LOG),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


@scenario(ROUTE_FIELDS)
async def route_without_an_action(s: Session) -> None:
    """filter_action and non_forwarding_action lead to no cluster."""
    async with s.logging(2):
        for path in ("/filter", "/non-forwarding"):
            await s.get(path, label=path)
