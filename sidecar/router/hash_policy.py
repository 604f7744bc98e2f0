"""Hash policies of a route: the number by which a request keeps to a host (``Http::HashPolicyImpl``).

``envoy.config.route.v3.RouteAction.HashPolicy``.  Every policy is a function that gives a hash of 64 bits, or
None where the request has nothing to hash; together they are one function of the same kind.  Load balancers
that hash ask for it, and so do weighted clusters (``use_hash_policy``); nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sidecar.core.cookies import cookie_values
from sidecar.core.dataclass import dataclass
from sidecar.core.filter_state import HashableText
from sidecar.core.hashing import xx_hash, xx_hash_all

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders

__all__ = [
    "Cookie",
    "HashPolicy",
    "by_cookie",
    "by_filter_state",
    "by_header",
    "by_nothing",
    "by_query",
    "by_source_ip",
    "combined",
]

#: ``hash(headers, stream)``; the last argument says whether a cookie may be made for it.
HashPolicy = Callable[["RequestHeaders", "Stream", bool], int | None]

_MASK = 2**64 - 1


def combined(policies: Sequence[tuple[HashPolicy, bool]]) -> HashPolicy:
    """All of them, each with whether it is ``terminal``: the last one asked once there is a hash."""

    def compute(headers: RequestHeaders, stream: Stream, may_set_cookie: bool) -> int | None:
        value: int | None = None
        for policy, terminal in policies:
            found = policy(headers, stream, may_set_cookie)
            if found is not None:
                # Turned by one bit, so that the same rule twice does not cancel itself.
                value = found if value is None else ((value << 1 | value >> 63) & _MASK) ^ found
            if terminal and value is not None:
                break
        return value

    return compute


def by_header(name: bytes, replace: Callable[[bytes], bytes] | None) -> HashPolicy:
    """``header``: its values, in whatever order they came, each after ``regex_rewrite``."""
    if name == b"host":
        name = b":authority"

    def compute(headers: RequestHeaders, _stream: Stream, _may_set_cookie: bool) -> int | None:
        values: Iterable[bytes] = headers.get_all(name)
        if not values:
            return None
        if replace is not None:
            values = map(replace, values)
        return xx_hash_all(sorted(values))

    return compute


def by_query(name: bytes) -> HashPolicy:
    """``query_parameter``: its first value, as it stands in the URL."""

    def compute(headers: RequestHeaders, _stream: Stream, _may_set_cookie: bool) -> int | None:
        path = headers.path or b""
        query = path[len(path.partition(b"?")[0]) + 1 :].partition(b"#")[0]
        for part in query.split(b"&"):
            key, _, value = part.partition(b"=")
            if key == name:
                return xx_hash(value)
        return None

    return compute


def by_source_ip() -> HashPolicy:
    """``connection_properties.source_ip``: the trusted client's address without its port."""

    def compute(_headers: RequestHeaders, stream: Stream, _may_set_cookie: bool) -> int | None:
        address = stream.remote_address
        if address.startswith("["):
            return xx_hash(address[1 : address.index("]")].encode())
        host, colon, _ = address.rpartition(":")
        return xx_hash(host.encode()) if colon and not address.startswith(("/", "@")) else None

    return compute


def by_filter_state(key: str) -> HashPolicy:
    """``filter_state`` of a TCP proxy: a text that was put there to be hashed."""

    def compute(_headers: RequestHeaders, stream: Stream, _may_set_cookie: bool) -> int | None:
        state = stream.connection.filter_state
        value = None if state is None else state.get(key)
        return xx_hash(value.encode("utf-8", "surrogateescape")) if isinstance(value, HashableText) else None

    return compute


def by_nothing() -> HashPolicy:
    """``filter_state``: no filter here keeps what can be hashed; and ``source_ip: false``."""
    return lambda _headers, _stream, _may_set_cookie: None


@dataclass(frozen=True, slots=True)
class Cookie:
    """``cookie``: its name, and how one is made where the client sends none."""

    name: bytes
    #: Seconds; None makes no cookie.
    ttl_s: int | None = None
    path: bytes = b""
    attributes: tuple[tuple[bytes, bytes], ...] = ()

    def set_cookie(self, value: bytes) -> bytes:
        """The value of ``set-cookie`` (``Http::Utility::makeSetCookieValue``)."""
        parts = [self.name + b'="' + value + b'"']
        if self.ttl_s:
            parts.append(b"Max-Age=%d" % self.ttl_s)
        if self.path:
            parts.append(b"Path=" + self.path)
        parts += [name + b"=" + text if text else name for name, text in self.attributes]
        parts.append(b"HttpOnly")
        return b"; ".join(parts)


def by_cookie(cookie: Cookie) -> HashPolicy:
    """``cookie``; one that is made is the same for all requests of a connection."""

    def compute(headers: RequestHeaders, stream: Stream, may_set_cookie: bool) -> int | None:
        value = cookie_values(headers).get(cookie.name, b"")
        if value:
            return xx_hash(value)
        if cookie.ttl_s is None or not may_set_cookie:
            return None
        connection = stream.connection
        addresses = stream.remote_address + connection.local_address
        value = b"%016x" % xx_hash(addresses.encode())
        made = cookie.set_cookie(value)
        if stream.routing_cookies is None:
            stream.routing_cookies = []
        stream.routing_cookies.append(made)
        return xx_hash(value)

    return compute
