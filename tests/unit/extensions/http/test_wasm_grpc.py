"""gRPC calls and streams of guests, told in Envoy's order."""

from __future__ import annotations

from typing import Any

from sidecar.core.headers import HeaderMap, ResponseHeaders
from sidecar.extensions.http.wasm_grpc import GrpcCalls
from sidecar.router.grpc_service import GrpcService
from sidecar.router.grpc_status import GrpcStatus
from wasm_abi import Status


class Told:
    def __init__(self) -> None:
        self.news: list[Any] = []

    def on_grpc_initial_metadata(self, number: int, pairs: Any) -> None:
        self.news.append(("head", number, len(pairs)))

    def on_grpc_trailing_metadata(self, number: int, pairs: Any) -> None:
        self.news.append(("trailers", number, len(pairs)))

    def on_grpc_message(self, number: int, message: bytes) -> None:
        self.news.append(("message", number, message))

    def on_grpc_close(self, number: int, status: int, message: bytes) -> None:
        self.news.append(("close", number, status, message))


class Call:
    """A stream of the client, moved by hand."""

    def __init__(self) -> None:
        self.head: Any = None
        self.trailers: Any = None
        self.status: Any = None
        self.is_done = self.has_ended = self.is_cancelled = False
        self.messages: list[bytes] = []
        self.sent: list[bytes] = []
        self.room = 10

    def try_send(self, message: bytes) -> bool:
        if len(self.sent) == self.room:
            return False
        self.sent.append(message)
        return True

    def take_message(self) -> bytes | None:
        return self.messages.pop(0) if self.messages else None

    def end(self) -> None:
        self.has_ended = True

    def cancel(self) -> None:
        self.is_cancelled = True


def streaming() -> tuple[GrpcCalls, Call, Told, Any]:
    calls = GrpcCalls(lambda: None, {}.get, lambda upstream: None, lambda where, error: None)  # type: ignore[arg-type]
    calls.told = told = Told()  # type: ignore[assignment]
    call = Call()
    from sidecar.extensions.http.wasm_grpc import _Streaming

    calls._streams[6] = _Streaming(call)  # type: ignore[arg-type]
    return calls, call, told, lambda: calls._event(6)


def test_stream_is_told_in_order_and_once():
    _, call, told, event = streaming()
    call.head = ResponseHeaders(200)
    event()
    call.messages = [b"a", b"b"]
    event()
    call.trailers = HeaderMap([(b"grpc-status", b"7")])
    call.status, call.is_done = GrpcStatus(7, b"no"), True
    event()
    event()
    assert told.news == [
        ("head", 6, 1),
        ("message", 6, b"a"),
        ("message", 6, b"b"),
        ("trailers", 6, 1),
        ("close", 6, 7, b"no{via_upstream}"),
    ]


def test_answer_of_a_head_alone_has_empty_initial_metadata():
    _, call, told, event = streaming()
    call.head = call.trailers = ResponseHeaders(200)
    call.status, call.is_done = GrpcStatus(12), True
    event()
    assert told.news == [("head", 6, 0), ("trailers", 6, 1), ("close", 6, 12, b"via_upstream")]


def test_messages_wait_for_room_and_the_end_waits_behind_them():
    calls, call, _, event = streaming()
    call.room = 1
    calls.send(6, b"a", end_of_stream=False)
    calls.send(6, b"b", end_of_stream=True)
    assert (call.sent, call.has_ended) == ([b"a"], False)
    call.room = 9
    event()
    assert (call.sent, call.has_ended) == ([b"a", b"b"], True)


def test_stream_with_too_much_waiting_is_given_up():
    calls, call, _, _ = streaming()
    call.room = 0
    calls.send(6, b"x" * (17 * 1024 * 1024), end_of_stream=False)
    assert call.is_cancelled


def test_upstream_that_is_neither_a_service_nor_a_cluster_is_no_call():
    asked: list[bytes] = []

    def find(upstream: bytes) -> GrpcService | None:
        asked.append(upstream)
        return None

    calls = GrpcCalls(lambda: None, {}.get, find, lambda where, error: None)  # type: ignore[arg-type]
    assert calls.call(1, b"x", b"/a/b", [], b"", 0) is Status.PARSE_FAILURE
    assert calls.stream(2, b"y", b"/a/b", []) is Status.PARSE_FAILURE
    assert asked == [b"x", b"y"]
