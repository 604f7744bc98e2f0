"""From ``Wasm`` messages to running plugins."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from envoy.extensions.wasm.v3.wasm_pb2 import WasmService
from factory_fakes import Recorder
from google.protobuf.json_format import ParseDict
from wat_guests import CONTINUE, Guest

from sidecar.config.messages import message_class
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.wasm_config import WasmFactory
from sidecar.extensions.http.wasm_host import PluginSide
from sidecar.extensions.http.wasm_own_config import OwnWasmFactory
from sidecar.extensions.wasm.places_config import WasmServiceFactory
from sidecar.extensions.wasm.plugin_config import Plugins
from wasm_abi import LogLevel, MetricType, WasmTrap


def message(vm: dict[str, Any] | None = None, **config: Any) -> Wasm:
    vm_config = {"code": {"local": {"filename": "/g.wasm"}}, **(vm or {})}
    return ParseDict({"config": {"name": "p", "vm_config": vm_config, **config}}, Wasm())


def recorder(guest: Guest) -> Recorder:
    return Recorder(files={"/g.wasm": guest.code()})


def typed(kind: str, value: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.protobuf.{kind}", "value": value}


def accepting(name: str, size: int) -> Guest:
    """A guest that accepts a configuration of this size alone."""
    return Guest().on(name, f"(i32.eq (local.get 1) (i32.const {size}))")


@pytest.mark.parametrize(
    ("configuration", "size"),
    [
        (typed("StringValue", "abc"), 3),
        (typed("BytesValue", "AAEC/w=="), 4),
        (typed("Struct", {"a": 1, "b": [True, None, 1.5]}), len('{"a":1,"b":[true,null,1.5]}')),
    ],
)
def test_configuration_reaches_the_guest_as_bytes(configuration, size):
    plugin = accepting("configure", size)
    WasmFactory().compile(message(configuration=configuration), recorder(plugin).context)
    vm = accepting("vm_start", size)
    WasmFactory().compile(message({"configuration": configuration}), recorder(vm).context)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vm_start", "proxy_on_vm_start returned false"),
        ("configure", "proxy_on_configure returned false"),
    ],
)
def test_guest_that_refuses_its_configuration_is_refused(name, text):
    with pytest.raises(ConfigError, match=f"Unable to create Wasm plugin p: /g.wasm: {text}"):
        WasmFactory().compile(message(), recorder(Guest().on(name, CONTINUE)).context)


def test_guest_that_traps_at_start_is_refused():
    with pytest.raises(ConfigError, match=r"Unable to create Wasm plugin p: .*unreachable"):
        WasmFactory().compile(message(), recorder(Guest().on("configure", "unreachable")).context)


def test_missing_import_is_named_with_its_file():
    with pytest.raises(ConfigError, match=r"^config.vm_config.code: /g.wasm: .*env.proxy_from_mars"):
        WasmFactory().compile(message(), recorder(Guest().importing("proxy_from_mars")).context)


def test_code_that_is_no_module_is_refused():
    with pytest.raises(ConfigError, match=r"/g\.wasm: not a WebAssembly module"):
        WasmFactory().compile(message(), Recorder(files={"/g.wasm": b"\0asm junk"}).context)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (ParseDict({"config": {"name": "p", "vm_config": {"vm_id": "x"}}}, Wasm()), "code is required"),
        (message({"runtime": "envoy.wasm.runtime.null"}), "Failed to create Wasm VM using envoy"),
        (message(fail_open=True, failure_policy="FAIL_CLOSED"), "only one of fail_open or failure_policy"),
        (
            message({"environment_variables": {"host_env_keys": ["A"], "key_values": {"A": "b"}}}),
            "Key A is duplicated",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(given, text):
    with pytest.raises(ConfigError, match=text):
        WasmFactory().compile(given, recorder(Guest()).context)


@pytest.mark.parametrize("runtime", ["v8", "wasmtime", "wamr"])
def test_every_engine_name_of_envoy_is_accepted(runtime):
    WasmFactory().compile(message({"runtime": f"envoy.wasm.runtime.{runtime}"}), recorder(Guest()).context)


def test_vm_is_shared_by_what_has_the_same_key_and_ends_with_its_last_user():
    factory = WasmFactory()
    first, second, other = (recorder(Guest()) for _ in range(3))
    a = factory.compile(message(root_id="a"), first.context)
    b = factory.compile(message(root_id="b"), second.context)
    c = factory.compile(message({"vm_id": "else"}), other.context)
    assert a._live.plugin.vm is b._live.plugin.vm
    assert c._live.plugin.vm is not a._live.plugin.vm
    assert other.store.gauges["wasm.wasm_vm_count"].value == 2
    assert first.store.counters["wasm..created"].value == 1
    assert "wasm..created" not in second.store.counters
    for each in (first, second, other):
        each.closers[0]()
    assert other.store.gauges["wasm.wasm_vm_count"].value == 0


def test_plugin_is_shared_by_filters_with_the_same_configuration():
    factory = WasmFactory()
    given = recorder(Guest())
    assert factory.compile(message(), given.context)._live is factory.compile(message(), given.context)._live


def test_metrics_and_ticks_reach_the_host():
    guest = Guest()
    guest.on("configure", guest.call("proxy_set_tick_period_milliseconds", 250) + "(i32.const 1)")
    given = recorder(guest.on("tick", guest.log(b"tick")))
    timers: list[Any] = []
    stopped: list[bool] = []

    def every(seconds: float, callback: Any) -> Any:
        timers.append((seconds, callback))
        return lambda: stopped.append(True)

    given.context.every = every
    wasm = WasmFactory().compile(message(), given.context)
    seconds, callback = timers[0]
    assert seconds == 0.25
    callback()
    side = wasm._live.side
    counter = side.define_metric(MetricType.COUNTER, b"c")
    counter.add(3)
    assert counter.value() == 3
    assert given.store.counters["wasmcustom.c"].value == 3
    given.closers[0]()
    assert stopped == [True]


def test_vm_is_another_where_environment_variables_are():
    factory = WasmFactory()
    environments = [{"A": "1"}, {"A": "2"}, {"A": "1"}]
    vms = []
    for values in environments:
        given = message({"environment_variables": {"key_values": values}})
        vms.append(factory.compile(given, recorder(Guest()).context)._live.plugin.vm)
    assert vms[0] is vms[2] is not vms[1]


def test_singleton_runs_in_one_process_alone():
    made = []
    for is_singleton, is_main in ((True, True), (True, False), (False, False)):
        context = recorder(Guest()).context
        context.is_main = is_main
        service = WasmService(config=message().config, singleton=is_singleton)
        made.append(WasmServiceFactory(Plugins()).compile(service, context) is not None)
    assert made == [True, False, True]


def test_ten_thousand_timers_are_one():
    alive = set()

    def every(period_s, _action):
        alive.add(period_s)
        return lambda: alive.discard(period_s)

    context = recorder(Guest()).context
    context.every = every
    side = PluginSide("name", "root", "vm", context)
    for number in range(10_000):
        side.set_tick_period(number + 1)
    assert alive == {10.0}
    side.set_tick_period(0)
    assert not alive


def test_what_a_guest_shares_outlives_its_vm_and_goes_with_its_plugin():
    found = recorder(Guest())
    live = WasmFactory().compile(message({"vm_id": "v"}), found.context)._live
    vm = live.plugin.vm
    vm.shared.set(b"v", b"k", b"kept", 0)
    with pytest.raises(WasmTrap):
        vm.fail(RuntimeError("over"))
    assert live.revive()
    assert live.plugin.vm is not vm
    assert vm.shared.get(b"v", b"k") == (b"kept", 1)
    for close in found.closers:
        close()
    assert vm.shared.get(b"v", b"k") is None


def test_limits_of_output_reach_the_guest_and_its_log(caplog):
    own: Any = message_class("sidecar.extensions.filters.http.wasm.v1.Wasm")
    limits = {"output_bytes": 5000, "log_bytes_per_second": 10}
    inner = {"config": {"name": "p", "vm_config": {"code": {"local": {"filename": "/g.wasm"}}}}}
    found = recorder(Guest())
    live = (
        OwnWasmFactory(Plugins())
        .compile(ParseDict({"wasm": inner, "limits": limits}, own()), found.context)
        ._live
    )
    assert live.plugin.vm.limits.output_bytes == 5000
    with caplog.at_level("INFO", logger="sidecar.wasm"):
        for _ in range(3):
            live.side.log(LogLevel.INFO, b"eight of")
    assert len(caplog.messages) == 1
    assert found.context.root_stats.counter("wasm.p.log_lines_dropped").value == 2
