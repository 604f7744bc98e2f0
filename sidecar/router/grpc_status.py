"""How a call of gRPC ended, and what stands for that where the peer said nothing of it.

``source/common/grpc/async_client_impl.cc``, ``source/common/grpc/common.cc``;
https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass
from sidecar.http.local_reply import grpc_status_of

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap

__all__ = [
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "INVALID_CODE",
    "OK",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",
    "GrpcStatus",
    "grpc_status_of",
    "status_in",
]

OK = 0
CANCELLED = 1
UNKNOWN = 2
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
INTERNAL = 13
UNAVAILABLE = 14
#: A ``grpc-status`` that is none.
INVALID_CODE = -1
_MOST = 16


@dataclass(frozen=True, slots=True)
class GrpcStatus:
    """``grpc-status`` and ``grpc-message``, the latter as it was sent."""

    code: int
    message: bytes = b""

    @property
    def is_ok(self) -> bool:
        """Whether the call was good."""
        return self.code == OK


def status_in(fields: HeaderMap) -> GrpcStatus | None:
    """What trailers, or a head without anything behind it, say; None where they say nothing."""
    text = fields.get(b"grpc-status")
    if not text:
        return None
    code = int(text) if text.isdigit() and len(text) < 10 else INVALID_CODE
    return GrpcStatus(code if code <= _MOST else INVALID_CODE, fields.get(b"grpc-message") or b"")
