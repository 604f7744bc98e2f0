"""A request body kept for a second time: for redirects that are followed inside, and for retries."""

from __future__ import annotations

from sidecar.observability.stats import Counter

__all__ = ["ReplayBuffer"]


class ReplayBuffer:
    """The pieces of a body as they go by, as long as they are no more than ``limit_bytes`` together."""

    __slots__ = ("_abandoned", "_chunks", "_limit", "is_lost", "size")

    def __init__(self, limit_bytes: int, abandoned: Counter) -> None:
        """``abandoned`` counts bodies that are too long (``retry_or_shadow_abandoned`` of the cluster)."""
        self._limit = limit_bytes
        self._abandoned = abandoned
        self._chunks: list[bytes] = []
        #: Bytes that are kept.
        self.size = 0
        #: The body was too long: there is nothing to send again.
        self.is_lost = False

    def keep(self, data: bytes) -> None:
        """Keep another piece."""
        if self.is_lost:
            return
        self.size += len(data)
        if self.size > self._limit:
            self.is_lost = True
            self._abandoned.value += 1
            self._chunks.clear()
            self.size = 0
        else:
            self._chunks.append(data)

    def chunks(self) -> list[bytes]:
        """The pieces kept so far."""
        return list(self._chunks)

    def whole(self) -> bytes:
        """All that was kept."""
        return b"".join(self._chunks)
