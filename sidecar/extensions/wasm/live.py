"""A plugin as its users hold it: there, still to come, or failed.

Code that is fetched comes after the configuration was read, and a VM that failed may be replaced; whoever
uses a plugin keeps a :class:`LivePlugin` and asks it each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.extensions.http.wasm_host import PluginSide
    from wasm_abi import Plugin

__all__ = ["LivePlugin"]


class LivePlugin:
    """A plugin and its side; None while its code is fetched, and when that failed.

    ``reload`` gives a new plugin or None while it has to wait; None itself where the policy is not to.
    """

    __slots__ = (
        "fail_open",
        "has_body",
        "has_metadata",
        "has_response",
        "make",
        "plugin",
        "reload",
        "side",
        "traps_open",
    )

    def __init__(
        self,
        plugin: Plugin | None = None,
        side: PluginSide | None = None,
        *,
        fail_open: bool = False,
        traps_open: bool = False,
        reload: Callable[[], tuple[Plugin, PluginSide] | None] | None = None,
    ) -> None:
        #: What is to come goes on without a plugin that failed.
        self.fail_open = fail_open
        #: So does what it fails over.  In Envoy that is what the older ``fail_open`` means alone.
        self.traps_open = traps_open
        self.reload = reload
        #: Makes a plugin in a VM of its own, where each stream gets one; ``plugin`` then serves none.
        self.make: Callable[[], tuple[Plugin, PluginSide]] | None = None
        self.plugin: Plugin | None = None
        self.side: PluginSide | None = None
        #: Whether the guest looks at bodies or trailers: of requests, of responses.
        self.has_body = (False, False)
        #: Whether it is told of METADATA.
        self.has_metadata = False
        #: Whether it looks at responses at all.
        self.has_response = False
        if plugin is not None and side is not None:
            self.use(plugin, side)

    def use(self, plugin: Plugin, side: PluginSide) -> None:
        """From now on it is this one."""
        self.plugin = plugin
        self.side = side
        side.revive = self.revive
        self.has_body = (
            plugin.exports_request_body or plugin.exports_request_trailers,
            plugin.exports_response_body or plugin.exports_response_trailers,
        )
        self.has_metadata = plugin.exports_metadata
        self.has_response = plugin.exports_response_headers or self.has_body[1]

    def revive(self) -> bool:
        """Whether the plugin can be called, after a reload if need be."""
        if self.plugin is None:
            return False
        if self.plugin.vm.failure is None:
            return True
        fresh = None if self.reload is None else self.reload()
        if fresh is None:
            return False
        self.use(*fresh)
        return True
