"""``require_tls`` of a virtual host: a redirect to https before any route is tried.

envoy.config.route.v3.VirtualHost.TlsRequirementType.  x-forwarded-proto says whether the client used TLS.
"""

from __future__ import annotations

from typing import Any

from sidecar.core.headers import RequestHeaders
from sidecar.router.finders import Finder
from sidecar.router.route import Redirect, Route

__all__ = ["TlsRequired"]


def _make_redirect() -> Route:
    route = Route()
    route.redirect = Redirect(scheme=b"https", keeps_port=True)
    route.freeze()
    return route


class TlsRequired:
    """Stands in front of the routes of one virtual host."""

    __slots__ = ("_external_only", "_redirect", "_routes")

    def __init__(self, routes: Finder, *, external_only: bool) -> None:
        self._routes = routes
        self._external_only = external_only
        self._redirect = _make_redirect()

    def find(self, headers: RequestHeaders, path: bytes, stream: Any) -> Route | None:
        """A redirect where https is wanted, else the route."""
        if headers.get(b"x-forwarded-proto") != b"https" and not (
            self._external_only and headers.get(b"x-envoy-internal") == b"true"
        ):
            return self._redirect
        return self._routes.find(headers, path, stream)
