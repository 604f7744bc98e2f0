"""What a request is counted by: descriptors, made of it by ``rate_limits`` (envoy.config.route.v3.RateLimit).

Compiled by :mod:`sidecar.config.compile.rate_limits`, for routes and for filters that have ``rate_limits`` of
their own.  A filter that limits asks for the descriptors of a stream, and counts by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["SKIPPED", "Action", "Descriptor", "Entry", "Override", "Policy", "RateLimits", "describe"]

#: A key and its value.
Entry = tuple[bytes, bytes]
#: An action that adds no entry, and does not keep the others from making a descriptor.
SKIPPED: Entry = (b"", b"")
#: Makes an entry of a stream; None makes the whole descriptor none.
Action = Callable[["Stream"], "Entry | None"]


@dataclass(frozen=True, slots=True)
class Override:
    """A limit that a descriptor brings itself; ``unit``: the number of an ``envoy.type.v3.RateLimitUnit``."""

    requests_per_unit: int
    unit: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a request is counted by, once."""

    entries: tuple[Entry, ...]
    limit: Override | None = None
    #: How much it counts; None for one, or what the filter says.
    hits_addend: int | None = None
    #: Whether these hits are given back.
    is_negative_hits: bool = False
    #: ``RateLimit.XRateLimitOption``: 0 for what the filter says, 1 for off, 2 for draft 03.
    x_ratelimit_option: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """One ``RateLimit``."""

    actions: tuple[Action, ...]
    stage: int = 0
    disable_key: str = ""
    limit: Callable[[Stream], Override | None] | None = None
    #: Makes the number, None where that fails: then there is no descriptor.
    hits_addend: int | Callable[[Stream], int | None] | None = None
    is_negative_hits: bool = False
    apply_on_stream_done: bool = False
    x_ratelimit_option: int = 0

    def describe(self, stream: Stream, *, has_hits: bool = True) -> Descriptor | None:
        """The descriptor of a stream; None where an action has nothing to say."""
        entries: list[Entry] = []
        for action in self.actions:
            entry = action(stream)
            if entry is None:
                return None
            if entry is not SKIPPED:
                entries.append(entry)
        hits = self.hits_addend if has_hits else None
        if hits is not None and not isinstance(hits, int):
            hits = hits(stream)
            if hits is None:
                return None
        limit = None if self.limit is None else self.limit(stream)
        return Descriptor(tuple(entries), limit, hits, self.is_negative_hits, self.x_ratelimit_option)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a route says, and its virtual host."""

    route: tuple[Policy, ...]
    virtual_host: tuple[Policy, ...]
    include_virtual_host: bool = False


def describe(policies: Iterable[Policy], stream: Stream, *, on_stream_done: bool = False) -> list[Descriptor]:
    """The descriptors of ``policies`` for a stream, at its end or before."""
    found = []
    for policy in policies:
        if policy.apply_on_stream_done is on_stream_done:
            descriptor = policy.describe(stream)
            if descriptor is not None:
                found.append(descriptor)
    return found
