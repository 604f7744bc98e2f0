"""THE list of extensions: the only module that names concrete ones."""

from __future__ import annotations

from sidecar.config.registry import Registry
from sidecar.extensions.access_loggers.file_config import FileFactory, StderrFactory, StdoutFactory
from sidecar.extensions.access_loggers.log_file import DEFAULT_MIN_FLUSH_BYTES
from sidecar.extensions.http.early_header_mutation_config import EarlyHeaderMutationFactory
from sidecar.extensions.http.grpc_http1_bridge_config import GrpcHttp1BridgeFactory
from sidecar.extensions.http.grpc_web_config import GrpcWebFactory
from sidecar.extensions.http.header_mutation_config import HeaderMutationFactory
from sidecar.extensions.http.lua_config import LuaFactory
from sidecar.extensions.http.original_ip_detection_config import (
    CustomHeaderDetectionFactory,
    XffDetectionFactory,
)
from sidecar.extensions.http.request_id_config import UuidRequestIdFactory
from sidecar.extensions.http.router_config import RouterFactory
from sidecar.extensions.http.wasm_config import WasmFactory
from sidecar.extensions.network.http_connection_manager_config import HttpConnectionManagerFactory

__all__ = ["make_registry"]


def make_registry(*, min_flush_bytes: int = DEFAULT_MIN_FLUSH_BYTES) -> Registry:
    """A fresh registry with every extension of this package.

    ``min_flush_bytes``: what an access log gathers before it is written (``--file-flush-min-size-kb``).
    """
    return Registry(
        [
            HttpConnectionManagerFactory(),
            RouterFactory(),
            HeaderMutationFactory(),
            XffDetectionFactory(),
            UuidRequestIdFactory(),
            EarlyHeaderMutationFactory(),
            CustomHeaderDetectionFactory(),
            LuaFactory(),
            GrpcWebFactory(),
            GrpcHttp1BridgeFactory(),
            WasmFactory(),
            FileFactory(min_flush_bytes=min_flush_bytes),
            StdoutFactory(min_flush_bytes=min_flush_bytes),
            StderrFactory(min_flush_bytes=min_flush_bytes),
        ]
    )
