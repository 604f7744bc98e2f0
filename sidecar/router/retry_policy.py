"""When a request is tried again (envoy.config.route.v3.RetryPolicy), decided without I/O.

A policy is compiled to bits; each stream that may be tried again has a :class:`RetryState`, which says after
every try whether there is another and how long to wait for it (Envoy's ``RetryStateImpl``).  Who asks is
:mod:`sidecar.router.retrying`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from random import randrange
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass
from sidecar.router.timeouts import unsigned
from sidecar.upstream.retry_priorities import PreviousPriorities

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap, RequestHeaders
    from sidecar.upstream.host import Host

__all__ = [
    "BACK_OFF",
    "LIMIT",
    "NO",
    "NOW",
    "OVERFLOW",
    "HostPredicate",
    "ResetHeader",
    "RetryPolicy",
    "RetryState",
    "are_retry_names",
    "omit_canary_hosts",
    "parse_retry_on",
    "previous_hosts",
]

#: Values of ``retry_on`` and ``x-envoy-retry-on``.
_5XX, _GATEWAY_ERROR, _CONNECT_FAILURE, _RETRIABLE_4XX, _REFUSED_STREAM = 1, 2, 4, 8, 16
_STATUS_CODES, _RESET, _HEADERS, _RATELIMITED, _BEFORE_REQUEST = 32, 64, 128, 256, 512
_NAMES = {
    "5xx": _5XX,
    "gateway-error": _GATEWAY_ERROR,
    "connect-failure": _CONNECT_FAILURE,
    "retriable-4xx": _RETRIABLE_4XX,
    "refused-stream": _REFUSED_STREAM,
    "retriable-status-codes": _STATUS_CODES,
    "retriable-headers": _HEADERS,
    "reset": _RESET,
    "reset-before-request": _BEFORE_REQUEST,
    "envoy-ratelimited": _RATELIMITED,
    "http3-post-connect-failure": 1024,  # of upstreams over HTTP/3 alone
}
#: The same for gRPC, with the status that is meant.
_GRPC_NAMES = {
    "cancelled": (1 << 11, 1),
    "deadline-exceeded": (1 << 12, 4),
    "resource-exhausted": (1 << 13, 8),
    "unavailable": (1 << 14, 14),
    "internal": (1 << 15, 13),
}
_GRPC_BITS = {b"%d" % status: bit for bit, status in _GRPC_NAMES.values()}

#: What comes of a try: it stands; another at once, or after a wait; too many are under way; it was the last.
NO, NOW, BACK_OFF, OVERFLOW, LIMIT = range(5)

#: ``rejects(host, hosts that were tried)``.
HostPredicate = Callable[["Host", list[Any]], bool]


def parse_retry_on(text: str, grpc_text: str = "") -> int:
    """The bits of a list of values; those that are not known say nothing."""
    bits = 0
    for name in text.split(","):
        bits |= _NAMES.get(name.strip(), 0)
    for name in grpc_text.split(","):
        bits |= _GRPC_NAMES.get(name.strip(), (0, 0))[0]
    return bits


def are_retry_names(header: bytes, text: str) -> bool:
    """Whether all values of ``x-envoy-retry-on`` or ``x-envoy-retry-grpc-on`` are known."""
    known: Container[str] = _GRPC_NAMES if b"grpc" in header else _NAMES
    return all(name.strip() in known for name in text.split(",") if name)


def previous_hosts(host: Host, tried: list[Any]) -> bool:
    """``previous_hosts``: not where it was tried before."""
    return any(host is each for each in tried)


def omit_canary_hosts(host: Host, _tried: list[Any]) -> bool:
    """``omit_canary_hosts``."""
    return host.canary


@dataclass(frozen=True, slots=True)
class ResetHeader:
    """A header of a response that says when to come back: in seconds, or at a Unix time."""

    name: bytes
    is_timestamp: bool = False

    def wait_ms(self, headers: HeaderMap, now: float) -> int | None:
        """Milliseconds from ``now``; None where the header does not tell."""
        number = unsigned(headers.get(self.name))
        if number is None:
            return None
        if self.is_timestamp:
            number -= int(now)
            if number <= 0:
                return None
        return number * 1000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """One compiled ``RetryPolicy``; seconds and milliseconds as the names say, 0 for no timeout."""

    retry_on: int = 0
    num_retries: int = 1
    per_try_timeout_s: float = 0.0
    per_try_idle_timeout_s: float = 0.0
    base_interval_ms: int = 25
    max_interval_ms: int = 250
    retriable_status_codes: tuple[int, ...] = ()
    retriable_headers: tuple[Callable[[HeaderMap], bool], ...] = ()
    retriable_request_headers: tuple[Callable[[HeaderMap], bool], ...] = ()
    reset_headers: tuple[ResetHeader, ...] = ()
    reset_max_interval_ms: int = 300_000
    host_predicates: tuple[HostPredicate, ...] = ()
    host_selection_attempts: int = 1
    refresh_cluster_on_retry: bool = False
    #: ``update_frequency`` of previous_priorities; 0 for no ``retry_priority``.
    priority_update_frequency: int = 0


class RetryState:
    """What one stream may still do."""

    __slots__ = (
        "_breaker",
        "_clock",
        "_codes",
        "_counters",
        "_draw",
        "_headers",
        "_interval_ms",
        "_is_armed",
        "_reset_ms",
        "_waited_for",
        "policy",
        "priorities",
        "remaining",
        "retry_on",
        "tried",
    )

    def __init__(
        self,
        policy: RetryPolicy,
        headers: RequestHeaders,
        breaker: Any,
        counters: tuple[Any, ...],
        *,
        draw: Callable[[int], int] = randrange,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``breaker`` limits the retries of the cluster; ``counters``, the cluster's first, count them.

        ``draw(n)`` gives a random number below n, ``clock()`` seconds since the epoch.
        """
        self.policy = policy
        self._breaker = breaker
        self._counters = counters
        self._draw = draw
        self._clock = clock
        self._interval_ms = policy.base_interval_ms
        self._reset_ms = 0
        #: The counter of the back-off that is under way.
        self._waited_for = ""
        #: Whether a retry of this stream is counted in the breaker.
        self._is_armed = False
        self.remaining = policy.num_retries
        self._codes: tuple[int, ...] = policy.retriable_status_codes
        self._headers = policy.retriable_headers
        #: Hosts that were tried.
        self.tried: list[Any] = []
        #: What they leave of the priorities; None where that is nobody's concern.
        self.priorities: PreviousPriorities | None = None
        if policy.priority_update_frequency:
            self.priorities = PreviousPriorities(policy.priority_update_frequency)
        self.retry_on = policy.retry_on
        self._take_headers(headers)

    def _take_headers(self, headers: RequestHeaders) -> None:
        """Merge in what the request itself asks for."""
        asked = _text(headers, b"x-envoy-retry-on")
        asked_grpc = _text(headers, b"x-envoy-retry-grpc-on")
        self.retry_on |= parse_retry_on(asked, asked_grpc)
        conditions = self.policy.retriable_request_headers
        if conditions and not any(matches(headers) for matches in conditions):
            self.retry_on = 0
        if self.retry_on:
            given = unsigned(headers.get(b"x-envoy-max-retries"))
            if given is not None:
                self.remaining = given & 0xFFFFFFFF
        codes = headers.get(b"x-envoy-retriable-status-codes")
        if codes:
            self._codes += tuple(code for each in codes.split(b",") if (code := unsigned(each)) is not None)
        names = headers.get(b"x-envoy-retriable-header-names")
        if names:
            self._headers += tuple(_is_present(name.strip().lower()) for name in names.split(b",") if name)

    # -- after a try ------------------------------------------------------------------------------------
    def after_response(self, headers: HeaderMap, status: int) -> int:
        """What comes of a try that was answered so."""
        decision = self.would_retry(headers, status)
        if decision == BACK_OFF and self.policy.reset_headers:
            self._reset_ms = self._reset_interval(headers)
        return self._decide(decision)

    def after_reset(
        self, *, is_connect_failure: bool, is_refused: bool, is_overflow: bool, sent: bool
    ) -> int:
        """What comes of a try that broke off before it was answered; ``sent`` after it had begun."""
        bits = self.retry_on
        decision = NO
        if is_overflow:
            pass
        elif (
            bits & (_RESET | _5XX | _GATEWAY_ERROR)
            or (bits & _BEFORE_REQUEST and not sent)
            or (bits & _REFUSED_STREAM and is_refused)
            or (bits & _CONNECT_FAILURE and is_connect_failure)
        ):
            decision = BACK_OFF
        return self._decide(decision)

    def after_soft_timeout(self) -> int:
        """What comes of a try that is too slow and goes on: another, whatever ``retry_on`` says."""
        return self._decide(BACK_OFF)

    def would_retry(self, headers: HeaderMap, status: int) -> int:
        """Whether an answer is one to try again after, were there no limits."""
        bits = self.retry_on
        if b"x-envoy-ratelimited" in headers:
            return BACK_OFF if bits & _RATELIMITED else NO
        if bits & _5XX and 500 <= status < 600:
            return BACK_OFF
        if bits & _GATEWAY_ERROR and 502 <= status <= 504:
            return BACK_OFF
        if bits & _RETRIABLE_4XX and status == 409:
            return BACK_OFF
        if bits & _STATUS_CODES and status in self._codes:
            if status != 425:
                return BACK_OFF
            return NOW
        if bits & _HEADERS and any(matches(headers) for matches in self._headers):
            return BACK_OFF
        if bits >> 11:
            grpc_status = headers.get(b"grpc-status")
            if grpc_status is not None and bits & _GRPC_BITS.get(grpc_status, 0):
                return BACK_OFF
        return NO

    def _decide(self, decision: int) -> int:
        if decision == NO and self._is_armed:
            self._count("upstream_rq_retry_success")
        self.end()
        if decision == NO:
            return NO
        if not self.remaining:
            self._count("upstream_rq_retry_limit_exceeded")
            return LIMIT
        self.remaining -= 1
        if not self._breaker.can_create():
            self._count("upstream_rq_retry_overflow")
            return OVERFLOW
        self._is_armed = True
        self._breaker.add()
        return decision

    def begin_retry(self) -> None:
        """The next try begins: only now is it counted, and how its time was found."""
        self._count("upstream_rq_retry")
        if self._waited_for:
            getattr(self._counters[0], self._waited_for).value += 1
            self._waited_for = ""

    def move(self, stats: Any, breaker: Any) -> None:
        """The next try goes to another cluster: it counts there, and takes a place there."""
        self._counters = (stats, *self._counters[1:])
        if self._is_armed:
            self._breaker.remove()
            breaker.add()
        self._breaker = breaker

    def end(self) -> None:
        """The retry under way, if there is one, is over."""
        if self._is_armed:
            self._is_armed = False
            self._breaker.remove()

    def _count(self, name: str) -> None:
        for each in self._counters:
            getattr(each, name).value += 1

    # -- how long to wait ---------------------------------------------------------------------------------
    def back_off_s(self) -> float:
        """Seconds until the next try: what the upstream asked for, else a jittered interval that doubles."""
        if self._reset_ms:
            wait, self._reset_ms = self._reset_ms, 0
            self._waited_for = "upstream_rq_retry_backoff_ratelimited"
            return (wait + self._draw(wait // 2)) / 1000
        interval = self._interval_ms
        self._interval_ms = min(interval * 2, self.policy.max_interval_ms)
        self._waited_for = "upstream_rq_retry_backoff_exponential"
        return max(1, self._draw(interval)) / 1000

    def _reset_interval(self, headers: HeaderMap) -> int:
        now = self._clock()
        for each in self.policy.reset_headers:
            wait = each.wait_ms(headers, now)
            if wait is not None and wait <= self.policy.reset_max_interval_ms:
                return wait if wait > 1 else 0
        return 0

    # -- where to --------------------------------------------------------------------------------------------
    def attempted(self, host: Host) -> None:
        """``host`` was tried, or could not be reached."""
        self.tried.append(host)
        if self.priorities is not None:
            self.priorities.add(host)

    def rejects(self, host: Host) -> bool:
        """Whether another host shall be looked for."""
        return any(rejects(host, self.tried) for rejects in self.policy.host_predicates)


def _text(headers: RequestHeaders, name: bytes) -> str:
    return (headers.get(name) or b"").decode("latin-1")


def _is_present(name: bytes) -> Callable[[HeaderMap], bool]:
    return lambda headers: name in headers
