"""``envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig``.

Both of its options are about tracing: without it Envoy neither writes the reason of a trace into an id nor
reads one from it, whatever they say.
"""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext

__all__ = ["UuidRequestIdFactory"]


class UuidRequestIdFactory:
    """``envoy.request_id.uuid``: the ids that there are."""

    name = "envoy.request_id.uuid"
    category = "envoy.request_id"
    config_type = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

    def compile(self, message: Any, context: FactoryContext) -> None:
        """Nothing besides :class:`sidecar.http.request_headers.RequestIds`."""
