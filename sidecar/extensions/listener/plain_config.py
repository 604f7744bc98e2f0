"""Compiles the listener filters that have hardly anything to say."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.token_bucket import compile_token_bucket
from sidecar.extensions.listener.http_inspector import HttpInspector
from sidecar.extensions.listener.local_ratelimit import LocalRateLimit
from sidecar.extensions.listener.original_dst import OriginalDst
from sidecar.extensions.listener.original_src import OriginalSrc

__all__ = ["HttpInspectorFactory", "ListenerRateLimitFactory", "OriginalDstFactory", "OriginalSrcFactory"]

_LISTENER = "envoy.extensions.filters.listener"


class HttpInspectorFactory:
    """``HttpInspector``, which has no fields."""

    name = "envoy.filters.listener.http_inspector"
    category = "envoy.filters.listener"
    config_type = f"{_LISTENER}.http_inspector.v3.HttpInspector"

    def compile(self, message: Any, context: FactoryContext) -> HttpInspector:
        return HttpInspector(context.root_stats.scope("http_inspector"))


class OriginalDstFactory:
    """``OriginalDst``, which has no fields."""

    name = "envoy.filters.listener.original_dst"
    category = "envoy.filters.listener"
    config_type = f"{_LISTENER}.original_dst.v3.OriginalDst"

    def compile(self, message: Any, context: FactoryContext) -> OriginalDst:
        return OriginalDst()


class OriginalSrcFactory:
    """``OriginalSrc``.  Envoy does not look at ``bind_port`` either."""

    name = "envoy.filters.listener.original_src"
    category = "envoy.filters.listener"
    config_type = f"{_LISTENER}.original_src.v3.OriginalSrc"

    def compile(self, message: Any, context: FactoryContext) -> OriginalSrc:
        return OriginalSrc(message.mark)


class ListenerRateLimitFactory:
    """``LocalRateLimit``: a bucket for the connections of a listener."""

    name = "envoy.filters.listener.local_ratelimit"
    category = "envoy.filters.listener"
    config_type = f"{_LISTENER}.local_ratelimit.v3.LocalRateLimit"

    def compile(self, message: Any, context: FactoryContext) -> LocalRateLimit:
        return LocalRateLimit(
            compile_token_bucket(message.token_bucket, context),
            context.root_stats.scope(f"listener_local_ratelimit.{message.stat_prefix}"),
        )
