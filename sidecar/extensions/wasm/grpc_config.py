"""Whom a guest means by the upstream of a gRPC call: a serialized ``GrpcService``, or a cluster's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from sidecar.config.compile.grpc_service import compile_grpc_service
from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.router.grpc_service import GrpcService

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["service_finder"]

#: Upstreams that are kept as they were read.
_KEPT = 64


def service_finder(context: FactoryContext) -> Callable[[bytes], GrpcService | None]:
    """A function that reads an upstream; None for what is neither a message nor a cluster."""
    kept: dict[bytes, GrpcService | None] = {}

    def find(upstream: bytes) -> GrpcService | None:
        if upstream in kept:
            return kept[upstream]
        found = _read(upstream, context)
        if len(kept) < _KEPT and found is not None:
            kept[upstream] = found
        return found

    return find


def _read(upstream: bytes, context: FactoryContext) -> GrpcService | None:
    message: Any = message_class("envoy.config.core.v3.GrpcService")()  # type: ignore[misc]  # it is there
    try:
        message.ParseFromString(upstream)
    except DecodeError:
        name = upstream.decode("utf-8", "surrogateescape")
        return None if context.find_cluster(name) is None else GrpcService(name)
    if not message.HasField("envoy_grpc"):
        return None
    try:
        return compile_grpc_service(message, context)
    except ConfigError:
        return None
