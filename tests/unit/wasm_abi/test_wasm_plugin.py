"""Contexts: their order, configuration, and what callbacks return."""

import pytest
from wasm_guests import FakeStream, Runner, guest

from wasm_abi import (
    AbiVersion,
    ConfigureError,
    DataAction,
    HeadersAction,
    LogLevel,
    MapType,
    Plugin,
    StartError,
    Status,
    TrailersAction,
    WasmTrap,
)


def logs(letter: str, result: str = "") -> str:
    """A body that logs one letter, by its address in the data."""
    return (
        f"(drop (call $proxy_log (i32.const 2) (i32.const {64 + ord(letter) - 97}) (i32.const 1))) {result}"
    )


ALPHABET = {64: bytes(range(97, 123))}
LIFE = {
    "proxy_on_context_create": logs("c"),
    "proxy_on_vm_start": logs("v", "(i32.const 1)"),
    "proxy_on_configure": logs("p", "(i32.const 1)"),
    "proxy_on_request_headers": logs("h", "(i32.const 0)"),
    "proxy_on_request_body": logs("b", "(i32.const 0)"),
    "proxy_on_request_trailers": logs("t", "(i32.const 0)"),
    "proxy_on_response_headers": logs("i", "(i32.const 0)"),
    "proxy_on_response_body": logs("k", "(i32.const 0)"),
    "proxy_on_response_trailers": logs("u", "(i32.const 0)"),
    "proxy_on_done": logs("d", "(i32.const 1)"),
    "proxy_on_log": logs("l"),
    "proxy_on_delete": logs("x"),
}


def test_callbacks_come_in_the_order_of_the_specification(run: Runner) -> None:
    plugin = run.plugin(guest(LIFE, imports=("proxy_log",), data=ALPHABET))
    stream = plugin.create_stream(FakeStream())
    stream.on_request_headers(1, False)
    stream.on_request_body(1, False)
    stream.on_request_trailers(1)
    stream.on_response_headers(1, False)
    stream.on_response_body(1, False)
    stream.on_response_trailers(1)
    stream.finish()
    assert plugin.shutdown()
    assert b"".join(line for _, line in run.host.lines) == b"cvpchbtikudlxdx"
    assert not plugin.vm.contexts


def test_guest_without_callbacks_lets_everything_pass(run: Runner) -> None:
    plugin = run.plugin(guest())
    stream = plugin.create_stream(FakeStream())
    assert stream.on_request_headers(1, True) is HeadersAction.CONTINUE
    assert stream.on_request_body(1, True) is DataAction.CONTINUE
    assert stream.on_request_trailers(1) is TrailersAction.CONTINUE
    assert stream.on_response_headers(1, True) is HeadersAction.CONTINUE
    assert stream.on_response_body(1, True) is DataAction.CONTINUE
    assert stream.on_response_trailers(1) is TrailersAction.CONTINUE
    assert stream.on_done()
    stream.finish()
    plugin.on_tick()
    assert plugin.shutdown()
    assert not plugin.exports_request_headers
    assert not plugin.exports_response_body
    assert not plugin.exports_log


def test_arguments_of_callbacks_arrive(run: Runner) -> None:
    body = """(i32.store (i32.const 0) (local.get $context)) (i32.store (i32.const 4) (local.get $count))
      (i32.store (i32.const 8) (local.get $end)) (i32.const 0)"""
    stream = run.stream(guest({"proxy_on_request_headers": body}))
    stream.on_request_headers(0xFFFFFFFF, True)
    assert (run.u32(0), run.u32(4), run.u32(8)) == (stream.id, 0xFFFFFFFF, 1)
    assert stream.plugin.exports_request_headers


def test_headers_callbacks_of_abi_0_1_0_get_no_end_of_stream(run: Runner) -> None:
    body = "(i32.store (i32.const 4) (local.get $count)) (i32.const 0)"
    stream = run.stream(guest({"proxy_on_request_headers": body}, abi=AbiVersion.V0_1_0))
    assert stream.on_request_headers(7, True) is HeadersAction.CONTINUE
    assert run.u32(4) == 7


def test_second_plugin_of_a_vm_is_configured_but_the_vm_is_not_started_again(run: Runner) -> None:
    first = run.plugin(guest(LIFE, imports=("proxy_log",), data=ALPHABET))
    second = Plugin(first.vm, run.host, root_id=b"other")
    second.start()
    assert b"".join(line for _, line in run.host.lines) == b"cvpcp"
    assert first.root.id != second.root.id


@pytest.mark.parametrize(
    ("callback", "error"), [("proxy_on_vm_start", StartError), ("proxy_on_configure", ConfigureError)]
)
def test_guest_that_refuses_its_configuration_is_an_error(
    run: Runner, callback: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run.plugin(guest({callback: "(i32.const 0)"}))


def test_configuration_can_be_read_while_it_is_given(run: Runner) -> None:
    read = """(i32.store (i32.const 0) (call $proxy_get_buffer_bytes
        (i32.const {}) (i32.const 0) (local.get $size) (i32.const 8) (i32.const 12))) (i32.const 1)"""
    imports = ("proxy_get_buffer_bytes",)
    run.plugin(guest({"proxy_on_configure": read.format(7)}, imports=imports), configuration=b"plugin's")
    assert run.given(8, 12) == b"plugin's"
    run.plugin(
        guest({"proxy_on_vm_start": read.format(6)}, imports=imports),
        configuration=b"x",
        vm_configuration=b"vm's",
    )
    assert run.given(8, 12) == b"vm's"


def test_configuration_of_abi_0_1_0_is_read_with_its_own_function(run: Runner) -> None:
    read = (
        "(i32.store (i32.const 0) (call $proxy_get_configuration (i32.const 8) (i32.const 12))) (i32.const 1)"
    )
    code = guest({"proxy_on_configure": read}, imports=("proxy_get_configuration",), abi=AbiVersion.V0_1_0)
    run.plugin(code, configuration=b"plugin's")
    assert run.given(8, 12) == b"plugin's"


def test_done_that_is_pending_ends_with_proxy_done(run: Runner) -> None:
    callbacks = {
        "proxy_on_done": "(i32.const 0)",
        "proxy_on_tick": "(i32.store (i32.const 0) (call $proxy_done))",
        "proxy_on_delete": logs("x"),
    }
    plugin = run.plugin(guest(callbacks, imports=("proxy_log", "proxy_done"), data=ALPHABET))
    assert not plugin.shutdown()
    assert run.host.lines == []
    plugin.on_tick()
    assert run.u32(0) == 0
    assert run.host.lines == [(LogLevel.INFO, b"x")]
    plugin.on_tick()
    assert run.u32(0) == 1


WATERMARK = HeadersAction.STOP_ALL_ITERATION_AND_WATERMARK


@pytest.mark.parametrize(
    ("result", "allow", "action"),
    [
        (0, False, HeadersAction.CONTINUE),
        (1, False, WATERMARK),
        (1, True, HeadersAction.STOP_ITERATION),
        (2, False, HeadersAction.CONTINUE_AND_END_STREAM),
        (3, False, HeadersAction.STOP_ALL_ITERATION_AND_BUFFER),
        (4, True, WATERMARK),
        (5, True, WATERMARK),
        (-1, False, WATERMARK),
    ],
)
def test_headers_results_become_actions(run: Runner, result: int, allow: bool, action: HeadersAction) -> None:
    body = f"(i32.const {result})"
    stream = run.stream(
        guest({"proxy_on_request_headers": body, "proxy_on_response_headers": body}), allow=allow
    )
    assert stream.on_request_headers(0, False) is action
    assert stream.on_response_headers(0, False) is action


@pytest.mark.parametrize(
    ("result", "action"), [*enumerate(DataAction), (4, DataAction(3)), (-1, DataAction(3))]
)
def test_body_results_become_actions(run: Runner, result: int, action: DataAction) -> None:
    body = f"(i32.const {result})"
    stream = run.stream(guest({"proxy_on_request_body": body, "proxy_on_response_body": body}))
    assert stream.on_request_body(0, False) is action
    assert stream.on_response_body(0, False) is action


@pytest.mark.parametrize(("result", "action"), [(0, 0), (1, 1), (2, 1), (-1, 1)])
def test_trailers_results_become_actions(run: Runner, result: int, action: int) -> None:
    body = f"(i32.const {result})"
    stream = run.stream(guest({"proxy_on_request_trailers": body, "proxy_on_response_trailers": body}))
    assert stream.on_request_trailers(0) is TrailersAction(action)
    assert stream.on_response_trailers(0) is TrailersAction(action)


NOTHING = "(i32.const 0) " * 6
ANSWER = f"(drop (call $proxy_send_local_response (i32.const 403) {NOTHING} (i32.const -1))) (i32.const 0)"


def test_local_response_overrides_the_action_of_its_own_callback_only(run: Runner) -> None:
    callbacks = {
        "proxy_on_request_headers": ANSWER,
        "proxy_on_request_body": ANSWER,
        "proxy_on_request_trailers": ANSWER,
        "proxy_on_response_headers": "(i32.const 0)",
    }
    fake = FakeStream()
    stream = run.stream(guest(callbacks, imports=("proxy_send_local_response",)), fake)
    assert stream.on_request_headers(0, False) is WATERMARK
    assert stream.on_request_body(0, False) is DataAction.STOP_ITERATION_NO_BUFFER
    assert stream.on_request_trailers(0) is TrailersAction.STOP_ITERATION
    assert stream.on_response_headers(0, False) is HeadersAction.CONTINUE
    assert len(fake.events) == 3


def test_deferred_actions_run_in_order_when_the_guest_is_not_running_any_more(run: Runner) -> None:
    class Watching(FakeStream):
        def send_local_response(self, *arguments: object) -> None:
            self.events.append(("answer", stream.plugin.vm.is_running))

        def close_stream(self, *arguments: object) -> None:
            self.events.append(("close", stream.plugin.vm.is_running))

    body = f"{ANSWER} (drop) (drop (call $proxy_close_stream (i32.const 0))) {logs('z')} (i32.const 0)"
    imports = ("proxy_send_local_response", "proxy_close_stream", "proxy_log")
    fake = Watching()
    stream = run.stream(guest({"proxy_on_request_headers": body}, imports=imports, data=ALPHABET), fake)
    run.host.on_log = lambda: fake.events.append(("log", stream.plugin.vm.is_running))
    stream.on_request_headers(0, False)
    assert fake.events == [("log", True), ("answer", False), ("close", False)]


def test_deferred_actions_of_a_call_that_traps_are_dropped(run: Runner) -> None:
    fake = FakeStream()
    body = f"{ANSWER} (drop) (unreachable)"
    stream = run.stream(
        guest({"proxy_on_request_headers": body}, imports=("proxy_send_local_response",)), fake
    )
    with pytest.raises(WasmTrap):
        stream.on_request_headers(0, False)
    assert fake.events == []


def test_on_done_reports_what_the_guest_says(run: Runner) -> None:
    assert not run.stream(guest({"proxy_on_done": "(i32.const 0)"})).on_done()
    assert run.stream(guest({"proxy_on_done": "(i32.const 1)"})).on_done()


def test_context_ids_wrap_around_past_those_in_use(run: Runner) -> None:
    plugin = run.plugin(guest())
    plugin.vm.next_context_id = 0xFFFFFFFF
    streams = [plugin.create_stream(FakeStream()) for _ in range(3)]
    assert plugin.root.id == 1
    assert [stream.id for stream in streams] == [0xFFFFFFFF, 2, 3]


def test_exception_of_a_deferred_action_comes_out_and_the_vm_lives_on(run: Runner) -> None:
    class Failing(FakeStream):
        def close_stream(self, *arguments: object) -> None:
            raise OSError("gone already")

    body = "(drop (call $proxy_close_stream (i32.const 0))) (i32.const 0)"
    plugin = run.plugin(guest({"proxy_on_request_headers": body}, imports=("proxy_close_stream",)))
    with pytest.raises(OSError, match="gone already"):
        plugin.create_stream(Failing()).on_request_headers(0, False)
    assert plugin.vm.failure is None
    assert plugin.create_stream(FakeStream()).on_request_headers(0, False) is HeadersAction.CONTINUE


ADD = """(i32.store (i32.const 0) (call $proxy_add_header_map_value
  (i32.const {}) (i32.const 64) (i32.const 1) (i32.const 65) (i32.const 1)))"""


def adding(map_type: int, callback: str, result: str, headers_result: int = 0) -> bytes:
    """A guest whose callback adds a header to a map and keeps the status at address 0."""
    callbacks = {"proxy_on_request_headers": f"(i32.const {headers_result})"}
    callbacks[callback] = ADD.format(map_type) + result
    return guest(callbacks, imports=("proxy_add_header_map_value",), data=ALPHABET)


@pytest.mark.parametrize(("headers_result", "status"), [(0, Status.BAD_ARGUMENT), (1, Status.OK)])
def test_request_headers_stay_open_while_their_callback_keeps_them(
    run: Runner, headers_result: int, status: Status
) -> None:
    stream = run.stream(adding(0, "proxy_on_request_body", "(i32.const 0)", headers_result))
    stream.on_request_headers(0, False)
    stream.on_request_body(0, False)
    assert run.u32(0) == status


def test_resuming_closes_the_request_headers(run: Runner) -> None:
    code = adding(0, "proxy_on_tick", "", 1).decode()
    go = '(import "env" "proxy_continue_stream" (func $go (param i32) (result i32)))'
    code = code.replace("(module", "(module " + go, 1)
    code = code.replace("(i32.const 1))", "(drop (call $go (i32.const 0))) (i32.const 1))", 1)
    fake = FakeStream()
    stream = run.stream(code.encode(), fake)
    stream.on_request_headers(0, False)
    assert fake.events == [("continue", 0)]
    assert stream.open_maps == 0


@pytest.mark.parametrize(("end_of_stream", "status"), [(False, Status.BAD_ARGUMENT), (True, Status.OK)])
def test_trailers_are_open_in_the_last_body_callback(
    run: Runner, end_of_stream: bool, status: Status
) -> None:
    fake = FakeStream()
    fake.maps[MapType.HTTP_REQUEST_TRAILERS] = []
    stream = run.stream(adding(1, "proxy_on_request_body", "(i32.const 0)"), fake)
    stream.on_request_body(0, end_of_stream)
    assert run.u32(0) == status


def test_headers_cannot_be_changed_while_logging(run: Runner) -> None:
    fake = FakeStream((b"a", b"1"))
    run.stream(adding(0, "proxy_on_log", ""), fake).on_log()
    assert run.u32(0) == Status.BAD_ARGUMENT
    assert fake.maps[MapType.HTTP_REQUEST_HEADERS] == [(b"a", b"1")]


def test_body_is_closed_outside_its_phase(run: Runner) -> None:
    body = """(i32.store (i32.const 0) (call $proxy_set_buffer_bytes
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 1))) (i32.const 0)"""
    callbacks = {
        "proxy_on_request_headers": body,
        "proxy_on_request_body": "(i32.const 1)",
        "proxy_on_request_trailers": body,
    }
    fake = FakeStream(body=b"body")
    stream = run.stream(guest(callbacks, imports=("proxy_set_buffer_bytes",)), fake)
    stream.on_request_headers(0, False)
    assert run.u32(0) == Status.BAD_ARGUMENT
    stream.on_request_body(4, False)
    stream.on_request_trailers(0)
    assert run.u32(0) == Status.OK
