"""When answers say close: a failed health check, a graceful drain and its two strategies."""

from __future__ import annotations

from sidecar.core.options import Options
from sidecar.server.draining import DrainManager


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_failed_health_check_closes_all_connections_until_it_is_taken_back() -> None:
    drain = DrainManager(Options(), Clock())
    assert not drain.should_close(inbound=True)
    drain.health_failed = True
    assert drain.should_close(inbound=True)
    assert drain.should_close(inbound=False)
    drain.health_failed = False
    assert not drain.should_close(inbound=False)


def test_gradual_drain_closes_more_and_more_of_its_direction() -> None:
    clock = Clock()
    drain = DrainManager(Options(drain_time_s=10), clock, draw=lambda: 0.5)
    assert drain.begin(inbound_only=True)
    assert not drain.begin(inbound_only=True)
    clock.now += 4.9
    assert not drain.should_close(inbound=True)
    clock.now += 0.2
    assert drain.should_close(inbound=True)
    assert not drain.should_close(inbound=False)
    assert drain.begin(inbound_only=False)
    assert not drain.begin(inbound_only=False)
    clock.now += 5.1
    assert drain.should_close(inbound=False)


def test_immediate_drain_closes_at_once() -> None:
    drain = DrainManager(Options(drain_strategy="immediate"), Clock(), draw=lambda: 0.999)
    assert drain.begin(inbound_only=False)
    assert drain.should_close(inbound=True)
    assert drain.should_close(inbound=False)
