# ruff: noqa: E501  (a case is a line of a table)
"""Overload managers that Envoy refuses or takes, each tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict, our_verdict

pytestmark = pytest.mark.oracle

_MONITORS = "type.googleapis.com/envoy.extensions.resource_monitors"
_API = "type.googleapis.com/envoy.config.overload.v3"
_ACTION = "envoy.overload_actions."
_TRIGGER = "triggers: [{name: a, threshold: {value: 0.5}}]"
_IDLE = "timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_timeout: 1s"
_GLOBAL = "envoy.resource_monitors.global_downstream_max_connections"


def monitor(kind: str, message: str, fields: str = "", name: str = "a") -> str:
    return f'[{{name: {name}, typed_config: {{"@type": {_MONITORS}.{kind}.v3.{message}{fields}}}}}]'


HEAP = monitor("fixed_heap", "FixedHeapConfig", ", max_heap_size_bytes: 1000000000")
CONNECTIONS = monitor(
    "downstream_connections",
    "DownstreamConnectionsConfig",
    ", max_active_downstream_connections: 10",
    name=_GLOBAL,
)


def manager(monitors: str = HEAP, **fields: str) -> str:
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    return f"overload_manager: {{resource_monitors: {monitors}{more}}}"


def named(name: str, trigger: str = _TRIGGER, extra: str = "") -> str:
    return f"[{{name: {name}, {trigger}{extra}}}]"


def action(name: str, trigger: str = _TRIGGER, extra: str = "") -> str:
    return manager(actions=named(name, trigger, extra))


def timers(*each: str) -> str:
    listed = ", ".join(f"{{{one}}}" for one in each)
    return f', typed_config: {{"@type": {_API}.ScaleTimersOverloadActionConfig, timer_scale_factors: [{listed}]}}'


def shrink(fields: str) -> str:
    return f', typed_config: {{"@type": {_API}.ShrinkHeapConfig{fields}}}'


def runtime_heap(more: str = "") -> str:
    return monitor(
        "fixed_heap",
        "FixedHeapConfig",
        f", max_heap_size_bytes_runtime: {{default_value: 100, runtime_key: x}}{more}",
    )


CASES = {
    "all is well": action(f"{_ACTION}stop_accepting_requests"),
    "unknown action": action("foo"),
    "unknown action of Envoy's": action(f"{_ACTION}foo"),
    "action by its message": action("foo", extra=timers(_IDLE)),
    "message of another action": action(f"{_ACTION}stop_accepting_requests", extra=timers(_IDLE)),
    "message at a reserved name": action(f"{_ACTION}foo", extra=timers(_IDLE)),
    "timers for the heap": action(f"{_ACTION}shrink_heap", extra=timers(_IDLE)),
    "action twice": manager(actions=f"[{{name: {_ACTION}shrink_heap, {_TRIGGER}}}, {{name: {_ACTION}shrink_heap, {_TRIGGER}}}]"),
    "trigger twice": action(f"{_ACTION}shrink_heap", "triggers: [{name: a, threshold: {value: 0.5}}, {name: a, threshold: {value: 0.6}}]"),
    "equal thresholds": action(f"{_ACTION}shrink_heap", "triggers: [{name: a, scaled: {scaling_threshold: 0.5, saturation_threshold: 0.5}}]"),
    "no threshold": action(f"{_ACTION}shrink_heap", "triggers: [{name: a}]"),
    "no triggers": manager(actions=f"[{{name: {_ACTION}shrink_heap}}]"),
    "unknown trigger": action(f"{_ACTION}shrink_heap", "triggers: [{name: b, threshold: {value: 0.5}}]"),
    "timers without a message": action(f"{_ACTION}reduce_timeouts"),
    "timers": action(f"{_ACTION}reduce_timeouts", extra=timers(_IDLE)),
    "timer without a minimum": action(f"{_ACTION}reduce_timeouts", extra=timers("timer: HTTP_DOWNSTREAM_STREAM_IDLE")),
    "timer of no name": action(f"{_ACTION}reduce_timeouts", extra=timers("min_timeout: 1s")),
    "timer twice": action(f"{_ACTION}reduce_timeouts", extra=timers(_IDLE, _IDLE)),
    "no timers": action(f"{_ACTION}reduce_timeouts", extra=timers()),
    "streams without accounts": action(f"{_ACTION}reset_high_memory_stream"),
    "streams": manager(actions=named(f"{_ACTION}reset_high_memory_stream"), buffer_factory_config="{minimum_account_to_track_power_of_two: 20}"),
    "accounts of 32 bytes": manager(buffer_factory_config="{minimum_account_to_track_power_of_two: 5}"),
    "heap is shrunk": action(f"{_ACTION}shrink_heap", extra=shrink(", timer_interval: 2s")),
    "heap is shrunk too often": action(f"{_ACTION}shrink_heap", extra=shrink(", timer_interval: 0.2s")),
    "point of one's own": manager(loadshed_points=named("bar")),
    "point twice": manager(loadshed_points=f"[{{name: x, {_TRIGGER}}}, {{name: x, {_TRIGGER}}}]"),
    "point and action": manager(loadshed_points=named(f"{_ACTION}shrink_heap"), actions=named(f"{_ACTION}shrink_heap")),
    "point with an unknown trigger": manager(loadshed_points=named("x", "triggers: [{name: b, threshold: {value: 0.5}}]")),
    "point with a trigger twice": manager(loadshed_points=named("x", "triggers: [{name: a, threshold: {value: 0.5}}, {name: a, threshold: {value: 0.5}}]")),
    "no interval": manager(refresh_interval="0s"),
    "negative interval": manager(refresh_interval="-1s"),
    "heap of nothing": manager(monitor("fixed_heap", "FixedHeapConfig")),
    "heap by runtime": manager(runtime_heap()),
    "heap by both": manager(runtime_heap(", max_heap_size_bytes: 5")),
    "file without a name": manager(monitor("injected_resource", "InjectedResourceConfig")),
    "CPU of a container": manager(monitor("cpu_utilization", "CpuUtilizationConfig", ", mode: CONTAINER")),
    "connections trigger an action": manager(CONNECTIONS, actions=named(f"{_ACTION}shrink_heap", f"triggers: [{{name: {_GLOBAL}, threshold: {{value: 0.5}}}}]")),
    "connections trigger a point": manager(CONNECTIONS, loadshed_points=named("x", f"triggers: [{{name: {_GLOBAL}, threshold: {{value: 0.5}}}}]")),
    "no monitors": "overload_manager: {refresh_interval: 1s}",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_overload_manager_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n{CASES[name]}\n"
    )
    assert our_verdict(file).accepted == envoy_verdict(file).accepted
