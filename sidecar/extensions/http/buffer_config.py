"""Compiles ``envoy.extensions.filters.http.buffer.v3``: Buffer, and BufferPerRoute of routes."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.extensions.http.buffer import BufferFilter, BufferLimit

__all__ = ["BufferFactory"]


class BufferFactory:
    """``envoy.filters.http.buffer``."""

    name = "envoy.filters.http.buffer"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.buffer.v3.Buffer"
    is_upstream = True
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> BufferFilter:
        """The filter."""
        return BufferFilter(BufferLimit(message.max_request_bytes.value))

    def compile_route(self, message: Any, context: FactoryContext) -> BufferLimit:
        """What a level says instead."""
        return BufferLimit(None if message.disabled else message.buffer.max_request_bytes.value)
