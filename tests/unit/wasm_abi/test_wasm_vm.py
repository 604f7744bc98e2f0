"""The sandbox: loading, limits, deadlines, traps, exceptions, allocation."""

from importlib.metadata import version

import pytest
from wasm_guests import MALLOC, FakeStream, Runner, calling, guest

from wasm_abi import (
    AbiVersion,
    Engine,
    HeadersAction,
    Limits,
    LogLevel,
    MissingImportsError,
    ModuleError,
    ReentryError,
    Status,
    VmFailedError,
    WasmDeadlineExceeded,
    WasmTrap,
)

LOOP = "(loop $forever (br $forever)) (unreachable)"
GET = "proxy_get_header_map_value"


# -- Loading ------------------------------------------------------------------------------------------------


def test_compile_of_bytes_that_are_not_wasm_is_refused(engine: Engine) -> None:
    with pytest.raises(ModuleError, match="not a WebAssembly module"):
        engine.compile(b"\0asm garbage")


def test_compile_of_the_same_code_gives_the_same_module(engine: Engine) -> None:
    module = engine.compile(guest())
    assert engine.compile(guest()) is module
    assert module.abi is AbiVersion.V0_2_1
    assert "proxy_on_request_headers" not in module.exports


def test_unknown_imports_are_named_all_of_them(engine: Engine) -> None:
    code = guest().replace(
        b"(memory",
        b'(import "env" "proxy_fly" (func)) (import "env" "proxy_log" (func (param i64)))'
        b' (import "other" "thing" (global i32)) (memory',
        1,
    )
    with pytest.raises(MissingImportsError) as caught:
        engine.compile(code)
    assert caught.value.imports == (
        "env.proxy_fly",
        "env.proxy_log (here it is (i32, i32, i32) -> i32)",
        "other.thing",
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"proxy_abi_version_0_2_1", b"proxy_abi_version_0_3_0", "does not know: proxy_abi_version_0_3_0"),
        (b"proxy_abi_version_0_2_1", b"something", "not a proxy-wasm module"),
        (b'(export "memory")', b'(export "ram")', "does not export its memory"),
        (b'"malloc"', b'"alloc"', "neither malloc nor proxy_on_memory_allocate"),
        (b'"malloc") (param $size i32)', b'"malloc") (param $size i32) (param i32)', "export malloc is not"),
    ],
)
def test_modules_that_cannot_run_here_are_refused(
    engine: Engine, old: bytes, new: bytes, reason: str
) -> None:
    with pytest.raises(ModuleError, match=reason):
        engine.compile(guest().replace(old, new))


def test_headers_callback_of_the_old_abi_under_the_new_marker_is_refused(engine: Engine) -> None:
    code = guest({"proxy_on_request_headers": "(i32.const 0)"}).replace(b" (param $end i32)", b"")
    with pytest.raises(ModuleError, match="proxy_on_request_headers is not a function of 3 i32 -> i32"):
        engine.compile(code)


def test_functions_of_another_abi_version_are_missing_imports(engine: Engine) -> None:
    code = guest(imports=("proxy_get_log_level",)).replace(b"version_0_2_1", b"version_0_2_0")
    with pytest.raises(MissingImportsError, match=r"env\.proxy_get_log_level"):
        engine.compile(code)


def test_allocator_named_proxy_on_memory_allocate_is_used(run: Runner) -> None:
    code = calling(
        GET, 0, 100, 1, 8, 12, data={100: b"a"}, malloc=MALLOC.replace("malloc", "proxy_on_memory_allocate")
    )
    assert run.status(code, FakeStream((b"a", b"value"))) == Status.OK
    assert run.given(8, 12) == b"value"


# -- Limits -------------------------------------------------------------------------------------------------


def test_module_larger_than_the_memory_limit_is_refused(run: Runner) -> None:
    with pytest.raises(ModuleError, match="cannot be instantiated"):
        run.vm(guest(pages=3), limits=Limits(memory_bytes=2 * 65536))


def test_growth_beyond_the_memory_limit_fails_inside_the_guest(run: Runner) -> None:
    body = "(i32.store (i32.const 0) (memory.grow (i32.const 8))) (i32.const 0)"
    stream = run.stream(guest({"proxy_on_request_headers": body}), limits=Limits(memory_bytes=4 * 65536))
    stream.on_request_headers(0, False)
    assert run.u32(0) == 0xFFFFFFFF


def test_endless_loop_is_stopped_by_the_deadline(run: Runner) -> None:
    stream = run.stream(guest({"proxy_on_request_headers": LOOP}), limits=Limits(call_deadline_s=0.05))
    with pytest.raises(WasmDeadlineExceeded, match=r"longer than 0\.05 s"):
        stream.on_request_headers(0, False)


def test_endless_loop_in_the_allocator_is_stopped_by_the_deadline(run: Runner) -> None:
    looping = f'(func (export "malloc") (param i32) (result i32) {LOOP})'
    code = calling(GET, 0, 100, 1, 8, 12, data={100: b"a"}, malloc=looping)
    stream = run.stream(code, FakeStream((b"a", b"v")), limits=Limits(call_deadline_s=0.05))
    with pytest.raises(WasmDeadlineExceeded):
        stream.on_request_headers(0, False)


def test_endless_loop_at_start_is_stopped_by_the_start_deadline(run: Runner) -> None:
    with pytest.raises(WasmDeadlineExceeded):
        run.vm(guest({"_initialize": LOOP}), limits=Limits(start_deadline_s=0.05))


def test_other_vms_run_on_after_one_was_stopped(run: Runner) -> None:
    innocent = run.stream(guest({"proxy_on_request_headers": "(i32.const 0)"}))
    for _ in range(3):
        looping = run.stream(guest({"proxy_on_request_headers": LOOP}), limits=Limits(call_deadline_s=0.02))
        with pytest.raises(WasmDeadlineExceeded):
            looping.on_request_headers(0, False)
        assert innocent.on_request_headers(0, False) is HeadersAction.CONTINUE


def test_tick_stops_only_a_call_that_it_saw_twice_past_the_deadline(run: Runner) -> None:
    engine = Engine(watchdog=False)
    own = Runner(engine, run.safe)
    seen: list[int] = []

    def look() -> None:
        seen.append(len(seen))
        engine.tick(10.0 * len(seen))

    own.host.on_log = look
    log = "(drop (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 1)))"
    body = f"(loop $forever {log} (br $forever)) (unreachable)"
    stream = own.stream(guest({"proxy_on_request_headers": body}, imports=("proxy_log",)))
    with pytest.raises(WasmDeadlineExceeded):
        stream.on_request_headers(0, False)
    assert len(seen) == 3
    own.vms[0].close()
    engine.close()


# -- Traps --------------------------------------------------------------------------------------------------


def test_trap_names_the_functions_and_the_panic(run: Runner) -> None:
    text = b"panicked at 'boom'"
    log = f"(drop (call $proxy_log (i32.const 5) (i32.const 64) (i32.const {len(text)})))"
    body = f"{log} (call $inner) (i32.const 0)"
    code = guest(
        {"proxy_on_request_headers": body},
        imports=("proxy_log",),
        data={64: text},
        extra="(func $inner (unreachable))",
    )
    stream = run.stream(code)
    with pytest.raises(WasmTrap) as caught:
        stream.on_request_headers(0, False)
    assert caught.value.reason == "unreachable"
    assert caught.value.backtrace == ("inner", "proxy_on_request_headers")
    assert caught.value.panic == "panicked at 'boom'"
    assert run.host.lines == [(LogLevel.CRITICAL, text)]


def test_error_logged_in_an_earlier_call_is_not_the_panic_of_a_later_one(run: Runner) -> None:
    log = "(drop (call $proxy_log (i32.const 4) (i32.const 64) (i32.const 1)))"
    code = guest(
        {"proxy_on_request_headers": f"{log} (i32.const 0)", "proxy_on_request_body": "(unreachable)"},
        imports=("proxy_log",),
    )
    stream = run.stream(code)
    stream.on_request_headers(0, False)
    with pytest.raises(WasmTrap) as caught:
        stream.on_request_body(0, False)
    assert caught.value.panic is None


def test_vm_that_trapped_takes_no_more_calls_but_lets_go_of_its_streams(run: Runner) -> None:
    code = guest({
        "proxy_on_request_headers": "(unreachable)",
        "proxy_on_response_headers": "(i32.const 0)",
        "proxy_on_done": "(unreachable)",
        "proxy_on_log": "(unreachable)",
        "proxy_on_delete": "(unreachable)",
    })  # fmt: skip
    plugin = run.plugin(code)
    stream, other = plugin.create_stream(FakeStream()), plugin.create_stream(FakeStream())
    with pytest.raises(WasmTrap) as first:
        stream.on_request_headers(0, False)
    with pytest.raises(VmFailedError) as second:
        other.on_response_headers(0, False)
    assert second.value.__cause__ is first.value
    assert plugin.vm.failure is first.value
    stream.finish()
    other.finish()
    assert plugin.shutdown()
    assert not plugin.vm.contexts


def test_stack_overflow_of_the_guest_is_a_trap(run: Runner) -> None:
    again = "(call $proxy_on_request_headers (i32.const 1) (i32.const 1) (i32.const 1))"
    code = guest({"proxy_on_request_headers": again})
    stream = run.stream(code)
    with pytest.raises(WasmTrap) as caught:
        stream.on_request_headers(0, False)
    assert caught.value.reason == "stack overflow"
    assert len(caught.value.backtrace) == 20


def test_exception_of_a_role_traps_the_guest_and_is_the_cause(run: Runner) -> None:
    class Broken(FakeStream):
        def get_header_value(self, map_type: object, name: bytes) -> bytes | None:
            raise ValueError(f"cannot look up {name!r}")

    stream = run.stream(calling(GET, 0, 100, 1, 8, 12, data={100: b"a"}), Broken())
    with pytest.raises(WasmTrap, match="ValueError in a host function: cannot look up b'a'") as caught:
        stream.on_request_headers(0, False)
    assert isinstance(caught.value.__cause__, ValueError)
    if not run.safe:  # the public interface hands over the exception without its trace
        assert caught.value.backtrace == ("proxy_on_request_headers",)
    with pytest.raises(VmFailedError):
        stream.on_request_headers(0, False)


def test_interrupt_inside_a_role_passes_through_as_itself(run: Runner) -> None:
    class Interrupted(FakeStream):
        def get_header_value(self, map_type: object, name: bytes) -> bytes | None:
            raise KeyboardInterrupt

    stream = run.stream(calling(GET, 0, 100, 1, 8, 12), Interrupted())
    with pytest.raises(KeyboardInterrupt):
        stream.on_request_headers(0, False)
    assert isinstance(run.vms[0].failure, KeyboardInterrupt)


def test_role_that_calls_into_the_guest_is_refused(run: Runner) -> None:
    class Reentrant(FakeStream):
        def get_header_value(self, map_type: object, name: bytes) -> bytes | None:
            stream.on_request_headers(0, False)
            return None

    stream = run.stream(calling(GET, 0, 100, 1, 8, 12), Reentrant())
    with pytest.raises(WasmTrap) as caught:
        stream.on_request_headers(0, False)
    assert isinstance(caught.value.__cause__, ReentryError)


def test_close_from_inside_a_call_is_refused(run: Runner) -> None:
    class Closing(FakeStream):
        def get_header_value(self, map_type: object, name: bytes) -> bytes | None:
            run.vms[0].close()
            return None

    stream = run.stream(calling(GET, 0, 100, 1, 8, 12), Closing())
    with pytest.raises(WasmTrap) as caught:
        stream.on_request_headers(0, False)
    assert isinstance(caught.value.__cause__, ReentryError)


def test_closed_vm_takes_no_more_calls_and_its_memory_faults(run: Runner) -> None:
    stream = run.stream(guest({"proxy_on_request_headers": "(i32.const 0)"}))
    vm = run.vms[0]
    memory = vm.memory
    vm.close()
    vm.close()
    with pytest.raises(VmFailedError):
        stream.on_request_headers(0, False)
    with pytest.raises(Exception, match="guest memory"):
        memory.read(0, 1)


# -- Starting -----------------------------------------------------------------------------------------------


def test_initialize_then_main_run_before_anything_else(run: Runner) -> None:
    bump = (
        "(i32.store (i32.const 4) (i32.add (i32.mul (i32.load (i32.const 4)) (i32.const 10)) (i32.const {})))"
    )
    vm = run.vm(
        guest(
            {
                "_initialize": bump.format(1),
                "main": bump.format(2) + "(i32.const 0)",
                "_start": "(unreachable)",
            }
        )
    )
    assert int.from_bytes(vm.memory.read(4, 4), "little") == 12


def test_start_runs_when_there_is_no_initialize(run: Runner) -> None:
    vm = run.vm(guest({"_start": "(i32.store (i32.const 4) (i32.const 7))"}))
    assert vm.memory.read(4, 1) == b"\7"


@pytest.mark.parametrize("where", ["_initialize", "_start"])
def test_host_function_called_while_starting_traps(run: Runner, where: str) -> None:
    code = guest(
        {where: "(drop (call $proxy_get_log_level (i32.const 0)))"}, imports=("proxy_get_log_level",)
    )
    with pytest.raises(WasmTrap, match="proxy_get_log_level called while the guest starts or allocates"):
        run.vm(code)


def test_log_and_wasi_are_allowed_while_starting(run: Runner) -> None:
    body = """(drop (call $proxy_log (i32.const 2) (i32.const 64) (i32.const 2)))
              (drop (call $random_get (i32.const 64) (i32.const 8)))"""
    run.vm(guest({"_initialize": body}, imports=("proxy_log", "random_get"), data={64: b"hi"}))
    assert run.host.lines == [(LogLevel.INFO, b"hi")]


def test_start_section_that_traps_is_a_trap(run: Runner) -> None:
    with pytest.raises(WasmTrap, match="unreachable"):
        run.vm(guest(extra="(func $s (unreachable)) (start $s)"))


# -- Allocation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pointer", [0, 65535, 0x7FFFFFFF, 0xFFFFFFFF])
def test_allocator_that_returns_garbage_is_an_invalid_memory_access(run: Runner, pointer: int) -> None:
    malloc = f'(func (export "malloc") (param i32) (result i32) (i32.const {pointer}))'
    code = calling(GET, 0, 100, 1, 8, 12, data={100: b"a"}, malloc=malloc)
    assert run.status(code, FakeStream((b"a", b"value"))) == Status.INVALID_MEMORY_ACCESS


def test_host_function_called_by_the_allocator_traps(run: Runner) -> None:
    malloc = """(func (export "malloc") (param i32) (result i32)
                  (drop (call $proxy_set_tick_period_milliseconds (i32.const 5))) (i32.const 1024))"""
    arguments = "(i32.const 0) (i32.const 100) (i32.const 1) (i32.const 8) (i32.const 12)"
    code = guest(
        {"proxy_on_request_headers": f"(call ${GET} {arguments})"},
        imports=(GET, "proxy_set_tick_period_milliseconds"),
        data={100: b"a"},
        malloc=malloc,
    )
    stream = run.stream(code, FakeStream((b"a", b"v")))
    with pytest.raises(WasmTrap, match="while the guest starts or allocates"):
        stream.on_request_headers(0, False)
    assert run.host.tick_period is None


def test_trap_of_the_allocator_is_the_trap_of_the_call(run: Runner) -> None:
    malloc = '(func $broken (export "malloc") (param i32) (result i32) (unreachable))'
    stream = run.stream(
        calling(GET, 0, 100, 1, 8, 12, data={100: b"a"}, malloc=malloc), FakeStream((b"a", b"v"))
    )
    with pytest.raises(WasmTrap) as caught:
        stream.on_request_headers(0, False)
    assert caught.value.reason == "unreachable"
    assert caught.value.backtrace[0] == "broken"


def test_memory_that_grows_in_the_middle_of_a_call_is_followed(run: Runner) -> None:
    big = b"v" * 200_000
    code = calling(GET, 0, 100, 1, 8, 12, data={100: b"a"})
    stream = run.stream(code, FakeStream((b"a", big)))
    for _ in range(3):
        stream.on_request_headers(0, False)
        assert run.u32(0) == Status.OK
        assert run.given(8, 12) == big


def test_memory_grown_by_the_guest_itself_is_readable_at_once(run: Runner) -> None:
    body = """(drop (memory.grow (i32.const 1)))
      (i32.store8 (i32.const 70000) (i32.const 98))
      (i32.store (i32.const 0) (call $proxy_get_header_map_value
        (i32.const 0) (i32.const 70000) (i32.const 1) (i32.const 70008) (i32.const 70012)))
      (i32.const 0)"""
    stream = run.stream(guest({"proxy_on_request_headers": body}, imports=(GET,)), FakeStream((b"b", b"yes")))
    stream.on_request_headers(0, False)
    assert run.u32(0) == Status.OK
    assert run.given(70008, 70012) == b"yes"


def test_the_wasmtime_in_use_is_the_one_the_unchecked_calls_were_written_for() -> None:
    assert version("wasmtime") == "50.0.1"
