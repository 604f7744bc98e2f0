"""What a request may say of its own faults, and a body at a rate."""

from __future__ import annotations

import pytest

from sidecar.api.message import FixedBody
from sidecar.core.headers import HeaderMap, RequestHeaders
from sidecar.extensions.http.fault import Abort, Delay, FaultSettings, Percentage, RateLimit
from sidecar.extensions.http.slow_body import SlowBody

ALWAYS = Percentage(100, 100)


def headers(**fields: str) -> RequestHeaders:
    made = RequestHeaders(b"GET", b"/", b"a", None)
    made.fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return made


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, None),
        ({"x_envoy_fault_abort_request": "503"}, (503, None)),
        ({"x_envoy_fault_abort_request": "600"}, None),
        ({"x_envoy_fault_abort_request": "-1"}, None),
        ({"x_envoy_fault_abort_grpc_request": "14"}, (200, 14)),
    ],
)
def test_status_that_a_request_asks_for(
    fields: dict[str, str], status: tuple[int, int | None] | None
) -> None:
    assert Abort(None, None, ALWAYS).status(headers(**fields)) == status
    assert Abort(404, None, ALWAYS).status(headers(**fields)) == (404, None)


def test_a_request_may_ask_for_less_often_never_for_more() -> None:
    asks = Percentage(100, 100, b"x-percentage")
    assert not asks.hits(headers(x_percentage="0"))
    assert asks.hits(headers())
    assert not Percentage(0, 100, b"x-percentage").hits(headers(x_percentage="100"))


def test_delay_and_rate_of_headers() -> None:
    assert Delay(None, ALWAYS).seconds(headers(x_envoy_fault_delay_request="250")) == 0.25
    assert Delay(None, ALWAYS).seconds(headers(x_envoy_fault_delay_request="soon")) == 0
    assert RateLimit(None, ALWAYS).kbps(headers(x_envoy_fault_throughput_response="0")) is None
    assert RateLimit(3, ALWAYS).kbps(headers()) == 3


def test_only_requests_of_its_nodes_and_headers_concern_it() -> None:
    settings = FaultSettings(downstream_nodes=frozenset((b"one",)), headers=(lambda h: b"x-a" in h,))
    assert settings.concern(headers(x_envoy_downstream_service_node="one", x_a="1"), None)
    assert not settings.concern(headers(x_envoy_downstream_service_node="one"), None)
    assert not settings.concern(headers(x_a="1"), None)
    assert not FaultSettings(upstream_cluster="c").concern(headers(), None)


async def test_a_slow_body_gives_its_share_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    async def pause(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("sidecar.extensions.http.slow_body.pause", pause)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    trailers = HeaderMap()
    body = SlowBody(FixedBody(b"x" * 160, trailers), 1024)
    pieces = []
    while piece := await body.receive():
        pieces.append(len(piece))
    assert pieces == [64, 64, 32]
    assert clock[0] == pytest.approx(3 / 16)
    assert body.ended
    assert body.trailers is trailers
