"""Compiles ``envoy.extensions.filters.http.grpc_web.v3.GrpcWeb``, which says nothing but that it is there."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.extensions.http.grpc_web import GrpcWeb

__all__ = ["GrpcWebFactory"]


class GrpcWebFactory:
    """gRPC-Web."""

    name = "envoy.filters.http.grpc_web"
    category = "envoy.filters.http"
    config_type = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"

    def compile(self, message: Any, context: FactoryContext) -> GrpcWeb:
        return GrpcWeb()
