"""The filter ``envoy.filters.http.ratelimit``: a service counts requests, and says which are too many.

``source/extensions/filters/http/ratelimit/ratelimit.cc``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.rate_limit import Descriptor, Policy, RateLimits, describe
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import Field, ResponseHeaders
from sidecar.extensions.http.header_edits import invalid_field, unsendable_reply
from sidecar.extensions.ratelimit.service_messages import (
    ERROR,
    OVER_LIMIT,
    SHOULD_RATE_LIMIT,
    LimitAnswer,
    LimitStatus,
    answer_of,
    question,
)

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.observability.span import Span
    from sidecar.router.grpc_client import GrpcClient, GrpcUnaryCall
    from sidecar.router.header_mutation import HeaderMutations

__all__ = ["IGNORE", "INCLUDE", "OVERRIDE", "RateLimitFilter", "RateLimitSettings", "RouteRateLimit"]

#: ``RateLimitPerRoute.VhRateLimitsOptions``.
OVERRIDE, INCLUDE, IGNORE = range(3)
#: ``RateLimit.XRateLimitOption.DRAFT_VERSION_03``.
_DRAFT = 2
_HITS_ADDEND = "envoy.ratelimit.hits_addend"
_NO_LIMITS = RateLimits((), ())


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """The filter's message."""

    domain: str
    stage: int = 0
    #: Whether a request is of the kind that is meant: internal ones, external ones, both.
    internal: bool = True
    external: bool = True
    #: Whether a request fails with the service.
    failure_mode_deny: Callable[[], bool] | None = None
    grpc_status: int | None = None
    enable_x_ratelimit_headers: bool = False
    enable_retry_after_header: bool = False
    disable_x_envoy_ratelimited_header: bool = False
    rate_limited_status: int = 429
    response_headers_to_add: HeaderMutations | None = None
    status_on_error: int = 500
    stat_prefix: str = ""
    filter_enabled: Callable[[], bool] | None = None
    filter_enforced: Callable[[], bool] | None = None
    #: In place of those of routes and virtual hosts; None for theirs.
    rate_limits: tuple[Policy, ...] | None = None
    metadata_namespace: str = "envoy.filters.http.ratelimit"


@dataclass(frozen=True, slots=True)
class RouteRateLimit:
    """``RateLimitPerRoute``."""

    vh_rate_limits: int = OVERRIDE
    rate_limits: tuple[Policy, ...] | None = None
    domain: str = ""


@dataclass(slots=True)
class _Asked:
    """What the filter knows of a stream that it has seen."""

    route: Any
    cluster: Any
    #: For the client, once there is an answer.
    headers: list[Field]


_NO_ROUTE = RouteRateLimit()


class RateLimitFilter(HttpFilter):
    """Asks about the descriptors of each request, at its start or at its end."""

    uses_trio = False

    def __init__(
        self, settings: RateLimitSettings, client: GrpcClient, find_cluster: Callable[[str], Any]
    ) -> None:
        self._settings = settings
        self._client = client
        self._find_cluster = find_cluster

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        settings = self._settings
        if settings.filter_enabled is not None and not settings.filter_enabled():
            return None
        route = stream.find_route()
        if route is None or not route.is_forwarding:
            return None
        cluster = self._find_cluster(route.cluster_name)
        if cluster is None:
            return None
        is_internal = stream.request.headers.get(b"x-envoy-internal") == b"true"
        asked = _Asked(route, cluster, [])
        stream.set_slot(self.slot, asked)
        if not (settings.internal if is_internal else settings.external):
            return None
        descriptors = self._descriptors(stream, asked, on_stream_done=False)
        return self._ask(stream, asked, descriptors) if descriptors else None

    def _descriptors(self, stream: Stream, asked: _Asked, *, on_stream_done: bool) -> list[Descriptor]:
        settings = self._settings
        of_route = self._of_route(asked)
        own = settings.rate_limits if of_route.rate_limits is None else of_route.rate_limits
        if own is not None:
            return describe(own, stream, on_stream_done=on_stream_done)
        limits: RateLimits = asked.route.rate_limits or _NO_LIMITS
        policies = limits.route
        option = INCLUDE if limits.include_virtual_host else of_route.vh_rate_limits
        if option == INCLUDE or (option == OVERRIDE and not policies):
            policies = (*policies, *limits.virtual_host)
        found = []
        for each in policies:
            if each.apply_on_stream_done is on_stream_done and each.stage == settings.stage:
                made = each.describe(stream, has_hits=False)  # they count once, as in Envoy
                if made is not None:
                    found.append(made)
        return found

    def _of_route(self, asked: _Asked) -> RouteRateLimit:
        found: RouteRateLimit = asked.route.per_filter_config.get(self.config_name, _NO_ROUTE)
        return found

    def _question(self, stream: Stream, asked: _Asked, descriptors: list[Descriptor]) -> bytes:
        domain = self._of_route(asked).domain or self._settings.domain
        return question(domain, descriptors, _hits_addend(stream))

    async def _ask(self, stream: Stream, asked: _Asked, descriptors: list[Descriptor]) -> LocalReply | None:
        asking = self._question(stream, asked, descriptors)
        call = self._client.call(SHOULD_RATE_LIMIT, asking, parent=stream, describe=_describe)
        try:
            status = await call.outcome()
        finally:
            call.cancel()  # where it is not over
        is_good = status.is_ok and call.message is not None
        answer = answer_of(call.message or b"") if is_good else LimitAnswer()
        return self._decide(stream, asked, answer, descriptors)

    def _decide(
        self, stream: Stream, asked: _Asked, answer: LimitAnswer, descriptors: list[Descriptor]
    ) -> LocalReply | None:
        settings = self._settings
        if answer.metadata:
            stream.metadata_namespace(settings.metadata_namespace).update(answer.metadata)
        headers = asked.headers = list(answer.response_headers)
        is_over = answer.verdict == OVER_LIMIT
        if is_over:
            self._count(asked, "over_limit")
            asked.cluster.stats.charge_response(settings.rate_limited_status, True)
            if not settings.disable_x_envoy_ratelimited_header:
                headers.append((b"x-envoy-ratelimited", b"true"))
        else:
            self._count(asked, "error" if answer.verdict == ERROR else "ok")
        headers += self._limit_headers(answer.statuses, descriptors)
        if is_over and (settings.filter_enforced is None or settings.filter_enforced()):
            return self._refusal(stream, asked, answer)
        if answer.verdict == ERROR:
            denies = settings.failure_mode_deny
            if denies is not None and denies():
                return LocalReply(
                    settings.status_on_error,
                    answer.body,
                    details="rate_limiter_error",
                    flag=Flag.RATE_LIMIT_SERVICE_ERROR,
                )
            self._count(asked, "failure_mode_allowed")
        for name, value in answer.request_headers:
            stream.request.headers.append(name, value)
        return _unsendable(answer.request_headers)

    def _refusal(self, stream: Stream, asked: _Asked, answer: LimitAnswer) -> LocalReply:
        settings = self._settings
        headers, asked.headers = asked.headers, []
        if settings.enable_retry_after_header:
            resets = [each.reset_s for each in answer.statuses if each.is_over]
            if resets:
                headers.append((b"retry-after", b"%d" % max(1, *resets)))
        headers = _sendable(headers)
        if settings.response_headers_to_add is not None:
            made = ResponseHeaders(settings.rate_limited_status, headers)
            settings.response_headers_to_add.apply(made, stream)
            headers = made.fields
        return LocalReply(
            settings.rate_limited_status,
            answer.body,
            details="request_rate_limited",
            flag=Flag.RATE_LIMITED,
            headers=headers,
            grpc_status=settings.grpc_status,
        )

    def _limit_headers(self, statuses: list[LimitStatus], descriptors: list[Descriptor]) -> list[Field]:
        """``x-ratelimit-*`` of the descriptor with the least left, with the policy of all that are shown."""
        shown: list[LimitStatus] = []
        least: LimitStatus | None = None
        for number, each in enumerate(statuses):
            if each.limit is None:
                continue
            if least is None or each.remaining < least.remaining:
                least = each
            option = descriptors[number].x_ratelimit_option if number < len(descriptors) else 0
            if option == _DRAFT if option else self._settings.enable_x_ratelimit_headers:
                shown.append(each)
        if least is None or not any(each is least for each in shown):
            return []
        assert least.limit is not None
        text = str(least.limit[0])
        for each in shown:
            assert each.limit is not None
            requests, window, name = each.limit
            if window:
                text += f", {requests};w={window}" + (f';name="{name}"' if name else "")
        return [
            (b"x-ratelimit-limit", text.encode()),
            (b"x-ratelimit-remaining", b"%d" % least.remaining),
            (b"x-ratelimit-reset", b"%d" % least.reset_s),
        ]

    def _count(self, asked: _Asked, name: str) -> None:
        prefix = self._settings.stat_prefix
        full = f"ratelimit.{prefix}.{name}" if prefix else f"ratelimit.{name}"
        asked.cluster.stats.scope.counter(full).value += 1

    # -- the response, and the end ------------------------------------------------------------
    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        asked: _Asked | None = stream.get_slot(self.slot)
        if asked is not None and asked.headers and stream.response is not None:
            headers = stream.response.headers
            for name, value in _sendable(asked.headers):
                headers.append(name, value)
            asked.headers = []
        return None

    def on_complete(self, stream: Stream) -> None:
        asked: _Asked | None = stream.get_slot(self.slot)
        if asked is None:
            return
        descriptors = self._descriptors(stream, asked, on_stream_done=True)
        if descriptors:
            # Nobody waits for the answer.
            self._client.call(SHOULD_RATE_LIMIT, self._question(stream, asked, descriptors))


def _describe(span: Span, call: GrpcUnaryCall) -> None:
    """What a good answer means, in the span of its call."""
    is_over = answer_of(call.message or b"").verdict == OVER_LIMIT
    span.set_tag("ratelimit_status", "over_limit" if is_over else "ok")


def _hits_addend(stream: Stream) -> int:
    """What an earlier filter left in the filter state."""
    state = stream.filter_state
    found = None if state is None else state.get(_HITS_ADDEND)
    if isinstance(found, bytes):
        found = found.decode("latin-1")
    if isinstance(found, str) and found.isdigit() and int(found) < 2**32:
        return int(found)
    return found if isinstance(found, int) else 0


def _sendable(fields: list[Field]) -> list[Field]:
    return [(name, value) for name, value in fields if not invalid_field(name, value)]


def _unsendable(fields: list[Field]) -> LocalReply | None:
    """Envoy's answer to a request whose new headers cannot be sent upstream."""
    for name, value in fields:
        problem = invalid_field(name, value)
        if problem:
            return unsendable_reply(problem)
    return None
