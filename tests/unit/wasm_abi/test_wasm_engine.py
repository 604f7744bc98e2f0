"""The engine: the watchdog's rest, and what is freed when."""

import gc
import time
import weakref

import pytest
from wasm_guests import FakePluginHost, FakeStream, Runner, calling, guest

import wasm_abi.engine
from wasm_abi import Engine, Limits, ModuleError, Vm, WasmDeadlineExceeded, WasmTrap
from wasm_abi.memory import MappedMemory, PublicMemory

LOOP = "(loop $forever (br $forever)) (unreachable)"


def test_watchdog_that_went_to_rest_still_stops_the_next_loop(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm_abi.engine, "_IDLE_S", 0.005)
    engine = Engine()
    own = Runner(engine, run.safe)
    stream = own.stream(guest({"proxy_on_request_headers": LOOP}), limits=Limits(call_deadline_s=0.05))
    limit = time.monotonic() + 10
    while engine._awake.is_set():
        assert time.monotonic() < limit
    with pytest.raises(WasmDeadlineExceeded):
        stream.on_request_headers(0, False)
    own.vms[0].close()
    engine.close()
    assert engine._thread is None


def test_engine_without_a_watchdog_starts_no_thread(run: Runner) -> None:
    engine = Engine(watchdog=False)
    own = Runner(engine, run.safe)
    own.stream(guest({"proxy_on_request_headers": "(i32.const 0)"})).on_request_headers(0, False)
    assert engine._thread is None
    own.vms[0].close()
    engine.close()


def test_vm_that_nobody_holds_is_freed_without_being_closed(engine: Engine) -> None:
    code = calling("proxy_get_header_map_pairs", 0, 8, 12)
    host = FakePluginHost()
    vm = Vm(engine.compile(code), host=host, safe=False)
    gone = weakref.ref(host)  # which the VM holds
    del vm, host
    engine.close()  # ends the watchdog, which holds every VM while it looks at them
    gc.collect()
    assert gone() is None


def test_module_that_nobody_holds_is_compiled_again(engine: Engine) -> None:
    code = guest(data={77: b"only here"})
    gone = weakref.ref(engine.compile(code))
    gc.collect()
    assert gone() is None


def test_vm_that_could_not_start_lets_go_of_what_it_shared(run: Runner) -> None:
    with pytest.raises(ModuleError):
        run.vm(guest(pages=9), limits=Limits(memory_bytes=65536), vm_id=b"large")
    with pytest.raises(WasmTrap):
        run.vm(guest({"_initialize": "(unreachable)"}), vm_id=b"trapping")
    assert b"large" not in run.engine.shared._users
    assert b"trapping" not in run.engine.shared._users


def test_many_vms_of_one_module_are_apart(run: Runner) -> None:
    body = "(i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (i32.const 0)"
    code = guest({"proxy_on_request_headers": body})
    streams = [run.plugin(code).create_stream(FakeStream()) for _ in range(20)]
    streams[3].on_request_headers(0, False)
    streams[3].on_request_headers(0, False)
    counts = [int.from_bytes(vm.memory.read(0, 4), "little") for vm in run.vms]
    assert counts == [0, 0, 0, 2, *[0] * 16]


@pytest.mark.parametrize(("value", "kind"), [("1", PublicMemory), ("0", MappedMemory), ("", MappedMemory)])
def test_binding_is_chosen_by_the_environment(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, value: str, kind: type
) -> None:
    monkeypatch.setenv("WASM_ABI_SAFE", value)
    vm = Vm(engine.compile(guest()), host=FakePluginHost())
    assert type(vm.memory) is kind
    vm.close()
