"""Timers in a strand's list: the sweep fires them, streams and strands end them."""

from __future__ import annotations

import trio

from sidecar.net.reactor import Reactor, Signal, Strand
from sidecar.net.timer import end_stream_timers, run_timers, start_timer, stop_timer
from tests.support.strands import open_lab


def make_strand() -> Strand:
    reactor = Reactor()
    reactor.close()
    return Strand(reactor, "test")


def test_due_timers_fire_in_their_order_and_once() -> None:
    strand = make_strand()
    fired: list[str] = []
    start_timer(strand, 2.0, lambda: fired.append("second"), "b")
    start_timer(strand, 1.0, lambda: fired.append("first"), "a")
    start_timer(strand, 9.0, lambda: fired.append("later"), "c")
    run_timers(strand, 5.0)
    run_timers(strand, 6.0)
    assert fired == ["first", "second"]
    assert strand.timers is not None
    assert [timer.name for timer in strand.timers] == ["c"]


def test_stopped_timer_does_not_fire_and_the_list_vanishes() -> None:
    strand = make_strand()
    timer = start_timer(strand, 1.0, lambda: None, "a")
    stop_timer(strand, timer)
    stop_timer(strand, timer)
    assert strand.timers is None
    run_timers(strand, 5.0)


def test_end_of_a_stream_leaves_the_timers_of_its_connection() -> None:
    strand = make_strand()
    start_timer(strand, 1.0, lambda: None, "stream")
    kept = start_timer(strand, 1.0, lambda: None, "connection", is_of_stream=False)
    end_stream_timers(strand)
    assert strand.timers == [kept]
    stop_timer(strand, kept)
    end_stream_timers(strand)
    assert strand.timers is None


def test_timer_that_fires_may_start_and_stop_others() -> None:
    strand = make_strand()
    fired: list[str] = []

    def fire() -> None:
        fired.append("a")
        start_timer(strand, 3.0, lambda: fired.append("new"), "new")

    start_timer(strand, 1.0, fire, "a")
    run_timers(strand, 5.0)
    assert fired == ["a"]
    run_timers(strand, 5.0)
    assert fired == ["a", "new"]


async def test_sweep_fires_the_timer_of_a_waiting_strand(autojump_clock: trio.testing.MockClock) -> None:
    async with open_lab(trio.current_time) as lab:
        signal = Signal(lab.reactor)

        async def body(strand: Strand) -> str:
            start_timer(strand, lab.reactor.clock() + 1.0, signal.fire, "a")
            await signal.wait()
            return "fired"

        driven = lab.own(body)
        with trio.fail_after(10):
            while not driven.is_over:  # noqa: ASYNC110 - a mock clock
                await trio.sleep(0.1)
        assert driven.result == "fired"
        assert 1.0 <= trio.current_time() < 1.5
