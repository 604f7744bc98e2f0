"""The HTTP/1 pool: who gets a connection, when one more is opened, and what is counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Flag
from sidecar.core.address import Address
from sidecar.core.errors import Disconnected, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.net.reactor import Strand
from sidecar.upstream.h1_connection import H1Connection
from sidecar.upstream.h1_pool import H1Pool
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support.h1_lab import OK, H1Lab, open_h1_lab, skewed_clock
from tests.support.strands import Driven, settle


def pool_of(lab: H1Lab) -> H1Pool:
    pool: H1Pool = lab.manager.router.get_pool(lab.cluster, lab.host, None)
    return pool


async def wait_for(lab: H1Lab, pool: H1Pool) -> Driven:
    """A request that waits in the pool's queue, behind those that were there before."""

    async def body(strand: Strand) -> H1Connection:
        return await pool.wait()

    driven = lab.lab.own(body)
    await settle()
    return driven


async def connection_of(lab: H1Lab, pool: H1Pool) -> H1Connection:
    driven = await wait_for(lab, pool)
    assert isinstance(driven.result, H1Connection)
    return driven.result


async def exchange(lab: H1Lab, connection: H1Connection, server: socket.socket, answer: bytes = OK) -> int:
    """One GET on ``connection``; the status of the answer.  The caller releases it."""

    async def body(strand: Strand) -> int:
        message = RequestMessage(RequestHeaders(b"GET", b"/", b"a", b"http", [(b"x", b"y")]))
        waiting = connection.start(message, None)
        assert waiting is None
        response = await connection.response()
        if response.body is not None:
            while await response.body.receive():
                pass
        return response.headers.status

    driven = lab.lab.own(body)
    await settle()
    server.recv(65536)
    server.send(answer)
    await settle()
    assert isinstance(driven.result, int)
    return driven.result


def stat(lab: H1Lab, name: str) -> int:
    return lab.counter(f"cluster.up.{name}")


def limits(**given: int) -> dict[str, Any]:
    return {"default_limits": CircuitBreakerLimits(**given)}


# -- idle connections -----------------------------------------------------------------------------------
async def test_pool_without_a_connection_opens_one_for_who_waits() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        assert pool.acquire() is None
        connection = await connection_of(lab, pool)
        assert connection.requests == 1
        assert connection.protocol == "HTTP/1.1"
        assert lab.gauges() == {"cluster.up.upstream_cx_active": 1, "cluster.up.upstream_rq_active": 1}
        assert (stat(lab, "upstream_cx_total"), stat(lab, "upstream_cx_http1_total")) == (1, 1)
        assert (stat(lab, "upstream_rq_pending_total"), lab.host.cx_active) == (1, 1)


async def test_released_connection_serves_the_next_request() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        server = lab.upstream.accept()
        assert await exchange(lab, connection, server) == 200
        connection.release()
        assert pool.acquire() is connection
        assert connection.requests == 2
        assert pool.acquire() is None


async def test_idle_connections_are_taken_last_in_first_out() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        first, second, third = [await connection_of(lab, pool) for _ in range(3)]
        for each in (second, first, third):
            each.release()
        assert [pool.acquire() for _ in range(4)] == [third, first, second, None]


@pytest.mark.parametrize("event", ["close", "bytes"])
async def test_idle_connection_whose_peer_says_something_is_dropped_at_once(event: str) -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        server = lab.upstream.accept()
        connection.release()
        if event == "close":
            server.close()
        else:
            server.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await settle()
        assert pool.acquire() is None
        assert lab.gauges() == {}
        assert (lab.host.cx_active, stat(lab, "upstream_cx_destroy")) == (0, 1)
        assert stat(lab, "upstream_cx_destroy_remote") == 1


async def test_connection_closed_while_the_reactor_did_not_look_is_not_given_out() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        connection.release()
        connection._transport.hangup = True
        assert pool.acquire() is None
        assert lab.gauges() == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"more",
    ],
    ids=["close", "1.0", "too much"],
)
async def test_connection_that_cannot_be_used_again_is_closed_on_release(answer: bytes) -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        server = lab.upstream.accept()
        await exchange(lab, connection, server, answer)
        connection.release()
        await settle()
        assert pool.acquire() is None
        assert lab.gauges() == {}
        assert server.recv(10) == b""


async def test_connection_of_http_1_0_that_says_keep_alive_is_kept() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        answer = b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok"
        await exchange(lab, connection, lab.upstream.accept(), answer)
        connection.release()
        assert pool.acquire() is connection


async def test_connection_reset_in_the_middle_is_closed_and_counted_as_active() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        message = RequestMessage(RequestHeaders(b"GET", b"/", b"a", b"http", []))
        assert connection.start(message, None) is None
        connection.reset()
        assert lab.gauges() == {}
        assert stat(lab, "upstream_cx_destroy_local_with_active_rq") == 1


async def test_max_requests_per_connection_closes_after_that_many() -> None:
    async with open_h1_lab(max_requests_per_connection=2) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        connection.release()
        again = pool.acquire()
        assert again is connection
        again.release()
        assert pool.acquire() is None
        assert stat(lab, "upstream_cx_max_requests") == 1
        assert lab.gauges() == {}


async def test_idle_timeout_closes_what_was_idle_too_long() -> None:
    async with open_h1_lab(idle_timeout_s=10.0) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        connection.release()
        now = lab.lab.reactor.clock()
        pool.sweep_idle(now + 9)
        assert lab.gauges() == {"cluster.up.upstream_cx_active": 1}
        pool.sweep_idle(now + 11)
        assert lab.gauges() == {}
        assert stat(lab, "upstream_cx_idle_timeout") == 1
        assert pool.acquire() is None


async def test_idle_timeout_of_minutes_counts_from_the_first_sweep_that_saw_it_idle() -> None:
    async with open_h1_lab(idle_timeout_s=3600.0) as lab:
        pool = pool_of(lab)
        (await connection_of(lab, pool)).release()
        pool.sweep_idle(10.0)
        pool.sweep_idle(3609.0)
        assert stat(lab, "upstream_cx_idle_timeout") == 0
        pool.sweep_idle(3611.0)
        assert stat(lab, "upstream_cx_idle_timeout") == 1


# -- the queue ------------------------------------------------------------------------------------------
async def test_released_connection_goes_to_the_oldest_who_waits() -> None:
    async with open_h1_lab(**limits(max_connections=1)) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        waiting = [await wait_for(lab, pool) for _ in range(3)]
        await settle()
        assert [each.is_over for each in waiting] == [False] * 3
        assert stat(lab, "upstream_cx_total") == 1
        assert lab.host.rq_pending_active == 3
        for turn in range(3):
            connection.release()
            await settle()
            assert [each.is_over for each in waiting] == [index <= turn for index in range(3)]
            assert waiting[turn].result is connection
        assert lab.host.rq_pending_active == 0
        # Once for each, and once more whenever somebody still waits for one that came free.
        assert stat(lab, "upstream_cx_overflow") == 5


async def test_one_connection_is_opened_for_each_who_waits_within_the_limit() -> None:
    async with open_h1_lab(**limits(max_connections=2)) as lab:
        pool = pool_of(lab)
        waiting = [await wait_for(lab, pool) for _ in range(4)]
        assert [each.is_over for each in waiting] == [True, True, False, False]
        assert stat(lab, "upstream_cx_total") == 2


async def test_limit_of_connections_counts_those_that_are_still_connecting() -> None:
    async with open_h1_lab(**limits(max_connections=2)) as lab:
        pool = pool_of(lab)

        async def body(strand: Strand) -> H1Connection:
            return await pool.wait()

        waiting = [lab.lab.own(body) for _ in range(4)]
        await settle()
        assert sum(each.is_over for each in waiting) == 2
        assert stat(lab, "upstream_cx_total") == 2


async def test_max_pending_requests_refuses_one_more() -> None:
    async with open_h1_lab(**limits(max_connections=1, max_pending_requests=1)) as lab:
        pool = pool_of(lab)
        await connection_of(lab, pool)
        await wait_for(lab, pool)
        refused = await wait_for(lab, pool)
        await settle()
        error = refused.error
        assert isinstance(error, UpstreamError)
        assert (error.flag, error.details) == (Flag.UPSTREAM_OVERFLOW, "overflow")
        assert stat(lab, "upstream_rq_pending_overflow") == 1
        assert lab.host.rq_pending_active == 1


async def test_connection_that_closes_makes_room_for_another() -> None:
    async with open_h1_lab(**limits(max_connections=1)) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        waiting = await wait_for(lab, pool)
        await settle()
        connection.reset()
        await settle()
        assert isinstance(waiting.result, H1Connection)
        assert waiting.result is not connection


@pytest.mark.parametrize("how", ["cancelled", "disconnected"])
async def test_waiter_that_leaves_gives_its_place_up(how: str) -> None:
    async with open_h1_lab(**limits(max_connections=1)) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        leaving, staying = await wait_for(lab, pool), await wait_for(lab, pool)
        await settle()
        if how == "cancelled":
            leaving.scope.cancel()
        else:
            leaving.strand.fail(Disconnected("gone"))
        await settle()
        assert leaving.is_over
        assert stat(lab, "upstream_rq_cancelled") == 1
        assert lab.host.rq_pending_active == 1
        connection.release()
        await settle()
        assert staying.result is connection


@pytest.mark.parametrize("how", ["cancelled", "disconnected"])
async def test_waiter_that_leaves_with_its_connection_in_hand_gives_it_back(how: str) -> None:
    async with open_h1_lab(**limits(max_connections=1)) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        leaving = await wait_for(lab, pool)
        await settle()
        connection.release()
        # The connection is the waiter's now, but its strand did not run yet.
        if how == "cancelled":
            leaving.scope.cancel()
        else:
            leaving.strand.fail(Disconnected("gone"))
        await settle()
        assert leaving.result is None
        assert pool.acquire() is connection
        assert lab.gauges() == {"cluster.up.upstream_cx_active": 1, "cluster.up.upstream_rq_active": 1}


# -- connecting -----------------------------------------------------------------------------------------
async def test_refused_connection_fails_who_waits() -> None:
    async with open_h1_lab() as lab:
        lab.upstream.listener.close()
        waiting = await wait_for(lab, pool_of(lab))
        error = waiting.error
        assert isinstance(error, UpstreamError)
        assert (error.flag, error.retryable) == (Flag.UPSTREAM_CONNECTION_FAILURE, True)
        assert stat(lab, "upstream_cx_connect_fail") == lab.host.cx_connect_fail == 1
        assert stat(lab, "upstream_rq_pending_failure_eject") == 1
        assert lab.gauges() == {}
        assert (lab.host.cx_active, lab.host.rq_pending_active) == (0, 0)


@contextmanager
def unused_port() -> Iterator[Address]:
    """A TCP address that is taken but where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Address.ip("127.0.0.1", sock.getsockname()[1])


async def test_delayed_refusal_of_tcp_fails_with_its_reason() -> None:
    with unused_port() as address:
        async with open_h1_lab(address=address) as lab:
            waiting = await wait_for(lab, pool_of(lab))
            await settle()
            error = waiting.error
            assert isinstance(error, UpstreamError)
            assert "delayed connect error: Connection refused" in error.details
            assert stat(lab, "upstream_cx_connect_fail") == 1


async def test_further_addresses_of_a_host_are_tried_in_order() -> None:
    with unused_port() as closed:
        async with open_h1_lab() as lab:
            lab.host.addresses = (closed, lab.upstream.address)
            connection = await connection_of(lab, pool_of(lab))
            assert connection.requests == 1
            assert stat(lab, "upstream_cx_connect_fail") == 0


async def test_connect_timeout_fails_everybody_who_waits(autojump_clock: object) -> None:
    with socket.socket() as listener:
        # A full queue of connections: the kernel lets one more SYN go unanswered.
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = Address.ip("127.0.0.1", listener.getsockname()[1])
        async with open_h1_lab(clock=skewed_clock(), address=address, connect_timeout_s=3.0) as lab:
            for _ in range(2):
                filler = lab.lab.keep(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address.sockaddr)
            pool = pool_of(lab)
            first = await wait_for(lab, pool)
            await trio.sleep(2.0)
            second = await wait_for(lab, pool)
            await trio.sleep(0.9)
            assert not first.is_over
            await trio.sleep(0.3)
            # The first connection's failure is everybody's: the second request had two seconds left.
            for each in (first, second):
                assert isinstance(each.error, UpstreamError)
                assert each.error.details == "connection timeout"
            assert stat(lab, "upstream_rq_pending_failure_eject") == 2
            assert lab.host.rq_pending_active == 0
            await trio.sleep(3)
            assert stat(lab, "upstream_cx_connect_timeout") == stat(lab, "upstream_cx_connect_fail") == 2
            assert lab.gauges() == {}


# -- closing --------------------------------------------------------------------------------------------
async def test_closed_pool_closes_idle_connections_now_and_busy_ones_on_release() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        idle, busy = await connection_of(lab, pool), await connection_of(lab, pool)
        idle.release()
        pool.close()
        assert lab.gauges() == {"cluster.up.upstream_cx_active": 1, "cluster.up.upstream_rq_active": 1}
        busy.release()
        assert lab.gauges() == {}


async def test_closed_pool_serves_who_waits_for_a_connection_already() -> None:
    async with open_h1_lab(**limits(max_connections=1)) as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        waiting = await wait_for(lab, pool)
        await settle()
        pool.close()
        connection.release()
        await settle()
        assert isinstance(waiting.result, H1Connection)
        waiting.result.release()
        assert lab.gauges() == {}


async def test_connection_with_a_stale_edge_is_kept_and_one_with_bytes_is_not() -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        stale = await connection_of(lab, pool)
        stale._transport.ready = True
        stale.release()
        assert pool.acquire() is stale
        lab.upstream.accept().send(b"x")
        await settle()
        stale.release()
        assert pool.acquire() is None
        assert lab.gauges() == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 80 * 1024 + b"\r\n\r\n",
    ],
)
async def test_response_that_cannot_be_framed_is_a_protocol_error(answer: bytes) -> None:
    async with open_h1_lab() as lab:
        pool = pool_of(lab)
        connection = await connection_of(lab, pool)
        server = lab.upstream.accept()

        async def body(strand: Strand) -> None:
            connection.start(RequestMessage(RequestHeaders(b"GET", b"/", b"a", b"http")), None)
            await connection.response()

        driven = lab.lab.own(body)
        await settle()
        server.send(answer)
        await settle()
        assert isinstance(driven.error, UpstreamError)
        assert (driven.error.flag, driven.error.details) == (Flag.UPSTREAM_PROTOCOL_ERROR, "protocol error")
        assert stat(lab, "upstream_cx_protocol_error") == 1
        connection.reset()
