"""Cancelling the owner of a strand, wherever the strand stands."""

from __future__ import annotations

import pytest
import trio

from sidecar.core.errors import Disconnected
from sidecar.net.reactor import Strand, adopted, turn
from tests.support.strands import in_reactor, open_lab, settle


async def test_cancelled_stepped_strand_unwinds_in_its_owner_and_may_use_trio(autojump_clock: object) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        log: list[object] = []

        async def body(strand: Strand) -> None:
            try:
                await transport.receive()
                await transport.receive()
            except trio.Cancelled:
                log.append(in_reactor())
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                    await trio.sleep(1)
                log.append("cleaned")
                raise

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        driven.scope.cancel()
        await trio.sleep(2)
        assert log == [False, "cleaned"]
        assert driven.scope.cancelled_caught
        assert transport.reader is None
        assert not lab.reactor.strands


async def test_readiness_after_a_cancel_steps_nobody() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()

        driven = lab.own(body)
        await settle()
        driven.scope.cancel()
        await settle()
        peer.send(b"late")
        await settle()
        assert driven.scope.cancelled_caught
        assert transport.ready


async def test_cancelled_adopted_strand_unwinds_at_the_wait_of_trio() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        log: list[str] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            async with adopted():
                try:
                    await trio.sleep_forever()
                finally:
                    log.append("unwound")

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        driven.scope.cancel()
        await settle()
        assert log == ["unwound"]
        assert driven.scope.cancelled_caught


async def test_cancelled_strand_that_waits_for_a_socket_inside_adopted_disarms_it() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> None:
            async with adopted():
                await transport.receive()

        driven = lab.own(body)
        await settle()
        driven.scope.cancel()
        await settle()
        assert driven.scope.cancelled_caught
        assert transport.reader is None
        peer.send(b"x")
        await settle()


async def test_strand_that_cancels_its_own_owner_is_cancelled_at_its_next_wait() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        log: list[object] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            driven.scope.cancel()
            log.append("goes on")
            try:
                await transport.receive()
            except trio.Cancelled:
                log.append(in_reactor())
                raise

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert log == ["goes on", False]
        assert driven.scope.cancelled_caught
        assert transport.reader is None


async def test_strand_that_cancels_its_own_owner_and_adopts_is_cancelled_by_trio() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        log: list[str] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            driven.scope.cancel()
            async with adopted():
                log.append("inside")
                await trio.lowlevel.checkpoint()
                log.append("not reached")

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert log == ["inside"]
        assert driven.scope.cancelled_caught


async def test_strand_that_cancels_its_own_owner_and_ends_is_not_cancelled() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> str:
            await transport.receive()
            driven.scope.cancel()
            return "done"

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert driven.result == "done"
        assert not driven.scope.cancelled_caught


async def test_strand_cancelled_in_turn_leaves_the_queue() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        turns = 0

        async def body(strand: Strand) -> None:
            nonlocal turns
            await transport.receive()
            while True:
                turns += 1
                await turn()

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        driven.scope.cancel()
        await settle()
        assert driven.scope.cancelled_caught
        before = turns
        assert before > 0
        lab.reactor.wake()
        await settle()
        assert turns == before


async def test_strand_of_an_already_cancelled_owner_runs_to_its_first_wait() -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()
        log: list[str] = []

        async def body(strand: Strand) -> None:
            log.append("started")
            await transport.receive()
            log.append("not reached")

        driven = lab.own(body)
        driven.scope.cancel()
        await settle()
        assert log == ["started"]
        assert driven.scope.cancelled_caught
        assert transport.reader is None


async def test_swallowed_cancel_is_raised_again_at_the_next_wait() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        raised = 0

        async def body(strand: Strand) -> None:
            nonlocal raised
            await transport.receive()
            for _ in range(2):
                try:
                    await transport.receive()
                except trio.Cancelled:
                    raised += 1
            raise KeyError("over")

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        driven.scope.cancel()
        await settle()
        assert raised == 2
        assert isinstance(driven.error, KeyError)


async def test_cancelled_nursery_unwinds_every_strand_in_it() -> None:
    async with open_lab() as lab:
        finished = 0

        async def body(strand: Strand) -> None:
            nonlocal finished
            transport, _ = lab.pair()
            try:
                await transport.receive()
            finally:
                finished += 1
                transport.close()

        for _ in range(50):
            lab.own(body)
        await settle()
        assert len(lab.reactor.strands) == 50
        lab.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await settle()
        assert finished == 50
        assert not lab.reactor.strands


@pytest.mark.parametrize("cancel_at", ["never", "before", "after"])
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("settled", [False, True])
async def test_disconnect_cancel_and_readiness_in_one_pass_end_the_strand_once(
    cancel_at: str, gone: bool, settled: bool
) -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()
        upstream, server = lab.pair()
        ends: list[str] = []

        async def body(strand: Strand) -> None:
            downstream.watcher = strand
            await downstream.receive()
            try:
                ends.append((await upstream.receive()).decode())
            except (Disconnected, trio.Cancelled) as error:
                ends.append(type(error).__name__)
                raise

        driven = lab.own(body)
        client.send(b"x")
        if settled:
            await settle()
        else:
            await trio.lowlevel.checkpoint()
        if cancel_at == "before":
            driven.scope.cancel()
        server.send(b"answer")
        if gone:
            client.close()
        if cancel_at == "after":
            driven.scope.cancel()
        await settle()
        assert driven.is_over
        assert len(ends) <= 1
        if cancel_at == "never":
            assert ends in (["answer"], ["Disconnected"])
            assert gone or ends == ["answer"]
        assert upstream.reader is None
        assert downstream.reader is None
