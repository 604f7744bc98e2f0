"""HTTP and gRPC calls: their numbers and statuses, what the guest reads of an answer, what is dropped."""

from collections.abc import Sequence

import pytest
from wasm_guests import FakeStream, Runner, guest

from wasm_abi import LogLevel, Plugin, Status, WasmTrap
from wasm_abi.pairs import encode_pairs

REQUEST = encode_pairs([(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")])
IDS_AT, STATUS_AT, COUNT_AT = 64, 0, 4
Pairs = Sequence[tuple[bytes, bytes]]


class FakeCalls:
    """Takes every call, or answers with another status."""

    def __init__(self, status: Status = Status.OK) -> None:
        self.status = status
        self.asked: list[tuple[object, ...]] = []

    def http_call(self, *arguments: object) -> Status:
        self.asked.append(("http", *arguments))
        return self.status

    def grpc_call(self, *arguments: object) -> Status:
        self.asked.append(("grpc", *arguments))
        return self.status

    def grpc_stream(self, *arguments: object) -> Status:
        self.asked.append(("stream", *arguments))
        return self.status

    def grpc_send(self, call: int, message: bytes, end_of_stream: bool) -> None:
        self.asked.append(("send", call, message, end_of_stream))

    def grpc_close(self, call: int) -> None:
        self.asked.append(("close", call))

    def cancel_call(self, call: int) -> None:
        self.asked.append(("cancel", call))


def calling(name: str, arguments: str, **callbacks: str) -> bytes:
    """A guest that makes one call in on_request_headers; more callbacks by name."""
    body = f"(i32.store (i32.const {STATUS_AT}) (call ${name} {arguments})) (i32.const 0)"
    imports = (name, "proxy_get_header_map_value", "proxy_get_buffer_bytes", "proxy_get_status")
    return guest(
        {"proxy_on_request_headers": body, **callbacks},
        imports=imports,
        data={256: REQUEST, 512: b"cluster", 600: b":status"},
    )


HTTP = (
    f"(i32.const 512) (i32.const 7) (i32.const 256) (i32.const {len(REQUEST)}) (i32.const 0) (i32.const 0) "
)
HTTP += f"(i32.const 0) (i32.const 0) (i32.const 50) (i32.const {IDS_AT})"
GRPC = "(i32.const 512) (i32.const 7) " * 3 + "(i32.const 0) (i32.const 0) "
CALL = GRPC + f"(i32.const 512) (i32.const 2) (i32.const 9) (i32.const {IDS_AT})"
STREAM = GRPC + f"(i32.const {IDS_AT})"
# Reads a header, the body and the status of what is delivered.
READS = """
  (i32.store (i32.const 4) (i32.add (i32.const 1) (i32.load (i32.const 4))))
  (i32.store (i32.const 8) (call $proxy_get_header_map_value
    (i32.const 6) (i32.const 600) (i32.const 7) (i32.const 12) (i32.const 16)))
  (i32.store (i32.const 20) (call $proxy_get_buffer_bytes
    (i32.const 4) (i32.const 0) (i32.const 99) (i32.const 24) (i32.const 28)))
  (drop (call $proxy_get_status (i32.const 32) (i32.const 36) (i32.const 40)))"""


def started(run: Runner, code: bytes, calls: FakeCalls | None) -> Plugin:
    vm = run.vm(code)
    plugin = Plugin(vm, run.host, calls=calls)
    plugin.start()
    plugin.create_stream(FakeStream()).on_request_headers(0, False)
    return plugin


def test_http_call_is_made_and_its_answer_can_be_read_while_it_is_told(run: Runner) -> None:
    calls = FakeCalls()
    plugin = started(run, calling("proxy_http_call", HTTP, proxy_on_http_call_response=READS), calls)
    assert run.u32(STATUS_AT) == Status.OK
    call = run.u32(IDS_AT)
    pairs = [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")]
    assert calls.asked == [("http", call, b"cluster", pairs, b"", [], 50)]
    assert call == 4
    plugin.calls.on_http_response(call, [(b":status", b"200")], b"body")
    assert (run.u32(8), run.given(12, 16)) == (Status.OK, b"200")
    assert (run.u32(20), run.given(24, 28)) == (Status.OK, b"body")
    assert plugin.calls.open_calls == 0
    plugin.calls.on_http_response(call, [(b":status", b"200")], b"body")
    assert run.u32(COUNT_AT) == 1  # it was over


def test_http_call_without_answer_is_told_as_reset(run: Runner) -> None:
    plugin = started(run, calling("proxy_http_call", HTTP, proxy_on_http_call_response=READS), FakeCalls())
    plugin.calls.on_http_response(4, None)
    assert (run.u32(8), run.u32(20)) == (Status.BAD_ARGUMENT, Status.NOT_FOUND)
    assert (run.u32(32), run.given(36, 40)) == (11, b"reset")


def test_call_where_nobody_makes_calls_fails_with_one_warning(run: Runner) -> None:
    plugin = started(run, calling("proxy_http_call", HTTP), None)
    assert run.u32(STATUS_AT) == Status.INTERNAL_FAILURE
    plugin.create_stream(FakeStream()).on_request_headers(0, False)
    assert [level for level, _ in run.host.lines] == [LogLevel.WARN]


@pytest.mark.parametrize("status", [Status.BAD_ARGUMENT, Status.PARSE_FAILURE, Status.INTERNAL_FAILURE])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("proxy_http_call", HTTP), ("proxy_grpc_call", CALL), ("proxy_grpc_stream", STREAM)],
)
def test_call_that_the_embedder_refuses_is_none(
    run: Runner, name: str, arguments: str, status: Status
) -> None:
    plugin = started(run, calling(name, arguments), FakeCalls(status))
    assert run.u32(STATUS_AT) == status
    assert run.u32(IDS_AT) == 0
    assert plugin.calls.open_calls == 0


def test_grpc_call_ends_with_its_message_or_its_status(run: Runner) -> None:
    counting = "(i32.store (i32.const 4) (i32.add (i32.const 1) (i32.load (i32.const 4))))"
    calls = FakeCalls()
    code = calling("proxy_grpc_call", CALL, proxy_on_grpc_receive=counting, proxy_on_grpc_close=counting)
    plugin = started(run, code, calls)
    assert calls.asked == [("grpc", 5, *[b"cluster"] * 3, [], b"cl", 9)]
    plugin.calls.on_grpc_message(5, b"answer")
    plugin.calls.on_grpc_close(5, 0)
    assert run.u32(COUNT_AT) == 1
    plugin.create_stream(FakeStream()).on_request_headers(0, False)
    plugin.calls.on_grpc_close(9, 14, b"gone")
    assert run.u32(COUNT_AT) == 2
    assert plugin.calls.status == (14, b"")


def test_grpc_stream_is_known_until_both_sides_have_closed_it(run: Runner) -> None:
    calls = FakeCalls()
    plugin = started(run, calling("proxy_grpc_stream", STREAM), calls)
    number = run.u32(IDS_AT)
    assert number == 6
    assert plugin.calls.grpc_send(number, b"m", True) is Status.OK
    assert plugin.calls.grpc_close(number) is Status.OK
    assert plugin.calls.grpc_send(number, b"m", False) is Status.OK  # but nothing is sent
    plugin.calls.on_grpc_message(number, b"m")
    assert plugin.calls.open_calls == 1
    plugin.calls.on_grpc_close(number, 0)
    assert plugin.calls.grpc_send(number, b"m", False) is Status.NOT_FOUND
    assert calls.asked[1:] == [("send", 6, b"m", True), ("close", 6)]


def test_number_of_another_kind_is_refused_and_an_unknown_one_not_found(run: Runner) -> None:
    told = started(run, calling("proxy_http_call", HTTP), FakeCalls()).calls
    assert told.grpc_send(5, b"", False) is Status.BAD_ARGUMENT
    assert told.grpc_send(6, b"", False) is Status.NOT_FOUND
    for act in (told.grpc_close, told.grpc_cancel):
        assert (act(4), act(7)) == (Status.BAD_ARGUMENT, Status.BAD_ARGUMENT)
        assert (act(5), act(6)) == (Status.NOT_FOUND, Status.NOT_FOUND)


def test_cancelled_call_is_not_told(run: Runner) -> None:
    calls = FakeCalls()
    trap = "(unreachable)"
    plugin = started(run, calling("proxy_grpc_call", CALL, proxy_on_grpc_receive=trap), calls)
    assert plugin.calls.grpc_cancel(5) is Status.OK
    plugin.calls.on_grpc_message(5, b"late")
    assert calls.asked[-1] == ("cancel", 5)


def test_answer_that_comes_while_the_guest_runs_waits_until_it_has_returned(run: Runner) -> None:
    code = calling("proxy_http_call", HTTP, proxy_on_http_call_response=READS)
    calls = FakeCalls()
    vm = run.vm(code)
    plugin = Plugin(vm, run.host, calls=calls)
    plugin.start()
    seen: list[int] = []

    def at_once(call: int, *_rest: object) -> Status:
        plugin.calls.on_http_response(call, [(b":status", b"503")], b"now")
        seen.append(run.u32(COUNT_AT))
        return Status.OK

    calls.http_call = at_once  # type: ignore[method-assign]
    plugin.create_stream(FakeStream()).on_request_headers(0, False)
    assert seen == [0]
    assert run.given(24, 28) == b"now"


def test_trap_in_the_callback_leaves_nothing_to_read(run: Runner) -> None:
    plugin = started(
        run, calling("proxy_http_call", HTTP, proxy_on_http_call_response="(unreachable)"), FakeCalls()
    )
    with pytest.raises(WasmTrap):
        plugin.calls.on_http_response(4, [(b":status", b"200")], b"body")
    assert (plugin.calls.body, plugin.calls.maps) == (None, {})


def test_plugin_that_ends_gives_its_calls_up(run: Runner) -> None:
    calls = FakeCalls()
    plugin = started(run, calling("proxy_http_call", HTTP), calls)
    assert plugin.shutdown()
    assert calls.asked[-1] == ("cancel", 4)
    plugin.calls.on_http_response(4, [(b":status", b"200")])


def test_bad_place_for_the_number_starts_no_call(run: Runner) -> None:
    calls = FakeCalls()
    bad = HTTP.replace(f"(i32.const {IDS_AT})", "(i32.const -2)")
    started(run, calling("proxy_http_call", bad), calls)
    assert run.u32(STATUS_AT) == Status.INVALID_MEMORY_ACCESS
    assert calls.asked == []
