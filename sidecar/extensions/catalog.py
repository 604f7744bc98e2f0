"""THE list of extensions: the only module that names concrete ones."""

from __future__ import annotations

from sidecar.config.registry import Registry
from sidecar.extensions.access_loggers.file_config import FileFactory, StderrFactory, StdoutFactory
from sidecar.extensions.http.lua_config import LuaFactory
from sidecar.extensions.http.router_config import RouterFactory
from sidecar.extensions.http.wasm_config import WasmFactory
from sidecar.extensions.network.http_connection_manager_config import HttpConnectionManagerFactory

__all__ = ["make_registry"]


def make_registry() -> Registry:
    """A fresh registry with every extension of this package."""
    return Registry(
        [
            HttpConnectionManagerFactory(),
            RouterFactory(),
            LuaFactory(),
            WasmFactory(),
            FileFactory(),
            StdoutFactory(),
            StderrFactory(),
        ]
    )
