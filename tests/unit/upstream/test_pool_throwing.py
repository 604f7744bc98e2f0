"""Errors thrown at every wait of pools, connectors and readers: no slot, socket, strand or count is left."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.api.message import RequestMessage
from sidecar.codec.h2_types import H2Settings
from sidecar.core.address import Address
from sidecar.core.errors import DeadlineExceeded, Disconnected, RemoteProtocolError, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.net.reactor import Strand
from sidecar.upstream.pool import connection_termination
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support.h1_lab import OK, H1Lab, open_h1_lab
from tests.support.h2_frames import SERVER_START
from tests.support.strands import settle
from tests.support.throwing import Throws, assert_nothing_left, throw_at_every_wait

ERRORS: dict[str, Callable[[], BaseException]] = {
    "disconnected": lambda: Disconnected("gone"),
    "deadline": lambda: DeadlineExceeded("total"),
    "upstream": connection_termination,
    "protocol": lambda: RemoteProtocolError("nonsense"),
    "os": lambda: OSError(9, "bad descriptor"),
}
KINDS = ("h1", "h2", "tcp")


def opener(kind: str, **config: Any) -> Callable[[], Any]:
    def make() -> Any:
        return open_h1_lab(
            http2=kind == "h2",
            http2_settings=H2Settings(max_concurrent_streams=2),
            default_limits=CircuitBreakerLimits(max_connections=2, max_connection_pools=1),
            **config,
        )

    return make


def pool_of(lab: H1Lab, kind: str) -> Any:
    return lab.manager.router.get_pool(lab.cluster, lab.host, None, raw=kind == "tcp")


class Server:
    """The peers of a lab's connections: they answer whatever comes."""

    def __init__(self, lab: H1Lab, kind: str) -> None:
        self._lab = lab
        self._kind = kind
        self._socks: list[socket.socket] = []

    async def serve(self) -> None:
        """Take new connections and answer what came."""
        await settle()
        with contextlib.suppress(BlockingIOError):
            while True:
                sock = self._lab.upstream.accept()
                self._socks.append(sock)
                if self._kind == "h2":
                    with contextlib.suppress(OSError):
                        sock.send(SERVER_START)
        await settle()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                data = sock.recv(65536)
                if data and self._kind == "h1":
                    sock.send(OK)
        await settle()

    def close(self) -> None:
        for sock in self._socks:
            sock.close()


def exchange(lab: H1Lab, pool: Any) -> Any:
    """One request as the router makes it, in a strand of its own."""

    async def body(_strand: Strand) -> None:
        stream = pool.acquire() or await pool.wait()
        try:
            message = RequestMessage(RequestHeaders(b"GET", b"/", b"a", b"http", [(b"x", b"y")]))
            waiting = stream.start(message, None)
            if waiting is not None:
                await waiting
            response = await stream.response()
            while response.body is not None and await response.body.receive():
                pass
        except BaseException:
            stream.reset()
            raise
        stream.release()

    return lab.lab.reactor.spawn("exchange", body, on_done=lambda _error: None)


async def check_and_close(lab: H1Lab, where: str) -> None:
    """Close the pools: then nothing is left, whatever was kept before."""
    for strand in list(lab.lab.reactor.strands):
        if strand.name == "exchange":
            strand.fail(Disconnected("the test is over"))
    await settle()
    for resources in lab.cluster.resources:
        assert (resources.pending, resources.requests) == (0, 0), where
    for pool in lab.host.pools:
        pool.close()
    await settle()
    assert_nothing_left(lab, where)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
async def test_error_at_any_wait_of_three_exchanges_leaves_nothing(kind: str, error: str) -> None:
    async def operation(lab: H1Lab, throws: Throws) -> None:
        pool = pool_of(lab, kind)
        server = Server(lab, kind)
        for _ in range(3):
            exchange(lab, pool)
        for _ in range(4):
            await server.serve()
        server.close()
        await settle()

    waits = await throw_at_every_wait(opener(kind), operation, check_and_close, error=ERRORS[error])
    assert waits >= 3


@pytest.mark.parametrize("kind", KINDS)
async def test_error_at_any_wait_of_a_connection_ahead_of_time_leaves_nothing(kind: str) -> None:
    async def operation(lab: H1Lab, throws: Throws) -> None:
        pool = pool_of(lab, kind)
        server = Server(lab, kind)
        exchange(lab, pool)
        await server.serve()
        exchange(lab, pool)
        await server.serve()

    waits = await throw_at_every_wait(
        opener(kind, preconnect_ratio=2.0), operation, check_and_close, error=ERRORS["upstream"]
    )
    assert waits >= 2


@pytest.mark.parametrize("error", ["disconnected", "deadline", "os"])
async def test_error_at_any_wait_of_several_addresses_leaves_nothing(error: str) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = Address.ip("127.0.0.1", sock.getsockname()[1])

        async def operation(lab: H1Lab, throws: Throws) -> None:
            lab.host.addresses = (closed, closed, lab.upstream.address)
            server = Server(lab, "h1")
            exchange(lab, pool_of(lab, "h1"))
            for _ in range(3):
                await server.serve()

        waits = await throw_at_every_wait(opener("h1"), operation, check_and_close, error=ERRORS[error])
        assert waits >= 4


@pytest.mark.parametrize("kind", KINDS)
async def test_handshake_that_breaks_off_leaves_nothing(kind: str) -> None:
    async def operation(lab: H1Lab, throws: Throws) -> None:
        async def handshake(transport: Any, host: Any, strand: Strand) -> Any:
            await transport.readable()
            raise UpstreamError("no", flag=0, details="no")

        lab.cluster.connector.handshake = handshake
        server = Server(lab, kind)
        exchange(lab, pool_of(lab, kind))
        await server.serve()
        server.close()
        await settle()

    waits = await throw_at_every_wait(
        opener(kind), operation, check_and_close, error=ERRORS["disconnected"], match="connect"
    )
    assert waits >= 1
