"""Timers of extensions: before, while and after the server runs."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from sidecar.net.reactor import Signal, Strand, open_reactor
from sidecar.observability.counting import Counter
from sidecar.server.timers import Timers


def _timers() -> Timers:
    return Timers(Counter("server.envoy_bug_failures"))


async def test_timer_set_before_the_server_runs_starts_with_it(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    timers = _timers()
    times: list[float] = []
    timers.every(2.0, lambda: times.append(trio.current_time()))
    await trio.sleep(5)
    assert times == []
    start = trio.current_time()
    nursery.start_soon(timers.run)
    await trio.sleep(5)
    assert times == [start + 2, start + 4]
    nursery.cancel_scope.cancel()


async def test_timer_set_while_the_server_runs_runs_from_then_on(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    timers = _timers()
    nursery.start_soon(timers.run)
    await trio.sleep(10)
    start = trio.current_time()
    times: list[float] = []
    timers.every(1.0, lambda: times.append(trio.current_time() - start))
    await trio.sleep(2.5)
    assert times == [1.0, 2.0]
    nursery.cancel_scope.cancel()


async def test_timer_that_is_cancelled_is_not_called_again(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    timers = _timers()
    calls: list[str] = []
    cancel_early = timers.every(1.0, lambda: calls.append("early"))
    cancel_early()
    nursery.start_soon(timers.run)
    await trio.testing.wait_all_tasks_blocked()

    def once() -> None:
        calls.append("once")
        cancel_once()

    cancel_once = timers.every(1.0, once)
    await trio.sleep(5)
    assert calls == ["once"]
    nursery.cancel_scope.cancel()


async def test_timer_set_after_the_server_ran_waits(autojump_clock: trio.testing.MockClock) -> None:
    timers = _timers()
    with trio.move_on_after(1):
        await timers.run()
    calls: list[str] = []
    timers.every(1.0, lambda: calls.append("late"))
    await trio.sleep(5)
    assert calls == []


async def test_timer_set_by_a_strand_that_the_reactor_steps_runs(nursery: trio.Nursery) -> None:
    timers = _timers()
    nursery.start_soon(timers.run)
    await trio.testing.wait_all_tasks_blocked()
    called = trio.Event()
    async with open_reactor() as reactor:
        signal = Signal(reactor)

        async def strand(_: Strand) -> None:
            await signal.wait()
            timers.every(0.001, called.set)

        reactor.spawn("guest", strand)
        signal.fire()
        with trio.fail_after(5):
            await called.wait()
    nursery.cancel_scope.cancel()


async def test_callback_that_raises_is_logged_and_counted_and_called_again(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Counter("server.envoy_bug_failures")
    timers = Timers(failures)
    calls: list[str] = []

    def wrong_once() -> None:
        calls.append("wrong")
        if len(calls) == 1:
            raise ValueError("of a guest")

    other: list[float] = []
    timers.every(1.0, wrong_once)
    timers.every(1.0, lambda: other.append(trio.current_time()))
    nursery.start_soon(timers.run)
    await trio.sleep(3.5)
    assert calls == ["wrong", "wrong", "wrong"]
    assert len(other) == 3
    assert failures.value == 1
    (record,) = [each for each in caplog.records if each.exc_info is not None]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    nursery.cancel_scope.cancel()


async def test_callback_that_raises_after_it_ended_its_timer_is_not_called_again(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    timers = _timers()
    calls: list[str] = []

    def once() -> None:
        calls.append("once")
        cancel()
        raise ValueError("the last time")

    cancel = timers.every(1.0, once)
    nursery.start_soon(timers.run)
    await trio.sleep(5)
    assert calls == ["once"]
    nursery.cancel_scope.cancel()
