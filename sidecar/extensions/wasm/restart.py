"""A fresh VM after a trap: at once, unless VM after VM ends without having been of use.

What fails in a guest ends with the VM it fails in, and with what was under way there; the next stream starts
a new one.  A VM that ended within its first few calls was of no use; some of these in a row, or a guest that
does not start, are a crash loop, which is given a pause that doubles as long as it goes on.  Meanwhile
streams fail, or go on, as the policy says.  (Envoy's ``FAIL_RELOAD`` is its own:
:mod:`sidecar.extensions.wasm.plugin_config`.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wasm_abi import WasmError

if TYPE_CHECKING:
    from sidecar.extensions.http.wasm_host import PluginSide
    from wasm_abi import Plugin

__all__ = ["Restart"]

logger = logging.getLogger("sidecar.wasm")

#: Calls into the guest after its start that it takes to have been of use: more than a context and a callback.
_USEFUL_CALLS = 3
#: Useless VMs in a row before the first pause.
_FREE_RESTARTS = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


def _report(name: str, error: WasmError) -> None:
    logger.error("plugin %s could not be started again: %s", name, error)


class Restart:
    """Starts a plugin again for whoever asks first after a failure (``LivePlugin.reload``)."""

    def __init__(
        self,
        start: Callable[[], tuple[Plugin, PluginSide]],
        name: str,
        store: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._name = name
        self._store = store
        self._clock = clock
        self._useless = 0
        self._pause_s = 0.0
        self._not_before_s = 0.0
        #: The plugin that runs now, and how often its guest had been called when it was started.
        self._plugin: Plugin | None = None
        self._calls = 0

    def watch(self, plugin: Plugin) -> None:
        """This one runs now."""
        self._plugin = plugin
        self._calls = plugin.vm.serial

    def __call__(self) -> tuple[Plugin, PluginSide] | None:
        now = self._clock()
        plugin, self._plugin = self._plugin, None
        if plugin is not None:
            self._judge(plugin.vm.serial - self._calls >= _USEFUL_CALLS, now)
        if now < self._not_before_s:
            self._count("vm_restart_paused")
            return None
        try:
            fresh = self._start()
        except WasmError as error:
            _report(self._name, error)
            self._useless = max(self._useless, _FREE_RESTARTS)
            self._judge(False, now)
            self._count("vm_restart_failure")
            return None
        self._count("vm_restart_success")
        self.watch(fresh[0])
        return fresh

    def _judge(self, was_useful: bool, now: float) -> None:
        """Take down how the last VM ended."""
        if was_useful:
            self._useless, self._pause_s, self._not_before_s = 0, 0.0, 0.0
            return
        self._useless += 1
        if self._useless > _FREE_RESTARTS:
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            self._not_before_s = now + self._pause_s
            logger.error(
                "plugin %s fails again and again: it is started again in %g s", self._name, self._pause_s
            )

    def _count(self, kind: str) -> None:
        # Made when first needed: a plugin that never fails has Envoy's stats alone.
        name = f"wasm.{self._name}" if self._name else "wasm"
        self._store.counter(f"{name}.{kind}").inc()
