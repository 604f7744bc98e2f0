"""Configuration updates of a Wasm filter leave nothing behind."""

from __future__ import annotations

from .wasm_updates import Updates, resident_kb

WARM_UP, COUNT = 30, 200
#: An instance alone has more than a page table of it.
ALLOWED_KB = 4096


def test_updates_leave_no_plugins_vms_or_memory():
    updates = Updates()
    for _ in range(WARM_UP):
        updates.update()
    before = resident_kb()
    for _ in range(COUNT):
        updates.update()
    assert resident_kb() - before < ALLOWED_KB
    plugins = updates.factory._plugins
    assert len(plugins._plugins) == len(plugins._recipes) == 1
    assert plugins._engine is not None
    assert len(plugins._engine._vms) == 1
    assert updates.store.gauges["wasm.wasm_vm_count"].value == 1


def test_updates_that_share_a_vm_leave_no_contexts():
    updates = Updates(vm_per_update=False)
    for _ in range(COUNT):
        updates.update()
    (started,) = updates.factory._plugins._plugins.values()
    assert started.live.plugin is not None
    assert len(started.live.plugin.vm.contexts) == 1
    assert updates.store.counters["wasm..created"].value == 1
