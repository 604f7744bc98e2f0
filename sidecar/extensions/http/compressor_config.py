"""Compiles ``envoy.extensions.filters.http.compressor.v3``: Compressor, and CompressorPerRoute of routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import compile_flag
from sidecar.config.compile.matchers import compile_string_matcher
from sidecar.core.runtime import OFF
from sidecar.extensions.http.compression_config import compile_compressor
from sidecar.extensions.http.compressor import (
    CompressorFilter,
    Direction,
    DirectionStats,
    ResponseDirection,
    RouteCompression,
)

__all__ = ["CompressorFactory"]

_MESSAGES = "envoy.extensions.filters.http.compressor.v3"
_LEAST_BYTES = 30
#: Media types that are compressed where none are named.
_TYPES = frozenset(
    (
        b"application/javascript",
        b"application/json",
        b"application/xhtml+xml",
        b"image/svg+xml",
        b"text/css",
        b"text/html",
        b"text/plain",
        b"text/xml",
    )
)


class CompressorFactory:
    """``envoy.filters.http.compressor``."""

    name = "envoy.filters.http.compressor"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.Compressor"
    is_upstream = True
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = f"{_MESSAGES}.CompressorPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> CompressorFilter:
        """The filter.  Raises: ConfigError."""
        coding = compile_compressor(message.compressor_library, context.at("compressor_library"))
        scope = context.stats.scope(f"compressor.{coding.stats_name}")
        is_modern = message.HasField("response_direction_config")
        own = message.response_direction_config if is_modern else message
        common = own.common_config if is_modern else message
        response = Direction(
            enabled=compile_flag(common.enabled if is_modern else message.runtime_enabled, context.runtime),
            min_content_length=_least(common, "min_content_length" if is_modern else "content_length"),
            is_type_meant=_types(common, context.path),
            stats=DirectionStats(scope.scope("response") if is_modern else scope),
        )
        options = ResponseDirection(
            disable_on_etag_header=own.disable_on_etag_header,
            remove_accept_encoding_header=own.remove_accept_encoding_header,
        )
        if is_modern:
            options = ResponseDirection(
                disable_on_etag_header=own.disable_on_etag_header,
                remove_accept_encoding_header=own.remove_accept_encoding_header,
                uncompressible_response_codes=frozenset(own.uncompressible_response_codes),
                status_header_enabled=own.status_header_enabled,
                weaken_etag_on_compress=own.weaken_etag_on_compress,
            )
        asked = message.request_direction_config
        request = Direction(
            enabled=compile_flag(asked.common_config.enabled, context.runtime)
            if message.HasField("request_direction_config")
            else OFF,
            min_content_length=_least(asked.common_config, "min_content_length"),
            is_type_meant=_types(asked.common_config, context.path),
            stats=DirectionStats(scope.scope("request")),
        )
        return CompressorFilter(coding, request, response, options, scope, chooses_first=message.choose_first)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteCompression:
        """What a level says instead.  Raises: ConfigError."""
        if message.disabled:
            return RouteCompression(is_enabled=False)
        overrides = message.overrides
        removes = None
        is_enabled = None
        if overrides.HasField("response_direction_config"):
            is_enabled = True
            response = overrides.response_direction_config
            if response.HasField("remove_accept_encoding_header"):
                removes = response.remove_accept_encoding_header.value
        coding = None
        if overrides.HasField("compressor_library"):
            at = context.at("overrides.compressor_library")
            coding = compile_compressor(overrides.compressor_library, at)
        return RouteCompression(is_enabled, removes, coding)


def _least(message: Any, field: str) -> int:
    return getattr(message, field).value or _LEAST_BYTES


def _types(message: Any, path: str) -> Callable[[bytes], bool]:
    named = frozenset(each.lower().encode() for each in message.content_type)
    matchers = [
        compile_string_matcher(each, f"{path}.content_type_matcher[{index}]")
        for index, each in enumerate(getattr(message, "content_type_matcher", ()))
    ]
    if matchers:  # beside them content_type means nothing
        return lambda value: any(matches(value) for matches in matchers)
    types = named or _TYPES
    return lambda value: value.lower() in types
