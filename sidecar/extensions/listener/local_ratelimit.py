"""The listener filter that closes connections beyond a rate."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from sidecar.api.listener_filter import CLOSE, DONE, Inspection
from sidecar.core.token_bucket import TokenBucket

__all__ = ["LocalRateLimit"]


class LocalRateLimit:
    """``envoy.filters.listener.local_ratelimit``."""

    def __init__(self, bucket: TokenBucket, stats: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """``stats`` is the scope ``listener_local_ratelimit.<stat_prefix>.``."""
        self._bucket = bucket
        self._rate_limited = stats.counter("rate_limited")
        self._clock = clock

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        if self._bucket.take(self._clock()):
            return DONE
        self._rate_limited.value += 1
        return CLOSE
