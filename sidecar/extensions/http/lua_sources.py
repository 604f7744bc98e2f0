"""The scripts of a process by their text: one state for all the places that say the same.

Envoy makes a state for each place (and worker), so memory grows with routes; here globals are shared by all
places whose script has the same text (docs/envoy-differences.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.extensions.http.lua_script import ScriptOptions, Source

__all__ = ["Sources"]

_Key = tuple[bytes, ScriptOptions]


class Sources:
    """Scripts in use, and how often."""

    def __init__(self) -> None:
        self._kept: dict[_Key, tuple[Source, int]] = {}

    def get(self, code: bytes, vm_count: Any, options: ScriptOptions) -> tuple[Source, Callable[[], None]]:
        """The script, and what gives it back.  Raises: LuaError (with ``line``)."""
        key = (code, options)
        source, uses = self._kept.get(key, (None, 0))
        if source is None:
            source = Source(code, options)
            vm_count.inc()
        self._kept[key] = source, uses + 1

        def release() -> None:
            kept, uses = self._kept[key]
            if uses > 1:
                self._kept[key] = kept, uses - 1
            else:
                del self._kept[key]
                vm_count.dec()

        return source, release
