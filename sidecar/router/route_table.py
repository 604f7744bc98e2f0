"""The route table: from authority and path to what is to be done (envoy.config.route.v3).

Compiled once per route configuration and never changed; a stream keeps the table it started with.
Domain search order is Envoy's: exact, longest ``*suffix``, longest ``prefix*``, ``*``.  Routes are tried in
order and the first that matches wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mypy_extensions import mypyc_attr

from sidecar.core.headers import RequestHeaders
from sidecar.router.finders import Finder, InOrder, WithoutParameters
from sidecar.router.route import (
    CONNECT,
    PATH,
    PREFIX,
    REGEX,
    SEPARATED_PREFIX,
    DirectResponse,
    Redirect,
    Route,
)
from sidecar.router.route_index import INDEXED_FROM, RouteIndex
from sidecar.router.tls_redirect import TlsRequired

__all__ = [
    "CONNECT",
    "PATH",
    "PREFIX",
    "REGEX",
    "SEPARATED_PREFIX",
    "DirectResponse",
    "Redirect",
    "Route",
    "RouteTable",
    "VirtualHost",
]


class VirtualHost:
    """A group of routes for some domains."""

    __slots__ = (
        "finder",
        "name",
        "routes",
    )

    def __init__(
        self,
        name: str,
        routes: Sequence[Route],
        *,
        finder: Finder | None = None,
        ignore_path_parameters: bool = False,
        require_tls: str = "NONE",
    ) -> None:
        self.name = name
        self.routes = tuple(routes)
        for route in self.routes:
            route.freeze()
        #: None where the routes are few and plain: then the table tries each.
        self.finder = finder
        if finder is None and len(self.routes) >= INDEXED_FROM:
            self.finder = RouteIndex(self.routes)
        if ignore_path_parameters:
            self.finder = WithoutParameters(self.finder or InOrder(self.routes))
        if require_tls != "NONE":
            inner = self.finder or InOrder(self.routes)
            self.finder = TlsRequired(inner, external_only=require_tls == "EXTERNAL_ONLY")


@mypyc_attr(allow_interpreted_subclasses=True)
class RouteTable:
    """A route configuration."""

    __slots__ = (
        "_default",
        "_exact",
        "_only",
        "_prefix_lengths",
        "_prefixes",
        "_suffix_lengths",
        "_suffixes",
        "has_durations",
        "ignore_port",
        "internal_only_headers",
        "message",
        "name",
        "switches_filters",
        "vhost_header",
    )

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.ignore_port = False
        #: Whether a route has a ``max_stream_duration``.
        self.has_durations = False
        #: Whether some level turns a filter off.
        self.switches_filters = False
        #: Where the host stands that a virtual host is found by; None for the authority.
        self.vhost_header: bytes | None = None
        #: Removed from requests that are not internal.
        self.internal_only_headers: tuple[bytes, ...] = ()
        self._exact: dict[bytes, VirtualHost] = {}
        self._suffixes: dict[bytes, VirtualHost] = {}
        self._prefixes: dict[bytes, VirtualHost] = {}
        #: Lengths that occur, the longest first.
        self._suffix_lengths: tuple[int, ...] = ()
        self._prefix_lengths: tuple[int, ...] = ()
        self._default: VirtualHost | None = None
        #: The virtual host that serves all domains, where it is alone.
        self._only: VirtualHost | None = None
        #: The message, for ``/config_dump`` alone.
        self.message: Any = None

    def add(self, domain: bytes, virtual_host: VirtualHost) -> bool:
        """Let ``virtual_host`` serve ``domain``; False when that is taken."""
        domain = domain.lower()
        if domain == b"*":
            if self._default is not None:
                return False
            self._default = virtual_host
        elif domain.startswith(b"*"):
            if domain[1:] in self._suffixes:
                return False
            self._suffixes[domain[1:]] = virtual_host
            self._suffix_lengths = _with_length(self._suffix_lengths, len(domain) - 1)
        elif domain.endswith(b"*"):
            if domain[:-1] in self._prefixes:
                return False
            self._prefixes[domain[:-1]] = virtual_host
            self._prefix_lengths = _with_length(self._prefix_lengths, len(domain) - 1)
        else:
            if domain in self._exact:
                return False
            self._exact[domain] = virtual_host
        alone = not (self._exact or self._suffixes or self._prefixes)
        self._only = self._default if alone else None
        return True

    def find_virtual_host(self, authority: bytes | None) -> VirtualHost | None:
        """The virtual host for an authority (a ``host`` with or without port), or None."""
        if authority and (self._exact or self._suffixes or self._prefixes):
            host = authority.lower()
            if self.ignore_port:
                host = _strip_port(host)
            found = self._exact.get(host)
            if found is not None:
                return found
            size = len(host)
            for length in self._suffix_lengths:
                if length < size and (found := self._suffixes.get(host[size - length :])) is not None:
                    return found
            for length in self._prefix_lengths:
                if length < size and (found := self._prefixes.get(host[:length])) is not None:
                    return found
        return self._default

    def find(self, headers: RequestHeaders, stream: Any = None) -> Route | None:
        """The first route that takes this request, or None; conditions on the stream hold without one."""
        virtual_host = self._only
        if virtual_host is None:
            host = headers.authority if self.vhost_header is None else headers.get(self.vhost_header)
            if host is None:
                return None  # a request that is answered early
            virtual_host = self.find_virtual_host(host)
            if virtual_host is None:
                return None
        path = headers.path
        if path is None:
            path = b""
        elif b"?" in path:
            path = path[: path.index(b"?")]
        if virtual_host.finder is not None:
            return virtual_host.finder.find(headers, path, stream)
        for route in virtual_host.routes:
            if route.kind == PREFIX and route.case_sensitive and not route.predicates:
                if path.startswith(route.path_value) and headers.path is not None:
                    return route
            elif (headers.path is not None or route.kind == CONNECT) and route.matches(headers, path, stream):
                return route
        return None


def _with_length(lengths: tuple[int, ...], length: int) -> tuple[int, ...]:
    return lengths if length in lengths else tuple(sorted((*lengths, length), reverse=True))


def _strip_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    if colon and port.isdigit() and (b":" not in name or name.endswith(b"]")):
        return name
    return host
