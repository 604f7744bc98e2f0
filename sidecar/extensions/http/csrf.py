"""The filter ``envoy.filters.http.csrf``: changes have to come from pages of the same origin."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["CsrfFilter", "CsrfPolicy"]

_MODIFYING = frozenset((b"POST", b"PUT", b"DELETE", b"PATCH"))
_URL = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]+)")
_FORBIDDEN = LocalReply(403, b"Invalid origin", details="csrf_origin_mismatch")


@dataclass(frozen=True, slots=True)
class CsrfPolicy:
    """``envoy.extensions.filters.http.csrf.v3.CsrfPolicy``."""

    is_enabled: Callable[[], bool]
    is_shadow_enabled: Callable[[], bool]
    additional_origins: tuple[Callable[[bytes], bool], ...] = ()


class CsrfFilter(HttpFilter):
    """Compares where a request comes from with where it goes to."""

    uses_trio = False

    def __init__(self, policy: CsrfPolicy, stats: Any) -> None:
        """``stats``: the scope ``http.<prefix>.csrf.``."""
        self._policy = policy
        self._missing = stats.counter("missing_source_origin")
        self._invalid = stats.counter("request_invalid")
        self._valid = stats.counter("request_valid")

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        policy = self._policy
        route = stream.find_route()
        if route is not None:
            policy = route.per_filter_config.get(self.config_name, policy)
        is_enabled = policy.is_enabled()
        if not is_enabled and not policy.is_shadow_enabled():
            return None
        headers = stream.request.headers
        if headers.method not in _MODIFYING:
            return None
        origin = headers.get(b"origin")
        # A page without an origin says so; then its referer counts for nothing either.
        source = b""
        if origin != b"null":
            source = _host_and_port(origin) or _host_and_port(headers.get(b"referer"))
        if not source:
            self._missing.value += 1
        elif source == _host_and_port(headers.authority) or any(
            matches(source) for matches in policy.additional_origins
        ):
            self._valid.value += 1
            return None
        else:
            self._invalid.value += 1
        return _FORBIDDEN if is_enabled else None


def _host_and_port(value: bytes | None) -> bytes:
    """Of a URL; anything else stands for itself."""
    if not value:
        return b""
    found = _URL.match(value)
    return value if found is None else found[1]
