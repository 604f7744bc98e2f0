"""require_tls: who is redirected, and where to."""

from __future__ import annotations

import pytest

from sidecar.core.headers import RequestHeaders
from sidecar.router.actions import redirect_location
from sidecar.router.route import Route
from sidecar.router.route_table import RouteTable, VirtualHost


def table_of(require_tls: str) -> RouteTable:
    route = Route()
    route.name = "own"
    route.cluster_name = "app"
    table = RouteTable()
    table.add(b"*", VirtualHost("all", [route], require_tls=require_tls))
    return table


def request(*fields: tuple[bytes, bytes]) -> RequestHeaders:
    return RequestHeaders(b"GET", b"/a?b", b"host.example:80", b"http", list(fields))


SECURE = (b"x-forwarded-proto", b"https")
PLAIN = (b"x-forwarded-proto", b"http")
INTERNAL = (b"x-envoy-internal", b"true")


@pytest.mark.parametrize(
    ("require_tls", "fields", "taken"),
    [
        ("NONE", (PLAIN,), True),
        ("ALL", (PLAIN,), False),
        ("ALL", (SECURE,), True),
        ("ALL", (PLAIN, INTERNAL), False),
        ("EXTERNAL_ONLY", (PLAIN,), False),
        ("EXTERNAL_ONLY", (PLAIN, INTERNAL), True),
        ("EXTERNAL_ONLY", (SECURE,), True),
    ],
)
def test_request_without_tls_is_redirected(
    require_tls: str, fields: tuple[tuple[bytes, bytes], ...], taken: bool
) -> None:
    headers = request(*fields)
    route = table_of(require_tls).find(headers)
    assert route is not None
    assert (route.name == "own") is taken
    if not taken:
        assert route.redirect is not None
        assert redirect_location(route.redirect, headers, None) == b"https://host.example:80/a?b"  # type: ignore[arg-type]
