"""Compiles ``envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.core.errors import ConfigError
from sidecar.extensions.listener.tls_inspector import MAX_CLIENT_HELLO, TlsInspector

__all__ = ["TlsInspectorFactory"]


class TlsInspectorFactory:
    """SNI, ALPN and fingerprints."""

    name = "envoy.filters.listener.tls_inspector"
    category = "envoy.filters.listener"
    config_type = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"

    def compile(self, message: Any, context: FactoryContext) -> TlsInspector:
        size = MAX_CLIENT_HELLO
        if message.HasField("max_client_hello_size"):
            size = message.max_client_hello_size.value
        if size > MAX_CLIENT_HELLO:
            reason = f"max_client_hello_size of {size} is greater than maximum of {MAX_CLIENT_HELLO}."
            raise ConfigError("max_client_hello_size", reason)
        initial = message.initial_read_buffer_size.value
        return TlsInspector(
            context.root_stats.scope("tls_inspector"),
            has_ja3=message.enable_ja3_fingerprinting.value,
            has_ja4=message.enable_ja4_fingerprinting.value,
            initial_read_buffer_size=initial if message.HasField("initial_read_buffer_size") else size,
            max_client_hello_size=size,
            closes_on_errors=message.close_connection_on_client_hello_parsing_errors,
        )
