"""Compiles ``envoy.extensions.filters.http.decompressor.v3.Decompressor``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import compile_flag
from sidecar.extensions.http.compression_config import compile_decompressor
from sidecar.extensions.http.decompressor import DecompressorFilter, Directions

__all__ = ["DecompressorFactory"]


class DecompressorFactory:
    """``envoy.filters.http.decompressor``."""

    name = "envoy.filters.http.decompressor"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.decompressor.v3.Decompressor"

    def compile(self, message: Any, context: FactoryContext) -> DecompressorFilter:
        """The filter.  Raises: ConfigError."""
        library = message.decompressor_library
        token, stats_name, counters, make = compile_decompressor(library, context.at("decompressor_library"))
        request, response = message.request_direction_config, message.response_direction_config
        advertises = request.advertise_accept_encoding
        return DecompressorFilter(
            token,
            counters,
            make,
            Directions(
                requests=compile_flag(request.common_config.enabled, context.runtime),
                responses=compile_flag(response.common_config.enabled, context.runtime),
                advertises=advertises.value if request.HasField("advertise_accept_encoding") else True,
                request_ignores_no_transform=request.common_config.ignore_no_transform_header,
                response_ignores_no_transform=response.common_config.ignore_no_transform_header,
            ),
            context.stats.scope(f"decompressor.{stats_name}"),
        )
