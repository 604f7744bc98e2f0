"""Compiles ``envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.route_headers import compile_additions
from sidecar.config.compile.substitution_format import compile_text_format, format_extensions
from sidecar.core.errors import ConfigError
from sidecar.extensions.network.tcp_tunnel import RequestId, TunnelingConfig
from sidecar.http.request_headers import RequestIds
from sidecar.router.header_mutation import HeaderMutations

__all__ = ["compile_tunneling"]


def compile_tunneling(message: Any, context: FactoryContext) -> TunnelingConfig | None:
    """``tunneling_config`` of a TcpProxy; None where it does not tunnel.  Raises: ConfigError."""
    if not message.HasField("tunneling_config"):
        return None
    tunneling = message.tunneling_config
    path = f"{context.path}.tunneling_config"
    if tunneling.post_path and not tunneling.use_post:
        raise ConfigError(f"{path}.post_path", "Can't set a post path when POST method isn't used")
    operators = format_extensions(tunneling, path)
    request_id = None
    if tunneling.request_id_extension.HasField("typed_config"):
        request_id = RequestId(
            RequestIds().make,
            (tunneling.request_id_header or "x-request-id").lower().encode(),
            tunneling.request_id_metadata_key or "tunnel_request_id",
        )
    return TunnelingConfig(
        hostname=compile_text_format(tunneling.hostname, context, "tunneling_config.hostname"),
        headers=HeaderMutations(
            compile_additions(tunneling.headers_to_add, f"{path}.headers_to_add", operators)
        ),
        use_post=tunneling.use_post,
        post_path=(tunneling.post_path or "/").encode(),
        propagate_response_headers=tunneling.propagate_response_headers,
        propagate_response_trailers=tunneling.propagate_response_trailers,
        request_id=request_id,
    )
