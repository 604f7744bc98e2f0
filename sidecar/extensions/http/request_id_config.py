"""``envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig``: what an id has to do with tracing."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.core.dataclass import dataclass

__all__ = ["RequestIdOptions", "UuidRequestIdFactory"]


@dataclass(frozen=True, slots=True)
class RequestIdOptions:
    """The fields of the message; without tracing neither means anything."""

    pack_trace_reason: bool = True
    use_request_id_for_trace_sampling: bool = True


class UuidRequestIdFactory:
    """``envoy.request_id.uuid``: the ids of :class:`sidecar.http.request_headers.RequestIds`."""

    name = "envoy.request_id.uuid"
    category = "envoy.request_id"
    config_type = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

    def compile(self, message: Any, context: FactoryContext) -> RequestIdOptions:
        """What the message says."""
        return RequestIdOptions(
            *(
                getattr(message, name).value if message.HasField(name) else True
                for name in ("pack_trace_reason", "use_request_id_for_trace_sampling")
            )
        )
