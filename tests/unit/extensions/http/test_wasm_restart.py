"""Fresh VMs after traps: at once, with pauses for those that are of no use."""

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.extensions.wasm.restart import Restart
from sidecar.observability.stats import Store
from wasm_abi import WasmTrap


class Bench:
    """A restart over plugins that are only their VM's count of calls."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.store = Store()
        self.fails = False
        self.started: list[Any] = []
        self.restart = Restart(self.start, "p", self.store, lambda: self.now_s)
        self.restart.watch(self.start()[0])

    def start(self) -> tuple[Any, Any]:
        if self.fails:
            raise WasmTrap("unreachable")
        plugin = SimpleNamespace(vm=SimpleNamespace(serial=2))
        self.started.append(plugin)
        return plugin, None

    def fail(self, calls: int) -> bool:
        """The running VM fails after so many calls; whether there is a new one."""
        self.started[-1].vm.serial += calls
        return self.restart() is not None

    def count(self, kind: str) -> int:
        return int(self.store.counter(f"wasm.p.vm_restart_{kind}").value)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_vm_that_was_of_use_is_replaced_at_once_however_often(bench: Bench) -> None:
    assert all(bench.fail(10) for _ in range(100))
    assert bench.count("success") == 100


def test_useless_vms_in_a_row_bring_pauses_that_double(bench: Bench) -> None:
    assert [bench.fail(2) for _ in range(6)] == [True] * 5 + [False]
    assert bench.restart() is None
    assert bench.count("paused") == 2
    bench.now_s += 1.0
    assert bench.restart() is not None
    assert not bench.fail(1)
    bench.now_s += 1.5
    assert bench.restart() is None
    bench.now_s += 0.5
    assert bench.restart() is not None


def test_longest_pause_is_a_minute(bench: Bench) -> None:
    for _ in range(20):
        if not bench.fail(1):
            bench.now_s += 60.0
            assert bench.restart() is not None


def test_vm_of_use_ends_the_pauses(bench: Bench) -> None:
    for _ in range(6):
        bench.fail(1)
    bench.now_s += 1.0
    assert bench.restart() is not None
    assert bench.fail(50)
    assert all(bench.fail(1) for _ in range(5))


def test_guest_that_does_not_start_is_tried_again_after_a_pause(bench: Bench) -> None:
    bench.fails = True
    assert not bench.fail(50)
    assert not bench.fail(0)
    assert (bench.count("failure"), bench.count("paused")) == (1, 1)
    bench.fails = False
    bench.now_s += 1.0
    assert bench.restart() is not None
