"""The filter ``envoy.filters.http.cors``: answers preflights, and lets pages of other origins read answers.

https://fetch.spec.whatwg.org/#http-cors-protocol.  It keeps nothing back: what an origin may not read, the
browser keeps from the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import Field

__all__ = ["LEGACY_CONFIG", "CorsFilter", "CorsPolicy"]

#: Where a route keeps the policy of its own ``cors`` fields; no filter can be called so.
LEGACY_CONFIG = "envoy.config.route.v3.CorsPolicy"
_ALLOW_ORIGIN = b"access-control-allow-origin"
_ALLOW_CREDENTIALS = b"access-control-allow-credentials"


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """``envoy.extensions.filters.http.cors.v3.CorsPolicy``; None is left to the level around it."""

    is_enabled: Callable[[], bool]
    is_shadow_enabled: Callable[[], bool]
    allow_origins: tuple[Callable[[bytes], bool], ...] | None = None
    allow_methods: bytes | None = None
    allow_headers: bytes | None = None
    expose_headers: bytes | None = None
    max_age: bytes | None = None
    allow_credentials: bool | None = None
    allow_private_network_access: bool | None = None
    forward_not_matching_preflights: bool | None = None

    def within(self, outer: CorsPolicy) -> CorsPolicy:
        """This level's, and the other's where this one says nothing; whether it is on is this one's alone."""
        unset = {each.name for each in fields(self) if getattr(self, each.name) is None}
        return replace(self, **{name: getattr(outer, name) for name in unset})

    def allows(self, origin: bytes) -> bool:
        """Whether a page of this origin may read answers."""
        # A matcher that takes a literal `*` takes all.
        return any(matches(b"*") or matches(origin) for matches in self.allow_origins or ())


class CorsFilter(HttpFilter):
    """Every request of a route that has a policy."""

    uses_trio = False

    def __init__(self, stats: Any) -> None:
        """``stats``: the scope ``http.<prefix>.cors.``."""
        self._origin_valid = stats.counter("origin_valid")
        self._origin_invalid = stats.counter("origin_invalid")

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        route = stream.find_route()
        if route is None or not route.is_forwarding:
            return None
        configs = route.per_filter_config
        policy: CorsPolicy | None = configs.get(self.config_name) or configs.get(LEGACY_CONFIG)
        if policy is None:
            return None
        headers = stream.request.headers
        origin = headers.get(b"origin")
        if not origin:
            return None
        is_enabled = policy.is_enabled()
        if not is_enabled and not policy.is_shadow_enabled():
            return None
        is_allowed = policy.allows(origin)
        (self._origin_valid if is_allowed else self._origin_invalid).value += 1
        if not is_enabled:
            return None
        if is_allowed:
            stream.set_slot(self.slot, (origin, policy))
        method = headers.get(b"access-control-request-method")
        if headers.method != b"OPTIONS" or not method:
            return None
        if not is_allowed and policy.forward_not_matching_preflights is not False:
            return None
        # encode_headers adds what it adds to every answer.
        return LocalReply(
            200,
            details="cors_response",
            headers=_preflight_headers(policy, headers, origin if is_allowed else None, method),
            is_answer=True,
        )

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        found: tuple[bytes, CorsPolicy] | None = stream.get_slot(self.slot)
        if found is None:
            return None
        origin, policy = found
        assert stream.response is not None
        headers = stream.response.headers
        headers.set(_ALLOW_ORIGIN, origin)
        if policy.allow_credentials:
            headers.set(_ALLOW_CREDENTIALS, b"true")
        if policy.expose_headers:
            headers.set(b"access-control-expose-headers", policy.expose_headers)
        return None


def _preflight_headers(policy: CorsPolicy, request: Any, origin: bytes | None, method: bytes) -> list[Field]:
    found: list[Field] = []
    if origin is not None:
        found.append((_ALLOW_ORIGIN, origin))
    if policy.allow_credentials:
        found.append((_ALLOW_CREDENTIALS, b"true"))
    if policy.allow_methods:
        methods = method if policy.allow_methods == b"*" else policy.allow_methods
        found.append((b"access-control-allow-methods", methods))
    if policy.allow_headers:
        asked = request.get(b"access-control-request-headers") or b""
        names = asked if policy.allow_headers == b"*" else policy.allow_headers
        found.append((b"access-control-allow-headers", names))
    if policy.max_age:
        found.append((b"access-control-max-age", policy.max_age))
    if (
        policy.allow_private_network_access
        and request.get(b"access-control-request-private-network") == b"true"
    ):
        found.append((b"access-control-allow-private-network", b"true"))
    return found
