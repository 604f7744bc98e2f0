"""A token bucket (``envoy.type.v3.TokenBucket``): filled little by little, as Envoy's atomic one."""

from __future__ import annotations

from math import ceil

__all__ = ["TokenBucket"]

#: So much may a sum of floats be beside the truth.
_EPSILON_S = 1e-9


class TokenBucket:
    """It begins full, and gains ``tokens_per_fill`` in every ``fill_interval_s`` at an even pace."""

    __slots__ = ("_full", "_rate", "_since", "max_tokens")

    def __init__(self, max_tokens: int, tokens_per_fill: int, fill_interval_s: float) -> None:
        self.max_tokens = max_tokens
        self._rate = tokens_per_fill / fill_interval_s
        #: Seconds that it takes to fill the empty bucket.
        self._full = max_tokens / self._rate
        self._begin()

    def _begin(self) -> None:
        #: The moment at which the bucket would have been empty.
        self._since = float("-inf")

    def take(self, now: float, tokens: int = 1) -> bool:
        """Take ``tokens`` at the moment ``now``; False when there are not so many."""
        since = max(self._since, now - self._full)
        after = since + tokens / self._rate
        if after > now + _EPSILON_S:
            return False
        self._since = after
        return True

    def give_back(self, now: float, tokens: int) -> None:
        """Put ``tokens`` in, as far as there is room."""
        since = max(self._since, now - self._full)
        self._since = max(since - tokens / self._rate, now - self._full)

    def remaining(self, now: float) -> int:
        """Whole tokens that are there."""
        return int((now - max(self._since, now - self._full) + _EPSILON_S) * self._rate)

    def seconds_until_next(self, now: float) -> int:
        """Whole seconds, rounded up, until there is a token; 0 where there is one."""
        wait = max(self._since, now - self._full) + 1 / self._rate - now
        return max(0, ceil(wait - _EPSILON_S))
