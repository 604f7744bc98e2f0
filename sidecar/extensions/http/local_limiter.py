"""Buckets of tokens for descriptors: those that are configured, and those that come with values.

envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor.  An entry without a value stands for any: each
value has a bucket of its own then, as long as it is among those that were used last.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.api.rate_limit import Descriptor, Entry
from sidecar.core.dataclass import dataclass
from sidecar.core.shared_buckets import SharedBucketTable, make_bucket
from sidecar.core.shared_memory import SharedMemory
from sidecar.core.token_bucket import TokenBucket

__all__ = ["BucketSettings", "Limiter", "LimiterSettings", "Verdict"]

Entries = tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """``envoy.type.v3.TokenBucket``."""

    max_tokens: int
    tokens_per_fill: int
    fill_interval_s: float
    #: Whether what it refuses passes all the same.
    shadow_mode: bool = False

    def make(self, memory: SharedMemory | None = None, key: str = "") -> TokenBucket:
        """A full one, or that of all processes that make one of this key."""
        return make_bucket(memory, f"{key} {self}", *self.sizes)

    @property
    def sizes(self) -> tuple[int, int, float]:
        """What a bucket is made of."""
        return self.max_tokens, self.tokens_per_fill, self.fill_interval_s

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens_per_fill / self.fill_interval_s


@dataclass(frozen=True, slots=True)
class LimiterSettings:
    """What a limiter is made of."""

    #: None for none: what no descriptor is for passes.
    default: BucketSettings | None
    fixed: dict[Entries, BucketSettings]
    #: With entries that stand for any value.
    wild: tuple[tuple[Entries, BucketSettings], ...] = ()
    always_consume_default: bool = True
    max_dynamic_descriptors: int = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request may pass, and the bucket that decided or comes nearest to it."""

    is_allowed: bool
    bucket: TokenBucket | None
    #: Of the descriptor.
    x_ratelimit_option: int = 0
    #: Whether the bucket that refuses it is one that only shows what it would do.
    is_shadow: bool = False


class _Wild:
    """The buckets of one descriptor with entries that stand for any value."""

    __slots__ = ("_buckets", "_entries", "_most", "_table", "settings")

    def __init__(
        self, entries: Entries, settings: BucketSettings, most: int, table: SharedBucketTable | None
    ) -> None:
        #: Of all processes, in the place of ``_buckets``.
        self._table = table
        self._entries = entries
        self._most = most
        self._buckets: dict[Entries, TokenBucket] = {}
        self.settings = settings

    def bucket(self, entries: Entries, now: float) -> TokenBucket | None:
        """The bucket for these values; None where the descriptor is another."""
        if len(entries) != len(self._entries):
            return None
        for (key, value), (wanted, fixed) in zip(entries, self._entries, strict=True):
            if key != wanted or (fixed and value != fixed):
                return None
        if self._table is not None:
            return self._table.bucket(entries, now, self.settings.sizes)
        buckets = self._buckets
        bucket = buckets.pop(entries, None)
        if bucket is None:
            bucket = self.settings.make()
        buckets[entries] = bucket
        if len(buckets) > self._most:
            del buckets[next(iter(buckets))]
        return bucket


class Limiter:
    """The buckets of one filter, of one route, or of one connection.

    The first two are those of all processes, in a ``memory`` where ``key`` names their place.
    """

    __slots__ = ("_always_consume_default", "_default", "_denies", "_fixed", "_wild")

    def __init__(self, settings: LimiterSettings, memory: SharedMemory | None = None, key: str = "") -> None:
        default = settings.default
        self._denies = default is not None and not default.max_tokens
        self._default = None if default is None or self._denies else default.make(memory, key)
        self._fixed = {
            entries: (each.make(memory, f"{key} {entries}"), each) for entries, each in settings.fixed.items()
        }
        most = settings.max_dynamic_descriptors
        self._wild = [
            _Wild(entries, each, most, SharedBucketTable.make(memory, f"{key} {entries} {each} {most}", most))
            for entries, each in settings.wild
        ]
        self._always_consume_default = settings.always_consume_default

    def judge(self, descriptors: Sequence[Descriptor], now: float) -> Verdict:
        """Take tokens for a request: of the slowest bucket first, of the default one last."""
        default = self._default
        if not descriptors:
            if self._denies:
                return Verdict(False, None)
            return Verdict(default is None or default.take(now), default)
        matched = self._matched(descriptors, now)
        for bucket, settings, descriptor in matched:
            hits = 1 if descriptor.hits_addend is None else descriptor.hits_addend
            if descriptor.is_negative_hits and descriptor.hits_addend is not None:
                bucket.give_back(now, hits)
            elif not hits or not bucket.take(now, hits):  # to take none is refused, as in Envoy
                return Verdict(False, bucket, descriptor.x_ratelimit_option, settings.shadow_mode)
        if not matched or self._always_consume_default:
            if self._denies:
                return Verdict(False, None)
            if default is not None and not default.take(now):
                return Verdict(False, default)
        if matched:
            return Verdict(True, matched[0][0], matched[0][2].x_ratelimit_option)
        return Verdict(True, default)

    def _matched(
        self, descriptors: Sequence[Descriptor], now: float
    ) -> list[tuple[TokenBucket, BucketSettings, Descriptor]]:
        found: list[tuple[TokenBucket, BucketSettings, Descriptor]] = []
        for descriptor in descriptors:
            entries = descriptor.entries
            fixed = self._fixed.get(entries)
            if fixed is not None:
                found.append((*fixed, descriptor))
                continue
            for wild in self._wild:
                bucket = wild.bucket(entries, now)
                if bucket is not None:
                    found.append((bucket, wild.settings, descriptor))
                    break
        if len(found) > 1:
            found.sort(key=lambda each: each[1].rate)
        return found
