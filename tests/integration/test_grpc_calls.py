"""The proxy's own gRPC client against grpcio's server: calls, streams, errors, ends of connections."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import trio

from sidecar.core.address import Address
from sidecar.net.reactor import Strand, drive
from sidecar.router.grpc_client import GrpcClient
from sidecar.router.grpc_service import GrpcService, InitialMetadata
from sidecar.router.grpc_status import CANCELLED, OK, RESOURCE_EXHAUSTED, UNAVAILABLE, GrpcStatus
from sidecar.router.http_client import HttpClient
from tests.support.h1_lab import H1Lab, open_h1_lab

BIG = 3_000_000


class Service:
    """Methods without messages of their own: bytes in, bytes out."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.left_s: float | None = None
        self.has_time = False
        self.cancelled = threading.Event()
        self.may_go_on = threading.Event()

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        self.left_s = context.time_remaining()
        context.set_trailing_metadata([("x-tail", "t"), ("x-tail-bin", b"\x00\xff")])
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not: you")
        raise AssertionError

    def grow(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return b"g" * BIG

    def stop(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()  # it was over before this began
        self.cancelled.wait(20)
        return request

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            if request == b"break":
                context.abort(grpc.StatusCode.DATA_LOSS, "broken")
            yield b"you said " + request
        yield b"goodbye"

    def flood(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(200):
            yield b"f" * 100_000

    def gather(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self.may_go_on.wait(20)
        return b"%d" % sum(map(len, requests))

    def handlers(self) -> grpc.GenericRpcHandler:
        one, many = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            "test.S",
            {
                "Echo": one(self.echo),
                "Fail": one(self.fail),
                "Grow": one(self.grow),
                "Stop": one(self.stop),
                "Chat": many(self.chat),
                "Flood": many(self.flood),
                "Gather": grpc.stream_unary_rpc_method_handler(self.gather),
            },
        )


@contextmanager
def served() -> Iterator[tuple[Service, grpc.Server, int]]:
    service = Service()
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[service.handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service, server, port
    finally:
        service.may_go_on.set()
        server.stop(None).wait(10)


@pytest.fixture
def server() -> Iterator[tuple[Service, grpc.Server, int]]:
    with served() as found:
        yield found


def client_of(lab: H1Lab, **fields: Any) -> GrpcClient:
    router = lab.manager.router
    http = HttpClient(lab.lab.reactor, router.find_cluster, router.get_pool, lab.store)
    return GrpcClient(http, GrpcService("up", **fields))


def run(port: int, body: Callable[[H1Lab, GrpcClient], Awaitable[Any]], **fields: Any) -> Any:
    """What ``body`` gives in a strand that a trio task owns: what a task that needs the client does."""

    async def main() -> Any:
        address = Address.ip("127.0.0.1", port)
        async with open_h1_lab(http2=True, address=address) as lab:

            async def strand(_strand: Strand) -> Any:
                return await body(lab, client_of(lab, **fields))

            with trio.fail_after(20):
                return await drive(lab.lab.reactor, "caller", strand)

    return trio.run(main)


def test_call_with_metadata_both_ways(server: tuple[Service, grpc.Server, int]) -> None:
    service, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        call = client.call(b"/test.S/Echo", b"hello")
        status = await call.outcome()
        assert call.trailers is not None
        return status, call.message, call.trailers.get(b"x-tail"), call.trailers.get(b"x-tail-bin")

    metadata = (InitialMetadata(b"x-a", b"1", b"1"), InitialMetadata(b"x-a-bin", b"\x00\xff", b""))
    found = run(port, body, timeout_s=15.0, initial_metadata=metadata)
    assert found == (GrpcStatus(OK), b"hello", b"t", b"AP8")
    assert service.metadata["x-a"] == "1"
    assert service.metadata["x-a-bin"] == b"\x00\xff"
    assert service.metadata["x-envoy-internal"] == "true"
    assert service.left_s is not None
    assert 0 < service.left_s <= 15


def test_calls_that_fail(server: tuple[Service, grpc.Server, int]) -> None:
    _, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        return [
            await client.call(path, b"x").outcome() for path in (b"/test.S/Fail", b"/test.S/No", b"/no.S/A")
        ]

    statuses = run(port, body)
    assert [each.code for each in statuses] == [7, 12, 12]
    assert statuses[0].message == b"not: you"


def test_long_answer_and_its_limit(server: tuple[Service, grpc.Server, int]) -> None:
    _, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        call = client.call(b"/test.S/Grow", b"q" * BIG)
        return (await call.outcome()).code, len(call.message or b"")

    assert run(port, body) == (OK, BIG)
    assert run(port, body, max_receive_message_length=BIG - 1) == (RESOURCE_EXHAUSTED, 0)


def test_call_that_takes_too_long_is_given_up_at_the_server(
    server: tuple[Service, grpc.Server, int],
) -> None:
    service, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        return await client.call(b"/test.S/Stop", b"x").outcome()

    # Both ends know the deadline, which the call carries: whoever is first says so.
    assert run(port, body, timeout_s=0.2) in (
        GrpcStatus(UNAVAILABLE, b"upstream request timeout"),
        GrpcStatus(4, b"Deadline Exceeded"),
    )
    assert service.cancelled.wait(10)


def test_cancelled_call_is_cancelled_at_the_server(server: tuple[Service, grpc.Server, int]) -> None:
    service, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        call = client.call(b"/test.S/Stop", b"x")
        first = client.call(b"/test.S/Echo", b"x")
        await first.outcome()
        call.cancel()
        return await call.outcome()

    assert run(port, body).code == CANCELLED
    assert service.cancelled.wait(10)


def test_chat(server: tuple[Service, grpc.Server, int]) -> None:
    _, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        stream = client.stream(b"/test.S/Chat")
        found = []
        for number in range(100):
            await stream.send(b"%d" % number)
            found.append(await stream.receive())
        stream.end()
        found += [await stream.receive(), await stream.receive()]
        return found, stream.status

    found, status = run(port, body)
    assert found == [*(b"you said %d" % number for number in range(100)), b"goodbye", None]
    assert status == GrpcStatus(OK)


def test_chat_that_the_server_breaks_off(server: tuple[Service, grpc.Server, int]) -> None:
    _, _, port = server

    async def body(_lab: H1Lab, client: GrpcClient) -> Any:
        stream = client.stream(b"/test.S/Chat")
        await stream.send(b"break")
        assert await stream.receive() is None
        await stream.send(b"lost")
        return stream.status

    assert run(port, body) == GrpcStatus(15, b"broken")


def test_slow_reader_gets_everything(server: tuple[Service, grpc.Server, int]) -> None:
    _, _, port = server

    async def body(lab: H1Lab, client: GrpcClient) -> Any:
        stream = client.stream(b"/test.S/Flood", buffer_bytes=200_000)
        stream.end()
        count = 0
        while (message := await stream.receive()) is not None:
            assert len(message) == 100_000
            assert stream._waiting_bytes < 400_000
            count += 1
        return count, stream.status

    assert run(port, body) == (200, GrpcStatus(OK))


def test_slow_server_is_waited_for(server: tuple[Service, grpc.Server, int]) -> None:
    service, _, port = server

    async def body(lab: H1Lab, client: GrpcClient) -> Any:
        stream = client.stream(b"/test.S/Gather", buffer_bytes=100_000)
        sent = 0
        while stream.try_send(b"s" * 50_000):
            sent += 1
        assert sent < 3
        service.may_go_on.set()
        for _ in range(100):
            await stream.send(b"s" * 50_000)
        stream.end()
        return sent + 100, await stream.receive(), stream.status

    count, total, status = run(port, body)
    assert total == b"%d" % (count * 50_000)
    assert status == GrpcStatus(OK)


def test_server_that_stops_says_goaway_and_the_stream_ends() -> None:
    with served() as (_, server, port):

        async def body(_lab: H1Lab, client: GrpcClient) -> Any:
            stream = client.stream(b"/test.S/Chat")
            await stream.send(b"a")
            first = await stream.receive()
            server.stop(None)
            last = await stream.receive()
            again = await client.call(b"/test.S/Echo", b"x").outcome()
            return first, last, stream.status, again.code

        first, last, status, again = run(port, body)
        assert (first, last) == (b"you said a", None)
        assert status.code != OK
        assert again == UNAVAILABLE


def test_cancelled_task_leaves_no_stream(server: tuple[Service, grpc.Server, int]) -> None:
    service, _, port = server

    async def main() -> None:
        async with open_h1_lab(http2=True, address=Address.ip("127.0.0.1", port)) as lab:
            client = client_of(lab)

            async def strand(_strand: Strand) -> None:
                call = client.call(b"/test.S/Stop", b"x")
                try:
                    await call.outcome()
                finally:
                    call.cancel()

            with trio.move_on_after(0.3):
                await drive(lab.lab.reactor, "caller", strand)
            assert await trio.to_thread.run_sync(service.cancelled.wait, 10)

    trio.run(main)
