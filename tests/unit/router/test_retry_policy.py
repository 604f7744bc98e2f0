"""When there is another try, how long it waits, and what limits it."""

from __future__ import annotations

from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.observability.stats import Store
from sidecar.router.retry_policy import (
    BACK_OFF,
    LIMIT,
    NO,
    OVERFLOW,
    ResetHeader,
    RetryPolicy,
    RetryState,
    parse_retry_on,
    previous_hosts,
)
from sidecar.upstream.cluster_stats import ClusterStats
from sidecar.upstream.resources import CircuitBreakerLimits, Resources, RetryBreaker, RetryBudget


def make(
    policy: RetryPolicy,
    *fields: tuple[bytes, bytes],
    max_retries: int = 3,
    budget: RetryBudget | None = None,
) -> tuple[RetryState, RetryBreaker, ClusterStats]:
    store = Store()
    stats = ClusterStats(store.scope("cluster.c"))
    limits = CircuitBreakerLimits(max_retries=max_retries, retry_budget=budget)
    resources = Resources(limits, store.scope("breakers"))
    breaker = resources.retries
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", list(fields))
    state = RetryState(policy, headers, breaker, (stats,), draw=lambda n: n - 1, clock=lambda: 1000.5)
    return state, breaker, stats


def answer(*fields: tuple[bytes, bytes]) -> ResponseHeaders:
    headers = ResponseHeaders(503)
    for name, value in fields:
        headers.append(name, value)
    return headers


FIVES = parse_retry_on("5xx")


def test_names_are_trimmed_and_unknown_ones_say_nothing() -> None:
    assert parse_retry_on(" 5xx , nonsense") == FIVES
    assert parse_retry_on("unavailable", "unavailable") == parse_retry_on("", "unavailable") != 0


def test_interval_doubles_up_to_its_maximum() -> None:
    state, _, _ = make(RetryPolicy(FIVES, base_interval_ms=10, max_interval_ms=35))
    assert [state.back_off_s() for _ in range(4)] == [0.009, 0.019, 0.034, 0.034]


def test_retry_counts_when_it_begins_and_not_when_it_is_due() -> None:
    state, _, stats = make(RetryPolicy(FIVES))
    assert state.after_response(answer(), 503) == BACK_OFF
    state.back_off_s()
    counters = (stats.upstream_rq_retry, stats.upstream_rq_retry_backoff_exponential)
    assert [each.value for each in counters] == [0, 0]
    state.begin_retry()
    assert [each.value for each in counters] == [1, 1]


def test_interval_is_never_nothing() -> None:
    state, _, _ = make(RetryPolicy(FIVES, base_interval_ms=1))
    assert state.back_off_s() == 0.001


def test_upstream_says_when_to_come_back_once() -> None:
    headers = (ResetHeader(b"retry-after"), ResetHeader(b"x-reset", is_timestamp=True))
    state, _, stats = make(
        RetryPolicy(FIVES, num_retries=9, reset_headers=headers, reset_max_interval_ms=5000)
    )
    assert state.after_response(answer((b"retry-after", b"2")), 503) == BACK_OFF
    assert state.back_off_s() == 2.999
    assert state.back_off_s() == 0.024
    state.after_response(answer((b"x-reset", b"1004")), 503)
    assert state.back_off_s() == 5.999
    state.after_response(answer((b"retry-after", b"6"), (b"x-reset", b"999")), 503)
    assert state.back_off_s() == 0.049
    state.begin_retry()
    assert stats.upstream_rq_retry_backoff_exponential.value == 1
    state.after_response(answer((b"retry-after", b"2")), 503)
    state.back_off_s()
    state.begin_retry()
    assert stats.upstream_rq_retry_backoff_ratelimited.value == 1


def test_slot_is_held_until_the_next_answer() -> None:
    state, breaker, stats = make(RetryPolicy(FIVES, num_retries=5), max_retries=1)
    assert state.after_response(answer(), 503) == BACK_OFF
    assert (breaker.active, breaker.is_open()) == (1, True)
    assert state.after_response(answer(), 200) == NO
    assert (breaker.active, breaker.is_open()) == (0, False)
    assert stats.upstream_rq_retry_success.value == 1


def test_end_gives_the_slot_back_once() -> None:
    state, breaker, _ = make(RetryPolicy(FIVES))
    state.after_response(answer(), 503)
    state.end()
    state.end()
    assert breaker.active == 0


def test_limits_are_told_apart() -> None:
    state, _, stats = make(RetryPolicy(FIVES, num_retries=0))
    assert state.after_response(answer(), 503) == LIMIT
    assert stats.upstream_rq_retry_limit_exceeded.value == 1
    state, _, stats = make(RetryPolicy(FIVES), max_retries=0)
    assert state.after_response(answer(), 503) == OVERFLOW
    assert stats.upstream_rq_retry_overflow.value == 1


def test_budget_is_a_share_of_the_requests_with_a_minimum() -> None:
    _, breaker, _ = make(RetryPolicy(FIVES), budget=RetryBudget(20.0, 3))
    assert breaker.limit() == 3
    breaker._resources.requests += 50
    assert breaker.limit() == 10


def test_overflow_is_never_tried_again() -> None:
    state, _, _ = make(RetryPolicy(parse_retry_on("5xx,reset,connect-failure")))
    decision = state.after_reset(is_connect_failure=False, is_refused=False, is_overflow=True, sent=False)
    assert decision == NO


def test_reset_before_request_wants_nothing_sent() -> None:
    state, _, _ = make(RetryPolicy(parse_retry_on("reset-before-request")))
    kinds = {"is_connect_failure": False, "is_refused": False, "is_overflow": False}
    assert state.after_reset(**kinds, sent=True) == NO
    assert state.after_reset(**kinds, sent=False) == BACK_OFF


def test_request_headers_are_merged() -> None:
    state, _, _ = make(
        RetryPolicy(), (b"x-envoy-retry-on", b"5xx"), (b"x-envoy-max-retries", b"7"), (b"x-other", b"")
    )
    assert (state.retry_on, state.remaining) == (FIVES, 7)


def test_previous_hosts_are_known_by_identity() -> None:
    first, second = object(), object()
    assert previous_hosts(first, [first])  # type: ignore[arg-type]
    assert not previous_hosts(second, [first])  # type: ignore[arg-type]
