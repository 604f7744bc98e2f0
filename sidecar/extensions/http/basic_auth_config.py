"""Compiles ``envoy.extensions.filters.http.basic_auth.v3``: BasicAuth, and BasicAuthPerRoute of routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.errors import ConfigError
from sidecar.extensions.http.basic_auth import BasicAuthFilter, BasicAuthSettings, Credentials

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["BasicAuthFactory"]

_MESSAGES = "envoy.extensions.filters.http.basic_auth.v3"
_SHA = b"{SHA}"
#: Of a SHA-1 in base64.
_HASH_BYTES = 28


class BasicAuthFactory:
    """``envoy.filters.http.basic_auth``."""

    name = "envoy.filters.http.basic_auth"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.BasicAuth"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = f"{_MESSAGES}.BasicAuthPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> BasicAuthFilter:
        """The filter.  Raises: ConfigError."""
        settings = BasicAuthSettings(
            self.compile_route(message, context),
            message.forward_username_header.lower().encode(),
            message.authentication_header.lower().encode(),
            message.allow_missing,
            message.emit_dynamic_metadata,
        )
        return BasicAuthFilter(settings, context.stats.scope("basic_auth"))

    def compile_route(self, message: Any, context: FactoryContext) -> Credentials:
        """One level's users.  Raises: ConfigError."""
        path = f"{context.path}.users"
        users = _users(context.read_data_source(message.users, path), path)
        return Credentials(users, message.realm.encode())


def _users(data: bytes, path: str) -> dict[bytes, bytes]:
    """Hashes by name, from the lines of ``htpasswd -s``.  Raises: ConfigError."""
    if not data:
        raise ConfigError(path, "DataSource cannot be empty")
    found: dict[bytes, bytes] = {}
    for line in data.split(b"\n"):
        if not line or line[:1] == b"#":
            continue
        name, colon, digest = line.partition(b":")
        if not colon:
            raise ConfigError(path, "basic auth: invalid htpasswd format, username:password is expected")
        if not name or not digest:
            raise ConfigError(path, "basic auth: empty user name or password")
        if name in found:
            raise ConfigError(path, "basic auth: duplicate users")
        if not digest.startswith(_SHA):
            raise ConfigError(path, "basic auth: unsupported htpasswd format: please use {SHA}")
        if len(digest) != len(_SHA) + _HASH_BYTES:
            raise ConfigError(path, "basic auth: invalid htpasswd format, invalid SHA hash length")
        found[name] = digest[len(_SHA) :]
    return found
