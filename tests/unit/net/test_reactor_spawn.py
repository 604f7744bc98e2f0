"""Strands without an owner: stepped by the reactor, given a task only while they need trio."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest
import trio

from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.net.reactor import Reactor, Signal, Strand, adopted, open_reactor, turn
from tests.support.strands import in_reactor, open_lab, settle


class Ends(list[BaseException | None]):
    """Collects how strands ended (an ``on_done``)."""

    def __call__(self, error: BaseException | None) -> None:
        self.append(error)


def count_tasks(nursery: trio.Nursery) -> int:
    return len(nursery.child_tasks)


async def test_spawned_strand_that_needs_no_trio_runs_without_a_task() -> None:
    async with open_lab() as lab:
        assert lab.reactor.nursery is not None
        transport, peer = lab.pair()
        ends = Ends()
        got: list[object] = []

        async def body(strand: Strand) -> None:
            got.append(await transport.receive())
            got.append(in_reactor())

        before = count_tasks(lab.reactor.nursery)
        strand = lab.reactor.spawn("lazy", body, on_done=ends)
        assert strand in lab.reactor.strands
        await settle()
        peer.send(b"x")
        await settle()
        assert got == [b"x", True]
        assert ends == [None]
        assert strand.done
        assert strand not in lab.reactor.strands
        assert count_tasks(lab.reactor.nursery) == before


@pytest.mark.parametrize("now", [True, False])
async def test_spawn_steps_the_strand_at_once_only_when_asked(now: bool) -> None:
    async with open_lab() as lab:
        log: list[bool] = []

        async def body(strand: Strand) -> None:
            log.append(in_reactor())

        lab.reactor.spawn("lazy", body, now=now)
        assert log == ([False] if now else [])
        await settle()
        assert log == ([False] if now else [True])


async def test_spawned_strand_adopts_through_a_task_that_ends_with_the_block(autojump_clock: object) -> None:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, peer = lab.pair()
        ends = Ends()
        log: list[object] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            async with adopted():
                log.append(trio.lowlevel.current_task().name)
                log.append(count_tasks(nursery))
                await trio.sleep(1)
                await transport.receive()
                log.append(in_reactor())
            await transport.receive()
            log.append(in_reactor())
            log.append(count_tasks(nursery))

        lab.reactor.spawn("lazy", body, on_done=ends, nursery=nursery)
        for _ in range(3):
            await settle()
            peer.send(b"x")
            await trio.sleep(2)
        assert log == ["lazy", 1, False, True, 0]
        assert ends == [None]


async def test_spawned_strand_that_ends_inside_its_task_is_done() -> None:
    async with open_lab() as lab:
        ends = Ends()

        async def body(strand: Strand) -> None:
            async with adopted():
                await trio.lowlevel.checkpoint()

        strand = lab.reactor.spawn("lazy", body, on_done=ends)
        await settle()
        assert (strand.done, ends) == (True, [None])
        assert not lab.reactor.strands


@pytest.mark.parametrize("where", ["first step", "stepped", "adopted"])
async def test_error_of_a_spawned_strand_goes_to_on_done(where: str) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        ends = Ends()

        async def body(strand: Strand) -> None:
            if where != "first step":
                await transport.receive()
            if where == "adopted":
                async with adopted():
                    await trio.lowlevel.checkpoint()
                    raise KeyError("boom")
            raise KeyError("boom")

        lab.reactor.spawn("lazy", body, on_done=ends)
        peer.send(b"x")
        await settle()
        assert [type(error) for error in ends] == [KeyError]
        assert not lab.reactor.strands


@pytest.mark.parametrize(
    ("error", "logged"), [(KeyError("boom"), ["late ended with an error"]), (Disconnected("gone"), [])]
)
async def test_error_of_a_spawned_strand_without_on_done_is_logged(
    error: Exception, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lab() as lab:

        async def body(strand: Strand) -> None:
            raise error

        with caplog.at_level(logging.ERROR, "sidecar.connection"):
            lab.reactor.spawn("late", body)
        assert [record.getMessage() for record in caplog.records] == logged


@pytest.mark.parametrize("outside", [True, False])
async def test_fail_raises_in_a_spawned_strand_at_its_wait(outside: bool) -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()
        trigger, hand = lab.pair()
        ends = Ends()

        async def body(strand: Strand) -> None:
            await transport.receive()

        strand = lab.reactor.spawn("lazy", body, on_done=ends)
        if outside:
            strand.fail(Disconnected("gone"))
        else:

            async def other(_: Strand) -> None:
                await trigger.receive()
                strand.fail(Disconnected("gone"))

            lab.reactor.spawn("other", other)
            hand.send(b"x")
        assert ends == []
        await settle()
        assert [type(error) for error in ends] == [Disconnected]
        assert transport.reader is None


async def test_fail_while_a_spawned_strand_waits_for_trio_ends_its_adopted_block() -> None:
    async with open_lab() as lab:
        ends = Ends()

        async def body(strand: Strand) -> None:
            async with adopted():
                await trio.sleep_forever()

        strand = lab.reactor.spawn("lazy", body, on_done=ends)
        await settle()
        strand.fail(Disconnected("gone"))
        await settle()
        assert [type(error) for error in ends] == [Disconnected]


async def test_fail_between_adopt_and_the_start_of_the_task_is_raised_on_entry() -> None:
    async with open_lab() as lab:
        ends = Ends()
        entered = False

        async def body(strand: Strand) -> None:
            nonlocal entered
            async with adopted():
                entered = True

        strand = lab.reactor.spawn("lazy", body, on_done=ends)
        strand.fail(Disconnected("gone"))
        await settle()
        assert [type(error) for error in ends] == [Disconnected]
        assert not entered


async def test_deadline_of_a_spawned_strand_is_raised(autojump_clock: object) -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()
        ends = Ends()

        async def body(strand: Strand) -> None:
            strand.deadline = trio.current_time() + 1
            await transport.writable()
            await transport.receive()

        lab.reactor.spawn("lazy", body, on_done=ends)
        await trio.sleep(2)
        [error] = ends
        assert isinstance(error, DeadlineExceeded)
        assert error.kind == "total"


async def test_nursery_cancelled_while_a_spawned_strand_is_adopted_unwinds_it() -> None:
    async with open_lab() as lab:
        ends = Ends()
        log: list[str] = []

        async def body(strand: Strand) -> None:
            try:
                async with adopted():
                    await trio.sleep_forever()
            finally:
                log.append("unwound")

        async with trio.open_nursery() as nursery:
            lab.reactor.spawn("lazy", body, on_done=ends, nursery=nursery)
            await settle()
            nursery.cancel_scope.cancel()
        assert log == ["unwound"]
        assert [type(error) for error in ends] == [trio.Cancelled]
        assert not lab.reactor.strands


async def test_turn_of_a_spawned_strand_lets_others_run() -> None:
    async with open_lab() as lab:
        order: list[str] = []

        def body(name: str):  # type: ignore[no-untyped-def]
            async def run(strand: Strand) -> None:
                for _ in range(2):
                    order.append(name)
                    await turn()

            return run

        lab.reactor.spawn("a", body("a"), now=False)
        lab.reactor.spawn("b", body("b"), now=False)
        await settle()
        assert order == ["a", "b", "a", "b"]


async def test_misuse_of_trio_in_a_spawned_strand_ends_it_alone() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        ends = Ends()

        async def body(strand: Strand) -> None:
            await transport.receive()
            await trio.lowlevel.checkpoint()

        lab.reactor.spawn("wrong", body, on_done=ends)
        peer.send(b"x")
        await settle()
        assert [type(error) for error in ends] == [RuntimeError]
        signal = Signal(lab.reactor)

        async def fine(strand: Strand) -> None:
            await signal.wait()

        lab.reactor.spawn("right", fine, on_done=ends)
        signal.fire()
        await settle()
        assert ends[1] is None


async def test_spawned_strand_failed_twice_before_it_runs_gets_the_first_error() -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()
        ends = Ends()

        async def body(strand: Strand) -> None:
            await transport.receive()

        strand = lab.reactor.spawn("lazy", body, on_done=ends)
        strand.fail(Disconnected("first"))
        strand.fail(DeadlineExceeded("total"))
        await settle()
        assert [type(error) for error in ends] == [Disconnected]


async def test_strand_that_adopts_when_its_nursery_is_over_ends_with_an_error() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        other, other_peer = lab.pair()
        ends = Ends()

        async def body(strand: Strand) -> None:
            await transport.receive()
            async with adopted():
                pass

        async def fine(strand: Strand) -> bytes:
            return await other.receive()

        async with trio.open_nursery() as nursery:
            lab.reactor.spawn("orphan", body, on_done=ends, nursery=nursery)
        right = lab.own(fine)
        await settle()
        peer.send(b"x")
        await settle()
        assert [type(error) for error in ends] == [RuntimeError]
        other_peer.send(b"alive")
        await settle()
        assert right.result == b"alive"


async def test_strands_that_still_wait_when_the_reactor_closes_are_unwound() -> None:
    ends = Ends()
    log: list[str] = []
    reactor = Reactor()
    async with open_reactor(reactor):
        signal = Signal(reactor)

        async def body(strand: Strand) -> None:
            try:
                await signal.wait()
            finally:
                log.append("unwound")

        reactor.spawn("waits", body, on_done=ends)
        await settle()
    assert log == ["unwound"]
    assert [type(error) for error in ends] == [Disconnected]
    assert not reactor.strands


async def test_strand_that_is_over_leaves_no_cycle_behind() -> None:
    class Owner:
        strand: Any = None

        async def run(self, strand: Strand) -> None:
            self.strand = strand

        def on_done(self, error: BaseException | None) -> None:
            return

    async with open_lab() as lab:
        gc.disable()
        try:
            owner = Owner()
            gone = weakref.ref(owner)
            lab.reactor.spawn("test", owner.run, on_done=owner.on_done)
            del owner
            assert gone() is None
        finally:
            gc.enable()
