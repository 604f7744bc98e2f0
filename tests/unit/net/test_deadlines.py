"""Strands that rest, and what wakes them: whoever is late is failed in time, whatever was moved meanwhile."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.net.deadlines import RESTS_FROM_S, SWEEP_INTERVAL_S
from sidecar.net.reactor import Reactor, Signal, Strand, adopted
from sidecar.net.timer import start_timer
from tests.support.strands import Lab, open_lab, settle

IDLE_S = 3600.0
#: What a sweep is late at most.
LATE_S = 2 * SWEEP_INTERVAL_S


class Reads:
    """A strand that reads until it fails; each byte sets its deadlines as ``plan`` says."""

    def __init__(self, lab: Lab, *, deadline: float = 0.0, idle: float = 0.0) -> None:
        self.transport, self.peer = lab.pair()
        self.deadline, self.idle = deadline, idle
        self.error: SidecarError | None = None
        self.failed_at = 0.0
        self.taken = b""
        self.reactor = lab.reactor
        self.strand = lab.reactor.spawn("reads", self._run, nursery=lab.nursery)

    @property
    def rests(self) -> bool:
        return self.strand.depth < 0

    async def _run(self, strand: Strand) -> None:
        clock = self.reactor.clock
        try:
            while True:
                strand.deadline = clock() + self.deadline if self.deadline else 0.0
                strand.idle_deadline = clock() + self.idle if self.idle else 0.0
                data = await self.transport.receive()
                if not data:
                    return
                self.taken += data
        except SidecarError as error:
            self.error = error
            self.failed_at = clock()
        finally:
            self.transport.close()


async def test_strand_whose_deadline_is_far_rests_and_is_still_failed_in_time(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        far = Reads(lab, idle=IDLE_S)
        near = Reads(lab, idle=RESTS_FROM_S / 2)
        never = Reads(lab)
        await trio.sleep(LATE_S)
        assert (far.rests, near.rests, never.rests) == (True, False, True)
        assert lab.reactor.strands >= {far.strand, near.strand, never.strand}
        assert lab.reactor.deadlines.watched.isdisjoint({far.strand, never.strand})
        began = trio.current_time()
        await trio.sleep(IDLE_S + 1)
        assert isinstance(far.error, DeadlineExceeded)
        assert far.error.kind == "idle"
        assert IDLE_S <= far.failed_at <= IDLE_S + LATE_S
        assert near.failed_at < began + RESTS_FROM_S
        assert never.error is None
        assert lab.reactor.strands == {never.strand}


async def test_bytes_wake_a_strand_that_rests_and_its_new_deadline_counts(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        reads = Reads(lab, idle=IDLE_S)
        await trio.sleep(10)
        assert reads.rests
        reads.deadline = 0.3
        reads.peer.send(b"x")
        await settle()
        assert reads.taken == b"x"
        assert not reads.rests
        now = trio.current_time()
        await trio.sleep(1)
        assert isinstance(reads.error, DeadlineExceeded)
        assert reads.error.kind == "total"
        assert now + 0.3 <= reads.failed_at <= now + 0.3 + LATE_S


async def test_deadline_that_another_moves_ahead_counts_once_the_strand_is_stirred(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        reads = Reads(lab, idle=IDLE_S)
        await trio.sleep(10)
        now = trio.current_time()
        reads.strand.deadline = now + 0.2
        reads.strand.stir()
        await trio.sleep(1)
        assert now + 0.2 <= reads.failed_at <= now + 0.2 + LATE_S


async def test_timer_of_a_strand_that_rests_fires_in_time(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        reads = Reads(lab, idle=IDLE_S)
        await trio.sleep(10)
        now = trio.current_time()
        fired: list[float] = []
        start_timer(reads.strand, now + 0.2, lambda: fired.append(trio.current_time()), "test")
        await trio.sleep(1)
        assert len(fired) == 1
        assert now + 0.2 <= fired[0] <= now + 0.2 + LATE_S
        assert reads.error is None
        assert reads.rests


async def test_strands_that_rest_are_failed_cancelled_and_closed_like_others(
    autojump_clock: MockClock,
) -> None:
    async with open_lab() as lab:
        failed, closed = Reads(lab, idle=IDLE_S), Reads(lab)
        transport, _ = lab.pair()

        async def wait(strand: Strand) -> None:
            await transport.receive()

        owned = lab.own(wait)
        signal = Signal(lab.reactor)
        passed: list[float] = []

        async def signalled(strand: Strand) -> None:
            await signal.wait()
            passed.append(trio.current_time())

        lab.reactor.spawn("signalled", signalled, nursery=lab.nursery)
        await trio.sleep(10)
        assert not lab.reactor.deadlines.watched
        failed.strand.fail(SidecarError("a"))
        closed.transport.close()
        owned.scope.cancel()
        signal.fire()
        await settle()
        assert str(failed.error) == "a"
        assert closed.error is not None
        assert owned.is_over
        assert passed == [10.0]
        assert not lab.reactor.strands


async def test_adopted_strand_is_watched(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        errors: list[BaseException] = []

        async def body(strand: Strand) -> None:
            async with adopted():
                await trio.sleep(10)
                strand.deadline = lab.reactor.clock() + 0.2
                try:
                    await trio.sleep(10)
                finally:
                    errors.append(DeadlineExceeded(str(lab.reactor.clock())))

        driven = lab.own(body)
        await trio.sleep(12)
        assert isinstance(driven.error, DeadlineExceeded)
        assert 10.2 <= float(str(errors[0])) <= 10.2 + LATE_S


class Counting(Reactor):
    """Counts the looks of ``sweep``."""

    looks = 0

    async def pause(self, seconds: float, longest: float = 1.0) -> None:
        self.looks += 1
        await super().pause(seconds, longest)


async def test_reactor_at_rest_looks_once_a_second_and_at_what_is_due_in_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.strands.Reactor", Counting)
    async with open_lab() as lab:
        reactor: Any = lab.reactor
        reads = Reads(lab, idle=100.5)
        await trio.sleep(1)
        before = reactor.looks
        await trio.sleep(90)
        assert reactor.looks - before <= 91
        await trio.sleep(20)
        assert 100.5 <= reads.failed_at <= 100.5 + LATE_S


async def test_pause_ends_with_what_happens_but_not_before_its_time(autojump_clock: MockClock) -> None:
    async with open_lab() as lab:
        reads = Reads(lab)
        ends: list[float] = []

        async def pause() -> None:
            await lab.reactor.pause(0.2)
            ends.append(trio.current_time())

        await trio.sleep(5)
        for sent_at in (0.1, 0.6, 3.0):
            async with trio.open_nursery() as nursery:
                began = trio.current_time()
                nursery.start_soon(pause)
                await trio.sleep(sent_at)
                reads.peer.send(b"x")
            ends[-1] -= began
        assert ends == pytest.approx([0.2, 0.6, 1.0], abs=0.01)


Steps = st.lists(
    st.tuples(
        st.sampled_from(("bytes", "own", "move", "timer", "back")),
        st.integers(0, 3),
        st.sampled_from((0.0, 0.1, 0.7, 1.9, 2.1, 5.0, 61.0)),
        st.sampled_from((0.01, 0.3, 1.2, 4.0, 40.0)),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(steps=Steps)
@example(steps=[("bytes", 0, 0.0, 0.3), ("bytes", 0, 0.0, 0.01), ("own", 0, 0.1, 0.3)])
def test_whatever_moves_deadlines_who_is_late_fails_in_time_and_nobody_else(steps: Any) -> None:
    async def main() -> None:
        async with open_lab() as lab:
            strands = [Reads(lab, idle=2.5), Reads(lab, deadline=7.0), Reads(lab), Reads(lab, idle=IDLE_S)]
            due = [each.strand.deadline or each.strand.idle_deadline for each in strands]
            for step, which, seconds, then in steps:
                reads = strands[which]
                now = trio.current_time()
                if reads.error is None:
                    strand = reads.strand
                    if step == "bytes":
                        # It sets its own deadlines.
                        reads.deadline, reads.idle = seconds, 0.0
                        reads.peer.send(b"x")
                        await settle()
                        due[which] = now + seconds if seconds else 0.0
                    elif step == "own" and seconds:
                        strand.idle_deadline = now + seconds
                        strand.stir()
                    elif step == "move" and strand.deadline:
                        strand.deadline += seconds - 1.0
                        strand.stir()
                    elif step == "timer" and seconds:
                        late = partial(strand.fail, SidecarError("timer"))
                        start_timer(strand, now + seconds, late, "x")
                    elif step == "back" and strand.idle_deadline:
                        strand.idle_deadline += seconds  # later: nobody has to be told
                    moments = [strand.deadline, strand.idle_deadline]
                    moments += [timer.when for timer in strand.timers or ()]
                    first = min((moment for moment in moments if moment), default=0.0)
                    due[which] = max(first, now) if first else 0.0
                await trio.sleep(then)
                now = trio.current_time()
                for each, moment in zip(strands, due, strict=True):
                    if each.error is None:
                        assert not moment or now <= moment + LATE_S
                    else:
                        assert moment
                        assert moment <= each.failed_at <= moment + LATE_S

    trio.run(main, clock=MockClock(autojump_threshold=0.0))
