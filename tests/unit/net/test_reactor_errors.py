"""Errors, disconnects and deadlines: what reaches a strand, and where its own errors surface."""

from __future__ import annotations

import pytest
import trio

from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.net.reactor import Strand, adopted, drive, turn
from tests.support.strands import in_reactor, open_lab, settle


@pytest.mark.parametrize("where", ["stepped", "adopted"])
async def test_error_of_a_strand_surfaces_in_its_owners_nursery_and_the_reactor_lives_on(where: str) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        other, other_peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()
            if where == "adopted":
                async with adopted():
                    await trio.lowlevel.checkpoint()
                    raise KeyError("boom")
            raise KeyError("boom")

        async def fine(strand: Strand) -> bytes:
            return await other.receive()

        right = lab.own(fine)

        async def own() -> None:
            await drive(lab.reactor, "wrong", body)

        async def owning_task() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(own)
                await settle()
                peer.send(b"x")

        with pytest.raises(ExceptionGroup) as caught:
            await owning_task()
        assert caught.group_contains(KeyError, match="boom")
        other_peer.send(b"alive")
        await settle()
        assert right.result == b"alive"
        assert not lab.reactor.strands


async def test_error_in_the_first_step_comes_out_of_drive() -> None:
    async with open_lab() as lab:

        async def body(strand: Strand) -> None:
            raise KeyError("early")

        with pytest.raises(KeyError, match="early"):
            await drive(lab.reactor, "wrong", body)
        assert not lab.reactor.strands


async def test_traceback_of_a_stepped_error_shows_the_strands_own_frames() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def inner() -> None:
            await transport.receive()
            raise KeyError("deep")

        async def body(strand: Strand) -> None:
            await inner()

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert driven.error is not None
        names = []
        frame = driven.error.__traceback__
        while frame is not None:
            names.append(frame.tb_frame.f_code.co_name)
            frame = frame.tb_next
        assert names[-2:] == ["body", "inner"]


# -- disconnects ----------------------------------------------------------------------------------------
async def test_client_that_leaves_fails_the_strand_that_waits_elsewhere() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()
        upstream, _ = lab.pair()
        seen: list[bool] = []

        async def body(strand: Strand) -> None:
            downstream.watcher = strand
            await downstream.receive()
            try:
                await upstream.receive()
            except Disconnected:
                seen.append(in_reactor())

        driven = lab.own(body)
        await settle()
        client.send(b"x")
        await settle()
        client.close()
        await settle()
        assert driven.is_over
        # Thrown by the owner, so that cleaning up may use trio.
        assert seen == [False]
        assert upstream.reader is None


async def test_client_that_leaves_with_its_request_is_latched() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()

        async def body(strand: Strand) -> tuple[bytes, bool]:
            downstream.watcher = strand
            return await downstream.receive(), downstream.hangup

        driven = lab.own(body)
        await settle()
        client.send(b"request")
        client.close()
        await settle()
        assert driven.result == (b"request", True)


async def test_reader_gets_the_last_bytes_and_then_the_end_of_a_peer_that_left() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()

        async def body(strand: Strand) -> list[bytes]:
            downstream.watcher = strand
            return [await downstream.receive(), await downstream.receive()]

        driven = lab.own(body)
        await settle()
        client.send(b"last")
        client.close()
        await settle()
        assert driven.result == [b"last", b""]


async def test_client_that_leaves_ends_a_wait_of_trio_inside_adopted() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()
        log: list[str] = []

        async def body(strand: Strand) -> None:
            downstream.watcher = strand
            await downstream.receive()
            try:
                async with adopted():
                    try:
                        await trio.sleep_forever()
                    finally:
                        log.append("unwound")
            except Disconnected:
                log.append("disconnected")
            await turn()
            log.append("goes on")

        driven = lab.own(body)
        await settle()
        client.send(b"x")
        await settle()
        client.close()
        await settle()
        assert driven.is_over
        assert log == ["unwound", "disconnected", "goes on"]


async def test_client_that_leaves_ends_a_wait_of_the_reactor_inside_adopted() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()
        upstream, _ = lab.pair()

        async def body(strand: Strand) -> None:
            downstream.watcher = strand
            await downstream.receive()
            async with adopted():
                await upstream.receive()

        driven = lab.own(body)
        await settle()
        client.send(b"x")
        await settle()
        client.close()
        await settle()
        assert isinstance(driven.error, Disconnected)


async def test_disconnect_while_an_adopted_block_ends_by_itself_is_raised_at_its_end() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()

        async def body(strand: Strand) -> None:
            await downstream.receive()
            async with adopted():
                strand.fail(Disconnected("gone"))

        driven = lab.own(body)
        await settle()
        client.send(b"x")
        await settle()
        assert isinstance(driven.error, Disconnected)


async def test_error_raised_inside_adopted_wins_over_a_disconnect() -> None:
    async with open_lab() as lab:
        downstream, client = lab.pair()

        async def body(strand: Strand) -> None:
            await downstream.receive()
            async with adopted():
                strand.fail(Disconnected("gone"))
                raise KeyError("own")

        driven = lab.own(body)
        await settle()
        client.send(b"x")
        await settle()
        assert isinstance(driven.error, KeyError)


async def test_strand_that_fails_itself_is_failed_at_its_next_wait() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        log: list[str] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            strand.fail(Disconnected("self"))
            log.append("goes on")
            await transport.receive()

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert log == ["goes on"]
        assert isinstance(driven.error, Disconnected)
        assert transport.reader is None


async def test_strand_failed_twice_before_it_runs_gets_the_first_error() -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()

        driven = lab.own(body)
        await settle()
        driven.strand.fail(Disconnected("first"))
        driven.strand.fail(DeadlineExceeded("total"))
        await settle()
        assert isinstance(driven.error, Disconnected)


async def test_finished_strand_ignores_a_failure() -> None:
    async with open_lab() as lab:

        async def body(strand: Strand) -> str:
            return "done"

        driven = lab.own(body)
        await settle()
        driven.strand.fail(Disconnected("late"))
        await settle()
        assert (driven.result, driven.error) == ("done", None)


# -- deadlines ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", ["stepped", "adopted", "adopted park"])
@pytest.mark.parametrize("kind", ["total", "idle"])
async def test_deadline_that_passes_is_raised_with_its_kind(
    kind: str, place: str, autojump_clock: object
) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        upstream, _ = lab.pair()
        seen: list[object] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            deadline = trio.current_time() + 3
            if kind == "total":
                strand.deadline = deadline
            else:
                strand.idle_deadline = deadline
            try:
                if place == "stepped":
                    await upstream.receive()
                else:
                    async with adopted():
                        if place == "adopted park":
                            await upstream.receive()
                        await trio.sleep_forever()
            except DeadlineExceeded as error:
                seen.extend(
                    [error.kind, trio.current_time() >= deadline, strand.deadline + strand.idle_deadline]
                )
            await transport.receive()
            seen.append("goes on")

        driven = lab.own(body)
        await settle()
        peer.send(b"x")
        await trio.sleep(2.9)
        assert seen == []
        await trio.sleep(0.3)
        assert seen == [kind, True, 0.0]
        peer.send(b"y")
        await settle()
        assert driven.is_over
        assert seen[-1] == "goes on"


async def test_deadline_that_is_moved_on_does_not_fire(autojump_clock: object) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> str:
            for _ in range(5):
                strand.idle_deadline = trio.current_time() + 2
                await transport.receive()
            strand.idle_deadline = 0.0
            await transport.receive()
            return "done"

        driven = lab.own(body)
        for _ in range(5):
            await trio.sleep(1.5)
            peer.send(b"x")
        await trio.sleep(100)
        assert not driven.is_over
        peer.send(b"x")
        await settle()
        assert driven.result == "done"


async def test_total_deadline_comes_before_an_idle_one_that_passed_as_well(autojump_clock: object) -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()
        kinds: list[str] = []

        async def body(strand: Strand) -> None:
            strand.deadline = strand.idle_deadline = trio.current_time() + 1
            for _ in range(2):
                try:
                    await transport.receive()
                except DeadlineExceeded as error:
                    kinds.append(error.kind)

        driven = lab.own(body)
        await trio.sleep(2)
        assert driven.is_over
        assert kinds == ["total", "idle"]
