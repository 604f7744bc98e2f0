"""Compiles ``envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit``, a filter's and a route's."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import NEVER, compile_chance
from sidecar.config.compile.rate_limits import compile_rate_limits
from sidecar.config.compile.route_action import duration_s
from sidecar.config.compile.route_headers import compile_additions
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.local_limiter import BucketSettings, Limiter, LimiterSettings
from sidecar.extensions.http.local_ratelimit import (
    LocalRateLimitFilter,
    LocalRateLimitSettings,
    LocalRateLimitStats,
)
from sidecar.router.header_mutation import HeaderMutations

__all__ = ["HttpLocalRateLimitFactory"]

_SHORTEST_FILL_S = 0.05
_LOWEST_ERROR, _TOO_MANY_REQUESTS = 400, 429
_RESOURCE_EXHAUSTED = 8


class HttpLocalRateLimitFactory:
    """``envoy.filters.http.local_ratelimit``."""

    name = "envoy.filters.http.local_ratelimit"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"

    def compile(self, message: Any, context: FactoryContext) -> LocalRateLimitFilter:
        """The filter.  Raises: ConfigError."""
        return LocalRateLimitFilter(_settings(message, context))

    def compile_route(self, message: Any, context: FactoryContext) -> LocalRateLimitSettings:
        """One level's settings.  Raises: ConfigError."""
        if not message.HasField("token_bucket"):
            reason = "local rate limit token bucket must be set for per filter configs"
            raise ConfigError(context.path, reason)
        return _settings(message, context)


def _settings(message: Any, context: FactoryContext) -> LocalRateLimitSettings:
    if message.HasField("local_cluster_rate_limit") and message.local_rate_limit_per_downstream_connection:
        reason = (
            "local_cluster_rate_limit is set and local_rate_limit_per_downstream_connection is set to true"
        )
        raise ConfigError("local_rate_limit_per_downstream_connection", reason)
    rate_limits = compile_rate_limits(message.rate_limits, "rate_limits", context, is_embedded=True)
    limiter = _limiter(message)
    key = f"{context.path} {context.route_configuration} {message.stat_prefix}"
    code = message.status.code
    requests = "request_headers_to_add_when_not_enforced"
    return LocalRateLimitSettings(
        limiter=limiter,
        shared=Limiter(limiter, context.shared_memory, key),
        stats=LocalRateLimitStats(
            context.root_stats.scope(f"{message.stat_prefix.rstrip('.')}.http_local_rate_limit")
        ),
        is_enabled=compile_chance(message.filter_enabled, context.runtime)
        if message.HasField("filter_enabled")
        else NEVER,
        is_enforced=compile_chance(message.filter_enforced, context.runtime)
        if message.HasField("filter_enforced")
        else NEVER,
        status=code if code >= _LOWEST_ERROR else _TOO_MANY_REQUESTS,
        grpc_status=_RESOURCE_EXHAUSTED if message.rate_limited_as_resource_exhausted else None,
        stage=message.stage,
        vh_rate_limits=message.vh_rate_limits,
        rate_limits=rate_limits or None,
        has_descriptors=bool(message.descriptors),
        is_per_connection=message.local_rate_limit_per_downstream_connection,
        response_headers=HeaderMutations(
            compile_additions(message.response_headers_to_add, "response_headers_to_add")
        ),
        request_headers=HeaderMutations(compile_additions(getattr(message, requests), requests)),
        has_x_ratelimit=message.enable_x_ratelimit_headers == 1,
        has_retry_after=message.enable_retry_after_header,
    )


def _limiter(message: Any) -> LimiterSettings:
    default = None
    if message.HasField("token_bucket"):
        default = _bucket(message.token_bucket)
        if default.max_tokens and default.fill_interval_s < _SHORTEST_FILL_S:
            reason = "local rate limit token bucket fill timer must be >= 50ms"
            raise ConfigError("token_bucket.fill_interval", reason)
    fixed: dict[Any, BucketSettings] = {}
    wild: dict[Any, BucketSettings] = {}
    for index, each in enumerate(message.descriptors):
        path = f"descriptors[{index}]"
        bucket = _bucket(each.token_bucket, shadow_mode=each.shadow_mode)
        if bucket.max_tokens and bucket.fill_interval_s < _SHORTEST_FILL_S:
            reason = "local rate limit descriptor token bucket fill timer must be >= 50ms"
            raise ConfigError(f"{path}.token_bucket.fill_interval", reason)
        entries = tuple((entry.key.encode(), entry.value.encode()) for entry in each.entries)
        among = fixed if all(value for _, value in entries) else wild
        if entries in among:
            shown = ", ".join(f"{entry.key}={entry.value}" for entry in each.entries)
            raise ConfigError(path, f"duplicate descriptor in the local rate descriptor: {shown}")
        among[entries] = bucket
    most = message.max_dynamic_descriptors
    return LimiterSettings(
        default,
        fixed,
        tuple(wild.items()),
        message.always_consume_default_token_bucket.value
        if message.HasField("always_consume_default_token_bucket")
        else True,
        most.value if message.HasField("max_dynamic_descriptors") else 20,
    )


def _bucket(message: Any, *, shadow_mode: bool = False) -> BucketSettings:
    per_fill = message.tokens_per_fill.value if message.HasField("tokens_per_fill") else 1
    # Milliseconds, as Envoy counts; a bucket for nothing may be filled whenever.
    fill_s = int(duration_s(message.fill_interval) * 1000) / 1000 or _SHORTEST_FILL_S / 100
    return BucketSettings(message.max_tokens, per_fill, fill_s, shadow_mode)
