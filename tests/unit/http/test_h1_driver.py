"""What a client of HTTP/1 and its upstream see of each other."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
import trio

from sidecar.api.message import LocalReply, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.codec.h1_types import H1Settings
from sidecar.http.h1_driver import H1Driver
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support.h1_lab import GET, OK, H1Lab, open_h1_lab, skewed_clock
from tests.support.strands import Driven, settle


class Log:
    """An access log that keeps what it was given."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int, str]] = []

    def log(self, stream: Stream) -> None:
        self.records.append((stream.response_code, int(stream.flags), stream.details))

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


def watch(lab: H1Lab) -> Log:
    log = Log()
    lab.manager.access_logs = (log,)
    return log


async def ask(lab: H1Lab, request: bytes = GET) -> tuple[socket.socket, Driven, socket.socket]:
    """A client that sent ``request``, its connection task, and the upstream's end."""
    client, driven = lab.connect()
    client.send(request)
    await settle()
    return client, driven, lab.upstream.accept()


async def answer_of(client: socket.socket) -> bytes:
    await settle()
    return client.recv(1 << 20)


async def refused(lab: H1Lab, request: bytes) -> tuple[bytes, Driven]:
    """What a client gets for a request that no upstream sees."""
    client, driven = lab.connect()
    client.send(request)
    answer = await answer_of(client)
    assert not lab.upstream.has_connection()
    return answer, driven


# -- plain exchanges --------------------------------------------------------------------------------------
async def test_get_goes_upstream_and_its_answer_comes_back() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        client, driven, server = await ask(
            lab, b"GET /x?y HTTP/1.1\r\nHost: a\r\nX-A: B\r\nConnection: keep-alive\r\n\r\n"
        )
        head = server.recv(1000)
        assert head.startswith(b"GET /x?y HTTP/1.1\r\nhost: a\r\nx-a: B\r\n")
        assert b"connection" not in head
        assert b"x-request-id: " in head
        assert b"x-forwarded-proto: http\r\n" in head
        assert b"x-envoy-expected-rq-timeout-ms: 15000\r\n" in head
        server.send(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nServer: up\r\nKeep-Alive: 5\r\n\r\nok")
        answer = await answer_of(client)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: envoy\r\n")
        assert b"\r\ndate: " in answer
        assert b"x-envoy-upstream-service-time: " in answer
        assert answer.endswith(b"\r\n\r\nok")
        assert not driven.is_over
        assert log.records == [(200, 0, "via_upstream")]
        assert lab.counter("cluster.up.upstream_rq_200") == 1
        assert lab.counter("http.test.downstream_rq_2xx") == 1


async def test_kept_alive_connections_are_used_again_on_both_sides() -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab)
        server.recv(1000)
        server.send(OK)
        assert (await answer_of(client)).endswith(b"ok")
        for _ in range(3):
            assert (await lab.exchange(client, server)).endswith(b"ok")
        assert lab.counter("cluster.up.upstream_cx_total") == 1
        assert lab.counter("http.test.downstream_cx_total") == 1
        assert lab.counter("http.test.downstream_rq_total") == 4


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with open_h1_lab() as lab:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(20))
        client, _, server = await ask(lab, requests)
        for number in range(20):
            assert server.recv(1000).startswith(b"GET /%d " % number)
            server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n%02d" % number)
            assert (await answer_of(client)).endswith(b"%02d" % number)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
async def test_request_that_comes_in_small_pieces_is_served(size: int) -> None:
    async with open_h1_lab() as lab:
        client, _ = lab.connect()
        for at in range(0, len(GET), size):
            client.send(GET[at : at + size])
            await settle()
        server = lab.upstream.accept()
        assert server.recv(1000).startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("codec", ["HTTP1", "AUTO"])
async def test_first_segment_of_three_bytes_is_not_taken_for_a_head(codec: str) -> None:
    async with open_h1_lab() as lab:
        lab.manager.codec_type = codec
        client, _ = lab.connect()
        client.send(b"GET")
        await settle()
        client.send(GET[3:])
        await settle()
        assert lab.upstream.accept().recv(1000).startswith(b"GET / HTTP/1.1\r\n")
        assert lab.counter("http.test.downstream_cx_protocol_error") == 0


async def test_second_request_whose_first_segment_is_three_bytes_is_served() -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab)
        server.recv(1000)
        server.send(OK)
        await answer_of(client)
        client.send(b"GET")
        await settle()
        client.send(GET[3:])
        await settle()
        assert server.recv(1000).startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("request_head", "keeps"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", True),
    ],
)
async def test_connection_is_kept_as_the_client_asks(request_head: bytes, keeps: bool) -> None:
    async with open_h1_lab() as lab:
        lab.manager.http1 = H1Settings(accept_http_10=True)
        client, driven, server = await ask(lab, request_head)
        server.recv(1000)
        server.send(OK)
        answer = await answer_of(client)
        assert answer.endswith(b"ok")
        assert (b"connection: close\r\n" in answer) is not keeps
        assert driven.is_over is not keeps


async def test_head_has_no_body_and_keeps_its_length() -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab, b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        server.recv(1000)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        answer = await answer_of(client)
        assert b"content-length: 1000\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")
        assert (await lab.exchange(client, server)).endswith(b"ok")


@pytest.mark.parametrize("status", [204, 304])
async def test_answer_that_has_no_body_frees_both_connections(status: int) -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab)
        server.recv(1000)
        server.send(b"HTTP/1.1 %d x\r\n\r\n" % status)
        assert (await answer_of(client)).startswith(b"HTTP/1.1 %d " % status)
        assert (await lab.exchange(client, server)).endswith(b"ok")


# -- bodies -----------------------------------------------------------------------------------------------
async def test_small_body_leaves_with_its_head() -> None:
    async with open_h1_lab() as lab:
        _, _, server = await ask(lab, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        assert server.recv(1000).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_body_of_64_kib_is_read_and_sent_with_its_head(
    is_chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab)
        wholes = []
        send_response = H1Driver.send_response

        def look(driver: H1Driver, stream: Stream, response: ResponseMessage) -> Any:
            assert response.body is not None
            wholes.append(response.body.whole)
            if is_chunked:
                response.headers.remove(b"content-length")  # as a filter does that changes the body
            return send_response(driver, stream, response)

        monkeypatch.setattr(H1Driver, "send_response", look)
        body = os.urandom(65536)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        assert server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n" + body) > len(body)
        answer = b""
        end = b"\r\n0\r\n\r\n" if is_chunked else b""
        while not answer.endswith(body + end):
            answer += await answer_of(client)
        assert wholes == [body]
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert (b"\r\ntransfer-encoding: chunked" in head) is is_chunked
        assert rest == (b"10000\r\n" + body + end if is_chunked else body)


async def test_chunked_request_is_passed_on_chunk_by_chunk() -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(
            lab, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert b"transfer-encoding: chunked\r\n" in server.recv(1000)
        client.send(b"3;x=y\r\nabc\r\n")
        await settle()
        assert server.recv(1000) == b"3\r\nabc\r\n"
        client.send(b"0\r\n\r\n")
        await settle()
        assert server.recv(1000) == b"0\r\n\r\n"
        server.send(OK)
        assert (await answer_of(client)).endswith(b"ok")
        assert (await lab.exchange(client, server)).endswith(b"ok")


async def test_large_bodies_are_echoed_whole_under_back_pressure() -> None:
    size = 3_000_000
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
        server.recv(1000)
        sent = received = 0
        while received < size:
            try:
                sent += client.send(bytes(min(100_000, size - sent))) if sent < size else 0
            except BlockingIOError:
                # Nobody reads upstream: the proxy must not have taken everything.
                assert sent < size
                received += len(server.recv(1 << 20))
            await settle()
            if sent == size:
                received += len(server.recv(1 << 20))
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        sent = got = 0
        head = await answer_of(client)
        assert head.startswith(b"HTTP/1.1 200 OK")
        while got < size:
            try:
                sent += server.send(bytes(min(100_000, size - sent))) if sent < size else 0
            except BlockingIOError:
                assert sent < size
            await settle()
            try:
                got += len(client.recv(1 << 20))
            except BlockingIOError:
                assert sent < size
        assert got == size
        assert (await lab.exchange(client, server)).endswith(b"ok")


async def test_response_that_ends_with_its_connection_becomes_chunked() -> None:
    async with open_h1_lab() as lab:
        client, driven, server = await ask(lab)
        server.recv(1000)
        server.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        answer = await answer_of(client)
        assert b"transfer-encoding: chunked\r\n" in answer
        assert answer.endswith(b"4\r\npart\r\n")
        server.close()
        assert await answer_of(client) == b"0\r\n\r\n"
        assert not driven.is_over


async def test_expect_continue_is_answered_here() -> None:
    async with open_h1_lab() as lab:
        request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        client, _, server = await ask(lab, request)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert b"\r\nexpect:" not in server.recv(1000)
        client.send(b"hi")
        await settle()
        assert server.recv(1000) == b"hi"


async def test_interim_responses_of_the_upstream_are_not_the_answer() -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(lab)
        server.recv(1000)
        server.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        answer = await answer_of(client)
        assert answer.endswith(b"ok")
        assert b" 200 OK\r\n" in answer


# -- what the proxy answers itself --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("request_head", "status", "details"),
    [
        (b"nonsense\r\n\r\n", 400, "http1.codec_error"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "missing_host_header"),
        (b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426, "low_version"),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
            501,
            "http1.invalid_transfer_encoding",
        ),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 62_000 + b"\r\n\r\n", 431, "http1.headers_too_large"),
    ],
)
async def test_request_that_is_refused_is_answered_logged_and_closed(
    request_head: bytes, status: int, details: str
) -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        answer, driven = await refused(lab, request_head)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close\r\n" in answer
        assert driven.is_over
        assert [(record[0], record[2]) for record in log.records] == [(status, details)]
        assert lab.counter(f"http.test.downstream_rq_{status // 100}xx") == 1
        assert lab.gauges() == {}


async def test_request_without_a_route_is_a_404() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        lab.manager.route_table = type(lab.manager.route_table)()
        answer, driven = await refused(lab, GET)
        assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert not driven.is_over
        assert log.records == [(404, int(Flag.NO_ROUTE_FOUND), "route_not_found")]
        assert lab.counter("http.test.no_route") == 1


async def test_request_to_an_unknown_cluster_is_a_503() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        lab.manager.router.find_cluster = lambda name: None
        answer, _ = await refused(lab, GET)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert log.records == [(503, int(Flag.NO_CLUSTER_FOUND), "cluster_not_found")]


async def test_request_to_a_cluster_without_hosts_is_a_503() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        lab.cluster.set_hosts([])
        answer, driven = await refused(lab, GET)
        assert answer.endswith(b"\r\n\r\nno healthy upstream")
        assert log.records == [(503, int(Flag.NO_HEALTHY_UPSTREAM), "no_healthy_upstream")]
        assert not driven.is_over


async def test_upstream_that_refuses_is_a_503_and_the_client_stays() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        lab.upstream.listener.close()
        client, driven = lab.connect()
        client.send(GET)
        answer = await answer_of(client)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"reset reason: remote connection failure" in answer
        assert [record[:2] for record in log.records] == [(503, int(Flag.UPSTREAM_CONNECTION_FAILURE))]
        assert not driven.is_over
        assert lab.counter("cluster.up.upstream_rq_503") == 1
        assert lab.gauges() == {
            "http.test.downstream_cx_active": 1,
            "http.test.downstream_cx_http1_active": 1,
        }


async def test_upstream_that_closes_without_an_answer_is_a_503() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        client, driven, server = await ask(lab)
        server.close()
        answer = await answer_of(client)
        assert b"reset reason: connection termination" in answer
        assert [record[:2] for record in log.records] == [(503, int(Flag.UPSTREAM_CONNECTION_TERMINATION))]
        assert not driven.is_over


async def test_upstream_that_does_not_speak_http_is_a_502() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        client, _, server = await ask(lab)
        server.recv(1000)
        server.send(b"SSH-2.0-x\r\n\r\n")
        assert (await answer_of(client)).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert [record[:2] for record in log.records] == [(502, int(Flag.UPSTREAM_PROTOCOL_ERROR))]
        assert lab.counter("cluster.up.upstream_cx_protocol_error") == 1


async def test_upstream_that_breaks_off_inside_its_answer_cuts_the_client_off() -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        client, driven, server = await ask(lab)
        server.recv(1000)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        assert (await answer_of(client)).endswith(b"half")
        server.close()
        assert await answer_of(client) == b""
        assert driven.is_over
        [(status, flags, details)] = log.records
        # Which of the two it is called is compared with Envoy in the conformance suite.
        assert flags in (Flag.UPSTREAM_CONNECTION_TERMINATION, Flag.UPSTREAM_PROTOCOL_ERROR)
        assert status == 200
        assert details.startswith("upstream_reset_after_response_started{")


async def test_queue_that_is_full_is_a_503_with_the_overloaded_header() -> None:
    limits = CircuitBreakerLimits(max_connections=1, max_pending_requests=0)
    async with open_h1_lab(default_limits=limits) as lab:
        log = watch(lab)
        answer, _ = await refused(lab, GET)
        assert b"x-envoy-overloaded: true\r\n" in answer
        assert [record[:2] for record in log.records] == [(503, int(Flag.UPSTREAM_OVERFLOW))]


# -- clients that leave, deadlines --------------------------------------------------------------------------
@pytest.mark.parametrize("with_request", [True, False])
async def test_client_that_leaves_ends_its_request_upstream(with_request: bool) -> None:
    async with open_h1_lab() as lab:
        log = watch(lab)
        client, driven = lab.connect()
        client.send(GET)
        if not with_request:
            await settle()
        client.close()
        await settle()
        assert driven.is_over
        assert log.records == [
            (0, int(Flag.DOWNSTREAM_CONNECTION_TERMINATION), "downstream_remote_disconnect")
        ]
        left = lab.gauges()
        left.pop("cluster.up.upstream_cx_active", None)
        assert left == {}
        assert lab.counter("http.test.downstream_rq_rx_reset") == 1


async def test_route_timeout_is_a_504_and_closes_the_upstream(autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        log = watch(lab)
        client, driven, server = await ask(lab)
        await trio.sleep(14.5)
        with pytest.raises(BlockingIOError):
            client.recv(1000)
        await trio.sleep(1.0)
        answer = await answer_of(client)
        assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert answer.endswith(b"upstream request timeout")
        assert [record[:2] for record in log.records] == [(504, int(Flag.UPSTREAM_REQUEST_TIMEOUT))]
        assert lab.counter("cluster.up.upstream_rq_timeout") == 1
        assert server.recv(1000)
        assert server.recv(1000) == b""
        assert not driven.is_over


@pytest.mark.parametrize("codec", ["HTTP1", "AUTO"])
async def test_idle_connection_is_closed_after_its_timeout(codec: str, autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        lab.manager.codec_type = codec
        lab.manager.idle_timeout_s = 10.0
        client, driven = lab.connect()
        await trio.sleep(9.5)
        assert not driven.is_over
        await trio.sleep(1.0)
        assert driven.is_over
        assert client.recv(10) == b""
        assert lab.counter("http.test.downstream_cx_idle_timeout") == 1


@pytest.mark.parametrize("answered", [False, True])
async def test_broken_chunk_in_a_request_is_a_400_and_the_client_s_fault(answered: bool) -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(
            lab, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        server.recv(1000)
        if answered:
            server.send(b"HTTP/1.1 200 OK\r\ncontent-")
            await settle()
        client.send(b"zz\r\n")
        assert (await answer_of(client)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert server.recv(1000) == b""
        assert not any(name.startswith("cluster.") for name in lab.gauges())


async def test_broken_chunk_in_a_request_is_not_counted_against_the_upstream() -> None:
    async with open_h1_lab() as lab:
        client, _, server = await ask(
            lab, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        server.recv(1000)
        client.send(b"zz\r\n")
        await settle()
        assert lab.counter("cluster.up.upstream_cx_protocol_error") == 0


# -- filters ----------------------------------------------------------------------------------------------
class Deny:
    """A filter that answers itself, and one that marks what goes out."""

    def __init__(self, mark: bytes, reply: LocalReply | None = None) -> None:
        self.mark = mark
        self.reply = reply
        self.slot = 0
        self.config_name = ""
        self.uses_trio = False
        self.completed = 0

    def active_hooks(self) -> tuple[str, ...]:
        return ("decode_headers", "encode_headers", "on_complete")

    def decode_headers(self, stream: Stream) -> Any:
        return self.reply

    def encode_headers(self, stream: Stream) -> Any:
        assert stream.response is not None
        stream.response.headers.add(b"seen", self.mark)
        return None

    def on_complete(self, stream: Stream) -> None:
        self.completed += 1


async def test_local_reply_passes_every_encoder_filter_also_those_behind_the_one_that_answered() -> None:
    async with open_h1_lab() as lab:
        chain = (Deny(b"1"), Deny(b"2", LocalReply(403, b"no", details="denied")), Deny(b"3"))
        lab.manager.set_filters(chain)  # type: ignore[arg-type]
        answer, driven = await refused(lab, GET)
        assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert [line for line in answer.split(b"\r\n") if line.startswith(b"seen")] == [
            b"seen: 3",
            b"seen: 2",
            b"seen: 1",
        ]
        assert answer.endswith(b"\r\n\r\nno")
        assert [each.completed for each in chain] == [1, 1, 1]
        assert not driven.is_over


async def test_filter_that_breaks_harms_its_own_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(Deny):
        def decode_headers(self, stream: Stream) -> Any:
            raise KeyError("bug")

    async with open_h1_lab() as lab:
        lab.manager.set_filters((Breaks(b"x"),))  # type: ignore[arg-type]
        answer, _ = await refused(lab, GET)
        assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert "bug" in caplog.text
        lab.manager.set_filters(())
        client, _, server = await ask(lab)
        server.recv(1000)
        server.send(OK)
        assert (await answer_of(client)).endswith(b"ok")
