"""The filter ``envoy.filters.http.local_ratelimit``: requests within limits that this proxy keeps itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from time import monotonic
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.rate_limit import Descriptor, Policy, describe
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import ResponseHeaders
from sidecar.extensions.http.local_limiter import Limiter, LimiterSettings, Verdict
from sidecar.router.header_mutation import NO_MUTATIONS, HeaderMutations

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["INCLUDE", "LocalRateLimitFilter", "LocalRateLimitSettings", "LocalRateLimitStats"]

#: ``vh_rate_limits``.
OVERRIDE, INCLUDE, IGNORE = range(3)
#: ``RateLimit.XRateLimitOption``.
_UNSPECIFIED, _DRAFT_03 = 0, 2
_TOO_MANY_REQUESTS = 429
#: Where Envoy keeps a connection's own limiter, whichever filter made it.
_CONNECTION_STATE = "per_connection_local_rate_limiter"


class LocalRateLimitStats:
    """``<stat_prefix>.http_local_rate_limit.``"""

    __slots__ = ("enabled", "enforced", "ok", "rate_limited", "shadow_mode")

    def __init__(self, scope: Any) -> None:
        self.enabled = scope.counter("enabled")
        self.enforced = scope.counter("enforced")
        self.rate_limited = scope.counter("rate_limited")
        self.ok = scope.counter("ok")
        self.shadow_mode = scope.counter("shadow_mode")


@dataclass(frozen=True, slots=True)
class LocalRateLimitSettings:
    """``LocalRateLimit``, of the filter or of a route."""

    limiter: LimiterSettings
    #: Of all requests; a connection's own are made from the settings.
    shared: Limiter
    stats: LocalRateLimitStats
    is_enabled: Callable[[], bool]
    is_enforced: Callable[[], bool]
    status: int = _TOO_MANY_REQUESTS
    grpc_status: int | None = None
    stage: int = 0
    vh_rate_limits: int = OVERRIDE
    #: Its own; None for those of routes.
    rate_limits: tuple[Policy, ...] | None = None
    has_descriptors: bool = False
    is_per_connection: bool = False
    response_headers: HeaderMutations = field(default=NO_MUTATIONS)
    request_headers: HeaderMutations = field(default=NO_MUTATIONS)
    has_x_ratelimit: bool = False
    has_retry_after: bool = False


class LocalRateLimitFilter(HttpFilter):
    """Counts every request by the settings of its route, or else its own."""

    uses_trio = False

    def __init__(self, settings: LocalRateLimitSettings, clock: Callable[[], float] = monotonic) -> None:
        self._settings = settings
        self._clock = clock

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        settings = self._settings
        route = stream.find_route()
        if route is not None:
            settings = route.per_filter_config.get(self.config_name, settings)
        if not settings.is_enabled():
            return None
        stats = settings.stats
        stats.enabled.value += 1
        descriptors = _descriptors(settings, stream) if settings.has_descriptors else ()
        limiter = _of_connection(settings, stream) if settings.is_per_connection else settings.shared
        now = self._clock()
        verdict = limiter.judge(descriptors, now)
        has_headers = (
            settings.has_x_ratelimit
            if verdict.x_ratelimit_option == _UNSPECIFIED
            else verdict.x_ratelimit_option == _DRAFT_03
        )
        if verdict.bucket is not None and has_headers:
            stream.set_slot(self.slot, verdict)
        if verdict.is_allowed:
            stats.ok.value += 1
            return None
        stats.rate_limited.value += 1
        if verdict.is_shadow:
            stats.shadow_mode.value += 1
        if verdict.is_shadow or not settings.is_enforced():
            settings.request_headers.apply(stream.request.headers, stream)
            return None
        stats.enforced.value += 1
        return self._refusal(settings, stream, verdict, now)

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        verdict: Verdict | None = stream.get_slot(self.slot)
        if verdict is not None and verdict.bucket is not None and stream.response is not None:
            bucket, now = verdict.bucket, self._clock()
            headers = stream.response.headers
            headers.add(b"x-ratelimit-limit", b"%d" % bucket.max_tokens)
            headers.add(b"x-ratelimit-remaining", b"%d" % bucket.remaining(now))
            headers.add(b"x-ratelimit-reset", b"%d" % bucket.seconds_until_next(now))
        return None

    def _refusal(
        self, settings: LocalRateLimitSettings, stream: Stream, verdict: Verdict, now: float
    ) -> LocalReply:
        headers = ResponseHeaders(settings.status)
        if settings.response_headers:
            settings.response_headers.apply(headers, stream)
        if (
            settings.has_retry_after
            and settings.status == _TOO_MANY_REQUESTS
            and verdict.bucket is not None
            and b"retry-after" not in headers
        ):
            headers.add(b"retry-after", b"%d" % max(1, verdict.bucket.seconds_until_next(now)))
        return LocalReply(
            settings.status,
            b"local_rate_limited",
            details="local_rate_limited",
            flag=Flag.RATE_LIMITED,
            headers=headers.fields,
            grpc_status=settings.grpc_status,
        )


def _descriptors(settings: LocalRateLimitSettings, stream: Stream) -> list[Descriptor]:
    if settings.rate_limits is not None:
        return describe(settings.rate_limits, stream)
    route = stream.route
    limits = None if route is None else route.rate_limits
    if limits is None:
        return []
    policies = _of_stage(limits.route, settings.stage)
    way = INCLUDE if limits.include_virtual_host else settings.vh_rate_limits
    if way == INCLUDE or (way == OVERRIDE and not limits.route):
        policies += _of_stage(limits.virtual_host, settings.stage)
    # Of a route's, hits_addend and apply_on_stream_done mean nothing here, as in Envoy.
    found = [each.describe(stream, has_hits=False) for each in policies]
    return [each for each in found if each is not None]


def _of_stage(policies: tuple[Policy, ...], stage: int) -> list[Policy]:
    return [each for each in policies if each.stage == stage and not each.disable_key]


def _of_connection(settings: LocalRateLimitSettings, stream: Stream) -> Limiter:
    connection = stream.connection
    state = connection.filter_state
    if state is None:
        state = connection.filter_state = {}
    limiter: Limiter | None = state.get(_CONNECTION_STATE)
    if limiter is None:
        limiter = state[_CONNECTION_STATE] = Limiter(settings.limiter)
    return limiter
