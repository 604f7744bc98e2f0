"""The filter ``envoy.filters.http.basic_auth``: names and passwords (RFC 7617).

``source/extensions/filters/http/basic_auth/basic_auth_filter.cc``.
"""

from __future__ import annotations

import hashlib
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Awaitable, Mapping
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.extensions.http.original_uri import original_uri

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import RequestHeaders

__all__ = ["BasicAuthFilter", "BasicAuthSettings", "Credentials"]

_AUTHORIZATION = b"authorization"
_FAILED = b"User authentication failed. "


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a route may say instead of the filter (``BasicAuthPerRoute``): SHA-1 in base64 by name."""

    users: Mapping[bytes, bytes]
    #: Empty for the URI that was asked for.
    realm: bytes = b""


@dataclass(frozen=True, slots=True)
class BasicAuthSettings:
    """``BasicAuth``; header names are empty where none are given."""

    credentials: Credentials
    forward_username_header: bytes = b""
    authentication_header: bytes = b""
    allow_missing: bool = False
    emit_dynamic_metadata: bool = False


class BasicAuthFilter(HttpFilter):
    """Lets in who brings a name and its password."""

    uses_trio = False

    def __init__(self, settings: BasicAuthSettings, stats: Any) -> None:
        """``stats``: the scope ``http.<prefix>.basic_auth.``."""
        self._settings = settings
        self._allowed = stats.counter("allowed")
        self._denied = stats.counter("denied")

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        settings = self._settings
        headers = stream.request.headers
        route = stream.find_route() if stream.resolve_route else stream.route
        given: Credentials = settings.credentials
        if route is not None:
            given = route.per_filter_config.get(self.config_name, given)
        if settings.authentication_header:
            said = headers.get(settings.authentication_header)
        else:
            said = headers.get_joined(_AUTHORIZATION)
        if said is None:
            if settings.allow_missing:
                self._let_nobody_in(headers)
                return None
            return self._deny(headers, given, "no_credential", b"Missing username and password.")
        if said[:6] != b"Basic ":
            if settings.allow_missing:
                self._let_nobody_in(headers)
                return None
            return self._deny(headers, given, "invalid_scheme", b"Expected 'Basic' authentication scheme.")
        name, colon, password = _decoded(said[6:]).partition(b":")
        if not colon:
            return self._deny(headers, given, "invalid_format", b"Invalid basic credential format.")
        known = given.users.get(name)
        # What htpasswd files have, which is all that the filter knows.
        digest = b2a_base64(hashlib.sha1(password).digest(), newline=False)  # noqa: S324
        if known is None or not compare_digest(digest, known):
            return self._deny(headers, given, "invalid_credential", b"Invalid username/password combination.")
        if settings.forward_username_header:
            headers.remove(settings.forward_username_header)  # it goes to the end, as in Envoy
            headers.append(settings.forward_username_header, name)
        if settings.emit_dynamic_metadata:
            stream.metadata_namespace(self.config_name)["username"] = name.decode("utf-8", "replace")
        self._allowed.value += 1
        return None

    def _let_nobody_in(self, headers: RequestHeaders) -> None:
        """A request goes on without a name: nor may it bring one."""
        settings = self._settings
        name = settings.forward_username_header
        if name and name != (settings.authentication_header or _AUTHORIZATION):
            headers.remove(name)

    def _deny(self, headers: RequestHeaders, given: Credentials, details: str, why: bytes) -> LocalReply:
        self._denied.value += 1
        realm = given.realm or self._settings.credentials.realm or original_uri(headers, headers.path)
        realm = realm.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        return LocalReply(
            401,
            _FAILED + why,
            details=f"{details}_for_basic_auth",
            headers=[(b"www-authenticate", b'Basic realm="' + realm + b'"')],
        )


def _decoded(text: bytes) -> bytes:
    """What base64 ``text`` stands for, with as much padding as there may be; nothing where it is none."""
    bare = text.removesuffix(b"=").removesuffix(b"=")
    try:
        found = a2b_base64(bare + b"==="[: -len(bare) % 4], strict_mode=True)
    except Error:
        return b""
    return found if b2a_base64(found, newline=False).rstrip(b"=") == bare else b""
