"""Streams that a client resets: what they are called in the log, and when they are too many.

Made by :mod:`sidecar.http.h2_driver` at a connection's first reset.  Two limits hold side by side: nghttp2's
on the rate of resets, which Envoy configures, and Envoy's on resets before an answer (CVE-2023-44487;
``overload.premature_reset_*`` of its runtime).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from sidecar.api.stream import Flag
from sidecar.codec.h2_flood import ResetLimit
from sidecar.codec.h2_types import ErrorCode, H2ConnectionError

if TYPE_CHECKING:
    from sidecar.http.connection_manager import ConnectionManager

__all__ = ["PREMATURE_RESET_AGE_NS", "REMOTE_RESETS", "ResetGuard"]

#: A reset of a stream that is answered or this old is not premature.
PREMATURE_RESET_AGE_NS = 2_000_000_000
#: A client may reset half of its streams prematurely, and so many in any case.
_PREMATURE_RESET_STREAMS = 500
#: By the code of a client's RST_STREAM: details and flag of its stream (seen on Envoy 1.40).
REMOTE_RESETS: dict[int, tuple[str, Flag]] = {
    ErrorCode.REFUSED_STREAM: ("http2.remote_refuse", Flag.DOWNSTREAM_REMOTE_RESET),
}


class ResetGuard:
    """One connection's resets."""

    __slots__ = ("_limit", "_manager", "_premature_count")

    def __init__(self, manager: ConnectionManager) -> None:
        self._manager = manager
        self._limit = ResetLimit(manager.http2_settings, monotonic())
        self._premature_count = 0

    def count(self, ended_count: int, *, is_premature: bool) -> None:
        """The client reset a stream; ``ended_count`` streams are over.  Raises: H2ConnectionError."""
        self._limit.count(monotonic())
        if not is_premature:
            return
        self._premature_count += 1
        if self._premature_count * 2 >= max(ended_count, _PREMATURE_RESET_STREAMS):
            self._manager.stats.downstream_rq_too_many_premature_resets.value += 1
            raise H2ConnectionError("too many resets", ErrorCode.ENHANCE_YOUR_CALM, is_silent=True)
