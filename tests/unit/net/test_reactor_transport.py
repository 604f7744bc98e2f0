"""Transports, signals and what else wakes the reactor."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading

import pytest
import trio

from sidecar.core.errors import Disconnected
from sidecar.net.reactor import Signal, Strand, Transport, adopted
from tests.support.strands import in_reactor, open_lab, settle


# -- transports -----------------------------------------------------------------------------------------
async def test_receive_gives_what_is_there_and_then_the_end() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> list[bytes]:
            return [await transport.receive(3), await transport.receive(3), await transport.receive(3)]

        driven = lab.own(body)
        peer.send(b"abcde")
        peer.shutdown(socket.SHUT_WR)
        await settle()
        assert driven.result == [b"abc", b"de", b""]


async def test_receive_gives_what_came_before_anybody_read() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        peer.send(b"early")
        await settle()

        async def body(strand: Strand) -> bytes:
            return await transport.receive()

        driven = lab.own(body)
        await settle()
        assert driven.result == b"early"


async def test_receive_after_a_full_read_that_left_nothing_waits_for_more() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> list[bytes]:
            return [await transport.receive(4), await transport.receive(4)]

        driven = lab.own(body)
        peer.send(b"full")
        await settle()
        assert not driven.is_over
        peer.send(b"more")
        await settle()
        assert driven.result == [b"full", b"more"]


async def test_readable_returns_at_once_for_bytes_that_are_there_and_waits_otherwise() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> list[bytes]:
            got = []
            for _ in range(2):
                await transport.readable()
                got.append(transport.recv(10))
            return got

        peer.send(b"1")
        await settle()
        driven = lab.own(body)
        await settle()
        assert not driven.is_over
        peer.send(b"2")
        await settle()
        assert driven.result == [b"1", b"2"]


async def test_send_all_waits_for_room_and_loses_nothing() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        data = os.urandom(2_000_000)

        async def body(strand: Strand) -> None:
            await transport.send_all(data)

        driven = lab.own(body)
        await settle()
        assert not driven.is_over
        received = bytearray()
        while not driven.is_over or len(received) < len(data):
            try:
                received += peer.recv(1 << 20)
            except BlockingIOError:
                await settle()
        assert received == data
        assert transport.writer is None


async def test_try_send_gives_back_what_did_not_fit() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        data = bytes(2_000_000)
        rest = transport.try_send(data)
        assert rest is not None
        assert 0 < len(rest) < len(data)
        assert transport.try_send(b"more") is not None
        peer.close()
        with pytest.raises(BrokenPipeError):
            transport.try_send(b"x")


async def test_parts_are_sent_one_behind_another_as_far_as_they_fit() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        assert transport.try_send_parts(b"head", b"body") is None
        assert peer.recv(100) == b"headbody"
        data = bytes(range(256)) * 8192
        rest = transport.try_send_parts(b"head", data)
        assert rest is not None
        received = bytearray()
        while len(received) + len(rest) < 4 + len(data):
            received += peer.recv(1 << 20)
        assert received + rest == b"head" + data
        peer.close()
        with pytest.raises(BrokenPipeError):
            transport.try_send_parts(b"x", b"y")


async def test_parts_go_the_way_of_everything_else_where_filters_stand_between() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        sent: list[bytes] = []
        plain = transport.send

        def write(data: bytes) -> int:
            sent.append(data)
            return plain(data)

        transport.send = write
        assert transport.try_send_parts(b"head", b"body") is None
        assert sent == [b"headbody"]
        transport.send = plain
        transport.queued = b"before "
        assert transport.try_send_parts(b"head", b"body") is None
        assert peer.recv(100) == b"headbodybefore headbody"


async def test_writer_whose_peer_leaves_gets_the_error_of_the_socket() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.send_all(bytes(2_000_000))

        driven = lab.own(body)
        await settle()
        peer.close()
        await settle()
        assert isinstance(driven.error, OSError)


@pytest.mark.parametrize("side", ["reader", "writer"])
async def test_close_fails_the_strand_that_waits_on_the_transport(side: str) -> None:
    async with open_lab() as lab:
        transport, _ = lab.pair()

        async def body(strand: Strand) -> None:
            if side == "reader":
                await transport.receive()
            else:
                await transport.send_all(bytes(2_000_000))

        driven = lab.own(body)
        await settle()
        transport.close()
        transport.close()
        await settle()
        assert isinstance(driven.error, Disconnected)
        assert transport.sock.fileno() == -1


async def test_idle_event_is_called_for_a_transport_that_nobody_reads() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        await settle()
        events: list[bool] = []
        transport.on_idle_event = lambda: events.append(transport.hangup)
        peer.send(b"x")
        await settle()
        assert events == [False]
        assert transport.ready
        peer.close()
        await settle()
        assert events == [False, True]


async def test_descriptor_closed_in_a_pass_is_reused_only_after_it() -> None:
    async with open_lab() as lab:
        first, first_peer = lab.pair()
        stale, stale_peer = lab.pair()
        fresh: list[Transport] = []
        events: list[str] = []
        disturbed: list[bool] = []

        async def body(strand: Strand) -> None:
            await first.receive()
            # The kernel has reported both already; what takes the number now must not get that event.
            stale.close()
            disturbed.append(stale.sock.fileno() == -1)
            transport, _ = lab.pair()
            transport.on_idle_event = lambda: events.append("stale")
            fresh.append(transport)

        driven = lab.own(body)
        await settle()
        first_peer.send(b"x")
        stale_peer.send(b"y")
        stale_peer.close()
        await settle()
        assert driven.is_over
        assert disturbed == [False]
        assert stale.sock.fileno() == -1
        assert events == []
        assert not fresh[0].ready
        assert not fresh[0].hangup


async def test_transport_closed_outside_a_pass_is_closed_at_once() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        transport.close()
        assert transport.sock.fileno() == -1
        assert peer.recv(1) == b""
        again, _ = lab.pair()

        async def body(strand: Strand) -> bytes:
            return await again.receive()

        driven = lab.own(body)
        await settle()
        assert not driven.is_over


# -- signals --------------------------------------------------------------------------------------------
async def test_signal_fired_before_the_wait_is_kept_once() -> None:
    async with open_lab() as lab:
        signal = Signal(lab.reactor)
        signal.fire()
        signal.fire()
        log: list[int] = []

        async def body(strand: Strand) -> None:
            for number in range(2):
                await signal.wait()
                log.append(number)

        driven = lab.own(body)
        await settle()
        assert log == [0]
        signal.fire()
        await settle()
        assert log == [0, 1]
        assert driven.is_over


async def test_signal_fired_outside_the_pass_wakes_the_reactor() -> None:
    async with open_lab() as lab:
        signal = Signal(lab.reactor)

        async def body(strand: Strand) -> bool:
            await signal.wait()
            return in_reactor()

        driven = lab.own(body)
        await settle()
        signal.fire()
        assert not driven.is_over
        await settle()
        assert driven.result is True
        assert not signal.is_set


async def test_signal_fired_by_another_strand_runs_the_waiter_in_the_same_pass() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        signal = Signal(lab.reactor)
        order: list[str] = []

        async def firing(strand: Strand) -> None:
            await transport.receive()
            signal.fire()
            lab.reactor.call_at_flush(lambda: order.append("flush"))
            order.append("fired")

        async def waiting(strand: Strand) -> None:
            await signal.wait()
            order.append("woken")

        lab.own(waiting)
        lab.own(firing)
        await settle()
        peer.send(b"x")
        await settle()
        assert order == ["fired", "woken", "flush"]


async def test_signal_waited_for_inside_adopted_wakes_the_owner() -> None:
    async with open_lab() as lab:
        signal = Signal(lab.reactor)

        async def body(strand: Strand) -> bool:
            async with adopted():
                await signal.wait()
                return in_reactor()

        driven = lab.own(body)
        await settle()
        signal.fire()
        await settle()
        assert driven.result is False


async def test_signal_of_a_cancelled_waiter_is_kept_for_the_next() -> None:
    async with open_lab() as lab:
        signal = Signal(lab.reactor)

        async def body(strand: Strand) -> str:
            await signal.wait()
            return "got it"

        first = lab.own(body)
        await settle()
        first.scope.cancel()
        await settle()
        assert signal.strand is None
        signal.fire()
        second = lab.own(body)
        await settle()
        assert second.result == "got it"


# -- the rest -------------------------------------------------------------------------------------------
async def test_call_at_flush_runs_once_after_every_ready_strand() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        order: list[str] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            lab.reactor.call_at_flush(lambda: order.append("flush"))

            async def second(_: Strand) -> None:
                order.append("made ready by a strand")

            async def ready(_: Strand) -> None:
                order.append("strand")
                lab.reactor.spawn("second", second, now=False)

            lab.reactor.spawn("ready", ready, now=False)
            order.append("step")

        lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert order == ["step", "strand", "made ready by a strand", "flush"]


async def test_call_at_flush_outside_the_pass_wakes_the_reactor() -> None:
    async with open_lab() as lab:
        order: list[bool] = []
        lab.reactor.call_at_flush(lambda: order.append(in_reactor()))
        await settle()
        assert order == [True]


async def test_endless_chain_of_ready_strands_does_not_starve_sockets_and_tasks() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        rounds = 0
        stop = False

        async def link(strand: Strand) -> None:
            nonlocal rounds
            rounds += 1
            if not stop and rounds < 100_000:
                lab.reactor.spawn("link", link, now=False)

        async def body(strand: Strand) -> bytes:
            nonlocal stop
            data = await transport.receive()
            stop = True
            return data

        driven = lab.own(body)
        await settle()
        lab.reactor.spawn("link", link, now=False)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        peer.send(b"x")
        await settle()
        assert driven.result == b"x"
        assert rounds < 1000


async def test_wake_from_another_thread_runs_a_pass() -> None:
    async with open_lab() as lab:
        order: list[bool] = []
        # What another thread leaves for the reactor is run at its next pass, which wake() brings about.
        lab.reactor._flush.append(lambda: order.append(in_reactor()))
        thread = threading.Thread(target=lab.reactor.wake)
        thread.start()
        thread.join()
        await settle()
        assert order == [True]
        lab.reactor.wake()
        lab.reactor.wake()
        await settle()


@pytest.mark.parametrize("same_pass", [True, False])
async def test_receive_on_a_closed_transport_raises_instead_of_waiting(same_pass: bool) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> bytes:
            if same_pass:
                await transport.receive()
            transport.close()
            return await transport.receive()

        driven = lab.own(body)
        await settle()
        if same_pass:
            peer.send(b"x")
            await settle()
        assert isinstance(driven.error, OSError)
        assert driven.error.errno == errno.EBADF


async def test_closed_transport_is_gone_without_the_garbage_collector() -> None:
    """It holds a socket, and under TLS what OpenSSL keeps, which the collector does not count."""

    def alive() -> int:
        return sum(isinstance(each, Transport) for each in gc.get_objects())

    async with open_lab() as lab:
        gc.collect()
        gc.disable()
        try:
            before = alive()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            transport = Transport(ours, lab.reactor)
            await settle()
            transport.close()
            theirs.close()
            await settle()
            del transport
            assert alive() == before
        finally:
            gc.enable()
