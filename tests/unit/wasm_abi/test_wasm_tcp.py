"""TCP connections of a guest, METADATA frames, foreign functions of the guest, and denied capabilities."""

import pytest
from wasm_guests import FakeStream, Runner, calling, guest

from wasm_abi import BufferType, LogLevel, NetworkAction, PeerType, Status, StreamType, WasmTrap


class FakeConnection(FakeStream):
    def __init__(self, downstream: bytes = b"", upstream: bytes = b"") -> None:
        super().__init__()
        self.buffers = {BufferType.DOWNSTREAM_DATA: downstream, BufferType.UPSTREAM_DATA: upstream}


class OnlyConnection:
    """A connection has no header maps to ask for."""


def keep(at: int, value: str) -> str:
    return f"(i32.store (i32.const {at}) {value})"


def test_connection_without_callbacks_goes_on(run: Runner) -> None:
    connection = run.plugin(guest()).create_connection(FakeConnection())
    assert connection.on_new_connection() is NetworkAction.CONTINUE
    assert connection.on_downstream_data(3, False) is NetworkAction.CONTINUE
    assert connection.on_upstream_data(3, True) is NetworkAction.CONTINUE
    connection.on_downstream_close(PeerType.REMOTE)
    connection.on_upstream_close(PeerType.LOCAL)
    connection.finish()


def test_guest_sees_and_changes_the_data_of_its_direction(run: Runner) -> None:
    set_data = f"(call $proxy_set_buffer_bytes (i32.const {BufferType.DOWNSTREAM_DATA}) (i32.const 0)"
    set_data += " (i32.const 1) (i32.const 100) (i32.const 2))"
    set_other = set_data.replace(
        f"(i32.const {BufferType.DOWNSTREAM_DATA})", f"(i32.const {BufferType.UPSTREAM_DATA})", 1
    )
    body = keep(0, set_data) + keep(4, set_other) + keep(8, "(local.get $size)") + "(i32.const 1)"
    code = guest({"proxy_on_downstream_data": body}, imports=("proxy_set_buffer_bytes",), data={100: b"<>"})
    fake = FakeConnection(b"abc", b"xyz")
    connection = run.plugin(code).create_connection(fake)
    assert connection.on_downstream_data(3, False) is NetworkAction.STOP_ITERATION
    assert (run.u32(0), run.u32(4), run.u32(8)) == (Status.OK, Status.BAD_ARGUMENT, 3)
    assert fake.buffers[BufferType.DOWNSTREAM_DATA] == b"<>bc"


def test_connection_has_no_header_maps_even_while_it_is_logged(run: Runner) -> None:
    pairs = "(call $proxy_get_header_map_pairs (i32.const 0) (i32.const 8) (i32.const 12))"
    value = "(call $proxy_get_header_map_value (i32.const 0) (i32.const 0) (i32.const 1)"
    value += " (i32.const 8) (i32.const 12))"
    imports = ("proxy_get_header_map_pairs", "proxy_get_header_map_value")
    code = guest({"proxy_on_log": keep(0, pairs) + keep(4, value)}, imports=imports)
    run.plugin(code).create_connection(OnlyConnection()).finish()
    assert (run.u32(0), run.u32(4)) == (Status.OK, Status.NOT_FOUND)


def test_guest_is_told_who_closed_and_may_close_itself(run: Runner) -> None:
    code = guest(
        {
            "proxy_on_new_connection": f"""
              {keep(4, f"(call $proxy_close_stream (i32.const {StreamType.HTTP_REQUEST}))")}
              {keep(8, f"(call $proxy_close_stream (i32.const {StreamType.DOWNSTREAM}))")}
              {keep(12, f"(call $proxy_continue_stream (i32.const {StreamType.UPSTREAM}))")}
              {keep(16, f"(call $proxy_continue_stream (i32.const {StreamType.DOWNSTREAM}))")}
              (i32.const 1)""",
            "proxy_on_downstream_connection_close": keep(0, "(local.get $peer)"),
        },
        imports=("proxy_close_stream", "proxy_continue_stream"),
    )
    fake = FakeConnection()
    connection = run.plugin(code).create_connection(fake)
    assert connection.on_new_connection() is NetworkAction.STOP_ITERATION
    assert fake.events == [("close", StreamType.DOWNSTREAM), ("continue", StreamType.DOWNSTREAM)]
    assert run.u32(12) == Status.UNIMPLEMENTED
    connection.on_downstream_close(PeerType.REMOTE)
    assert run.u32(0) == PeerType.REMOTE


def test_connection_has_no_headers_and_no_answer(run: Runner) -> None:
    answer = "(call $proxy_send_local_response (i32.const 200) " + "(i32.const 0) " * 7 + ")"
    value = "(call $proxy_get_header_map_value" + " (i32.const 8)" * 5 + ")"
    code = guest(
        {"proxy_on_new_connection": keep(0, answer) + keep(4, value) + "(i32.const 0)"},
        imports=("proxy_send_local_response", "proxy_get_header_map_value"),
    )
    fake = FakeConnection()
    connection = run.plugin(code).create_connection(fake)
    assert connection.on_new_connection() is NetworkAction.CONTINUE
    assert (run.u32(0), run.u32(4)) == (Status.OK, Status.BAD_ARGUMENT)
    assert fake.events == []


def test_trap_of_a_connection_fails_the_vm(run: Runner) -> None:
    plugin = run.plugin(guest({"proxy_on_downstream_connection_close": "(unreachable)"}))
    connection = plugin.create_connection(FakeConnection())
    with pytest.raises(WasmTrap):
        connection.on_downstream_close(PeerType.LOCAL)
    connection.on_upstream_close(PeerType.LOCAL)
    connection.finish()


def test_metadata_is_counted_for_the_guest(run: Runner) -> None:
    body = keep(0, "(local.get $count)") + "(i32.const 7)"
    stream = run.stream(guest({"proxy_on_request_metadata": body}))
    stream.on_request_metadata(3)
    stream.on_response_metadata(3)
    assert run.u32(0) == 3


def test_function_of_the_guest_gets_its_arguments(run: Runner) -> None:
    places = "(i32.const 8) (i32.const 12)"
    read = f"(call $proxy_get_buffer_bytes (i32.const 8) (i32.const 0) (i32.const 9) {places})"
    code = guest({"proxy_on_foreign_function": keep(0, read)}, imports=("proxy_get_buffer_bytes",))
    plugin = run.plugin(code)
    plugin.on_foreign_function(7, b"arguments and more")
    assert (run.u32(0), run.given(8, 12)) == (Status.OK, b"arguments")


def test_denied_host_function_fails_and_says_so(run: Runner) -> None:
    code = calling("proxy_get_current_time_nanoseconds", 8)
    assert run.status(code, allowed=frozenset({"proxy_on_request_headers"})) == Status.INTERNAL_FAILURE
    text = b"Attempted call to restricted proxy-wasm capability: proxy_get_current_time_nanoseconds"
    assert run.host.lines == [(LogLevel.ERROR, text)]


def test_denied_wasi_function_is_not_capable(run: Runner) -> None:
    code = calling("sched_yield")
    assert run.status(code, allowed=frozenset({"proxy_on_request_headers"})) == 76


def test_denied_callback_is_not_called(run: Runner) -> None:
    code = guest({"proxy_on_request_headers": "(unreachable)"})
    plugin = run.plugin(code, allowed=frozenset({"proxy_on_context_create"}))
    assert not plugin.exports_request_headers
