"""The filter ``envoy.filters.http.set_metadata``: every request gets the same dynamic metadata."""

from __future__ import annotations

from collections.abc import Awaitable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream

__all__ = ["SetMetadataFilter", "merge"]


class SetMetadataFilter(HttpFilter):
    """Adds its entries: (namespace, fields, whether they go into a namespace that is there).

    Those of ``typed`` are messages as plain data, which are replaced and not merged.
    """

    uses_trio = False

    def __init__(
        self,
        entries: tuple[tuple[str, dict[str, Any], bool], ...],
        typed: tuple[tuple[str, dict[str, Any], bool], ...] = (),
        overwrite_denied: Any = None,
    ) -> None:
        self._entries = entries
        self._typed = typed
        self._overwrite_denied = overwrite_denied

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        for namespace, fields, may_overwrite in self._entries:
            before = stream.dynamic_metadata
            if before is None or namespace not in before:
                stream.metadata_namespace(namespace).update(deepcopy(fields))
            elif may_overwrite:
                merge(before[namespace], fields)
            elif self._overwrite_denied is not None:
                self._overwrite_denied.inc()
        for namespace, message, may_overwrite in self._typed:
            typed = stream.typed_metadata
            if typed is None:
                typed = stream.typed_metadata = {}
            if namespace not in typed or may_overwrite:
                typed[namespace] = message
            elif self._overwrite_denied is not None:
                self._overwrite_denied.inc()
        return None


def merge(into: dict[str, Any], fields: dict[str, Any]) -> None:
    """As Envoy merges structs: lists are joined, structs merged, anything else is replaced."""
    for key, value in fields.items():
        before = into.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merge(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            before.extend(deepcopy(value))
        else:
            into[key] = deepcopy(value)
