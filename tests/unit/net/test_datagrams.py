"""What the kernel says beside datagrams."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from sidecar.net.datagrams import (
    MAX_DATAGRAM,
    DatagramSettings,
    DatagramTransport,
    from_address,
    local_address,
    segment_size,
    segments,
)
from sidecar.net.reactor import Reactor, open_reactor


def test_piece_is_taken_apart_into_its_datagrams() -> None:
    assert segments(b"aabbc", 2) == [b"aa", b"bb", b"c"]
    assert segments(b"aa", 2) == [b"aa"]
    assert segments(b"", 2) == [b""]
    assert segments(b"aabbc", 0) == [b"aabbc"]


def test_segment_size_is_found_among_other_messages() -> None:
    pktinfo = (socket.IPPROTO_IP, 8, struct.pack("@I4s4s", 1, b"\x7f\0\0\1", b"\x7f\0\0\2"))
    gro = (17, 104, struct.pack("@i", 1200))
    assert segment_size([pktinfo, gro]) == 1200
    assert segment_size([pktinfo]) == 0
    assert local_address([gro, pktinfo]) == b"\x7f\0\0\2"
    assert local_address([gro]) is None


@pytest.mark.parametrize("text", ["127.0.0.1", "::1"])
def test_address_to_send_from_has_the_form_of_its_family(text: str) -> None:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    level, _, data = from_address(socket.inet_pton(family, text))
    assert level == (socket.IPPROTO_IPV6 if ":" in text else socket.IPPROTO_IP)
    assert len(data) == (20 if ":" in text else 12)


def test_pieces_have_no_limit_but_that_of_datagrams() -> None:
    assert DatagramSettings(100).limit == 100
    assert DatagramSettings(100, prefer_gro=True).limit == MAX_DATAGRAM


async def test_an_error_of_who_reads_costs_its_datagrams_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[bytes] = []
    came = trio.Event()
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.setblocking(False)
        receiver.bind(("127.0.0.1", 0))
        reactor = Reactor()

        def take() -> None:
            seen.append(receiver.recv(100))
            if len(seen) == 1:
                raise ValueError("a filter's mistake")
            came.set()

        async with open_reactor(reactor):
            transport = DatagramTransport(receiver, reactor)
            transport.read_with(take)
            for data in (b"first", b"second"):
                sender.sendto(data, receiver.getsockname())
            with trio.fail_after(10):
                await came.wait()
            transport.close()
    assert seen == [b"first", b"second"]
    assert "a filter's mistake" in caplog.text
