"""Contexts: whom a call into the guest is for, and how those of streams and connections end.

Spec: proxy-wasm 0.2.1, "Context lifecycle".
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from wasm_abi.plugin import Plugin
    from wasm_abi.roles import HttpStreamHost, PluginHost


class Context:
    """Whom a call into the guest is for: the VM, a plugin (root context), a stream or a connection.

    ``open_maps`` has bit n set while the guest may use header map n, ``open_buffers`` likewise. ``stream`` of
    a connection is a ``TcpStreamHost``, whose maps are never open.
    """

    __slots__ = ("host", "id", "is_logging", "open_buffers", "open_maps", "plugin", "stream")

    #: Whether there can be an HTTP stream, which can be answered and routed.
    is_http: ClassVar[bool] = True

    def __init__(
        self,
        number: int,
        host: "PluginHost",
        plugin: "Plugin | None" = None,
        stream: "HttpStreamHost | None" = None,
    ) -> None:
        self.id = number
        self.host = host
        self.plugin = plugin
        self.stream = stream
        self.is_logging = False
        self.open_maps = 0
        self.open_buffers = 0


class EndingContext(Context):
    """The context of a stream or a connection, which ends with on_done, on_log, on_delete."""

    __slots__ = ()

    def _entry(self, name: str) -> "Callable[..., int] | None":
        """The way into a callback that few streams need: it is made when it is asked for."""
        plugin = self.plugin
        assert plugin is not None
        return plugin.vm.entry(name)

    def on_done(self) -> bool:
        """True when the guest has finished with the stream. Nothing in a failed VM. Raises: WasmTrap."""
        plugin = self.plugin
        assert plugin is not None
        entry = plugin.done
        if entry is None or plugin.vm.failure is not None:
            return True
        return bool(entry(self))

    def on_log(self) -> None:
        """Maps that are gone read as empty during this one. Nothing in a failed VM. Raises: WasmTrap."""
        plugin = self.plugin
        assert plugin is not None
        entry = plugin.log
        if entry is None or plugin.vm.failure is not None:
            return
        self.is_logging = True
        try:
            entry(self)
        finally:
            self.is_logging = False

    def on_delete(self) -> None:
        """The last call: the context is gone afterwards. Raises: WasmTrap."""
        plugin = self.plugin
        assert plugin is not None
        vm = plugin.vm
        if vm.contexts.pop(self.id, None) is not None and vm.failure is None and plugin.delete is not None:
            plugin.delete(self)

    def end(self) -> None:
        """on_done and on_delete. Raises: WasmTrap."""
        plugin = self.plugin
        assert plugin is not None
        vm = plugin.vm
        if plugin.done is not None and vm.failure is None:
            plugin.done(self)
        if vm.contexts.pop(self.id, None) is not None and vm.failure is None and plugin.delete is not None:
            plugin.delete(self)

    def finish(self) -> None:
        """on_done, on_log and on_delete in order. Raises: WasmTrap."""
        self.on_done()
        self.on_log()
        self.on_delete()
