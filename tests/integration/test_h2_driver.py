"""The two HTTP/2 ends against each other over a socket pair, and the pool over a loopback listener."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from sidecar.api.message import Body, FixedBody, RequestMessage, ResponseMessage
from sidecar.api.stream import Flag, Stream
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import ErrorCode, H2Settings
from sidecar.core.address import Address
from sidecar.core.errors import Disconnected, UpstreamError
from sidecar.core.headers import HeaderMap, RequestHeaders, ResponseHeaders
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.h2_driver import serve_h2
from sidecar.http.hcm_stats import HcmStats
from sidecar.net.reactor import Reactor, Transport, drive, open_reactor
from sidecar.observability.stats import Store
from sidecar.upstream.cluster import Cluster, ClusterConfig
from sidecar.upstream.h2_connection import H2UpstreamConnection, H2UpstreamStream
from sidecar.upstream.h2_pool import H2Pool
from sidecar.upstream.host import Host
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support.h2_frames import (
    ACK,
    CLIENT_START,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    POST,
    REQUEST,
    RST,
    Recorder,
    feed,
    frame,
    headers,
    parse,
    request,
    u32,
)

Terminal = Callable[[Stream], Awaitable[ResponseMessage]]
SMALL = 65535


class Log:
    """An access log that keeps what it was given."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.seen = trio.Event()

    def log(self, stream: Stream) -> None:
        self.streams.append(stream)
        self.seen.set()

    def close(self) -> None:
        return


class Lab:
    """A served connection and its client."""

    def __init__(self, reactor: Reactor, terminal: Terminal, **changes: Any) -> None:
        self.reactor = reactor
        self.store = Store()
        stats = HcmStats(self.store.scope("http.h"))
        self.manager = ConnectionManager(reactor, stats, None)  # type: ignore[arg-type]
        self.manager.terminal = terminal
        self.manager.delayed_close_timeout_s = 0.0
        self.log = Log()
        self.manager.access_logs = (self.log,)  # type: ignore[assignment]
        self.manager.http2_settings = H2Settings(
            initial_stream_window_size=SMALL, initial_connection_window_size=SMALL
        )
        self.cluster = make_cluster(self.store, **changes)
        self.host = make_host(None)
        self.pool = H2Pool(reactor, self.cluster, self.host)
        self.served = trio.Event()

    async def serve(self, sock: socket.socket) -> None:
        """What a listener does with an accepted connection."""
        sock.setblocking(False)
        transport = Transport(sock, self.reactor)
        connection = SimpleNamespace(
            connection_id=1,
            remote_address="127.0.0.1:1000",
            direct_remote_address="127.0.0.1:1000",
            local_address="127.0.0.1:80",
            tls=None,
            agent=None,
        )
        try:
            await drive(
                self.reactor,
                "connection",
                lambda strand: serve_h2(self.manager, connection, transport, strand, b""),
            )
        finally:
            transport.close()
            self.served.set()

    def value(self, name: str) -> int:
        return int(self.store.counter(name).value)


def make_cluster(store: Store, **changes: Any) -> Cluster:
    values: dict[str, Any] = {
        "idle_timeout_s": 0.0,
        "http2_settings": H2Settings(initial_stream_window_size=SMALL, initial_connection_window_size=SMALL),
    }
    return Cluster(ClusterConfig("c", **{**values, **changes}), store)


def make_host(address: Address | None) -> Host:
    return Host(address or Address.pipe("@nowhere"))


@asynccontextmanager
async def pair(terminal: Terminal, **changes: Any) -> AsyncIterator[tuple[Lab, H2UpstreamConnection]]:
    async with open_reactor() as reactor, trio.open_nursery() as nursery:
        lab = Lab(reactor, terminal, **changes)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        nursery.start_soon(lab.serve, theirs)
        client = H2UpstreamConnection(lab.pool, Transport(ours, reactor), H2Connection)
        lab.pool._connections.append(client)
        lab.cluster.resources[0].connections += 1
        client.wire.flush_later()
        reactor.spawn("client", client.read)
        with trio.fail_after(20):
            yield lab, client
        nursery.cancel_scope.cancel()


async def in_strand(lab: Lab, work: Callable[[], Awaitable[Any]]) -> Any:
    async def body(_strand: Any) -> Any:
        return await work()

    return await drive(lab.reactor, "test", body)


def get(method: bytes = b"GET", body: Body | None = None) -> RequestMessage:
    return RequestMessage(RequestHeaders(method, b"/", b"host", b"http"), body)


async def read_all(body: Body | None) -> bytes:
    chunks = []
    if body is not None:
        while data := await body.receive():
            chunks.append(data)
    return b"".join(chunks)


async def hello(stream: Stream) -> ResponseMessage:
    return ResponseMessage(ResponseHeaders(200, [(b"content-length", b"2")]), FixedBody(b"hi"))


async def echo(stream: Stream) -> ResponseMessage:
    return ResponseMessage(ResponseHeaders(200), stream.request.body)


class Chunks(Body):
    """A body that gives what it is told, then fails or ends."""

    def __init__(
        self, chunks: list[bytes], *, trailers: HeaderMap | None = None, error: Exception | None = None
    ) -> None:
        super().__init__()
        self.chunks = chunks
        self.last_trailers = trailers
        self.error = error

    async def receive(self) -> bytes:
        if self.chunks:
            return self.chunks.pop(0)
        if self.error is not None:
            raise self.error
        self.ended = True
        self.trailers = self.last_trailers
        return b""


async def exchange(stream: H2UpstreamStream, message: RequestMessage) -> tuple[ResponseHeaders, bytes, Any]:
    """One request and its whole response."""
    waiting = stream.start(message, None if message.body is None else message.body.whole)
    if waiting is not None:
        await waiting
    response = await stream.response()
    data = await read_all(response.body)
    stream.release()
    return response.headers, data, response.body.trailers if response.body else None


# -- messages -------------------------------------------------------------------------------------------
async def test_get_brings_head_and_body() -> None:
    async with pair(hello) as (lab, client):
        headers, data, _ = await in_strand(lab, lambda: exchange(client.reserve(), get()))
        assert headers.status == 200
        assert headers.get(b"server") == b"envoy"
        assert data == b"hi"
        assert lab.value("http.h.downstream_rq_http2_total") == 1
        assert lab.value("http.h.downstream_rq_2xx") == 1
        assert lab.log.streams[0].protocol == "HTTP/2"


async def test_head_brings_no_body() -> None:
    async with pair(hello) as (lab, client):
        headers, data, _ = await in_strand(lab, lambda: exchange(client.reserve(), get(b"HEAD")))
        assert headers.get(b"content-length") == b"2"
        assert data == b""


async def test_many_streams_share_the_connection() -> None:
    async with pair(hello) as (lab, client), trio.open_nursery() as nursery:
        answers: list[bytes] = []

        async def one() -> None:
            answers.append((await in_strand(lab, lambda: exchange(client.reserve(), get())))[1])

        for _ in range(60):
            nursery.start_soon(one)
        while len(answers) < 60:
            await trio.lowlevel.checkpoint()
        assert client.requests == 60
        assert client.active == 0


async def test_body_larger_than_every_window_is_echoed() -> None:
    whole = bytes(range(256)) * 8192
    async with pair(echo) as (lab, client):

        async def work() -> bytes:
            stream = client.reserve()
            stream.start(get(b"POST", Chunks([])), None)

            async def send(_strand: Any) -> None:
                await stream.send_data(whole)
                await stream.send_end(None)

            lab.reactor.spawn("sender", send)
            data = await read_all((await stream.response()).body)
            stream.release()
            return data

        assert await in_strand(lab, work) == whole


async def test_whole_body_larger_than_the_window_is_sent_as_it_opens() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        size = len(await read_all(stream.request.body))
        return ResponseMessage(ResponseHeaders(200), FixedBody(b"%d" % size))

    async with pair(terminal) as (lab, client):
        message = get(b"POST", FixedBody(b"x" * 500_000))
        _, data, _ = await in_strand(lab, lambda: exchange(client.reserve(), message))
        assert data == b"500000"


async def test_response_to_a_large_body_does_not_wait_for_the_rest_of_it() -> None:
    async with pair(hello) as (lab, client):
        message = get(b"POST", FixedBody(b"x" * 500_000))

        async def work() -> bytes:
            stream = client.reserve()
            assert stream.start(message, message.body.whole) is None  # type: ignore[union-attr]
            data = await read_all((await stream.response()).body)
            stream.release()
            return data

        assert await in_strand(lab, work) == b"hi"
        assert client.active == 0


async def test_body_in_pieces_is_echoed_with_its_trailers() -> None:
    async with pair(echo) as (lab, client):

        async def work() -> Any:
            stream = client.reserve()
            stream.start(get(b"POST", Chunks([])), None)
            for piece in (b"a", b"b" * 100_000, b"c"):
                await stream.send_data(piece)
            await stream.send_end(HeaderMap([(b"x-t", b"1")]))
            response = await stream.response()
            data = await read_all(response.body)
            stream.release()
            return data, response.body.trailers  # type: ignore[union-attr]

        data, trailers = await in_strand(lab, work)
        assert data == b"a" + b"b" * 100_000 + b"c"
        assert trailers.fields == [(b"x-t", b"1")]


async def test_response_with_trailers_is_passed_on() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        return ResponseMessage(
            ResponseHeaders(200), Chunks([b"x"], trailers=HeaderMap([(b"grpc-status", b"0")]))
        )

    async with pair(terminal) as (lab, client):
        _, data, trailers = await in_strand(lab, lambda: exchange(client.reserve(), get()))
        assert data == b"x"
        assert trailers.fields == [(b"grpc-status", b"0")]


async def test_fields_of_http_1_are_left_behind() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        fields = [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"x-a", b"b")]
        return ResponseMessage(ResponseHeaders(200, fields), FixedBody(b"x"))

    async with pair(terminal) as (lab, client):
        headers, _, _ = await in_strand(lab, lambda: exchange(client.reserve(), get()))
        assert b"connection" not in headers
        assert b"transfer-encoding" not in headers
        assert headers.get(b"x-a") == b"b"


# -- failures -------------------------------------------------------------------------------------------
async def test_reset_by_the_client_reaches_the_stream() -> None:
    failures: list[BaseException] = []

    async def terminal(stream: Stream) -> ResponseMessage:
        assert stream.request.body is not None
        try:
            await stream.request.body.receive()
        except Disconnected as error:
            failures.append(error)
            raise
        raise AssertionError

    async with pair(terminal) as (lab, client):

        async def work() -> None:
            stream = client.reserve()
            stream.start(get(b"POST", Chunks([])), None)
            lab.reactor.call_at_flush(lambda: lab.reactor.call_at_flush(stream.reset))

        await in_strand(lab, work)
        await lab.log.seen.wait()
        assert len(failures) == 1
        logged = lab.log.streams[0]
        assert logged.flags == Flag.DOWNSTREAM_REMOTE_RESET
        assert logged.details == "http2.remote_reset"
        assert lab.value("http2.rx_reset") == 1
        assert client.active == 0


async def test_response_that_breaks_off_is_a_reset_for_the_client() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        error = UpstreamError("broken", flag=Flag.UPSTREAM_CONNECTION_TERMINATION, details="broken")
        return ResponseMessage(ResponseHeaders(200), Chunks([b"part"], error=error))

    async with pair(terminal) as (lab, client):
        with pytest.raises(UpstreamError) as caught:
            await in_strand(lab, lambda: exchange(client.reserve(), get()))
        assert caught.value.flag == Flag.UPSTREAM_REMOTE_RESET
        assert lab.log.streams[0].details == "upstream_reset_after_response_started{broken}"


async def test_response_with_too_large_headers_is_a_reset_by_the_upstream() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        fields = [(b"x-%d" % number, b"y" * 1000) for number in range(70)]
        return ResponseMessage(ResponseHeaders(200, fields))

    async with pair(terminal) as (lab, client):
        with pytest.raises(UpstreamError) as caught:
            await in_strand(lab, lambda: exchange(client.reserve(), get()))
        assert caught.value.flag == Flag.UPSTREAM_REMOTE_RESET
        assert lab.value("cluster.c.http2.header_list_size_too_large") == 1


async def test_lost_connection_reaches_every_stream() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        assert stream.request.body is not None
        await stream.request.body.receive()
        raise AssertionError

    async with pair(terminal) as (lab, client):

        async def work() -> None:
            for _ in range(3):
                client.reserve().start(get(b"POST", Chunks([])), None)
            lab.reactor.call_at_flush(lambda: lab.reactor.call_at_flush(client.transport.close))

        await in_strand(lab, work)
        await lab.served.wait()
        while len(lab.log.streams) < 3:
            await trio.lowlevel.checkpoint()
        assert lab.store.gauge("http.h.downstream_rq_active").value == 0
        assert {stream.details for stream in lab.log.streams} == {"downstream_remote_disconnect"}
        assert lab.value("http.h.downstream_rq_rx_reset") == 3


async def test_upstream_connection_that_closes_fails_its_streams() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        await read_all(stream.request.body)
        raise AssertionError

    async with pair(terminal) as (lab, client):

        async def work() -> None:
            stream = client.reserve()
            stream.start(get(b"POST", Chunks([])), None)
            client.transport.sock.shutdown(socket.SHUT_RDWR)
            await stream.response()

        with pytest.raises(UpstreamError) as caught:
            await in_strand(lab, work)
        assert caught.value.flag == Flag.UPSTREAM_CONNECTION_TERMINATION
        assert lab.value("cluster.c.upstream_cx_destroy_with_active_rq") == 1


async def test_answer_before_the_request_is_read_resets_the_rest() -> None:
    async with pair(hello) as (lab, client):

        async def work() -> bytes:
            stream = client.reserve()
            stream.start(get(b"POST", Chunks([])), None)
            data = await read_all((await stream.response()).body)
            stream.release()
            return data

        assert await in_strand(lab, work) == b"hi"
        assert lab.value("http.h.downstream_rq_rx_reset") == 1
        assert lab.value("http2.tx_reset") == 1


async def test_connection_error_is_answered_with_goaway() -> None:
    async with open_reactor() as reactor, trio.open_nursery() as nursery:
        lab = Lab(reactor, hello)
        ours, theirs = socket.socketpair()
        nursery.start_soon(lab.serve, theirs)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as peer:
            await peer.send_all(CLIENT_START + request() + frame(PING, 0, 0, b"short"))
            data = b""
            while chunk := await peer.receive_some(65536):
                data += chunk
        assert parse(data)[-1][0] == GOAWAY
        assert lab.value("http.h.downstream_cx_protocol_error") == 1


async def converse(lab: Lab, data: bytes, *, until: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """Send bytes to a served connection; what came back until it closed, or until that was enough."""
    ours, theirs = socket.socketpair()
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.serve, theirs)
        with trio.fail_after(10):
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as peer:
                await peer.send_all(data)
                while not until(received) and (chunk := await peer.receive_some(65536)):
                    received += chunk
    return received


async def test_refused_request_is_logged_though_nothing_of_it_is_known() -> None:
    async with open_reactor() as reactor:
        lab = Lab(reactor, hello)
        sent = await converse(lab, CLIENT_START + request(1, (b"connection", b"close")))
        assert not any(entry[0] == GOAWAY for entry in parse(sent))
        logged = lab.log.streams[0]
        assert logged.request.headers.method is None
        assert logged.flags == Flag.DOWNSTREAM_PROTOCOL_ERROR
        assert logged.details == "http2.invalid.header.field"
        assert lab.value("http.h.downstream_rq_total") == 1
        assert lab.store.gauge("http.h.downstream_rq_active").value == 0


async def test_request_with_too_many_headers_is_reset_and_logged() -> None:
    async with open_reactor() as reactor:
        lab = Lab(reactor, hello)
        many = [(b"x-%d" % number, b"y") for number in range(101)]
        data = CLIENT_START + request(1, *many) + request(3)
        sent = await converse(lab, data, until=lambda got: (DATA, 1, 3, b"hi") in parse(got))
        assert (RST, 0, 1, u32(2)) in parse(sent)
        assert lab.log.streams[0].flags == Flag.DOWNSTREAM_REMOTE_RESET
        assert lab.log.streams[0].details == "http2.too_many_headers"


async def test_nothing_is_said_to_what_is_not_http_2() -> None:
    async with open_reactor() as reactor:
        lab = Lab(reactor, hello)
        assert await converse(lab, b"GET / HTTP/1.1\r\n\r\n") == b""


async def test_client_that_only_resets_is_cut_off() -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        await read_all(stream.request.body)
        raise AssertionError

    async with open_reactor() as reactor:
        lab = Lab(reactor, terminal)
        flood = b"".join(
            headers(number, *POST, flags=END_HEADERS) + frame(RST, 0, number, u32(8))
            for number in range(1, 1000, 2)
        )
        await converse(lab, CLIENT_START + flood)
        assert lab.value("http.h.downstream_rq_too_many_premature_resets") == 1
        assert lab.value("http.h.downstream_rq_total") == 250
        assert lab.value("http.h.downstream_rq_rx_reset") == 250
        assert lab.store.gauge("http.h.downstream_rq_active").value == 0


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (ErrorCode.NO_ERROR, "http2.remote_reset"),  # Envoy logs neither details nor a flag
        (ErrorCode.REFUSED_STREAM, "http2.remote_refuse"),
        (ErrorCode.CANCEL, "http2.remote_reset"),
        (99, "http2.remote_reset"),
    ],
)
async def test_reset_by_the_client_is_logged_by_its_code(code: int, details: str) -> None:
    async def terminal(stream: Stream) -> ResponseMessage:
        await read_all(stream.request.body)
        raise AssertionError

    async with open_reactor() as reactor:
        lab = Lab(reactor, terminal)
        data = CLIENT_START + headers(1, *POST, flags=END_HEADERS) + frame(RST, 0, 1, u32(code))
        ping = frame(PING, 0, 0, b"conclude")
        await converse(lab, data + ping, until=lambda got: (PING, ACK, 0, b"conclude") in parse(got))
        await lab.log.seen.wait()
        assert lab.log.streams[0].flags == Flag.DOWNSTREAM_REMOTE_RESET
        assert lab.log.streams[0].details == details


async def test_expectation_is_met_at_once() -> None:
    expectations: list[bytes | None] = []

    async def terminal(stream: Stream) -> ResponseMessage:
        expectations.append(stream.request.headers.get(b"expect"))
        return await hello(stream)

    async with open_reactor() as reactor:
        lab = Lab(reactor, terminal)
        data = CLIENT_START + request(1, (b"expect", b"100-Continue"))
        sent = await converse(lab, data, until=lambda got: (DATA, 1, 1, b"hi") in parse(got))
        blocks = [entry[1] for entry in parse(sent) if entry[0] == HEADERS]
        assert blocks == [END_HEADERS, END_HEADERS]
        assert expectations == [None]
        assert lab.value("http.h.downstream_rq_1xx") == 1


async def test_bad_path_leaves_the_connection_open() -> None:
    async with open_reactor() as reactor:
        lab = Lab(reactor, hello)
        fields = [(b":path", b"/a#b") if name == b":path" else (name, value) for name, value in REQUEST]
        data = CLIENT_START + headers(1, *fields) + request(3)
        sent = await converse(lab, data, until=lambda got: (DATA, 1, 3, b"hi") in parse(got))
        assert not any(entry[0] == GOAWAY for entry in parse(sent))


async def test_draining_announces_the_end_and_closes_when_idle() -> None:
    async with pair(hello) as (lab, client):
        lab.manager.is_draining = lambda: True
        lab.manager.drain_timeout_s = 0.01
        _, data, _ = await in_strand(lab, lambda: exchange(client.reserve(), get()))
        assert data == b"hi"
        await lab.served.wait()
        assert client.is_draining
        assert lab.value("cluster.c.upstream_cx_close_notify") == 1


async def test_idle_connection_is_closed_by_its_timeout() -> None:
    async with open_reactor() as reactor, trio.open_nursery() as nursery:
        lab = Lab(reactor, hello)
        lab.manager.idle_timeout_s = 0.05
        ours, theirs = socket.socketpair()
        nursery.start_soon(lab.serve, theirs)
        recorder = Recorder()
        codec = H2Connection(recorder, client=True, settings=H2Settings())
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as peer:
            await peer.send_all(codec.take_output())
            while chunk := await peer.receive_some(65536):
                assert feed(codec, chunk) is None
        assert recorder.calls[-1] == ("goaway", 0, 0)
        assert lab.value("http.h.downstream_cx_idle_timeout") == 1


# -- the pool -------------------------------------------------------------------------------------------
@asynccontextmanager
async def listening(terminal: Terminal, **changes: Any) -> AsyncIterator[Lab]:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with open_reactor() as reactor, trio.open_nursery() as nursery:
            lab = Lab(reactor, terminal, **changes)
            lab.host = lab.pool.host = make_host(
                Address.from_sockaddr(socket.AF_INET, listener.getsockname())
            )

            async def accept() -> None:
                while True:
                    accepted, _ = await listener.accept()
                    nursery.start_soon(lab.serve, socket.socket(fileno=accepted.detach()))

            nursery.start_soon(accept)
            with trio.fail_after(20):
                yield lab
            nursery.cancel_scope.cancel()


async def through_pool(lab: Lab) -> bytes:
    stream = lab.pool.acquire() or await lab.pool.wait()
    return (await exchange(stream, get()))[1]


async def test_pool_connects_once_for_many_waiting_requests() -> None:
    async with listening(hello) as lab, trio.open_nursery() as nursery:
        answers: list[bytes] = []

        async def one() -> None:
            answers.append(await in_strand(lab, lambda: through_pool(lab)))

        for _ in range(10):
            nursery.start_soon(one)
        while len(answers) < 10:
            await trio.lowlevel.checkpoint()
        assert lab.value("cluster.c.upstream_cx_http2_total") == 1
        assert lab.value("cluster.c.upstream_rq_pending_total") >= 1
        assert lab.cluster.stats.upstream_rq_pending_active.value == 0


async def test_pool_ends_a_connection_after_its_requests() -> None:
    async with listening(hello, max_requests_per_connection=2) as lab:
        for _ in range(5):
            assert await in_strand(lab, lambda: through_pool(lab)) == b"hi"
        assert lab.value("cluster.c.upstream_cx_http2_total") == 3
        assert lab.value("cluster.c.upstream_cx_max_requests") == 2
        assert lab.cluster.stats.upstream_cx_active.value == 1


async def test_pool_keeps_to_the_streams_it_was_allowed() -> None:
    settings = H2Settings(max_concurrent_streams=1)
    async with listening(hello, http2_settings=settings) as lab:

        async def work() -> tuple[int, int]:
            first = lab.pool.acquire() or await lab.pool.wait()
            second = lab.pool.acquire() or await lab.pool.wait()
            ids = first.connection_id, second.connection_id
            first.reset()
            second.reset()
            return ids

        one, two = await in_strand(lab, work)
        assert one != two


async def test_refused_connection_fails_all_who_wait() -> None:
    async with open_reactor() as reactor:
        lab = Lab(reactor, hello)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = Address.from_sockaddr(socket.AF_INET, listener.getsockname())
        lab.host = lab.pool.host = make_host(address)
        with pytest.raises(UpstreamError) as caught, trio.fail_after(10):
            await in_strand(lab, lambda: through_pool(lab))
        assert caught.value.flag == Flag.UPSTREAM_CONNECTION_FAILURE
        assert lab.value("cluster.c.upstream_cx_connect_fail") == 1
        assert lab.cluster.stats.upstream_cx_active.value == 0
        assert lab.cluster.stats.upstream_rq_pending_active.value == 0


async def test_full_queue_overflows() -> None:
    async with listening(hello, default_limits=CircuitBreakerLimits(max_pending_requests=0)) as lab:
        with pytest.raises(UpstreamError) as caught:
            await in_strand(lab, lambda: through_pool(lab))
        assert caught.value.flag == Flag.UPSTREAM_OVERFLOW


async def test_cancelled_wait_gives_its_place_up() -> None:
    async with listening(hello) as lab:
        with trio.CancelScope() as scope:
            scope.cancel()
            await in_strand(lab, lambda: through_pool(lab))
        assert lab.cluster.stats.upstream_rq_pending_active.value == 0
        assert await in_strand(lab, lambda: through_pool(lab)) == b"hi"
