"""Step then adopt: who runs a strand, and how it changes hands."""

from __future__ import annotations

import contextvars
import socket

import pytest
import trio

from sidecar.core.errors import Disconnected
from sidecar.net.reactor import Strand, Transport, adopted, run_adopted, turn
from tests.support.strands import in_reactor, open_lab, settle


async def test_strand_that_waits_for_a_socket_is_stepped_by_the_reactor() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> tuple[bytes, bool]:
            return await transport.receive(), in_reactor()

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert driven.result == (b"x", True)
        assert not lab.reactor.strands


async def test_strand_inside_adopted_runs_in_its_owner_and_goes_back_afterwards(
    autojump_clock: object,
) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        seen: list[str] = []

        def place() -> None:
            seen.append("reactor" if in_reactor() else trio.lowlevel.current_task().name)

        async def body(strand: Strand) -> None:
            await transport.receive()
            place()
            async with adopted():
                place()
                await trio.sleep(1)
                place()
            await transport.receive()
            place()

        driven = lab.own(body)
        await settle()
        peer.send(b"1")
        await trio.sleep(2)
        peer.send(b"2")
        await settle()
        assert driven.is_over
        assert seen == ["reactor", "owner", "owner", "reactor"]


async def test_adopted_allows_nurseries_and_scopes_around_waits_of_the_reactor(
    autojump_clock: object,
) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        log: list[object] = []

        async def child(number: int) -> None:
            await trio.sleep(number)
            log.append(number)

        async def send_later() -> None:
            await trio.sleep(1)
            peer.send(b"late")

        async def body(strand: Strand) -> None:
            await transport.receive()
            async with adopted():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(child, 1)
                    nursery.start_soon(child, 2)
                with trio.move_on_after(1) as scope:
                    await transport.receive()
                log.append(scope.cancelled_caught)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_later)
                    log.append(await transport.receive())
                    log.append(in_reactor())

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await trio.sleep(10)
        assert driven.is_over
        assert driven.error is None
        assert log == [1, 2, True, b"late", False]
        assert transport.reader is None


async def test_adopted_inside_adopted_goes_back_only_at_the_outer_end() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        seen: list[bool] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            async with adopted():
                async with adopted():
                    await trio.lowlevel.checkpoint()
                await transport.receive()
                seen.append(in_reactor())
            await transport.receive()
            seen.append(in_reactor())

        lab.own(body)
        for _ in range(3):
            await settle()
            peer.send(b"x")
        await settle()
        assert seen == [False, True]


async def test_run_adopted_awaits_trio_for_a_stepped_strand(autojump_clock: object) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def hook() -> str:
            await trio.sleep(1)
            return "hook"

        async def body(strand: Strand) -> str:
            await transport.receive()
            return str(await run_adopted(hook()))

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await trio.sleep(2)
        assert driven.result == "hook"


async def test_plain_waits_never_wake_the_owner() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        steps = 0

        class Count(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal steps
                steps += task is driven.task

        async def body(strand: Strand) -> None:
            while await transport.receive():
                await turn()

        driven = lab.own(body)
        await settle()
        trio.lowlevel.add_instrument(count := Count())
        for _ in range(10):
            peer.send(b"x")
            await settle()
        trio.lowlevel.remove_instrument(count)
        assert steps == 0


async def test_turn_lets_other_strands_run_between_two_steps() -> None:
    async with open_lab() as lab:
        busy, start = lab.pair()
        served, client = lab.pair()
        turns = 0
        answered_at: list[int] = []
        stop = False

        async def hog(strand: Strand) -> None:
            nonlocal turns
            await busy.receive()
            while not stop and turns < 10_000:
                turns += 1
                if turns % 100 == 0 and len(answered_at) < 5:
                    client.send(b"q")
                await turn()

        async def echo(strand: Strand) -> None:
            nonlocal stop
            while len(answered_at) < 5:
                await served.receive()
                answered_at.append(turns)
            stop = True

        lab.own(hog)
        lab.own(echo)
        await settle()
        start.send(b"x")
        await settle()
        assert len(answered_at) == 5
        # Every question is answered within few passes of the reactor, not when the hog is done.
        assert turns < 1000


async def test_turn_lets_other_tasks_of_trio_run() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        turns = 0
        stop = False

        async def hog(strand: Strand) -> None:
            nonlocal turns
            await transport.receive()
            while not stop and turns < 10_000:
                turns += 1
                await turn()

        lab.own(hog)
        await settle()
        peer.send(b"x")
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        stop = True
        await settle()
        assert 0 < turns < 1000


async def test_turn_inside_adopted_is_a_checkpoint() -> None:
    async with open_lab() as lab:

        async def body(strand: Strand) -> None:
            async with adopted():
                while True:
                    await turn()

        driven = lab.own(body)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        driven.scope.cancel()
        await settle()
        assert driven.scope.cancelled_caught


async def test_context_variables_of_the_owner_are_kept_by_adopted_code() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    async with open_lab() as lab:
        transport, peer = lab.pair()
        seen: list[str] = []

        async def body(strand: Strand) -> None:
            name.set("before")
            await transport.receive()
            async with adopted():
                seen.append(name.get())
                name.set("inside")
                await trio.lowlevel.checkpoint()
            async with adopted():
                seen.append(name.get())

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert driven.is_over
        assert seen == ["before", "inside"]
        assert name.get() == "none"


async def test_disconnect_that_came_before_adopted_is_raised_on_entry() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        entered = False

        async def body(strand: Strand) -> None:
            nonlocal entered
            await transport.receive()
            strand.fail(Disconnected("gone"))
            async with adopted():
                entered = True

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert isinstance(driven.error, Disconnected)
        assert not entered


async def test_trio_wait_outside_adopted_raises_in_the_strand_and_the_reactor_lives_on() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        other, other_peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()
            await trio.lowlevel.checkpoint()

        async def fine(strand: Strand) -> bytes:
            return await other.receive()

        wrong, right = lab.own(body), lab.own(fine)
        await settle()
        peer.send(b"x")
        await settle()
        assert isinstance(wrong.error, RuntimeError)
        assert "adopted" in str(wrong.error)
        other_peer.send(b"alive")
        await settle()
        assert right.result == b"alive"


async def test_scope_left_open_across_a_wait_outside_adopted_raises_at_that_wait() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        other, other_peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()
            with trio.move_on_after(1):
                await transport.receive()

        async def fine(strand: Strand) -> bytes:
            return await other.receive()

        wrong, right = lab.own(body), lab.own(fine)
        await settle()
        peer.send(b"x")
        await settle()
        assert isinstance(wrong.error, RuntimeError)
        assert transport.reader is None
        other_peer.send(b"alive")
        await settle()
        assert right.result == b"alive"


async def test_misuse_that_the_strand_swallows_does_not_stop_it() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> bytes:
            await transport.receive()
            with pytest.raises(RuntimeError, match="adopted"):
                await trio.lowlevel.checkpoint()
            return await transport.receive()

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        peer.send(b"y")
        await settle()
        assert driven.result == b"y"


async def test_strands_that_keep_each_other_busy_leave_turns_for_trio() -> None:
    rounds = 0

    async with open_lab() as lab:

        async def echo(transport: Transport) -> None:
            nonlocal rounds
            while True:
                data = await transport.receive()
                rounds += 1
                await transport.send_all(data)

        # Two pairs, so that each pass finds the next one's work at once.
        for _ in range(2):
            ends = [Transport(lab.keep(sock), lab.reactor) for sock in socket.socketpair()]
            for end in ends:
                end.sock.setblocking(False)
                lab.reactor.spawn("echo", lambda _strand, end=end: echo(end))  # type: ignore[misc]
            await ends[0].send_all(b"x")
        turns = 0
        while rounds < 1000:
            await trio.lowlevel.checkpoint()
            turns += 1
            assert turns < 10_000
        # Each turn of this task came while they were busy.
        assert turns > 1
