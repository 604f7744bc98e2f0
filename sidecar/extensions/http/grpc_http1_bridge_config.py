"""Compiles ``envoy.extensions.filters.http.grpc_http1_bridge.v3.Config``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.extensions.http.grpc_http1_bridge import GrpcHttp1Bridge

__all__ = ["GrpcHttp1BridgeFactory"]


class GrpcHttp1BridgeFactory:
    """The gRPC bridge of HTTP/1."""

    name = "envoy.filters.http.grpc_http1_bridge"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"

    def compile(self, message: Any, context: FactoryContext) -> GrpcHttp1Bridge:
        return GrpcHttp1Bridge(
            upgrade_protobuf=message.upgrade_protobuf_to_grpc,
            ignore_query_parameters=message.ignore_query_parameters,
        )
