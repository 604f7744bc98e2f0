"""Who may ask the admin interface for what: ``admin.allow_paths``, and what sidecar adds to it.

Envoy's has no protection of its own but the paths.  Here a page of another site is turned away, always: an
operator's browser must not be made to drain a proxy.  ``sidecar.extensions.admin.v1.AdminAccess`` among the
``bootstrap_extensions`` asks for a token or a certificate, and lets nothing be changed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import HeaderMap

__all__ = ["OPEN", "AccessRules", "Denial"]

#: Status, text and further headers of an answer.
Denial = tuple[int, str, tuple[tuple[bytes, bytes], ...]]

_CROSS_SITE = frozenset((b"cross-site", b"same-site"))
_UNAUTHORIZED: Denial = (401, "a bearer token is required\n", ((b"www-authenticate", b"Bearer"),))
_READ_ONLY: Denial = (403, "the admin interface is read-only\n", ())
_OTHER_SITE: Denial = (403, "requests from pages of other sites are not allowed\n", ())


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What is asked of a request before it is looked at."""

    #: Whether a target, its query included, is allowed; None for all.
    allows: Callable[[bytes], bool] | None = None
    bearer_token: bytes = b""
    is_read_only: bool = False
    #: TLS of the interface's port: a :class:`sidecar.net.tls_server.TlsServer`; None for none.
    tls: Any = None

    def deny(self, method: bytes, target: bytes, headers: HeaderMap | None) -> Denial | None:
        """Why a request is turned away; None for one that is not."""
        if headers is not None and _is_of_another_site(method, headers):
            return _OTHER_SITE
        if self.bearer_token and not self._is_authorized(headers):
            return _UNAUTHORIZED
        if self.allows is not None and not self.allows(target):
            return 403, f"request to path {target.decode('utf-8', 'surrogateescape')} not allowed", ()
        return None

    def deny_change(self) -> Denial | None:
        """The same for a request that changes something."""
        return _READ_ONLY if self.is_read_only else None

    def _is_authorized(self, headers: HeaderMap | None) -> bool:
        given = None if headers is None else headers.get(b"authorization")
        if given is None:
            return False
        scheme, _, token = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.bearer_token)


OPEN = AccessRules()


def _is_of_another_site(method: bytes, headers: HeaderMap) -> bool:
    """Whether a browser says that a page of another site makes the request (Fetch Metadata, RFC 6454)."""
    site = headers.get(b"sec-fetch-site")
    if site in _CROSS_SITE:
        # A link that somebody follows shows a page, and changes nothing.
        return method != b"GET" or headers.get(b"sec-fetch-mode") != b"navigate"
    origin = headers.get(b"origin")
    if not origin or site is not None:
        return False
    authority = getattr(headers, "authority", None)
    return origin.partition(b"://")[2] != authority
