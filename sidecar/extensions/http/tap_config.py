"""Compiles ``envoy.extensions.filters.http.tap.v3.Tap``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.taps import TapPoint
from sidecar.config.compile.tap import compile_tap
from sidecar.extensions.http.tap import TapFilter

__all__ = ["TapFactory"]


class TapFactory:
    """``envoy.filters.http.tap``."""

    name = "envoy.filters.http.tap"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.tap.v3.Tap"

    def compile(self, message: Any, context: FactoryContext) -> TapFilter:
        """The filter.  Raises: ConfigError."""
        point = TapPoint()
        common = message.common_config
        if common.WhichOneof("config_type") == "static_config":
            path = "common_config.static_config"
            point.tap = compile_tap(common.static_config, path, context.runtime, is_admin=False)
        else:
            context.on_close(context.taps.register(common.admin_config.config_id, point))
        return TapFilter(
            point,
            context.stats,
            records_times=message.record_headers_received_time,
            records_downstream=message.record_downstream_connection,
            records_upstream=message.record_upstream_connection,
        )
