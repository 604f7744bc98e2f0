"""``envoy.type.v3.TokenBucket`` of a local rate limit."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.route_action import duration_s
from sidecar.core.errors import ConfigError
from sidecar.core.shared_buckets import make_bucket
from sidecar.core.token_bucket import TokenBucket

__all__ = ["compile_token_bucket"]

_SHORTEST_FILL_S = 0.05


def compile_token_bucket(bucket: Any, context: FactoryContext) -> TokenBucket:
    """The bucket of a message's ``token_bucket``.  Raises: ConfigError with a path from that message."""
    fill_s = duration_s(bucket.fill_interval)
    if fill_s < _SHORTEST_FILL_S:
        reason = "local rate limit token bucket fill timer must be >= 50ms"
        raise ConfigError("token_bucket.fill_interval", reason)
    per_fill = bucket.tokens_per_fill.value if bucket.HasField("tokens_per_fill") else 1
    key = f"{context.path} {bucket.max_tokens} {per_fill} {fill_s}"
    return make_bucket(context.shared_memory, key, bucket.max_tokens, per_fill, fill_s)
