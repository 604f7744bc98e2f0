"""Compiles our own jwt_authn: Envoy's, and what ``sidecar.extensions.filters.http.jwt_authn.v1`` adds.

Its message holds Envoy's, whose meaning stays.  Beside it stand, by provider, where the issuer says where
its keys are, and what happens while keys cannot be had; and whether a client is told why it is not let in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.route_timeouts import duration_s
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.jwt_authn_config import JwtAuthnFactory
from sidecar.extensions.http.jwt_providers_config import OwnOptions

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.extensions.http.jwt_authn import JwtAuthnFilter, RouteRequirement

__all__ = ["OwnJwtAuthnFactory"]

_UNAVAILABLE = 1


class OwnJwtAuthnFactory(JwtAuthnFactory):
    """``sidecar.filters.http.jwt_authn``."""

    name = "sidecar.filters.http.jwt_authn"
    config_type = "sidecar.extensions.filters.http.jwt_authn.v1.JwtAuthentication"
    route_config_type = "sidecar.extensions.filters.http.jwt_authn.v1.PerRouteConfig"

    def compile(self, message: Any, context: FactoryContext) -> JwtAuthnFilter:
        """The filter.  Raises: ConfigError."""
        own = {name: _options(name, message) for name in sorted(message.providers)}
        try:
            return self.make_filter(
                message.jwt_authn, context.at("jwt_authn"), own, private_denials=message.private_denials
            )
        except ConfigError as error:
            is_ours = error.path.startswith("own:")
            path = error.path.removeprefix("own:") if is_ours else f"jwt_authn.{error.path}"
            raise ConfigError(path, error.reason) from error

    def compile_route(self, message: Any, context: FactoryContext) -> RouteRequirement:
        """What one level says."""
        return super().compile_route(message.jwt_authn, context)


def _options(name: str, message: Any) -> OwnOptions:
    path = f"providers[{name}]"
    provider = message.jwt_authn.providers.get(name)
    if provider is None:
        raise ConfigError(path, "jwt_authn has no provider of this name")
    if not provider.HasField("remote_jwks"):
        raise ConfigError(path, "is about keys of a server, and the provider has no remote_jwks")
    options = message.providers[name]
    return OwnOptions(
        options.discovery if options.HasField("discovery") else None,
        options.when_unreachable == _UNAVAILABLE,
        duration_s(options.keep_keys_for),
    )
