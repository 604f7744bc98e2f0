"""Strands of connections: no task before they need trio or are cancelled, then one until their end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio

from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.net.reactor import Strand, adopted, turn
from tests.support.strands import Lab, in_reactor, open_lab, settle

Body = Callable[[Strand], Coroutine[Any, Any, Any]]


def begin(lab: Lab, nursery: trio.Nursery, body: Body) -> tuple[Strand, list[BaseException | None]]:
    """A strand that was started, and where its end is told."""
    ends: list[BaseException | None] = []
    strand = lab.reactor.begin(7, nursery, ends.append)
    strand.start(body(strand))
    strand.step()
    return strand, ends


async def test_a_connection_that_needs_no_trio_has_no_task() -> None:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, peer = lab.pair()
        seen: list[Any] = []

        async def body(_strand: Strand) -> None:
            seen.append(await transport.receive())
            await turn()
            seen.append(in_reactor())

        strand, ends = begin(lab, nursery, body)
        await settle()
        assert strand.name == "connection 7"
        assert not nursery.child_tasks
        peer.send(b"x")
        await settle()
        assert seen == [b"x", True]
        assert ends == [None]
        assert not lab.reactor.strands


async def test_what_it_raises_is_told_and_goes_nowhere_else() -> None:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, peer = lab.pair()

        async def early(_strand: Strand) -> None:
            raise KeyError("early")

        async def late(_strand: Strand) -> None:
            await transport.receive()
            raise KeyError("late")

        async def in_trio(_strand: Strand) -> None:
            async with adopted():
                await trio.lowlevel.checkpoint()
                raise KeyError("in trio")

        found = [begin(lab, nursery, body)[1] for body in (early, late, in_trio)]
        peer.send(b"x")
        await settle()
        assert [str(error) for ends in found for error in ends] == ["'early'", "'late'", "'in trio'"]
        assert not lab.reactor.strands
        assert not nursery.child_tasks


@pytest.mark.parametrize("error", [Disconnected("gone"), DeadlineExceeded("idle")])
async def test_failing_is_raised_where_it_stands(error: Exception) -> None:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, _ = lab.pair()
        caught: list[Any] = []

        async def body(_strand: Strand) -> None:
            try:
                await transport.receive()
            except type(error) as raised:
                caught.append(raised)

        strand, ends = begin(lab, nursery, body)
        strand.fail(error)
        await settle()
        assert caught == [error]
        assert ends == [None]


async def test_the_task_that_it_gets_stays_its_owner() -> None:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, peer = lab.pair()
        tasks: list[Any] = []

        async def body(_strand: Strand) -> None:
            for _ in range(2):
                await transport.receive()
                async with adopted():
                    await trio.lowlevel.checkpoint()
                    tasks.append(trio.lowlevel.current_task())

        strand, ends = begin(lab, nursery, body)
        for _ in range(2):
            assert not ends
            peer.send(b"x")
            await settle()
        assert tasks[0] is tasks[1]
        assert tasks[0] not in nursery.child_tasks  # it ended with the strand
        assert strand.done
        assert ends == [None]


@pytest.mark.parametrize("where", ["waiting", "ready", "in trio", "owned and waiting", "going into trio"])
async def test_cancelling_is_raised_in_a_task_wherever_it_stands(where: str) -> None:
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, peer = lab.pair()
        cleaned: list[bool] = []

        async def body(_strand: Strand) -> None:
            try:
                if where == "owned and waiting":
                    async with adopted():
                        await trio.lowlevel.checkpoint()
                if where == "ready":
                    while True:
                        await turn()
                if where == "in trio":
                    async with adopted():
                        await trio.sleep_forever()
                await transport.receive()
                async with adopted():
                    await trio.sleep_forever()
            except trio.Cancelled:
                cleaned.append(in_reactor())
                raise

        strand, ends = begin(lab, nursery, body)
        if where == "going into trio":
            peer.send(b"x")  # seen in the pass that follows
        elif where != "ready":
            await settle()
        strand.cancel()
        strand.cancel()
        await settle()
        assert cleaned == [False]
        assert [type(each) for each in ends] == [trio.Cancelled]
        assert not nursery.child_tasks
        assert not lab.reactor.strands
        strand.cancel()  # of no effect any more
        assert not nursery.child_tasks


async def test_cleaning_up_may_not_linger() -> None:
    """A wait of the cancelled is cancelled, too: the strand does not go back to the reactor."""
    async with open_lab() as lab, trio.open_nursery() as nursery:
        transport, _ = lab.pair()
        waits: list[str] = []

        async def body(_strand: Strand) -> None:
            try:
                await transport.receive()
            finally:
                waits.append("begun")
                await transport.receive()
                waits.append("over")

        strand, ends = begin(lab, nursery, body)
        strand.cancel()
        await settle()
        assert waits == ["begun"]
        assert len(ends) == 1


async def test_cancelling_the_nursery_around_it_ends_it_where_it_has_a_task() -> None:
    async with open_lab() as lab:
        async with trio.open_nursery() as nursery:

            async def body(_strand: Strand) -> None:
                async with adopted():
                    await trio.sleep_forever()

            _, ends = begin(lab, nursery, body)
            await settle()
            nursery.cancel_scope.cancel()
        assert [type(each) for each in ends] == [trio.Cancelled]
