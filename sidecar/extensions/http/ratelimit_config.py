"""Compiles ``envoy.extensions.filters.http.ratelimit.v3.RateLimit``, and what routes say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.rate_limit import Policy
from sidecar.config.compile.chance import ALWAYS, compile_chance
from sidecar.config.compile.grpc_service import compile_grpc_client
from sidecar.config.compile.rate_limits import compile_rate_limits
from sidecar.config.compile.route_action import duration_s
from sidecar.config.compile.route_headers import compile_additions
from sidecar.config.errors import Path
from sidecar.config.registry import Report
from sidecar.extensions.http.ratelimit import RateLimitFilter, RateLimitSettings, RouteRateLimit
from sidecar.router.header_mutation import HeaderMutations

__all__ = ["HttpRateLimitFactory"]

_MESSAGES = "envoy.extensions.filters.http.ratelimit.v3"
_TIMEOUT_S = 0.02
_V2 = 1
_RESOURCE_EXHAUSTED = 8
_NAMESPACE = "envoy.filters.http.ratelimit"


class HttpRateLimitFactory:
    """``envoy.filters.http.ratelimit``."""

    name = "envoy.filters.http.ratelimit"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.RateLimit"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = f"{_MESSAGES}.RateLimitPerRoute"

    def validate(self, message: Any, path: Path, report: Report) -> None:
        """What Envoy refuses beyond the rules of the API."""
        if message.rate_limit_service.transport_api_version == _V2:
            here = (*path, "rate_limit_service", "transport_api_version")
            report.error(here, "the v2 xDS major version is no longer supported", "write V3")

    def compile(self, message: Any, context: FactoryContext) -> RateLimitFilter:
        """The filter.  Raises: ConfigError."""
        timeout_s = duration_s(message.timeout) if message.HasField("timeout") else _TIMEOUT_S
        # The filter's timeout counts, whatever the service's own says.
        given = type(message.rate_limit_service.grpc_service)()
        given.CopyFrom(message.rate_limit_service.grpc_service)
        given.ClearField("timeout")
        at = context.at("rate_limit_service.grpc_service")
        client = compile_grpc_client(given, at, default_timeout_s=timeout_s)
        return RateLimitFilter(_settings(message, context), client, context.find_cluster)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteRateLimit:
        """One level's settings.  Raises: ConfigError."""
        own = _own(message, context)
        return RouteRateLimit(message.vh_rate_limits, own or None, message.domain)


def _settings(message: Any, context: FactoryContext) -> RateLimitSettings:
    path = context.path
    additions = compile_additions(message.response_headers_to_add, f"{path}.response_headers_to_add")
    own = _own(message, context)
    status = message.rate_limited_status.code
    return RateLimitSettings(
        message.domain,
        message.stage,
        internal=message.request_type != "external",
        external=message.request_type != "internal",
        failure_mode_deny=_denies(message, context),
        grpc_status=_RESOURCE_EXHAUSTED if message.rate_limited_as_resource_exhausted else None,
        enable_x_ratelimit_headers=message.enable_x_ratelimit_headers == 1,
        enable_retry_after_header=message.enable_retry_after_header,
        disable_x_envoy_ratelimited_header=message.disable_x_envoy_ratelimited_header,
        rate_limited_status=status if status >= 400 else 429,
        response_headers_to_add=HeaderMutations(additions) if additions else None,
        status_on_error=message.status_on_error.code or 500,
        stat_prefix=message.stat_prefix,
        filter_enabled=_chance(message, "filter_enabled", context),
        filter_enforced=_chance(message, "filter_enforced", context),
        rate_limits=own or None,
        metadata_namespace=message.metadata_namespace or _NAMESPACE,
    )


def _own(message: Any, context: FactoryContext) -> tuple[Policy, ...]:
    path = f"{context.path}.rate_limits"
    return compile_rate_limits(message.rate_limits, path, context, is_embedded=True, has_limits=True)


def _chance(message: Any, field: str, context: FactoryContext) -> Callable[[], bool] | None:
    """None for always."""
    if not message.HasField(field):
        return None
    found = compile_chance(getattr(message, field), context.runtime)
    return None if found is ALWAYS else found


def _denies(message: Any, context: FactoryContext) -> Callable[[], bool] | None:
    if message.HasField("failure_mode_deny_percent"):
        return compile_chance(message.failure_mode_deny_percent, context.runtime)
    return ALWAYS if message.failure_mode_deny else None
