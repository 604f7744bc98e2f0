"""A TCP connection as a guest sees it.

``Plugin.create_connection`` makes one. Order: create, on_new_connection, data in either direction, the
closes, on_done, on_log, on_delete. As in Envoy the bytes of a direction are open to the guest from their
callback on,
until a callback for them returns CONTINUE; what a guest stops it sees again, with what has come since.

Spec: proxy-wasm 0.2.1, "TCP streams".
"""

from typing import TYPE_CHECKING, ClassVar, cast

from wasm_abi.abi import BufferType, NetworkAction, PeerType
from wasm_abi.context import EndingContext
from wasm_abi.roles import HttpStreamHost, TcpStreamHost

if TYPE_CHECKING:
    from wasm_abi.plugin import Plugin

_ACTIONS = tuple(NetworkAction)
_DOWNSTREAM_DATA = 1 << BufferType.DOWNSTREAM_DATA
_UPSTREAM_DATA = 1 << BufferType.UPSTREAM_DATA


class TcpContext(EndingContext):
    """One connection. For what is raised, and when what a guest asks for happens, see ``StreamContext``."""

    __slots__ = ()

    is_http: ClassVar[bool] = False

    def __init__(self, plugin: "Plugin", host: TcpStreamHost) -> None:
        stream = cast(HttpStreamHost, host)  # what only that one has needs an open map, or is_http
        super().__init__(plugin.vm.new_context_id(), plugin.host, plugin, stream)

    def on_new_connection(self) -> NetworkAction:
        entry = self._entry("proxy_on_new_connection")
        return _ACTIONS[0] if entry is None else _ACTIONS[bool(entry(self))]

    def on_downstream_data(self, size: int, end_of_stream: bool) -> NetworkAction:
        return self._on_data("proxy_on_downstream_data", _DOWNSTREAM_DATA, size, end_of_stream)

    def on_upstream_data(self, size: int, end_of_stream: bool) -> NetworkAction:
        return self._on_data("proxy_on_upstream_data", _UPSTREAM_DATA, size, end_of_stream)

    def _on_data(self, name: str, bit: int, size: int, end_of_stream: bool) -> NetworkAction:
        entry = self._entry(name)
        if entry is None:
            return _ACTIONS[0]
        self.open_buffers |= bit
        result = entry(self, size, end_of_stream)
        if not result:
            self.open_buffers &= ~bit
        return _ACTIONS[bool(result)]

    def on_downstream_close(self, peer: PeerType) -> None:
        """Nothing in a failed VM. Raises: WasmTrap."""
        self._on_close("proxy_on_downstream_connection_close", peer)

    def on_upstream_close(self, peer: PeerType) -> None:
        """Nothing in a failed VM. Raises: WasmTrap."""
        self._on_close("proxy_on_upstream_connection_close", peer)

    def _on_close(self, name: str, peer: PeerType) -> None:
        plugin = self.plugin
        assert plugin is not None
        entry = self._entry(name) if plugin.vm.failure is None else None
        if entry is not None:
            entry(self, peer)
