"""Tells of runtime keys that nothing reads: a misspelt one, or one of Envoy's that means nothing here."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sidecar.core.runtime import Runtime

__all__ = ["UnreadKeys"]

log = logging.getLogger("sidecar.runtime")


class UnreadKeys:
    """Warns once of each key: of a static layer's when the configuration is read, of others in the log."""

    def __init__(self, runtime: Runtime, warn: Callable[[str, str], None]) -> None:
        """``warn(path, reason)``: path of the field from the bootstrap's root."""
        self._runtime = runtime
        self._told = set(runtime.unread())
        for index, layer in enumerate(runtime.layers):
            for key in sorted(self._told & layer.values.keys()):
                warn(f"layered_runtime.layers[{index}]", f"nothing that is configured reads the key '{key}'")
        runtime.followers.append(self._look)

    def _look(self) -> None:
        for key in self._runtime.unread():
            if key not in self._told:
                self._told.add(key)
                log.warning("nothing that is configured reads the runtime key '%s'", key)
