"""Sockets to upstreams: what is set on them, in which order addresses are tried, which one wins."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from sidecar.core.address import Address
from sidecar.core.errors import UpstreamError
from sidecar.net.reactor import Strand
from sidecar.net.socket_options import SocketOption, keepalive_options
from sidecar.upstream.connect_options import BindError, ConnectOptions, SourceAddress
from sidecar.upstream.happy_eyeballs import sort_addresses
from tests.support.h1_lab import H1Lab, open_h1_lab, skewed_clock
from tests.support.strands import Driven, settle

A, B, C = (Address.ip(f"127.0.0.{number}", 1) for number in (1, 2, 3))
X, Y = Address.ip("::1", 1), Address.ip("::2", 1)


@pytest.mark.parametrize(
    ("given", "family", "count", "sorted_"),
    [
        ([A, B, C], 0, 1, [A, B, C]),
        ([A, B, X, Y], 0, 1, [A, X, B, Y]),
        ([X, Y, A, B], 0, 1, [X, A, Y, B]),
        ([A, B, X, Y], socket.AF_INET6, 1, [X, A, Y, B]),
        ([A, B, C, X], 0, 2, [A, B, X, C]),
        ([A, B], socket.AF_INET6, 2, [A, B]),
    ],
)
def test_families_of_addresses_take_turns(
    given: list[Address], family: int, count: int, sorted_: list[Address]
) -> None:
    assert sort_addresses(given, family, count) == sorted_


def test_keepalive_leaves_to_the_system_what_is_not_said_and_zero_turns_it_off() -> None:
    assert keepalive_options(0, 5, 5) == ()
    with socket.socket() as sock:
        ConnectOptions(options=keepalive_options(None, 50, 7)).prepare(sock, A)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 50
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7


def test_source_address_is_chosen_by_the_family_of_the_target() -> None:
    nagle = SocketOption(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = ConnectOptions((SourceAddress(Y), SourceAddress(Address.ip("127.0.0.5", 0), (nagle,))))
    with socket.socket() as sock:
        options.prepare(sock, A)
        assert sock.getsockname()[0] == "127.0.0.5"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_option_of_one_family_or_of_another_state_is_left_alone() -> None:
    options = (
        SocketOption(9999, 1, 1, family=socket.AF_INET6),
        SocketOption(9999, 1, 1, state=1),
    )
    with socket.socket() as sock:
        ConnectOptions(options=options).prepare(sock, A)
        with pytest.raises(OSError, match=r"(?i)option|argument|available|supported"):
            ConnectOptions(options=(SocketOption(9999, 1, 1),)).prepare(sock, A)


def test_address_that_cannot_be_had_is_an_error_of_bind() -> None:
    options = ConnectOptions((SourceAddress(Address.ip("192.0.2.1", 0)),))
    with (
        socket.socket() as sock,
        pytest.raises(BindError, match=r"failed to bind to 192\.0\.2\.1:0: Cannot assign"),
    ):
        options.prepare(sock, A)


@contextlib.contextmanager
def deaf() -> Iterator[Address]:
    """An address whose connections are never made: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = Address.ip("127.0.0.1", listener.getsockname()[1])
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address.sockaddr)
        yield address


def connect(lab: H1Lab) -> Driven:
    async def body(strand: Strand) -> Any:
        return await lab.cluster.connector.connect(lab.lab.reactor, lab.host, strand)

    return lab.lab.own(body)


async def test_address_that_does_not_answer_is_overtaken_by_the_next(autojump_clock: object) -> None:
    with deaf() as address:
        async with open_h1_lab(clock=skewed_clock()) as lab:
            lab.host.addresses = (address, lab.upstream.address)
            driven = connect(lab)
            await trio.sleep(0.2)
            assert not driven.is_over
            await trio.sleep(0.3)
            assert driven.error is None
            driven.result.close()
            assert not lab.lab.reactor._transports
            assert (lab.counter("cluster.up.upstream_cx_total"), lab.host.cx_total) == (1, 1)


async def test_addresses_that_do_not_answer_time_out_together(autojump_clock: object) -> None:
    with deaf() as address:
        async with open_h1_lab(clock=skewed_clock(), connect_timeout_s=1.0) as lab:
            lab.host.addresses = (address, address, address)
            driven = connect(lab)
            await trio.sleep(0.9)
            assert len(lab.lab.reactor._transports) == 3
            await trio.sleep(0.3)
            assert isinstance(driven.error, UpstreamError)
            assert driven.error.details == "connection timeout"
            await settle()
            assert not lab.lab.reactor._transports
            assert not lab.lab.reactor.strands
