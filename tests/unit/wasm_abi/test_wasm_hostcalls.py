"""Host functions other than header maps: each status, and what reaches the roles."""

import pytest
from wasm_guests import FakeMetric, FakeStream, Runner, calling, guest

from wasm_abi import AbiVersion, BufferType, LogLevel, MetricType, Status, StreamType
from wasm_abi.pairs import encode_pairs

BEYOND = 0x7FFF0000
BODY = BufferType.HTTP_REQUEST_BODY
MINUS_ONE = 0xFFFFFFFF
ON_BODY = "proxy_on_request_body"


# -- Buffers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [
        (0, 100, b"hello"),
        (0, MINUS_ONE, b"hello"),
        (1, 3, b"ell"),
        (4, 4, b"o"),
        (5, 1, b""),
        (9, 9, b""),
        (0, 0, b""),
    ],
)
def test_get_buffer_cuts_the_request_to_what_is_there(
    run: Runner, start: int, size: int, expected: bytes
) -> None:
    code = calling("proxy_get_buffer_bytes", 0, start, size, 8, 12, callback=ON_BODY, data={8: b"\xff" * 8})
    assert run.status(code, FakeStream(body=b"hello")) == Status.OK
    assert run.u32(12) == len(expected)
    assert run.given(8, 12) == expected


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((9, 0, 1, 8, 12), Status.BAD_ARGUMENT),
        ((1, 0, 1, 8, 12), Status.OK),
        ((5, 0, 1, 8, 12), Status.OK),
        ((4, 0, 1, 8, 12), Status.NOT_FOUND),
        ((7, 0, 1, 8, 12), Status.NOT_FOUND),
        ((0, 0, 1, BEYOND, 12), Status.INVALID_MEMORY_ACCESS),
    ],
)
def test_get_buffer_that_cannot_be_served_says_why(
    run: Runner, arguments: tuple[int, ...], status: Status
) -> None:
    assert (
        run.status(calling("proxy_get_buffer_bytes", *arguments, callback=ON_BODY), FakeStream(body=b"hello"))
        == status
    )


def test_get_buffer_status_is_size_and_no_flags(run: Runner) -> None:
    code = calling("proxy_get_buffer_status", 0, 8, 12, callback=ON_BODY, data={8: b"\xff" * 8})
    assert run.status(code, FakeStream(body=b"hello")) == Status.OK
    assert (run.u32(8), run.u32(12)) == (5, 0)


@pytest.mark.parametrize(
    ("buffer", "status"), [(1, Status.OK), (4, Status.NOT_FOUND), (9, Status.BAD_ARGUMENT)]
)
def test_get_buffer_status_of_no_buffer_says_why(run: Runner, buffer: int, status: Status) -> None:
    assert run.status(calling("proxy_get_buffer_status", buffer, 8, 12, callback=ON_BODY)) == status


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [
        (0, 0, b"NEWhello"),
        (0, 2, b"NEWllo"),
        (0, 5, b"NEW"),
        (0, MINUS_ONE, b"NEW"),
        (5, 0, b"helloNEW"),
        (99, 3, b"helloNEW"),
    ],
)
def test_set_buffer_replaces_prepends_or_appends(run: Runner, start: int, size: int, expected: bytes) -> None:
    fake = FakeStream(body=b"hello")
    assert (
        run.status(
            calling("proxy_set_buffer_bytes", 0, start, size, 100, 3, callback=ON_BODY, data={100: b"NEW"}),
            fake,
        )
        == Status.OK
    )
    assert fake.buffers[BODY] == expected


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((0, 2, 1, 100, 3), Status.BAD_ARGUMENT),
        ((9, 0, 0, 100, 3), Status.BAD_ARGUMENT),
        ((6, 0, 0, 100, 3), Status.BAD_ARGUMENT),
        ((1, 0, 0, 100, 3), Status.BAD_ARGUMENT),
        ((4, 0, 0, 100, 3), Status.NOT_FOUND),
        ((0, 0, 0, BEYOND, 3), Status.INVALID_MEMORY_ACCESS),
    ],
)
def test_set_buffer_that_cannot_be_done_says_why(
    run: Runner, arguments: tuple[int, ...], status: Status
) -> None:
    fake = FakeStream(body=b"hello")
    assert run.status(calling("proxy_set_buffer_bytes", *arguments, callback=ON_BODY), fake) == status
    assert fake.buffers[BODY] == b"hello"


# -- Streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stream_type", "status", "events"),
    [
        ("proxy_continue_stream", 0, Status.OK, [("continue", StreamType.HTTP_REQUEST)]),
        ("proxy_continue_stream", 1, Status.OK, [("continue", StreamType.HTTP_RESPONSE)]),
        ("proxy_continue_stream", 2, Status.OK, []),
        ("proxy_continue_stream", 3, Status.UNIMPLEMENTED, []),
        ("proxy_continue_stream", 4, Status.BAD_ARGUMENT, []),
        ("proxy_close_stream", 0, Status.OK, [("close", StreamType.HTTP_REQUEST)]),
        ("proxy_close_stream", 1, Status.OK, [("close", StreamType.HTTP_RESPONSE)]),
        ("proxy_close_stream", 3, Status.OK, []),
        ("proxy_close_stream", 4, Status.BAD_ARGUMENT, []),
    ],
)
def test_continue_and_close_reach_the_stream(
    run: Runner, name: str, stream_type: int, status: Status, events: list[object]
) -> None:
    fake = FakeStream()
    assert run.status(calling(name, stream_type), fake) == status
    assert fake.events == events


def test_resuming_and_route_cache_of_abi_0_1_0_reach_the_stream(run: Runner) -> None:
    for name, event in [
        ("proxy_continue_request", ("continue", StreamType.HTTP_REQUEST)),
        ("proxy_continue_response", ("continue", StreamType.HTTP_RESPONSE)),
        ("proxy_clear_route_cache", "clear_route_cache"),
    ]:
        fake = FakeStream()
        assert run.status(calling(name, abi=AbiVersion.V0_1_0), fake) == Status.OK
        assert fake.events == [event]


@pytest.mark.parametrize(("grpc", "expected"), [(MINUS_ONE, None), (0, 0), (16, 16), (17, None)])
def test_local_response_is_handed_to_the_stream(run: Runner, grpc: int, expected: int | None) -> None:
    headers = encode_pairs([(b"X-Why", b"no")])
    data = {100: b"not today", 120: b"denied", 140: headers}
    fake = FakeStream()
    code = calling("proxy_send_local_response", 403, 100, 9, 120, 6, 140, len(headers), grpc, data=data)
    assert run.status(code, fake) == Status.OK
    assert fake.events == [("local_response", 403, b"not_today", b"denied", [(b"x-why", b"no")], expected)]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_local_response_with_a_bad_pointer_is_not_sent(run: Runner, at: int) -> None:
    arguments = [403, 0, 1, 0, 1, 0, 1, MINUS_ONE]
    arguments[at] = BEYOND
    fake = FakeStream()
    assert run.status(calling("proxy_send_local_response", *arguments), fake) == Status.INVALID_MEMORY_ACCESS
    assert fake.events == []


# -- General ------------------------------------------------------------------------------------------------


def test_log_reaches_the_host_with_its_level(run: Runner) -> None:
    assert run.status(calling("proxy_log", 3, 100, 4, data={100: b"text"})) == Status.OK
    assert run.host.lines == [(LogLevel.WARN, b"text")]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [((6, 100, 4), Status.BAD_ARGUMENT), ((2, BEYOND, 4), Status.INVALID_MEMORY_ACCESS)],
)
def test_log_that_cannot_be_written_says_why(run: Runner, arguments: tuple[int, ...], status: Status) -> None:
    assert run.status(calling("proxy_log", *arguments)) == status
    assert run.host.lines == []


def test_log_level_time_and_status_are_written_where_asked(run: Runner) -> None:
    run.host.level = LogLevel.WARN
    assert run.status(calling("proxy_get_log_level", 8)) == Status.OK
    assert run.u32(8) == LogLevel.WARN
    assert run.status(calling("proxy_get_current_time_nanoseconds", 8)) == Status.OK
    assert run.u64(8) == 1_700_000_000_123_456_789
    assert run.status(calling("proxy_get_status", 8, 12, 16, data={8: b"\xff" * 12})) == Status.OK
    assert (run.u32(8), run.u32(12), run.u32(16)) == (0, 0, 0)


@pytest.mark.parametrize("name", ["proxy_get_log_level", "proxy_get_current_time_nanoseconds"])
def test_out_parameter_across_the_end_of_memory_is_an_invalid_memory_access(run: Runner, name: str) -> None:
    assert run.status(calling(name, 65533)) == Status.INVALID_MEMORY_ACCESS


def test_tick_period_reaches_the_host(run: Runner) -> None:
    assert run.status(calling("proxy_set_tick_period_milliseconds", 250)) == Status.OK
    assert run.host.tick_period == 250


def test_effective_context_redirects_host_functions_until_the_guest_returns(run: Runner) -> None:
    tick = """(i32.store (i32.const 0) (call $proxy_set_effective_context (i32.const 3)))
      (drop (call $proxy_add_header_map_value
        (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 101) (i32.const 1)))"""
    code = guest(
        {"proxy_on_tick": tick, "proxy_on_request_headers": "(i32.const 1)"},
        imports=("proxy_set_effective_context", "proxy_add_header_map_value"),
        data={100: b"kv"},
    )
    plugin = run.plugin(code)
    first, second = FakeStream(), FakeStream()
    contexts = [plugin.create_stream(first), plugin.create_stream(second)]
    for context in contexts:
        context.on_request_headers(0, False)
    assert contexts[1].id == 3
    plugin.on_tick()
    assert run.u32(0) == Status.OK
    assert first.maps[0] == []
    assert second.maps[0] == [(b"k", b"v")]
    contexts[1].on_delete()
    plugin.on_tick()
    assert run.u32(0) == Status.BAD_ARGUMENT


def test_effective_context_zero_is_the_one_that_was_called(run: Runner) -> None:
    tick = """(drop (call $proxy_set_effective_context (i32.const 2)))
      (i32.store (i32.const 0) (call $proxy_set_effective_context (i32.const 0)))
      (i32.store (i32.const 4) (call $proxy_add_header_map_value
        (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 101) (i32.const 1)))"""
    code = guest(
        {"proxy_on_tick": tick, "proxy_on_request_headers": "(i32.const 1)"},
        imports=("proxy_set_effective_context", "proxy_add_header_map_value"),
        data={100: b"kv"},
    )
    plugin = run.plugin(code)
    fake = FakeStream()
    plugin.create_stream(fake).on_request_headers(0, False)
    plugin.on_tick()
    assert (run.u32(0), run.u32(4)) == (Status.OK, Status.BAD_ARGUMENT)
    assert fake.maps[0] == []


def test_done_without_a_pending_shutdown_is_not_found(run: Runner) -> None:
    assert run.status(calling("proxy_done")) == Status.NOT_FOUND


def test_foreign_functions_are_called_by_name(run: Runner) -> None:
    data = {100: b"clear_route_cache", 120: b"upper", 130: b"abc", 140: b"unknown"}
    name, options = (
        "proxy_call_foreign_function",
        {"foreign_functions": {b"upper": lambda arguments, _vm: arguments.upper()}},
    )
    fake = FakeStream()
    assert run.status(calling(name, 100, 17, 0, 0, 8, 12, data=data), fake, **options) == Status.OK
    assert fake.events == ["clear_route_cache"]
    assert run.status(calling(name, 120, 5, 130, 3, 8, 12, data=data), **options) == Status.OK
    assert run.given(8, 12) == b"ABC"
    assert run.status(calling(name, 120, 5, 130, 3, 0, 0, data=data), **options) == Status.OK
    assert run.status(calling(name, 140, 7, 0, 0, 8, 12, data=data), **options) == Status.NOT_FOUND
    assert run.status(calling(name, BEYOND, 7, 0, 0, 8, 12), **options) == Status.INVALID_MEMORY_ACCESS


def test_emscripten_imports_are_there(run: Runner) -> None:
    assert run.status(calling("pthread_equal", 4, 4)) == 1
    assert run.status(calling("pthread_equal", 4, 5)) == 0
    body = "(call $emscripten_notify_memory_growth (i32.const 0)) (i32.const 0)"
    code = guest({"proxy_on_request_headers": body}, imports=("emscripten_notify_memory_growth",))
    run.stream(code).on_request_headers(0, False)


# -- Call-outs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"), [("proxy_http_call", 10), ("proxy_grpc_call", 12), ("proxy_grpc_stream", 9)]
)
def test_call_outs_fail_and_are_warned_about_once(run: Runner, name: str, count: int) -> None:
    stream = run.stream(calling(name, *[0] * count))
    for _ in range(2):
        stream.on_request_headers(0, False)
        assert run.u32(0) == Status.INTERNAL_FAILURE
    ((level, line),) = run.host.lines
    assert level is LogLevel.WARN
    assert line.startswith(name.encode())


@pytest.mark.parametrize(("kind", "send", "cancel"), [(0, 2, 2), (1, 2, 1), (2, 1, 1), (3, 2, 2)])
def test_calls_that_never_were_are_not_found_or_of_the_wrong_kind(
    run: Runner, kind: int, send: int, cancel: int
) -> None:
    assert run.status(calling("proxy_grpc_send", kind, 0, 0, 0)) == send
    assert run.status(calling("proxy_grpc_cancel", kind)) == cancel
    assert run.status(calling("proxy_grpc_close", kind)) == cancel


# -- Properties ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"request\0path", b"request\0path\0"])
def test_property_is_looked_up_by_its_segments(run: Runner, path: bytes) -> None:
    fake = FakeStream()
    fake.properties[b"request", b"path"] = b"/x"
    assert (
        run.status(calling("proxy_get_property", 100, len(path), 8, 12, data={100: path}), fake) == Status.OK
    )
    assert run.given(8, 12) == b"/x"


def test_property_that_is_not_there_is_not_found(run: Runner) -> None:
    assert run.status(calling("proxy_get_property", 100, 3, 8, 12, data={100: b"abc"})) == Status.NOT_FOUND


def test_property_without_a_path_cannot_be_serialized(run: Runner) -> None:
    assert run.status(calling("proxy_get_property", 100, 0, 8, 12)) == Status.SERIALIZATION_FAILURE


def test_property_outside_a_stream_is_the_plugins(run: Runner) -> None:
    call = "(call $proxy_get_property (i32.const 100) (i32.const 4) (i32.const 8) (i32.const 12))"
    tick = f"(i32.store (i32.const 0) {call})"
    plugin = run.plugin(guest({"proxy_on_tick": tick}, imports=("proxy_get_property",), data={100: b"node"}))
    run.host.properties[(b"node",)] = b"n1"
    plugin.on_tick()
    assert run.given(8, 12) == b"n1"


def test_set_property_is_kept_on_the_stream_or_not_found(run: Runner) -> None:
    data = {100: b"key", 110: b"refused", 120: b"v"}
    fake = FakeStream()
    assert run.status(calling("proxy_set_property", 100, 3, 120, 1, data=data), fake) == Status.OK
    assert fake.properties == {(b"key",): b"v"}
    assert run.status(calling("proxy_set_property", 110, 7, 120, 1, data=data)) == Status.NOT_FOUND
    assert run.status(calling("proxy_set_property", 100, 3, BEYOND, 1)) == Status.INVALID_MEMORY_ACCESS


# -- Metrics ------------------------------------------------------------------------------------------------

COUNTER, GAUGE, HISTOGRAM = 4, 5, 6  # ids of the first metric by kind


def metric(kind: int, name: str, *arguments: int) -> bytes:
    """A guest that defines metric ``m`` at start and then calls one metric function."""
    code = calling(name, *arguments, data={100: b"m"}).decode()
    importing = '(import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))'
    start = f"""(func (export "proxy_on_configure") (param i32 i32) (result i32)
      (i32.eqz (call $define (i32.const {kind}) (i32.const 100) (i32.const 1) (i32.const 8))))"""
    return (code.replace("(module", "(module " + importing, 1).rstrip()[:-1] + start + ")").encode()


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "status", "total"),
    [
        (0, "proxy_increment_metric", (COUNTER, 3), Status.OK, 3),
        (0, "proxy_increment_metric", (COUNTER, 0), Status.BAD_ARGUMENT, 0),
        (0, "proxy_increment_metric", (COUNTER, -1), Status.BAD_ARGUMENT, 0),
        (0, "proxy_record_metric", (COUNTER, 9), Status.OK, 9),
        (1, "proxy_increment_metric", (GAUGE, -2), Status.OK, -2),
        (1, "proxy_record_metric", (GAUGE, 1 << 40), Status.OK, 1 << 40),
        (2, "proxy_record_metric", (HISTOGRAM, 7), Status.OK, 7),
        (2, "proxy_increment_metric", (HISTOGRAM, 7), Status.BAD_ARGUMENT, 0),
        (0, "proxy_increment_metric", (400, 1), Status.NOT_FOUND, 0),
        (0, "proxy_record_metric", (400, 1), Status.NOT_FOUND, 0),
    ],
)
def test_metric_operations_follow_the_rules_of_their_kind(
    run: Runner, kind: int, name: str, arguments: tuple[int, ...], status: Status, total: int
) -> None:
    assert run.status(metric(kind, name, *arguments)) == status
    assert run.host.metrics[MetricType(kind), b"m"].total == total


@pytest.mark.parametrize(
    ("kind", "number", "status"),
    [
        (0, COUNTER, Status.OK),
        (1, GAUGE, Status.OK),
        (2, HISTOGRAM, Status.BAD_ARGUMENT),
        (0, 400, Status.NOT_FOUND),
    ],
)
def test_metric_value_can_be_read_where_there_is_one(
    run: Runner, kind: int, number: int, status: Status
) -> None:
    run.host.metrics[MetricType(kind), b"m"] = FakeMetric()
    run.host.metrics[MetricType(kind), b"m"].total = 1 << 33
    assert run.status(metric(kind, "proxy_get_metric", number, 16)) == status
    if status is Status.OK:
        assert run.u64(16) == 1 << 33


def test_metric_defined_twice_is_one_metric(run: Runner) -> None:
    assert run.status(metric(0, "proxy_define_metric", 0, 100, 1, 12)) == Status.OK
    assert run.u32(8) == run.u32(12) == COUNTER


@pytest.mark.parametrize(
    ("arguments", "status"),
    [((3, 100, 1, 8), Status.BAD_ARGUMENT), ((0, BEYOND, 1, 8), Status.INVALID_MEMORY_ACCESS)],
)
def test_metric_that_cannot_be_defined_says_why(
    run: Runner, arguments: tuple[int, ...], status: Status
) -> None:
    assert run.status(calling("proxy_define_metric", *arguments)) == status


# -- Shared data and queues ---------------------------------------------------------------------------------


def test_shared_data_is_set_and_read_with_compare_and_swap(run: Runner) -> None:
    data = {100: b"key", 110: b"value"}
    vm_id = f"cas-{run.safe}".encode()
    keep = run.vm(guest(), vm_id=vm_id)
    get = calling("proxy_get_shared_data", 100, 3, 8, 12, 16, data=data)
    assert run.status(get, vm_id=vm_id) == Status.NOT_FOUND
    put = "proxy_set_shared_data"
    assert run.status(calling(put, 100, 3, 110, 5, 0, data=data), vm_id=vm_id) == Status.OK
    assert run.status(get, vm_id=vm_id) == Status.OK
    assert run.given(8, 12) == b"value"
    cas = run.u32(16)
    assert cas != 0
    assert run.status(calling(put, 100, 3, 110, 1, cas, data=data), vm_id=vm_id) == Status.OK
    assert run.status(calling(put, 100, 3, 110, 2, cas, data=data), vm_id=vm_id) == Status.CAS_MISMATCH
    assert run.status(get, vm_id=b"somebody else") == Status.NOT_FOUND
    for vm in run.vms:
        vm.close()
    assert keep.shared.get(vm_id, b"key") is None


def test_queue_passes_items_between_vms_and_tells_the_registrant(run: Runner) -> None:
    data = {100: b"jobs", 110: b"item"}
    vm_id = f"queue-{run.safe}".encode()
    register = """(i32.store (i32.const 0) (call $proxy_register_shared_queue
        (i32.const 100) (i32.const 4) (i32.const 8))) (i32.const 1)"""
    take = """(i32.store (i32.const 24) (local.get $queue)) (i32.store (i32.const 0)
        (call $proxy_dequeue_shared_queue (local.get $queue) (i32.const 12) (i32.const 16)))"""
    consumer_code = guest(
        {"proxy_on_configure": register, "proxy_on_queue_ready": take},
        imports=("proxy_register_shared_queue", "proxy_dequeue_shared_queue"),
        data=data,
    )
    consumer = run.plugin(consumer_code, vm_id=vm_id)
    queue = run.u32(8)
    assert queue != 0
    resolve = calling("proxy_resolve_shared_queue", 200, len(vm_id), 100, 4, 8, data={**data, 200: vm_id})
    assert run.status(resolve) == Status.OK
    assert run.u32(8) == queue
    own = calling("proxy_resolve_shared_queue", 0, 0, 100, 4, 8, data=data)
    assert run.status(own, vm_id=vm_id) == Status.OK
    assert run.status(own) == Status.NOT_FOUND
    assert run.status(calling("proxy_enqueue_shared_queue", queue, 110, 4, data=data)) == Status.OK
    (ready,) = run.host.deferred
    ready()
    run.vms.append(consumer.vm)
    assert (run.u32(0), run.u32(24)) == (Status.OK, queue)
    assert run.given(12, 16) == b"item"
    assert run.status(calling("proxy_dequeue_shared_queue", queue, 12, 16)) == Status.EMPTY
    assert run.status(calling("proxy_dequeue_shared_queue", 9999, 12, 16)) == Status.NOT_FOUND
    assert run.status(calling("proxy_enqueue_shared_queue", 9999, 110, 4)) == Status.NOT_FOUND


def test_dequeue_with_a_bad_pointer_does_not_lose_the_item(run: Runner) -> None:
    shared = run.engine.shared
    queue = shared.register_queue(b"", f"kept-{run.safe}".encode(), None)
    shared.enqueue(queue, b"item")
    code = calling("proxy_dequeue_shared_queue", queue, BEYOND, 16)
    assert run.status(code) == Status.INVALID_MEMORY_ACCESS
    assert run.status(calling("proxy_dequeue_shared_queue", queue, 12, 16)) == Status.OK
