"""Calls of the proxy's own: what they send and give, and that nothing is left of them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from sidecar.core.errors import DeadlineExceeded, Disconnected, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.net.reactor import Strand
from sidecar.router.http_client import HttpCall, HttpClient, PushBody
from tests.support.h1_lab import OK, H1Lab, open_h1_lab, skewed_clock
from tests.support.strands import Driven, settle


def client_of(lab: H1Lab) -> HttpClient:
    router = lab.manager.router
    return HttpClient(lab.lab.reactor, router.find_cluster, router.get_pool, lab.store)


def a_head(method: bytes = b"GET") -> RequestHeaders:
    return RequestHeaders(method, b"/path", b"a.example", b"http", [(b"x-forwarded-for", b"1.2.3.4")])


def result_of(lab: H1Lab, call: HttpCall) -> Driven:
    async def body(_strand: Strand) -> Any:
        return await call.result()

    call.start()
    return lab.lab.own(body)


async def test_call_gives_the_answer_and_says_that_it_is_internal() -> None:
    async with open_h1_lab() as lab:
        call = client_of(lab).call("up", a_head())
        told: list[HttpCall] = []
        call.on_done = told.append
        driven = result_of(lab, call)
        await settle()
        server = lab.upstream.accept()
        await settle()
        sent = server.recv(65536)
        assert sent.startswith(b"GET /path HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 1.2.3.4,")
        assert b"x-envoy-internal: true\r\n" in sent
        server.send(OK)
        await settle()
        assert (driven.result.headers.status, driven.result.body) == (200, b"ok")
        assert told == [call]
        assert lab.counter("http.async-client.rq_total") == 1
        assert lab.counter("cluster.up.internal.upstream_rq_200") == 1
        server.close()
        await settle()
        assert lab.gauges() == {}


async def test_body_of_an_answer_is_kept_as_far_as_it_is_asked_for() -> None:
    async with open_h1_lab() as lab:
        driven = result_of(lab, client_of(lab).call("up", a_head(), keep_bytes=1))
        await settle()
        server = lab.upstream.accept()
        server.send(OK)
        await settle()
        assert driven.result.body == b"o"


async def test_cluster_without_hosts_answers_as_the_router_does() -> None:
    async with open_h1_lab() as lab:
        lab.cluster.set_hosts([])
        driven = result_of(lab, client_of(lab).call("up", a_head()))
        await settle()
        assert (driven.result.headers.status, driven.result.body) == (503, b"no healthy upstream")


async def test_broken_connection_is_an_error_of_the_call() -> None:
    async with open_h1_lab() as lab:
        driven = result_of(lab, client_of(lab).call("up", a_head()))
        await settle()
        lab.upstream.accept().close()
        await settle()
        assert isinstance(driven.error, UpstreamError)
        assert lab.gauges() == {}


async def test_cancelled_call_leaves_nothing_behind() -> None:
    async with open_h1_lab() as lab:
        for is_accepted in (False, True):
            call = client_of(lab).call("up", a_head())
            driven = result_of(lab, call)
            if is_accepted:
                await settle()
                lab.upstream.accept()
                await settle()
            call.cancel()
            call.cancel()
            await settle()
            assert isinstance(driven.error, Disconnected)
            assert call.is_done
        assert lab.gauges() == {}


async def test_call_ends_with_its_timeout(autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        call = client_of(lab).call("up", a_head(), timeout_s=5.0)
        driven = result_of(lab, call)
        await trio.sleep(4.5)
        assert not driven.is_over
        await trio.sleep(1.0)
        assert isinstance(driven.error, DeadlineExceeded)
        assert lab.counter("cluster.up.upstream_rq_timeout") == 1
        assert lab.gauges() == {}


async def test_who_pushes_a_body_waits_for_who_takes_it() -> None:
    async with open_h1_lab() as lab:
        body = PushBody(lab.lab.reactor, 3)
        pushed: list[bytes] = []

        async def push(_strand: Strand) -> None:
            for piece in (b"ab", b"cd", b"ef"):
                await body.push(piece)
                pushed.append(piece)
            body.end()

        async def take(_strand: Strand) -> bytes:
            found = b""
            while data := await body.receive():
                found += data
            return found

        lab.lab.own(push)
        await settle()
        assert pushed == [b"ab"]
        taker = lab.lab.own(take)
        await settle()
        assert taker.result == b"abcdef"


async def test_who_pushes_a_body_goes_on_when_nobody_takes_it_any_more() -> None:
    async with open_h1_lab() as lab:
        body = PushBody(lab.lab.reactor, 1)

        async def push(_strand: Strand) -> None:
            await body.push(b"long")
            await body.push(b"lost")

        driven = lab.lab.own(push)
        await settle()
        assert not driven.is_over
        body.abandon()
        await settle()
        assert driven.is_over
        assert driven.error is None


@pytest.mark.parametrize("is_head_alone", [True, False])
async def test_pushed_body_goes_out_by_pieces(is_head_alone: bool) -> None:
    async with open_h1_lab() as lab:
        body = PushBody(lab.lab.reactor, 1000)
        call = client_of(lab).call("up", a_head(b"POST"), body)
        driven = result_of(lab, call)
        await settle()
        server = lab.upstream.accept()
        await settle()
        assert server.recv(65536).endswith(b"transfer-encoding: chunked\r\n\r\n")
        if not is_head_alone:

            async def push(_strand: Strand) -> None:
                await body.push(b"abc")

            lab.lab.own(push)
            await settle()
            assert server.recv(65536) == b"3\r\nabc\r\n"
        body.end()
        await settle()
        assert server.recv(65536) == b"0\r\n\r\n"
        server.send(OK)
        await settle()
        assert driven.result.headers.status == 200
