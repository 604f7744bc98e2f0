"""What was put off until the end of a pass: when it leaves, in which order, and what ends it."""

from __future__ import annotations

import socket

import pytest

from sidecar.net.reactor import Strand, Transport
from tests.support.strands import open_lab, settle


def take(peer: socket.socket) -> bytes:
    """Everything that has arrived."""
    found = b""
    while True:
        try:
            data = peer.recv(1 << 20)
        except BlockingIOError:
            return found
        if not data:
            return found
        found += data


async def test_bytes_leave_at_the_end_of_the_pass_all_of_them_together() -> None:
    async with open_lab() as lab:
        first, first_peer = lab.pair()
        second, second_peer = lab.pair()
        seen: list[bytes] = []

        async def one(strand: Strand) -> None:
            await first.receive()
            first.send_soon(b"a")
            first.send_soon(b"b")
            seen.append(take(first_peer))

        async def two(strand: Strand) -> None:
            await second.receive()
            second.send_soon(b"c")
            seen.extend((take(first_peer), take(second_peer)))

        for body in (one, two):
            lab.own(body)
        await settle()
        first_peer.send(b"x")
        second_peer.send(b"x")
        await settle()
        assert seen == [b"", b"", b""]
        assert (take(first_peer), take(second_peer)) == (b"ab", b"c")


async def test_bytes_leave_at_once_outside_of_a_pass() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        transport.send_soon(b"now")
        assert take(peer) == b"now"


async def test_bytes_that_are_sent_at_once_come_behind_those_that_were_put_off() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()
            transport.send_soon(b"first ")
            await transport.send_all(b"second")

        lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert take(peer) == b"first second"


async def test_many_connections_in_one_pass_do_not_wait_for_each_other_for_long() -> None:
    async with open_lab() as lab:
        pairs = [lab.pair() for _ in range(40)]
        gone_early: list[int] = []

        def make(transport: Transport, number: int) -> None:
            async def body(strand: Strand) -> None:
                await transport.receive()
                transport.send_soon(b"x")
                gone_early.append(sum(not each.queued for each, _ in pairs[: number + 1]))

            lab.own(body)

        for number, (transport, _) in enumerate(pairs):
            make(transport, number)
        await settle()
        for _, peer in pairs:
            peer.send(b"x")
        await settle()
        assert [take(peer) for _, peer in pairs] == [b"x"] * 40
        assert max(gone_early) >= 32


async def test_bytes_that_do_not_fit_leave_when_the_peer_reads() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        sent = 0
        while True:
            try:
                sent += transport.sock.send(b"f" * 65536)
            except BlockingIOError:
                break
        await settle()
        transport.send_soon(b"tail")
        assert transport.queued == b"tail"
        data = b""
        while len(data) < sent + 4:
            data += take(peer)
            await settle()
        assert data == b"f" * sent + b"tail"
        assert transport.queued == b""


async def test_error_is_left_to_reading() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        peer.close()
        transport.send_soon(b"x")
        assert transport.queued == b""
        await settle()

        async def body(strand: Strand) -> bytes:
            return await transport.receive()

        driven = lab.own(body)
        await settle()
        assert driven.is_over


@pytest.mark.parametrize("closes", [True, False])
async def test_closed_transport_sends_nothing_more(closes: bool) -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        other, other_peer = lab.pair()

        async def body(strand: Strand) -> None:
            await transport.receive()
            transport.send_soon(b"x")
            if closes:
                transport.close()

        async def beside(strand: Strand) -> None:
            await other.receive()

        lab.own(body)
        lab.own(beside)
        await settle()
        peer.send(b"x")
        other_peer.send(b"x")
        await settle()
        assert take(peer) == (b"" if closes else b"x")


async def test_answer_to_a_single_event_leaves_at_once() -> None:
    async with open_lab() as lab:
        transport, peer = lab.pair()
        seen: list[bytes] = []

        async def body(strand: Strand) -> None:
            await transport.receive()
            transport.send_soon(b"x")
            seen.append(take(peer))

        lab.own(body)
        await settle()
        peer.send(b"x")
        await settle()
        assert seen == [b"x"]
