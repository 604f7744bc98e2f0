"""The route table: from authority and path to what is to be done (envoy.config.route.v3).

Compiled once per route configuration and never changed; a stream keeps the table it started with.
Domain search order is Envoy's: exact, longest ``*suffix``, longest ``prefix*``, ``*``.  Routes are tried in
order and the first that matches wins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.headers import RequestHeaders
from sidecar.router.header_mutation import NO_MUTATIONS, HeaderMutations, Mutations

__all__ = [
    "PATH",
    "PREFIX",
    "REGEX",
    "SEPARATED_PREFIX",
    "DirectResponse",
    "Redirect",
    "Route",
    "RouteTable",
    "VirtualHost",
    "WeightedCluster",
]

PREFIX = 0
PATH = 1
REGEX = 2
SEPARATED_PREFIX = 3
CONNECT = 4

#: A further condition of a route: headers, query parameters …
Predicate = Callable[[RequestHeaders], bool]


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """``direct_response``: an answer without an upstream."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Redirect:
    """``redirect`` (envoy.config.route.v3.RedirectAction)."""

    status: int = 301
    scheme: bytes | None = None
    https: bool = False
    host: bytes | None = None
    port: int = 0
    path: bytes | None = None
    prefix: bytes | None = None
    regex: tuple[Any, str] | None = None
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """One entry of ``weighted_clusters``."""

    name: str
    weight: int
    request_mutations: HeaderMutations = NO_MUTATIONS
    response_mutations: HeaderMutations = NO_MUTATIONS
    host_rewrite: bytes | None = None
    per_filter_config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


class Route:
    """One route, its conditions and its action."""

    __slots__ = (
        "append_x_forwarded_host",
        "auto_host_rewrite",
        "case_sensitive",
        "cluster_header",
        "cluster_name",
        "cluster_not_found_status",
        "direct_response",
        "host_rewrite",
        "host_rewrite_header",
        "host_rewrite_regex",
        "idle_timeout_s",
        "is_plain",
        "is_simple",
        "kind",
        "metadata",
        "name",
        "path_value",
        "per_filter_config",
        "predicates",
        "prefix_rewrite",
        "redirect",
        "regex_rewrite",
        "request_mutations",
        "response_mutations",
        "stat_prefix",
        "timeout_field",
        "timeout_s",
        "virtual_host_metadata",
        "virtual_host_name",
        "weighted",
        "weighted_total",
    )

    def __init__(self, kind: int = PREFIX, path_value: Any = b"/") -> None:
        self.name = ""
        self.kind = kind
        #: Bytes for prefix and path, a compiled RE2 for a regex (matched whole).
        self.path_value = path_value
        self.case_sensitive = True
        self.predicates: tuple[Predicate, ...] = ()
        self.cluster_name = ""
        self.cluster_header: bytes | None = None
        self.weighted: tuple[WeightedCluster, ...] = ()
        self.weighted_total = 0
        self.cluster_not_found_status = 503
        self.direct_response: DirectResponse | None = None
        self.redirect: Redirect | None = None
        #: Seconds; 0 for none.
        self.timeout_s = 15.0
        #: Seconds; None takes the connection manager's.
        self.idle_timeout_s: float | None = None
        self.prefix_rewrite: bytes | None = None
        self.regex_rewrite: tuple[Any, str] | None = None
        self.host_rewrite: bytes | None = None
        self.host_rewrite_header: bytes | None = None
        #: Pattern and substitution that make the host of the path.
        self.host_rewrite_regex: tuple[Any, str] | None = None
        #: Whether the host becomes the name of the chosen upstream host.
        self.auto_host_rewrite = False
        self.append_x_forwarded_host = False
        #: Levels from the route outwards, those without an effect left out.
        self.request_mutations: tuple[Mutations, ...] = ()
        self.response_mutations: tuple[Mutations, ...] = ()
        self.metadata: dict[str, dict[str, Any]] = {}
        self.per_filter_config: dict[str, Any] = {}
        self.virtual_host_name = ""
        self.virtual_host_metadata: dict[str, dict[str, Any]] = {}
        self.stat_prefix = ""
        #: Whether it goes to one named cluster, and whether it leaves the request as it is (:meth:`freeze`).
        self.is_simple = False
        self.is_plain = False
        #: The x-envoy-expected-rq-timeout-ms that the timeout makes, None for no timeout.
        self.timeout_field: tuple[bytes, bytes] | None = None

    def freeze(self) -> None:
        """Work out what the router can skip; called when everything else is set."""
        if self.timeout_s:
            self.timeout_field = (b"x-envoy-expected-rq-timeout-ms", b"%d" % round(self.timeout_s * 1000))
        is_answered = self.direct_response is not None or self.redirect is not None
        self.is_simple = not is_answered and not self.weighted and self.cluster_header is None
        self.is_plain = (
            not self.weighted
            and not self.request_mutations
            and not self.auto_host_rewrite
            and all(
                each is None
                for each in (
                    self.host_rewrite,
                    self.host_rewrite_header,
                    self.host_rewrite_regex,
                    self.prefix_rewrite,
                    self.regex_rewrite,
                )
            )
        )

    def matches(self, headers: RequestHeaders, path: bytes) -> bool:
        """Whether this route takes a request; ``path`` is without its query."""
        kind = self.kind
        value = self.path_value
        if kind == PREFIX:
            if not (path if self.case_sensitive else path.lower()).startswith(value):
                return False
        elif kind == PATH:
            if (path if self.case_sensitive else path.lower()) != value:
                return False
        elif kind == REGEX:
            if value.fullmatch(path) is None:
                return False
        elif kind == SEPARATED_PREFIX:
            text = path if self.case_sensitive else path.lower()
            if not text.startswith(value) or (len(text) > len(value) and text[len(value)] != 0x2F):
                return False
        elif headers.method != b"CONNECT":
            return False
        return not self.predicates or all(predicate(headers) for predicate in self.predicates)

    def pick_cluster(self, headers: RequestHeaders) -> tuple[str, WeightedCluster | None]:
        """The cluster for this request, and its weighted entry where there is one."""
        if self.weighted:
            draw = random.randrange(self.weighted_total)  # noqa: S311 - load, not secrets
            for entry in self.weighted:
                if draw < entry.weight:
                    return entry.name, entry
                draw -= entry.weight
            return self.weighted[-1].name, self.weighted[-1]
        if self.cluster_header is not None:
            value = headers.get(self.cluster_header)
            return ("" if value is None else value.decode("latin-1")), None
        return self.cluster_name, None


class VirtualHost:
    """A group of routes for some domains."""

    __slots__ = (
        "name",
        "require_tls",
        "routes",
    )

    def __init__(self, name: str, routes: Sequence[Route]) -> None:
        self.name = name
        self.routes = tuple(routes)
        for route in self.routes:
            route.freeze()
        #: ``NONE``, ``EXTERNAL_ONLY`` or ``ALL``.
        self.require_tls = "NONE"


class RouteTable:
    """A route configuration."""

    __slots__ = ("_default", "_exact", "_only", "_prefixes", "_suffixes", "ignore_port", "message", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.ignore_port = False
        self._exact: dict[bytes, VirtualHost] = {}
        self._suffixes: list[tuple[bytes, VirtualHost]] = []
        self._prefixes: list[tuple[bytes, VirtualHost]] = []
        self._default: VirtualHost | None = None
        self._only: tuple[Route, ...] | None = None
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
            if any(known == domain[1:] for known, _ in self._suffixes):
                return False
            self._suffixes.append((domain[1:], virtual_host))
            self._suffixes.sort(key=lambda entry: -len(entry[0]))
        elif domain.endswith(b"*"):
            if any(known == domain[:-1] for known, _ in self._prefixes):
                return False
            self._prefixes.append((domain[:-1], virtual_host))
            self._prefixes.sort(key=lambda entry: -len(entry[0]))
        else:
            if domain in self._exact:
                return False
            self._exact[domain] = virtual_host
        alone = not (self._exact or self._suffixes or self._prefixes)
        self._only = self._default.routes if alone and self._default is not None else None
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
            for suffix, virtual_host in self._suffixes:
                if len(host) > len(suffix) and host.endswith(suffix):
                    return virtual_host
            for prefix, virtual_host in self._prefixes:
                if len(host) > len(prefix) and host.startswith(prefix):
                    return virtual_host
        return self._default

    def find(self, headers: RequestHeaders) -> Route | None:
        """The first route that takes this request, or None."""
        routes = self._only
        if routes is None:
            virtual_host = self.find_virtual_host(headers.authority)
            if virtual_host is None:
                return None
            routes = virtual_host.routes
        path = headers.path
        if path is None:
            path = b""
        elif b"?" in path:
            path = path[: path.index(b"?")]
        for route in routes:
            if route.kind == PREFIX and route.case_sensitive and not route.predicates:
                if path.startswith(route.path_value) and headers.method != b"CONNECT":
                    return route
            elif (headers.method != b"CONNECT" or route.kind == CONNECT) and route.matches(headers, path):
                return route
        return None


def _strip_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    if colon and port.isdigit() and (b":" not in name or name.endswith(b"]")):
        return name
    return host
