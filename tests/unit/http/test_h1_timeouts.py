"""How long a request may take to come, and what a request body at hand counts for."""

from __future__ import annotations

import pytest
import trio

from sidecar.api.stream import Flag, Stream
from sidecar.codec.h1_types import H1Settings
from tests.support.h1_lab import OK, H1Lab, open_h1_lab, skewed_clock
from tests.support.strands import settle

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"


class Log:
    """What an access log would see."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str, int]] = []

    def log(self, stream: Stream) -> None:
        self.seen.append((stream.response_code, int(stream.flags), stream.details, stream.bytes_received))


def watch(lab: H1Lab) -> Log:
    log = Log()
    lab.manager.access_logs = (log,)  # type: ignore[assignment]
    return log


async def test_head_that_takes_too_long_is_a_408(autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        log = watch(lab)
        lab.manager.request_headers_timeout_s = 1.0
        client, driven = lab.connect()
        await trio.sleep(5)
        assert not driven.is_over  # the time runs from the first byte
        client.send(b"\r\nGET / HTTP/1.1\r\nhost:")
        await trio.sleep(1.2)
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert answer.endswith(b"connection: close\r\n\r\nrequest header timeout")
        assert log.seen == [(408, 0, "request_header_timeout", 0)]
        assert lab.counter("http.test.downstream_rq_header_timeout") == 1


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n", POST + b"he"])
async def test_request_that_takes_too_long_is_a_408(sent: bytes, autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        log = watch(lab)
        lab.manager.request_timeout_s = 1.0
        client, _ = lab.connect()
        client.send(sent)
        await trio.sleep(1.2)
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert answer.endswith(b"\r\n\r\nrequest timeout")
        assert [record[:3] for record in log.seen] == [(408, 0, "request_overall_timeout")]
        assert lab.counter("http.test.downstream_rq_timeout") == 1


async def test_request_timeout_ends_with_the_request(autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        lab.manager.request_timeout_s = 1.0
        client, driven = lab.connect()
        client.send(POST + b"he")
        await settle()
        server = lab.upstream.accept()
        client.send(b"llo")
        await trio.sleep(2)
        server.send(OK)
        await settle()
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert not driven.is_over
        assert lab.counter("http.test.downstream_rq_timeout") == 0


async def test_upload_that_stops_is_a_408_and_one_that_trickles_is_not(autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        log = watch(lab)
        lab.manager.stream_idle_timeout_s = 1.0
        client, _ = lab.connect()
        client.send(POST)
        for byte in b"hell":
            await trio.sleep(0.6)
            client.send(bytes([byte]))
        await trio.sleep(0.6)
        with pytest.raises(BlockingIOError):
            client.recv(1000)
        await trio.sleep(0.6)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert log.seen == [(408, int(Flag.STREAM_IDLE_TIMEOUT), "stream_idle_timeout", 4)]


async def test_route_timeout_runs_from_the_end_of_the_request(autojump_clock: object) -> None:
    async with open_h1_lab(clock=skewed_clock()) as lab:
        client, _ = lab.connect()
        client.send(POST)
        await trio.sleep(14)
        client.send(b"hello")
        await trio.sleep(14)
        with pytest.raises(BlockingIOError):
            client.recv(1000)
        await trio.sleep(1.2)
        assert client.recv(1000).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")


async def test_http_1_0_is_answered_in_kind_where_it_is_accepted() -> None:
    async with open_h1_lab() as lab:
        lab.manager.http1 = H1Settings(accept_http_10=True, default_host_for_http_10=b"default")
        client, driven = lab.connect()
        client.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        await settle()
        server = lab.upstream.accept()
        assert b"\r\nhost: default\r\n" in server.recv(1000)
        server.send(OK)
        await settle()
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"\r\nconnection: keep-alive\r\n" in answer
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        await settle()
        server.recv(1000)
        server.send(OK)
        await settle()
        assert b"\r\nconnection: close\r\n" in client.recv(1000)
        assert driven.is_over
